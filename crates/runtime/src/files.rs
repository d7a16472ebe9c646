//! Where things lie, and how they are written so that a crash leaves the old or the new.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::api::{Exit, TerminalSize};

/// How a container ended, in its directory.
pub const EXIT: &str = "exit.json";

#[derive(Debug, Serialize, Deserialize)]
pub struct ExitRecord {
    pub started_at: Option<SystemTime>,
    pub exit: Exit,
}

pub fn container_dir(pod: &Path, id: &str) -> PathBuf {
    pod.join("containers").join(id)
}

pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let bytes = fs::read(path).map_err(|e| with_path(path, e))?;
    serde_json::from_slice(&bytes).map_err(|e| with_path(path, io::Error::other(e)))
}

/// Durable when it returns.
pub fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec(value).map_err(io::Error::other)?;
    let temporary = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|e| with_path(path, e))
}

/// Not durable: for what a reboot makes worthless anyway.
pub fn write_plain(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::write(path, bytes).map_err(|e| with_path(path, e))
}

fn with_path(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Tells a terminal its size; a closed one does not care.
pub fn resize(terminal: BorrowedFd, size: TerminalSize) {
    let size =
        libc::winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the ioctl reads the structure during the call.
    unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &size) };
}
