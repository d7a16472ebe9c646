//! Walking to a place inside a root directory that an archive must not leave.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{Error, IoContext, Result, corrupt};
use crate::tar::show;

/// Directories to be walked through only; they need no read permission.
pub const WALK: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const LINK_LIMIT: usize = 40;

/// The parts of a name with `.`, `..` and slashes worked out. A name that leads out of the root
/// is an error; absolute names count from the root.
pub fn clean(path: &[u8]) -> Result<Vec<Vec<u8>>> {
    if path.len() > 4096 || path.contains(&0) {
        return Err(corrupt(format!("malformed path {} in archive", show(path))));
    }
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if parts.pop().is_none() {
                    return Err(corrupt(format!("path {} in archive leads outside", show(path))));
                }
            }
            part => parts.push(part.to_vec()),
        }
    }
    Ok(parts)
}

/// The name as one path relative to the root; `.` for the root itself.
pub fn join(parts: &[Vec<u8>]) -> Vec<u8> {
    if parts.is_empty() { b".".to_vec() } else { parts.join(&b'/') }
}

/// Opens a directory that is trusted, such as the root itself.
pub fn open_root(path: &std::path::Path) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, path, WALK, Mode::empty()).at("open", path)
}

/// Opens what is under `root`, following links as if `root` were `/`.
pub fn open_in(
    root: BorrowedFd<'_>,
    parts: &[Vec<u8>],
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = join(parts);
    for _ in 0..64 {
        match rustix::fs::openat2(root, &path[..], flags | OFlags::CLOEXEC, Mode::empty(), resolve)
        {
            // The kernel asks for another try when something was renamed meanwhile.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// What stands at a name, links not followed; `None` if nothing does.
pub fn look(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Option<rustix::fs::Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e).during(|| format!("stat {}", show(name))),
    }
}

pub fn is_whiteout(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

pub fn is_dir(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// What [`walk`] does about directories that are missing.
pub trait Missing {
    /// Makes directory `name` in `dir`; `path` is the whole path of real names.
    fn make(&mut self, dir: BorrowedFd<'_>, name: &[u8], path: &[Vec<u8>]) -> Result<()>;
}

/// Opens a directory under `root`, one name at a time, making what is missing. Links are
/// followed within the root, also those whose target is missing.
pub fn walk(root: BorrowedFd<'_>, parts: &[Vec<u8>], missing: &mut dyn Missing) -> Result<OwnedFd> {
    let mut todo: VecDeque<Vec<u8>> = parts.iter().cloned().collect();
    let again = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 0).during(|| "dup".into());
    let mut stack = vec![again(root)?];
    let mut path: Vec<Vec<u8>> = Vec::new();
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        match &name[..] {
            b"" | b"." => continue,
            b".." => {
                // `..` of the root is the root.
                if path.pop().is_some() {
                    stack.pop();
                }
                continue;
            }
            _ => {}
        }
        let here = stack.last().expect("the root stays").as_fd();
        let stat = look(here, &name)?;
        let kind = stat.as_ref().map(|s| FileType::from_raw_mode(s.st_mode));
        if kind == Some(FileType::Symlink) {
            links += 1;
            if links > LINK_LIMIT {
                return Err(too_many_links(parts));
            }
            let target = rustix::fs::readlinkat(here, &name[..], Vec::new())
                .during(|| format!("read link {}", show(&name)))?;
            if target.as_bytes().starts_with(b"/") {
                stack.truncate(1);
                path.clear();
            }
            for part in target.as_bytes().rsplit(|b| *b == b'/') {
                todo.push_front(part.to_vec());
            }
            continue;
        }
        path.push(name.clone());
        if stat.as_ref().is_none_or(is_whiteout) {
            missing.make(here, &name, &path)?;
        } else if kind != Some(FileType::Directory) {
            return Err(corrupt(format!("{} is not a directory", show(&join(&path)))));
        }
        let next = rustix::fs::openat(here, &name[..], WALK | OFlags::NOFOLLOW, Mode::empty())
            .during(|| format!("open {}", show(&join(&path))))?;
        stack.push(next);
    }
    Ok(stack.pop().expect("the root stays"))
}

fn too_many_links(parts: &[Vec<u8>]) -> Error {
    corrupt(format!("{}: too many levels of symbolic links", show(&join(parts))))
}

/// Removes whatever stands at a name, directories with their content. Never follows links.
pub fn remove_tree(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    remove_at_depth(dir, name, 0).during(|| format!("remove {}", show(name)))
}

fn remove_at_depth(dir: BorrowedFd<'_>, name: &[u8], depth: usize) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e),
    }
    if depth > 2048 {
        return Err(Errno::NAMETOOLONG);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&inner)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    for child in names {
        remove_at_depth(inner.as_fd(), &child, depth + 1)?;
    }
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_worked_out_or_refused() {
        let show = |p: &[u8]| clean(p).map(|parts| String::from_utf8(join(&parts)).unwrap());
        assert_eq!(show(b"./a//b/../c/").unwrap(), "a/c");
        assert_eq!(show(b"/etc/passwd").unwrap(), "etc/passwd");
        assert_eq!(show(b"./").unwrap(), ".");
        for bad in [&b"../x"[..], b"a/../../x", b"a\0b", b"..", &[b'a'; 5000]] {
            assert!(show(bad).is_err());
        }
    }
}
