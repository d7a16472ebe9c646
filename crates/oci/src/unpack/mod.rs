//! Unpacks archives: layers for overlayfs, and plain archives for `ADD`.

pub mod compression;
pub mod path;

mod member;

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::error::{Error, IoContext, Result, corrupt};
use crate::tar::{Entry, Reader, show};
use path::{Missing, WALK};

/// The kernel's mark on a directory that hides the same directory of lower layers.
pub const OPAQUE: &str = "trusted.overlay.opaque";

/// Bounds against archives that would fill memory or disk.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub entries: u64,
    /// Bytes of file data.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { entries: 4_000_000, bytes: 1 << 40 }
    }
}

/// A path by its names.
type Names = Vec<Vec<u8>>;

/// How an archive is unpacked.
#[derive(Clone, Debug, Default)]
pub struct Options<'a> {
    pub limits: Limits,
    /// Turn `.wh.` names into what overlayfs understands. Without it they are plain files.
    pub layer: bool,
    /// The layers below, topmost first: directories that the archive leaves out take their
    /// attributes from there.
    pub parents: &'a [PathBuf],
    /// Everything belongs to these, whatever the archive says.
    pub owner: Option<(u32, u32)>,
}

/// What was unpacked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Unpacked {
    pub entries: u64,
    /// Bytes of file data.
    pub bytes: u64,
    /// The latest modification time, seconds since the epoch.
    pub newest: i64,
}

/// Unpacks a plain (not compressed) archive into an existing directory. On an error the
/// directory holds a part of it; the caller throws it away.
pub fn unpack(archive: impl Read, root: BorrowedFd<'_>, options: &Options<'_>) -> Result<Unpacked> {
    let mut parents = Vec::new();
    for parent in options.parents {
        parents.push(path::open_root(parent)?);
    }
    let root = rustix::io::fcntl_dupfd_cloexec(root, 0).during(|| "dup".to_owned())?;
    let mut unpacker = Unpacker {
        root,
        options,
        shared: Shared { parents, times: Vec::new() },
        recent: None,
        done: Unpacked::default(),
        buffer: vec![0; 128 * 1024],
    };
    let mut reader = Reader::new(archive);
    while let Some(entry) = reader.next_entry()? {
        unpacker.count(&entry)?;
        unpacker.entry(&entry, &mut reader)?;
    }
    unpacker.finish_times()?;
    drain(reader.into_inner())?;
    Ok(unpacker.done)
}

/// Unpacks a layer to a directory given by its path.
pub fn unpack_layer(archive: impl Read, root: &Path, parents: &[PathBuf]) -> Result<Unpacked> {
    let fd = path::open_root(root)?;
    unpack(archive, fd.as_fd(), &Options { layer: true, parents, ..Options::default() })
}

/// Padding after the end mark belongs to the archive's digest, but is not allowed to go on.
fn drain(mut rest: impl Read) -> Result<()> {
    const PADDING_LIMIT: u64 = 64 << 20;
    let n = std::io::copy(&mut (&mut rest).take(PADDING_LIMIT), &mut std::io::sink())
        .during(|| "read archive".to_owned())?;
    if n == PADDING_LIMIT {
        return Err(Error::TooLarge("the archive goes on after its end mark".to_owned()));
    }
    Ok(())
}

struct Unpacker<'a> {
    root: OwnedFd,
    options: &'a Options<'a>,
    shared: Shared,
    /// The directory of the last member: the next one is mostly in the same.
    recent: Option<(Names, Rc<OwnedFd>)>,
    done: Unpacked,
    buffer: Vec<u8>,
}

struct Shared {
    parents: Vec<OwnedFd>,
    /// Times of directories are set last, because every new name in them changes them.
    times: Vec<(Names, (i64, u32))>,
}

