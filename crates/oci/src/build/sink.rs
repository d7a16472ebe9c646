//! Writes copied files into the image that is being built.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};

use super::tree::Item;
use crate::error::{Error, IoContext, Result};
use crate::tar::show;
use crate::unpack::path::{self, Missing, look};

/// A place under the image's root. Links in the image resolve within it.
pub struct Sink<'a> {
    root: BorrowedFd<'a>,
    options: Attributes,
    recent: Option<(Vec<Vec<u8>>, Rc<OwnedFd>)>,
    /// Directory times, set last.
    times: Vec<(Vec<Vec<u8>>, Timestamps)>,
}

/// What copied files look like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes {
    /// `--chown`.
    pub owner: Option<(u32, u32)>,
    /// `--chmod`.
    pub mode: Option<u32>,
    /// Without `owner`: keep the source's instead of root.
    pub keep_owner: bool,
}

impl Attributes {
    fn owner_of(&self, stat: Option<&Stat>) -> (u32, u32) {
        match (self.owner, stat) {
            (Some(owner), _) => owner,
            (None, Some(stat)) if self.keep_owner => (stat.st_uid, stat.st_gid),
            _ => (0, 0),
        }
    }
}

/// Missing directories on the way belong to whom the files will belong.
struct Make((u32, u32));

impl Missing for Make {
    fn make(&mut self, dir: BorrowedFd<'_>, name: &[u8], _path: &[Vec<u8>]) -> Result<()> {
        let what = || format!("make directory {}", show(name));
        rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755)).during(what)?;
        rustix::fs::chmodat(dir, name, Mode::from_raw_mode(0o755), AtFlags::empty())
            .during(what)?;
        own(dir, name, self.0)
    }
}

/// Makes a directory and those above it, as `mkdir -p`; returns it.
pub fn make_dirs(root: BorrowedFd<'_>, parts: &[Vec<u8>], owner: (u32, u32)) -> Result<OwnedFd> {
    path::walk(root, parts, &mut Make(owner))
}

