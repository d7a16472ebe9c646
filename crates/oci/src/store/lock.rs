//! Locks between processes, and the place where an operation makes things.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::ImageStore;
use crate::error::{Error, IoContext, Result};

/// Something that adds content. While one exists no process deletes content. Its directory goes
/// with it.
#[derive(Debug)]
pub(crate) struct Operation {
    dir: PathBuf,
    counter: AtomicU64,
    _content: File,
}

impl Operation {
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path that nothing else uses.
    pub fn fresh(&self, what: &str) -> PathBuf {
        self.dir.join(format!("{what}-{}", self.counter.fetch_add(1, Ordering::Relaxed)))
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.dir) {
            tracing::warn!("leaving {} behind: {e}", self.dir.display());
        }
    }
}

impl ImageStore {
    /// Begins to add content. Waits for a deletion under way; blocks.
    pub(crate) fn begin(&self) -> Result<Operation> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let content = self.lock_file("content")?;
        content.lock_shared().during(|| "lock the image store".to_owned())?;
        let tmp = self.dir.join("tmp");
        loop {
            let n = COUNT.fetch_add(1, Ordering::Relaxed);
            let dir = tmp.join(format!("{}-{n}", std::process::id()));
            match std::fs::create_dir(&dir) {
                Ok(()) => {
                    return Ok(Operation { dir, counter: AtomicU64::new(0), _content: content });
                }
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e).at("create", &dir),
            }
        }
    }

    /// The right to delete content; `None` while anybody adds some.
    pub(super) fn try_exclusive(&self) -> Result<Option<File>> {
        let file = self.lock_file("content")?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e).during(|| "lock the image store".to_owned()),
        }
    }

    /// The right to change the index. Held for moments only.
    pub(super) fn lock_index(&self) -> Result<File> {
        let file = self.lock_file("index")?;
        file.lock().during(|| "lock the image index".to_owned())?;
        Ok(file)
    }

    /// Waits until nobody else pulls the image of this name; the lock ends with the file. Names
    /// share a bounded number of locks.
    pub(crate) fn take_turn(&self, name: &str) -> Result<File> {
        let bucket = crate::digest::Digest::of(name.as_bytes());
        let file = self.lock_file(&format!("pull-{}", &bucket.hex()[..2]))?;
        file.lock().during(|| "wait for another pull".to_owned())?;
        Ok(file)
    }

    /// Removes what killed processes left in `tmp`, unless somebody is at work.
    pub(super) fn clean_leftovers(&self) -> Result<()> {
        let tmp = self.dir.join("tmp");
        let mut names = std::fs::read_dir(&tmp).at("read", &tmp)?;
        if names.next().is_none() {
            return Ok(());
        }
        let Some(_exclusive) = self.try_exclusive()? else { return Ok(()) };
        detach_mounts(&tmp);
        for entry in std::fs::read_dir(&tmp).at("read", &tmp)? {
            let path = entry.at("read", &tmp)?.path();
            match std::fs::remove_dir_all(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!("leaving {} behind: {e}", path.display());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A fresh descriptor each time: `flock` is per open file, so it holds among threads too.
    fn lock_file(&self, name: &str) -> Result<File> {
        let path = self.dir.join("locks").join(name);
        let result = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        result.at("open", &path).map_err(|e| match e {
            Error::Io { context, source }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Error::Io { context: format!("{context} (the image store needs root)"), source }
            }
            other => other,
        })
    }
}

/// What a killed build left mounted must not be deleted through.
fn detach_mounts(dir: &Path) {
    let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let points = table.split(|b| *b == b'\n').filter_map(|line| line.split(|b| *b == b' ').nth(4));
    for point in points.map(|p| Path::new(OsStr::from_bytes(p))).filter(|p| p.starts_with(dir)) {
        let flags = rustix::mount::UnmountFlags::DETACH;
        if let Err(e) = rustix::mount::unmount(point, flags) {
            tracing::warn!("unmount {}: {e}", point.display());
        }
    }
}
