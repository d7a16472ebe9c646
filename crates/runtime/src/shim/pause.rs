//! The first process of a shared PID namespace: it waits, and reaps orphans.
//!
//! The pod's containers can see it, so it has nothing to see: an empty root, no capability, no
//! privilege, no descriptor.

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::mount::{MountAttrFlags, MountPropagationFlags, UnmountFlags, mount_change, unmount};

use crate::cgroup::{Cgroups, fork_into};
use crate::init::mounts;

const NOBODY: u32 = 65_535;

/// Starts it in its own PID namespace and returns its process id and that namespace.
pub fn start(cgroups: &Cgroups, cgroup: &str, dir: &Path) -> io::Result<(i32, OwnedFd)> {
    let point = dir.join("pause");
    std::fs::create_dir_all(&point)?;
    cgroups.create(cgroup)?;
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: the shim has one thread. The first child makes the namespace and leaves, its own
    // child becomes the shim's.
    let helper = unsafe { libc::fork() };
    if helper < 0 {
        return Err(io::Error::last_os_error());
    }
    if helper == 0 {
        let pid = cgroups.join(cgroup).map_or(-1, |group| fork_inside(group, &point));
        let _ = rustix::io::write(&writer, &pid.to_ne_bytes());
        // SAFETY: leaves without running the parent's destructors.
        unsafe { libc::_exit(0) };
    }
    drop(writer);
    let mut bytes = [0u8; 4];
    let n = rustix::io::retry_on_intr(|| rustix::io::read(&reader, &mut bytes[..]))?;
    // SAFETY: waits for the helper only.
    unsafe { libc::waitpid(helper, std::ptr::null_mut(), 0) };
    let pid = c_int::from_ne_bytes(bytes);
    if n != 4 || pid <= 0 {
        return Err(io::Error::other("the pause process did not start"));
    }
    let namespace = File::open(format!("/proc/{pid}/ns/pid"))?;
    Ok((pid, namespace.into()))
}

fn fork_inside(group: Option<OwnedFd>, point: &Path) -> c_int {
    // SAFETY: a plain system call in a single-threaded process.
    if unsafe { libc::unshare(libc::CLONE_NEWPID) } < 0 {
        return -1;
    }
    let pid = fork_into(group.as_ref()).unwrap_or(-1);
    if pid == 0 {
        let _ = shut_in(point);
        wait_for_ever();
    }
    pid
}

fn shut_in(point: &Path) -> io::Result<()> {
    // SAFETY: plain system calls; descriptors of the shim are not wanted here.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        libc::prctl(libc::PR_SET_NAME, c"pause".as_ptr(), 0, 0, 0);
        if libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP) < 0 {
            libc::_exit(1);
        }
    }
    let enclose = || -> io::Result<()> {
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let empty = mounts::fresh("tmpfs", &[("size", "4k")], attributes)?;
        let target = File::open(point)?;
        mounts::attach(&empty, target.as_fd())?;
        std::env::set_current_dir(point)?;
        rustix::process::pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        std::env::set_current_dir("/")
    };
    // SAFETY: leaves, or gives everything up. Without enclosure it must not stay.
    unsafe {
        if enclose().is_err() {
            libc::_exit(1);
        }
        libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0);
        for bit in 0..64 {
            libc::prctl(libc::PR_CAPBSET_DROP, bit as libc::c_ulong, 0, 0, 0);
        }
        libc::setgroups(0, std::ptr::null());
        if libc::setresgid(NOBODY, NOBODY, NOBODY) < 0
            || libc::setresuid(NOBODY, NOBODY, NOBODY) < 0
        {
            libc::_exit(1);
        }
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    }
    Ok(())
}

/// As the first process of its namespace it ignores every signal from inside but handles the end
/// of children by the kernel itself.
fn wait_for_ever() -> ! {
    // SAFETY: ignoring SIGCHLD makes the kernel reap.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        loop {
            libc::pause();
        }
    }
}
