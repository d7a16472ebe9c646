//! Locks between processes, and the place where an operation makes things.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use timonier_meta::mountinfo::mounts;

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
    let points: Vec<_> =
        mounts(&table).map(|m| PathBuf::from(OsString::from_vec(m.point))).collect();
    // Later mounts lie over earlier ones.
    for point in points.iter().rev().filter(|p| p.starts_with(dir)) {
        let flags = rustix::mount::UnmountFlags::DETACH;
        if let Err(e) = rustix::mount::unmount(point, flags) {
            tracing::warn!("unmount {}: {e}", point.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_is_not_deleted() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: needs root");
        }
        let dir = tempfile::tempdir().unwrap();
        let (outside, real) = (dir.path().join("outside"), dir.path().join("with a blank"));
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("file"), "x").unwrap();
        std::fs::create_dir(&real).unwrap();
        // The store behind a link, in a directory whose name the kernel escapes.
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let point = ImageStore::open(&link).unwrap().dir().join("tmp/left/point");
        std::fs::create_dir_all(&point).unwrap();
        rustix::mount::mount_bind(&outside, &point).unwrap();
        ImageStore::open(&link).unwrap();
        let gone = !point.exists();
        // Whatever went wrong, nothing stays mounted.
        let _ = rustix::mount::unmount(&point, rustix::mount::UnmountFlags::DETACH);
        assert!(outside.join("file").exists(), "it was deleted through the mount");
        assert!(gone);
    }
}
