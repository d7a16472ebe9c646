//! Sleeping until a file in a directory changes, for whoever follows a log.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use tokio::io::unix::AsyncFd;

/// Watches one directory: files written, made, or renamed in it.
pub struct FileWatch {
    fd: AsyncFd<OwnedFd>,
}

impl FileWatch {
    pub fn new(dir: &Path) -> io::Result<Self> {
        let fd = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let flags = WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ONLYDIR;
        add_watch(&fd, dir, flags)?;
        // SAFETY: the descriptor is owned by the registration and never replaced.
        Ok(Self { fd: unsafe { AsyncFd::register(fd)? } })
    }

    /// Returns after a change; several that came together count as one.
    pub async fn changed(&mut self) -> io::Result<()> {
        self.fd
            .async_io(tokio::io::Interest::READABLE, |fd| {
                let mut buffer = [MaybeUninit::uninit(); 4096];
                let mut reader = Reader::new(fd, &mut buffer);
                reader.next()?;
                while reader.next().is_ok() {}
                Ok(())
            })
            .await
    }
}