/// Makes the directories that an archive leaves out.
impl Missing for Shared {
    fn make(&mut self, dir: BorrowedFd<'_>, name: &[u8], path: &[Vec<u8>]) -> Result<()> {
        let hides = make_dir(dir, name)?;
        if hides {
            return Ok(());
        }
        for parent in &self.parents {
            let Ok(fd) = path::open_in(parent.as_fd(), path, WALK) else { continue };
            let stat = rustix::fs::fstat(&fd).during(|| format!("stat {}", show(name)))?;
            own(dir, name, (stat.st_uid, stat.st_gid))?;
            chmod(dir, name, stat.st_mode & 0o7777)?;
            self.times.push((path.to_vec(), (stat.st_mtime as i64, stat.st_mtime_nsec as u32)));
            break;
        }
        Ok(())
    }
}

impl Unpacker<'_> {
    fn count(&mut self, entry: &Entry) -> Result<()> {
        let limits = &self.options.limits;
        self.done.entries += 1;
        self.done.newest = self.done.newest.max(entry.mtime.0);
        self.done.bytes = self.done.bytes.saturating_add(entry.size);
        if self.done.entries > limits.entries {
            return Err(Error::TooLarge(format!(
                "the archive has over {} members",
                limits.entries
            )));
        }
        if self.done.bytes > limits.bytes {
            return Err(Error::TooLarge(format!(
                "the archive unpacks to over {} bytes",
                limits.bytes
            )));
        }
        Ok(())
    }

    /// Opens the directory that a member is in, making it if the archive left it out.
    fn directory(&mut self, parts: &[Vec<u8>]) -> Result<Rc<OwnedFd>> {
        if let Some((recent, fd)) = &self.recent
            && recent == parts
        {
            return Ok(fd.clone());
        }
        let fd = match path::open_in(self.root.as_fd(), parts, WALK) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => {
                path::walk(self.root.as_fd(), parts, &mut self.shared)?
            }
            Err(e) => return Err(e).during(|| format!("open {}", show(&path::join(parts)))),
        };
        let fd = Rc::new(fd);
        self.recent = Some((parts.to_vec(), fd.clone()));
        Ok(fd)
    }

    /// Sets the times of all directories, innermost first.
    fn finish_times(&mut self) -> Result<()> {
        for (parts, mtime) in std::mem::take(&mut self.shared.times).into_iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            match path::open_in(self.root.as_fd(), &parts, flags) {
                Ok(fd) => rustix::fs::futimens(&fd, &timestamps(mtime))
                    .during(|| format!("set times of {}", show(&path::join(&parts))))?,
                // A later member took its place.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(e) => return Err(e).during(|| format!("open {}", show(&path::join(&parts)))),
            }
        }
        Ok(())
    }
}

/// Makes a directory at a name where nothing or a whiteout stands. Over a whiteout the new
/// directory must go on hiding what is below; returns whether it was so.
fn make_dir(dir: BorrowedFd<'_>, name: &[u8]) -> Result<bool> {
    let hides = path::look(dir, name)?.is_some_and(|s| path::is_whiteout(&s));
    if hides {
        path::remove_tree(dir, name)?;
    }
    rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755))
        .during(|| format!("make directory {}", show(name)))?;
    // The process's umask must not decide.
    chmod(dir, name, 0o755)?;
    if hides {
        set_opaque(dir, name)?;
    }
    Ok(hides)
}

fn set_opaque(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let what = || format!("mark {} opaque (this needs root)", show(name));
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty()).during(what)?;
    rustix::fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty()).during(what)
}

fn own(dir: BorrowedFd<'_>, name: &[u8], (uid, gid): (u32, u32)) -> Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .during(|| format!("change owner of {}", show(name)))
}

/// Only for what is known to be no link: the kernel's chmod follows links.
fn chmod(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<()> {
    rustix::fs::chmodat(dir, name, Mode::from_raw_mode(mode), AtFlags::empty())
        .during(|| format!("change mode of {}", show(name)))
}

fn timestamps((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn misplaced(entry: &Entry, reason: &str) -> Error {
    corrupt(format!("archive member {}: {reason}", show(&entry.path)))
}

#[cfg(test)]
mod tests;
