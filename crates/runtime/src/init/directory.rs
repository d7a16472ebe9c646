//! The working directory of a new process.
//!
//! It is made and entered with all privileges, and its path is the user's. So it is looked up
//! without magic links: `/proc/<pid>/root` and `/proc/<pid>/fd/<n>` lead out of the container's root.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;

use super::{Explain, Outcome, mounts};

/// Enters a directory of the current root. What is missing of it is made; empty means the root.
pub fn enter(cwd: &str) -> Outcome<()> {
    let directory = open(cwd)?;
    let what = || format!("chdir to cwd ({:?})", shown(cwd));
    rustix::process::fchdir(&directory).explain(what)?;
    // A directory outside of the root has no path.
    let here = std::env::current_dir().explain(|| "getcwd".into())?;
    if !here.starts_with("/") {
        return Err("the working directory is outside of the container's root".into());
    }
    Ok(())
}

/// Opens a directory of the current root; what is missing of it is made.
pub fn open(cwd: &str) -> Outcome<OwnedFd> {
    let cwd = shown(cwd);
    if !cwd.starts_with('/') {
        return Err(format!("the working directory {cwd:?} is not an absolute path"));
    }
    let what = || format!("chdir to cwd ({cwd:?})");
    let root = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .explain(|| "open the root".into())?;
    let found = make(root.as_fd(), Path::new(cwd)).explain(what)?;
    if !mounts::is_directory(found.as_fd()).explain(what)? {
        return Err(io::Error::from_raw_os_error(libc::ENOTDIR)).explain(what);
    }
    Ok(found)
}

fn shown(cwd: &str) -> &str {
    if cwd.is_empty() { "/" } else { cwd }
}

/// `mkdir -p` without magic links.
fn make(root: BorrowedFd, path: &Path) -> io::Result<OwnedFd> {
    let open = || mounts::open_in(root, &path.to_string_lossy());
    let missing = match open() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => e,
        other => return other,
    };
    let parent = make(root, path.parent().ok_or(missing)?)?;
    if let Some(name) = path.file_name() {
        match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
    }
    open()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magic_links_are_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        let held = std::fs::File::open(outside.path()).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&held);
        for path in [format!("/proc/self/fd/{number}/made"), "/proc/self/cwd/made".into()] {
            let error = open(&path).unwrap_err();
            assert!(error.contains("too many levels of symbolic links"), "{error}");
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0, "something was made");
    }

    #[test]
    fn what_is_missing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().display();
        open(&format!("{base}/a/b/../c")).unwrap();
        assert!(dir.path().join("a/c").is_dir());
        std::fs::write(dir.path().join("file"), "").unwrap();
        let error = open(&format!("{base}/file")).unwrap_err();
        assert!(error.ends_with("not a directory"), "{error}");
        assert_eq!(open("x").unwrap_err(), "the working directory \"x\" is not an absolute path");
    }
}
