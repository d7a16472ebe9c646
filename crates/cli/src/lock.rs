//! One server per data directory.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::files;

/// The lock of a running server; freed with the process, however it ends.
pub struct ServerLock(#[allow(dead_code)] Flock<File>);

/// A server that runs on a data directory.
pub struct Running {
    pub pid: i32,
}

fn open(path: &Path) -> Result<File> {
    if let Some(dir) = path.parent() {
        files::create_private_dir(dir)?;
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

/// Takes the lock for this process; fails if another server has it.
pub fn take(path: &Path) -> Result<ServerLock> {
    match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            lock.rewind()?;
            // In place and of one length, so that it needs no room on a full disk.
            write!(lock, "{:<10}", std::process::id())?;
            lock.flush()?;
            Ok(ServerLock(lock))
        }
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            bail!("another server (process {}) runs on this data directory already", pid.trim());
        }
        Err((_, errno)) => Err(errno).with_context(|| format!("lock {}", path.display())),
    }
}

/// The server that holds the lock, if one does.
pub fn running(path: &Path) -> Result<Option<Running>> {
    if !path.exists() {
        return Ok(None);
    }
    match Flock::lock(open(path)?, FlockArg::LockSharedNonblock) {
        Ok(_) => Ok(None),
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid)?;
            let pid = pid.trim().parse().context("the server's lock names no process")?;
            Ok(Some(Running { pid }))
        }
        Err((_, errno)) => Err(errno).with_context(|| format!("lock {}", path.display())),
    }
}

impl Running {
    /// Asks the server to end and waits until its lock is free.
    pub fn stop(&self, path: &Path) -> Result<()> {
        match kill(Pid::from_raw(self.pid), Signal::SIGTERM) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(e) => return Err(e).with_context(|| format!("stop process {}", self.pid)),
        }
        Flock::lock(open(path)?, FlockArg::LockShared)
            .map(drop)
            .map_err(|(_, e)| e)
            .with_context(|| format!("wait for process {}", self.pid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_server_gets_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/lock");
        assert!(running(&path).unwrap().is_none());
        let lock = take(&path).unwrap();
        assert_eq!(running(&path).unwrap().unwrap().pid, std::process::id() as i32);
        let text = take(&path).err().unwrap().to_string();
        assert!(text.contains(&std::process::id().to_string()), "{text}");
        drop(lock);
        assert!(running(&path).unwrap().is_none());
        take(&path).unwrap();
    }
}
