//! Puts one member of an archive in its place.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::path::{self, WALK};
use super::{Unpacker, chmod, make_dir, misplaced, own, set_opaque, timestamps};
use crate::error::{IoContext, Result};
use crate::tar::{Entry, Kind, Reader, show};

impl Unpacker<'_> {
    pub(super) fn entry<R: Read>(&mut self, entry: &Entry, data: &mut Reader<R>) -> Result<()> {
        let mut parts = path::clean(&entry.path)?;
        let Some(name) = parts.pop() else {
            return self.root_entry(entry);
        };
        if self.options.layer
            && let Some(hidden) = name.strip_prefix(b".wh.")
        {
            return self.whiteout(entry, &parts, hidden);
        }
        let dir = self.directory(&parts)?;
        let dir = dir.as_fd();
        let hides = self.clear_place(entry, dir, &name)?;
        let mut place = Place { dir, name: &name, entry };
        match entry.kind {
            Kind::Directory => {
                if hides != Cleared::Directory {
                    make_dir(dir, &name)?;
                    if hides == Cleared::Whiteout {
                        set_opaque(dir, &name)?;
                    }
                }
                parts.push(name.clone());
                self.shared.times.push((parts, entry.mtime));
                self.attributes(&place)
            }
            Kind::File => {
                let file = place.create()?;
                self.fill(&place, &file, data)?;
                self.file_attributes(&place, &file)
            }
            Kind::Symlink => {
                place.symlink()?;
                self.attributes(&place)
            }
            Kind::Hardlink => self.hard_link(&place),
            Kind::CharDevice => {
                place.device(FileType::CharacterDevice)?;
                self.attributes(&place)
            }
            Kind::BlockDevice => {
                place.device(FileType::BlockDevice)?;
                self.attributes(&place)
            }
            Kind::Fifo => {
                place.device(FileType::Fifo)?;
                self.attributes(&place)
            }
            Kind::Other(flag) => {
                Err(misplaced(entry, &format!("unknown type {:?}", char::from(flag))))
            }
        }
    }

    /// `./`: the root's own attributes.
    fn root_entry(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != Kind::Directory {
            return Err(misplaced(entry, "the root must be a directory"));
        }
        let root = rustix::io::fcntl_dupfd_cloexec(&self.root, 0).during(|| "dup".to_owned())?;
        self.shared.times.push((Vec::new(), entry.mtime));
        self.attributes(&Place { dir: root.as_fd(), name: b".", entry })
    }

    /// `.wh.name` hides a name of the layers below, `.wh..wh..opq` all names of a directory.
    fn whiteout(&mut self, entry: &Entry, parts: &[Vec<u8>], hidden: &[u8]) -> Result<()> {
        if hidden == b".wh..opq" {
            let dir = self.directory(parts)?;
            return set_opaque(dir.as_fd(), b".");
        }
        if hidden.starts_with(b".wh.") {
            // aufs's own bookkeeping.
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(misplaced(entry, "a whiteout of nothing"));
        }
        let dir = self.directory(parts)?;
        match path::look(dir.as_fd(), hidden)? {
            // A whiteout is about the layers below; what this layer has at the name stays.
            Some(stat) if path::is_dir(&stat) => set_opaque(dir.as_fd(), hidden),
            Some(_) => Ok(()),
            None => {
                let mode = Mode::empty();
                rustix::fs::mknodat(&dir, hidden, FileType::CharacterDevice, mode, 0)
                    .during(|| format!("make whiteout {} (this needs root)", show(&entry.path)))
            }
        }
    }

    /// Makes room for a member. A later member replaces an earlier one of the same name.
    fn clear_place(&mut self, entry: &Entry, dir: BorrowedFd<'_>, name: &[u8]) -> Result<Cleared> {
        let Some(stat) = path::look(dir, name)? else { return Ok(Cleared::Nothing) };
        if path::is_dir(&stat) {
            if entry.kind == Kind::Directory {
                return Ok(Cleared::Directory);
            }
            // The directory whose descriptor is kept may be in it.
            self.recent = None;
        }
        path::remove_tree(dir, name)?;
        let whiteout = self.options.layer && path::is_whiteout(&stat);
        Ok(if whiteout { Cleared::Whiteout } else { Cleared::Nothing })
    }

    fn fill<R: Read>(
        &mut self,
        place: &Place<'_>,
        file: &OwnedFd,
        data: &mut Reader<R>,
    ) -> Result<()> {
        let what = || format!("write {}", show(&place.entry.path));
        loop {
            let n = data.read(&mut self.buffer).during(what)?;
            if n == 0 {
                return Ok(());
            }
            let mut rest = &self.buffer[..n];
            while !rest.is_empty() {
                let written = rustix::io::write(file, rest).during(what)?;
                rest = &rest[written..];
            }
        }
    }

    fn hard_link(&mut self, place: &Place<'_>) -> Result<()> {
        let entry = place.entry;
        let missing = || {
            misplaced(
                entry,
                &format!("hard link to {}, which is not in the archive", show(&entry.link)),
            )
        };
        let mut parts = path::clean(&entry.link)?;
        let name = parts.pop().ok_or_else(missing)?;
        let dir = path::open_in(self.root.as_fd(), &parts, WALK).map_err(|_| missing())?;
        let stat = path::look(dir.as_fd(), &name)?.ok_or_else(missing)?;
        if path::is_dir(&stat) {
            return Err(misplaced(entry, "hard link to a directory"));
        }
        if self.options.layer && path::is_whiteout(&stat) {
            return Err(missing());
        }
        rustix::fs::linkat(&dir, &name[..], place.dir, place.name, AtFlags::empty())
            .during(|| format!("link {}", show(&entry.path)))
    }

    fn owner(&self, entry: &Entry) -> (u32, u32) {
        self.options.owner.unwrap_or((entry.uid, entry.gid))
    }

    /// Owner before mode: a change of owner clears set-id bits and capabilities.
    fn file_attributes(&self, place: &Place<'_>, file: &OwnedFd) -> Result<()> {
        let entry = place.entry;
        let (uid, gid) = self.owner(entry);
        let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        let what = |verb: &str| format!("{verb} {}", show(&entry.path));
        rustix::fs::fchown(file, Some(uid), Some(gid)).during(|| what("change owner of"))?;
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))
            .during(|| what("change mode of"))?;
        for (name, value) in entry.xattrs.iter().filter(|(name, _)| wanted(name)) {
            let set = rustix::fs::fsetxattr(file, name.as_str(), value, XattrFlags::empty());
            tolerate(set).during(|| what(&format!("set {name} of")))?;
        }
        rustix::fs::futimens(file, &timestamps(entry.mtime)).during(|| what("set times of"))
    }

    fn attributes(&self, place: &Place<'_>) -> Result<()> {
        let Place { dir, name, entry } = *place;
        own(dir, name, self.owner(entry))?;
        if entry.kind != Kind::Symlink {
            chmod(dir, name, entry.mode)?;
        }
        if entry.kind == Kind::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let what = || format!("set attributes of {}", show(&entry.path));
            let fd = rustix::fs::openat(dir, name, flags, Mode::empty()).during(what)?;
            for (name, value) in entry.xattrs.iter().filter(|(name, _)| wanted(name)) {
                let set = rustix::fs::fsetxattr(&fd, name.as_str(), value, XattrFlags::empty());
                tolerate(set).during(what)?;
            }
            return Ok(());
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(dir, name, &timestamps(entry.mtime), flags)
            .during(|| format!("set times of {}", show(&entry.path)))
    }
}

