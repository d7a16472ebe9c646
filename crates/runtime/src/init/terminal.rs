//! Standard streams and terminals.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use super::{Explain, Outcome, check, mounts};

/// Puts a descriptor at 0, 1 or 2.
pub fn duplicate(fd: BorrowedFd, to: i32) -> Outcome<()> {
    if fd.as_raw_fd() == to {
        return Ok(());
    }
    // SAFETY: replaces a standard stream of this process on purpose.
    check(unsafe { libc::dup2(fd.as_raw_fd(), to) }).explain(|| "set up standard streams".into())
}

/// Opens a terminal of the container, makes it the process's own, and returns the other end.
pub fn open(first_process: bool) -> Outcome<OwnedFd> {
    let flags = libc::O_NOCTTY | libc::O_CLOEXEC;
    let master = File::options()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open("/dev/pts/ptmx")
        .explain(|| "open /dev/pts/ptmx".into())?;
    let unlock: libc::c_int = 0;
    // SAFETY: the ioctls take these arguments; TIOCGPTPEER returns a new descriptor.
    let slave = unsafe {
        check(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &unlock))
            .explain(|| "unlock the terminal".into())?;
        let fd = libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, libc::O_RDWR | flags);
        check(fd).explain(|| "open the terminal".into())?;
        OwnedFd::from_raw_fd(fd)
    };
    if first_process {
        show_as_console(&slave).explain(|| "mount /dev/console".into())?;
    }
    for to in 0..3 {
        duplicate(slave.as_fd(), to)?;
    }
    // SAFETY: the process leads its session and has no terminal yet.
    check(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) })
        .explain(|| "make the terminal the controlling one".into())?;
    Ok(master.into())
}

fn show_as_console(slave: &OwnedFd) -> io::Result<()> {
    let console = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NOCTTY)
        .open("/dev/console")?;
    mounts::attach(&mounts::clone_of(slave.as_fd())?, console.as_fd())
}
