//! Removing directories that containers have written to.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, ResolveFlags, openat, openat2, unlinkat};
use rustix::io::Errno;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Removes a directory with everything in it; one that is not there is no error. No link is
/// followed, and a mount below it is an error: what is mounted belongs to somebody else.
///
/// Uses two descriptors and no stack, however deep a container made its directories.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let flags = DIRECTORY | OFlags::NOFOLLOW;
    let mut at = match openat(CWD, path, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(named(path.into(), e)),
    };
    let mut inside: Vec<OsString> = Vec::new();
    loop {
        let here = || inside.iter().fold(path.to_path_buf(), |p, name| p.join(name));
        if let Some((name, dir)) = clear(&at, here)? {
            inside.push(name);
            at = dir;
            continue;
        }
        let Some(name) = inside.pop() else { break };
        let parent = openat(&at, "..", DIRECTORY, Mode::empty())?;
        unlinkat(&parent, &name, AtFlags::REMOVEDIR)?;
        at = parent;
    }
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(named(path.into(), e)),
    }
}

/// Removes what is no directory, up to the first directory, which it opens.
fn clear(dir: &OwnedFd, here: impl Fn() -> PathBuf) -> io::Result<Option<(OsString, OwnedFd)>> {
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_owned();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let name = OsString::from_vec(name.into_bytes());
        // Never a directory: the kernel refuses those without a flag.
        let refused = match unlinkat(dir, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(e @ (Errno::ISDIR | Errno::PERM)) => e,
            Err(e) => return Err(named(here().join(name), e)),
        };
        match open_below(dir.as_fd(), &name) {
            Ok(child) => return Ok(Some((name, child))),
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR) => return Err(named(here().join(name), refused)),
            Err(Errno::XDEV) => {
                let text = format!("{}: something is mounted there", here().join(name).display());
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
            }
            Err(e) => return Err(named(here().join(name), e)),
        }
    }
    Ok(None)
}

fn open_below(dir: BorrowedFd, name: &OsString) -> Result<OwnedFd, Errno> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    loop {
        // The kernel asks to try again when something else was renamed meanwhile.
        match openat2(dir, name.as_os_str(), DIRECTORY, Mode::empty(), how) {
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
}

fn named(path: PathBuf, error: Errno) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::mkdirat;
    use std::fs;

    #[test]
    fn everything_goes_and_no_link_is_followed() {
        let base = tempfile::tempdir().unwrap();
        let (dir, outside) = (base.path().join("dir"), base.path().join("outside"));
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "").unwrap();
        for n in 0..50 {
            fs::write(dir.join(format!("a/{n}")), "").unwrap();
            fs::create_dir(dir.join(format!("a/b/{n}"))).unwrap();
        }
        std::os::unix::fs::symlink(&outside, dir.join("a/b/link")).unwrap();
        remove_tree(&dir).unwrap();
        assert!(!dir.exists() && outside.join("kept").exists());
        remove_tree(&dir).unwrap();
        std::os::unix::fs::symlink(&outside, &dir).unwrap();
        assert!(remove_tree(&dir).is_err(), "a link is no directory");
        assert!(outside.join("kept").exists());
    }

    #[test]
    fn any_depth() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("deep");
        fs::create_dir(&dir).unwrap();
        let mut at = openat(CWD, &dir, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..3_000 {
            mkdirat(&at, "d", Mode::from_raw_mode(0o755)).unwrap();
            at = openat(&at, "d", DIRECTORY, Mode::empty()).unwrap();
        }
        remove_tree(&dir).unwrap();
        assert!(!dir.exists());
    }

    #[test]
    fn a_mount_is_not_crossed() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: needs root");
        }
        let base = tempfile::tempdir().unwrap();
        let (dir, theirs) = (base.path().join("dir"), base.path().join("theirs"));
        fs::create_dir_all(dir.join("point")).unwrap();
        fs::create_dir(&theirs).unwrap();
        fs::write(theirs.join("kept"), "").unwrap();
        rustix::mount::mount_bind(&theirs, dir.join("point")).unwrap();
        let result = remove_tree(&dir);
        let kept = theirs.join("kept").exists();
        rustix::mount::unmount(dir.join("point"), rustix::mount::UnmountFlags::DETACH).unwrap();
        let text = result.unwrap_err().to_string();
        assert!(text.ends_with("/point: something is mounted there"), "{text}");
        assert!(kept, "the mounted files are gone");
        remove_tree(&dir).unwrap();
    }
}
