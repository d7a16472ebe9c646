//! Turns overlayfs's upper directory into a layer archive.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::error::{Error, IoContext, Result, corrupt};
use crate::tar::{Entry, Kind, Writer, show};
use crate::unpack::{OPAQUE, path};

/// What a layer archive was made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    pub entries: u64,
    /// Bytes of file data.
    pub bytes: u64,
}

/// Writes the changes in `upper` relative to `lower` (topmost first), sorted by name. With
/// `latest` times after it are cut to it, in the archive and in the directory.
pub fn write_layer<W: Write>(
    upper: BorrowedFd<'_>,
    lower: &[PathBuf],
    latest: Option<i64>,
    out: W,
) -> Result<(W, Written)> {
    let mut lowers = Vec::new();
    for dir in lower {
        lowers.push(path::open_root(dir)?);
    }
    let mut walker = Walker {
        out: Writer::new(out),
        lowers,
        latest,
        links: HashMap::new(),
        written: Written::default(),
    };
    walker.directory(upper, &mut Vec::new())?;
    Ok((walker.out.finish()?, walker.written))
}

struct Walker<W> {
    out: Writer<W>,
    lowers: Vec<OwnedFd>,
    latest: Option<i64>,
    /// The first name of files that have several.
    links: HashMap<(u64, u64), Vec<u8>>,
    written: Written,
}

impl<W: Write> Walker<W> {
    fn directory(&mut self, dir: BorrowedFd<'_>, parts: &mut Vec<Vec<u8>>) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let what = || format!("read directory {}", show(&path::join(parts)));
        let fd = rustix::fs::openat(dir, ".", flags, Mode::empty()).during(what)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&fd).during(what)? {
            let name = entry.during(what)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        names.sort();
        for name in names {
            parts.push(name);
            self.member(fd.as_fd(), parts)?;
            parts.pop();
        }
        Ok(())
    }

    fn member(&mut self, dir: BorrowedFd<'_>, parts: &mut Vec<Vec<u8>>) -> Result<()> {
        let name = parts.last().expect("just pushed").clone();
        let full = path::join(parts);
        let Some(stat) = path::look(dir, &name)? else {
            return Err(corrupt(format!("{} vanished while it was read", show(&full))));
        };
        if path::is_whiteout(&stat) {
            let mut marker = parts[..parts.len() - 1].to_vec();
            marker.push([b".wh.", &name[..]].concat());
            return self
                .write(Entry { path: path::join(&marker), ..Entry::default() }, &mut io::empty());
        }
        if name.starts_with(b".wh.") {
            return Err(corrupt(format!(
                "{}: names that begin with .wh. cannot be in a layer",
                show(&full)
            )));
        }
        let mtime = self.cut_time(dir, &name, &stat)?;
        let mut entry = Entry {
            path: full,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: (mtime, 0),
            ..Entry::default()
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.subdirectory(dir, &name, entry, parts),
            FileType::RegularFile => self.file(dir, &name, &stat, entry),
            FileType::Symlink => {
                entry.kind = Kind::Symlink;
                let target = rustix::fs::readlinkat(dir, &name[..], Vec::new())
                    .during(|| format!("read link {}", show(&entry.path)))?;
                entry.link = target.into_bytes();
                self.write(entry, &mut io::empty())
            }
            FileType::Fifo => {
                entry.kind = Kind::Fifo;
                self.write(entry, &mut io::empty())
            }
            kind @ (FileType::CharacterDevice | FileType::BlockDevice) => {
                let char_device = kind == FileType::CharacterDevice;
                entry.kind = if char_device { Kind::CharDevice } else { Kind::BlockDevice };
                let device = stat.st_rdev;
                entry.device = (rustix::fs::major(device), rustix::fs::minor(device));
                self.write(entry, &mut io::empty())
            }
            // A socket means nothing without the process that listens on it.
            _ => Ok(()),
        }
    }

    fn subdirectory(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        mut entry: Entry,
        parts: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        let what = format!("open {}", show(&entry.path));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(dir, name, flags, Mode::empty()).during(|| what.clone())?;
        entry.kind = Kind::Directory;
        entry.xattrs = xattrs(&fd)?;
        let opaque = get_xattr(&fd, OPAQUE)?.is_some_and(|v| v == b"y");
        if get_xattr(&fd, "trusted.overlay.redirect")?.is_some() {
            return Err(moved(&entry.path));
        }
        self.write(entry, &mut io::empty())?;
        // The kernel marks new directories too; the mark says something only over another one.
        if opaque && self.below(parts) {
            let mut marker = parts.clone();
            marker.push(b".wh..wh..opq".to_vec());
            self.write(Entry { path: path::join(&marker), ..Entry::default() }, &mut io::empty())?;
        }
        self.directory(fd.as_fd(), parts)
    }

    fn below(&self, parts: &[Vec<u8>]) -> bool {
        self.lowers.iter().any(|fd| path::open_in(fd.as_fd(), parts, path::WALK).is_ok())
    }