impl<'a> Sink<'a> {
    pub fn new(root: BorrowedFd<'a>, options: Attributes) -> Sink<'a> {
        Sink { root, options, recent: None, times: Vec::new() }
    }

    /// The directory at a place, made if it is missing.
    pub fn directory(&mut self, parts: &[Vec<u8>]) -> Result<Rc<OwnedFd>> {
        if let Some((recent, fd)) = &self.recent
            && recent == parts
        {
            return Ok(fd.clone());
        }
        let fd = Rc::new(make_dirs(self.root, parts, self.options.owner_of(None))?);
        self.recent = Some((parts.to_vec(), fd.clone()));
        Ok(fd)
    }

    /// Copies one item to `base` + its relative path; the base itself if the item is the source.
    pub fn put(&mut self, base: &[Vec<u8>], item: &Item<'_>) -> Result<()> {
        let mut parts = [base, item.rel].concat();
        if item.kind() == FileType::Directory {
            let existed = path::open_in(self.root, &parts, path::WALK).is_ok();
            let fd = self.directory(&parts)?;
            // A directory that was there keeps its looks if its contents were asked for.
            if !(existed && item.rel.is_empty()) {
                self.dress(&fd, &item.stat)?;
                self.times.push((parts, times(&item.stat)));
            }
            return Ok(());
        }
        let Some(name) = parts.pop() else {
            return Err(Error::Invalid("the image's root cannot be replaced by a file".to_owned()));
        };
        let dir = self.directory(&parts)?;
        self.make_room(dir.as_fd(), &name)?;
        let what = || format!("create {}", show(&name));
        let mode = Mode::from_raw_mode(self.options.mode.unwrap_or(item.stat.st_mode & 0o7777));
        match item.kind() {
            FileType::RegularFile => {
                let mut source = item.open()?;
                let file = self.create(dir.as_fd(), &name)?;
                let mut file = std::fs::File::from(file);
                std::io::copy(&mut source, &mut file)
                    .during(|| format!("write {}", show(&name)))?;
                self.dress(&file, &item.stat)?;
                copy_xattrs(&source, &file)?;
                return rustix::fs::futimens(&file, &times(&item.stat)).during(what);
            }
            FileType::Symlink => {
                rustix::fs::symlinkat(&item.link()?[..], &dir, &name[..]).during(what)?;
                own(dir.as_fd(), &name, self.options.owner_of(Some(&item.stat)))?;
            }
            kind @ (FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice) => {
                let private = Mode::from_raw_mode(0o600);
                rustix::fs::mknodat(&dir, &name[..], kind, private, item.stat.st_rdev)
                    .during(what)?;
                own(dir.as_fd(), &name, self.options.owner_of(Some(&item.stat)))?;
                rustix::fs::chmodat(&dir, &name[..], mode, AtFlags::empty()).during(what)?;
            }
            // A socket means nothing without the process that listens on it.
            _ => return Ok(()),
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(&dir, &name[..], &times(&item.stat), flags).during(what)
    }

    /// Writes a file whose content does not come from a tree.
    pub fn put_data(
        &mut self,
        parts: &[Vec<u8>],
        mode: u32,
        mtime: Option<i64>,
        data: &mut dyn Read,
    ) -> Result<()> {
        let mut parts = parts.to_vec();
        let Some(name) = parts.pop() else {
            return Err(Error::Invalid("the image's root cannot be replaced by a file".to_owned()));
        };
        let dir = self.directory(&parts)?;
        self.make_room(dir.as_fd(), &name)?;
        let mut file = std::fs::File::from(self.create(dir.as_fd(), &name)?);
        let what = || format!("write {}", show(&name));
        std::io::copy(data, &mut file).during(what)?;
        let (uid, gid) = self.options.owner_of(None);
        rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .during(what)?;
        let mode = Mode::from_raw_mode(self.options.mode.unwrap_or(mode));
        rustix::fs::fchmod(&file, mode).during(what)?;
        match mtime {
            Some(seconds) => {
                let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
                let times = Timestamps { last_access: time, last_modification: time };
                rustix::fs::futimens(&file, &times).during(what)
            }
            None => Ok(()),
        }
    }

    /// Sets the directories' times, innermost first.
    pub fn finish(mut self) -> Result<()> {
        for (parts, times) in std::mem::take(&mut self.times).into_iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let what = || format!("set times of {}", show(&path::join(&parts)));
            let fd = path::open_in(self.root, &parts, flags).during(what)?;
            rustix::fs::futimens(&fd, &times).during(what)?;
        }
        Ok(())
    }

    fn make_room(&mut self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        match look(dir, name)? {
            Some(stat) if path::is_dir(&stat) => Err(Error::Invalid(format!(
                "cannot replace the directory {} by a file",
                show(name)
            ))),
            Some(_) => path::remove_tree(dir, name),
            None => Ok(()),
        }
    }

    fn create(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))
            .during(|| format!("create {}", show(name)))
    }

    /// Owner and mode; `fd` may be open for walking only, so it goes by its path.
    fn dress(&self, fd: &impl AsFd, stat: &Stat) -> Result<()> {
        use std::os::fd::AsRawFd;
        let own_path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
        let (uid, gid) = self.options.owner_of(Some(stat));
        let what = || "set owner and mode".to_owned();
        let cwd = rustix::fs::CWD;
        rustix::fs::chownat(
            cwd,
            &own_path,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::empty(),
        )
        .during(what)?;
        let mode = Mode::from_raw_mode(self.options.mode.unwrap_or(stat.st_mode & 0o7777));
        rustix::fs::chmodat(cwd, &own_path, mode, AtFlags::empty()).during(what)
    }
}

fn own(dir: BorrowedFd<'_>, name: &[u8], (uid, gid): (u32, u32)) -> Result<()> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(dir, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), flags)
        .during(|| format!("change owner of {}", show(name)))
}

fn times(stat: &Stat) -> Timestamps {
    let time = Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ };
    Timestamps { last_access: time, last_modification: time }
}

/// Capabilities travel with a program.
fn copy_xattrs(from: &std::fs::File, to: &std::fs::File) -> Result<()> {
    let mut value = [0; 1024];
    match rustix::fs::fgetxattr(from, "security.capability", &mut value[..]) {
        Ok(n) => rustix::fs::fsetxattr(to, "security.capability", &value[..n], XattrFlags::empty())
            .during(|| "set file capabilities".to_owned()),
        Err(_) => Ok(()),
    }
}