/// What stood where a member goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cleared {
    Nothing,
    Whiteout,
    /// A directory that stays.
    Directory,
}

struct Place<'a> {
    dir: BorrowedFd<'a>,
    name: &'a [u8],
    entry: &'a Entry,
}

impl Place<'_> {
    fn create(&mut self) -> Result<OwnedFd> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(self.dir, self.name, flags, Mode::from_raw_mode(0o600))
            .during(|| format!("create {}", show(&self.entry.path)))
    }

    fn symlink(&self) -> Result<()> {
        if self.entry.link.is_empty() || self.entry.link.contains(&0) {
            return Err(misplaced(self.entry, "malformed link target"));
        }
        rustix::fs::symlinkat(&self.entry.link[..], self.dir, self.name)
            .during(|| format!("link {}", show(&self.entry.path)))
    }

    fn device(&self, kind: FileType) -> Result<()> {
        let (major, minor) = self.entry.device;
        let device = if kind == FileType::Fifo { 0 } else { rustix::fs::makedev(major, minor) };
        rustix::fs::mknodat(self.dir, self.name, kind, Mode::from_raw_mode(0o600), device)
            .during(|| format!("make device {} (this needs root)", show(&self.entry.path)))
    }
}

/// overlayfs's own attributes would let a layer point into directories of others.
fn wanted(name: &str) -> bool {
    name == "security.capability"
        || (name.starts_with("user.") && !name.starts_with("user.overlay."))
}

/// Attributes that the filesystem cannot hold are left out, as Docker does.
fn tolerate(result: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match result {
        Err(Errno::NOTSUP) => Ok(()),
        other => other,
    }
}