    fn file(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        stat: &rustix::fs::Stat,
        mut entry: Entry,
    ) -> Result<()> {
        if stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&key) {
                entry.kind = Kind::Hardlink;
                entry.link = first.clone();
                return self.write(entry, &mut io::empty());
            }
            self.links.insert(key, entry.path.clone());
        }
        let what = format!("open {}", show(&entry.path));
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOATIME;
        let fd = rustix::fs::openat(dir, name, flags, Mode::empty()).during(|| what)?;
        if get_xattr(&fd, "trusted.overlay.metacopy")?.is_some() {
            return Err(moved(&entry.path));
        }
        entry.xattrs = xattrs(&fd)?;
        entry.size = stat.st_size as u64;
        self.written.bytes += entry.size;
        self.write(entry, &mut std::fs::File::from(fd))
    }

    fn write(&mut self, entry: Entry, data: &mut dyn Read) -> Result<()> {
        self.written.entries += 1;
        self.out.append(&entry, data)
    }

    /// The modification time in seconds, cut to the latest allowed one on disk as well.
    fn cut_time(&self, dir: BorrowedFd<'_>, name: &[u8], stat: &rustix::fs::Stat) -> Result<i64> {
        let mtime = stat.st_mtime;
        match self.latest {
            Some(latest) if mtime >= latest => {
                let time = Timespec { tv_sec: latest, tv_nsec: 0 };
                let times = Timestamps { last_access: time, last_modification: time };
                rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)
                    .during(|| format!("set times of {}", show(name)))?;
                Ok(latest)
            }
            _ => Ok(mtime),
        }
    }
}

fn moved(name: &[u8]) -> Error {
    corrupt(format!(
        "{}: overlayfs only noted a move; mount it with redirect_dir=off and metacopy=off",
        show(name)
    ))
}

/// The attributes that belong in a layer, in order.
fn xattrs(fd: &OwnedFd) -> Result<Vec<(String, Vec<u8>)>> {
    let mut list = vec![0; 64 * 1024];
    let n = match rustix::fs::flistxattr(fd, &mut list) {
        Ok(n) => n,
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(e) => return Err(e).during(|| "list extended attributes".to_owned()),
    };
    let mut out = Vec::new();
    for name in list[..n].split(|b| *b == 0) {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        let plain = name.starts_with("user.") && !name.starts_with("user.overlay.");
        if (plain || name == "security.capability")
            && let Some(value) = get_xattr(fd, name)?
        {
            out.push((name.to_owned(), value));
        }
    }
    out.sort();
    Ok(out)
}

fn get_xattr(fd: &OwnedFd, name: &str) -> Result<Option<Vec<u8>>> {
    let mut value = vec![0; 1024];
    loop {
        match rustix::fs::fgetxattr(fd, name, &mut value) {
            Ok(n) => {
                value.truncate(n);
                return Ok(Some(value));
            }
            Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
            Err(Errno::RANGE) if value.len() < 65536 => value.resize(65536, 0),
            Err(e) => return Err(e).during(|| format!("read extended attribute {name}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::{Upper, mount};
    use crate::tar::Reader;
    use crate::unpack::unpack_layer;
    use std::os::fd::AsRawFd;

    fn names(bytes: &[u8]) -> Vec<String> {
        let mut reader = Reader::new(bytes);
        let mut names = Vec::new();
        while let Some(e) = reader.next_entry().unwrap() {
            names.push(format!("{:?} {}", e.kind, String::from_utf8(e.path).unwrap()));
        }
        names
    }

    /// What a container does to its files comes out as a layer, and the layer does the same.
    #[test]
    fn changes_survive_the_way_through_an_archive() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("changes_survive_the_way_through_an_archive: skipped, it needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let (lower, upper, work) = (make("l"), make("u"), make("w"));
        for name in ["etc", "old", "redo"] {
            std::fs::create_dir(lower.join(name)).unwrap();
            std::fs::write(lower.join(name).join("f"), name).unwrap();
        }
        let fd = mount(std::slice::from_ref(&lower), Upper { upper: &upper, work: &work }).unwrap();
        let at = |name: &str| format!("/proc/self/fd/{}/{name}", fd.as_raw_fd());
        std::fs::remove_dir_all(at("old")).unwrap();
        std::fs::remove_file(at("etc/f")).unwrap();
        std::fs::write(at("etc/new"), "n").unwrap();
        std::fs::hard_link(at("etc/new"), at("etc/same")).unwrap();
        std::os::unix::fs::symlink("new", at("etc/sym")).unwrap();
        std::fs::remove_dir_all(at("redo")).unwrap();
        std::fs::create_dir(at("redo")).unwrap();
        std::fs::create_dir(at("fresh")).unwrap();
        let top = path::open_root(&upper).unwrap();
        let below = [lower.clone()];
        let (bytes, written) = write_layer(top.as_fd(), &below, Some(5), Vec::new()).unwrap();
        assert_eq!(written.bytes, 1);
        assert_eq!(
            names(&bytes),
            [
                "Directory etc/",
                "File etc/.wh.f",
                "File etc/new",
                "Hardlink etc/same",
                "Symlink etc/sym",
                "Directory fresh/",
                "File .wh.old",
                "Directory redo/",
                "File redo/.wh..wh..opq",
            ]
        );
        let (again, _) = write_layer(top.as_fd(), &below, Some(5), Vec::new()).unwrap();
        assert!(again == bytes, "not deterministic");
        let copy = make("copy");
        unpack_layer(&bytes[..], &copy, &below).unwrap();
        let fd = path::open_root(&copy).unwrap();
        let (third, _) = write_layer(fd.as_fd(), &below, Some(5), Vec::new()).unwrap();
        assert!(third == bytes, "the layer lost something on the way");
        std::fs::write(upper.join(".wh.x"), "").unwrap();
        assert!(write_layer(top.as_fd(), &below, None, Vec::new()).is_err());
    }
}
