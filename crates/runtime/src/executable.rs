//! The program that shims and helpers are started from.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::init::mounts;

/// The binary on a read-only mount of its own, so that a container can never write to it through
/// `/proc/<pid>/exe` (CVE-2019-5736).
pub struct Executable(OwnedFd);

impl Executable {
    pub fn open(path: &Path) -> io::Result<Self> {
        let tree = mounts::clone_tree(&fs::canonicalize(path)?)?;
        mounts::set_attributes(tree.as_fd(), mounts::RDONLY, libc::MS_PRIVATE, false)?;
        Ok(Self(tree))
    }

    /// Valid in a child until it executes it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}
