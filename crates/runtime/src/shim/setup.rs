//! What a shim does before it serves: its own session and cgroup, the pod's namespaces.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::mount::{MountFlags, mount};
use rustix::net::{bind, listen};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::protocol::ShimConfig;
use super::wire;
use crate::cgroup::{Cgroups, fork_into};
use crate::spec::{Network, SandboxConfig};

const DEFAULT_SHM: u64 = 64 << 20;
const BACKLOG: i32 = 16;

/// Continues in a child that is born in the shims' cgroup, and whose parent is the daemon; this
/// process ends.
pub fn settle(config: &ShimConfig, cgroups: &Cgroups) -> Result<(), String> {
    // SAFETY: plain system calls in a single-threaded process.
    unsafe {
        libc::umask(0o022);
        libc::prctl(libc::PR_SET_NAME, c"timonier-shim".as_ptr(), 0, 0, 0);
    }
    // Best effort: nested hosts may not allow it.
    let _ = fs::write("/proc/self/oom_score_adj", "-998");
    let group = cgroups
        .create(&config.shim_cgroup)
        .and_then(|()| cgroups.join(&config.shim_cgroup))
        .map_err(|e| format!("join the shims' cgroup: {e}"))?;
    match fork_into(group.as_ref()).map_err(|e| format!("fork: {e}"))? {
        0 => {}
        // SAFETY: leaves without running destructors that belong to the child.
        _ => unsafe { libc::_exit(0) },
    }
    // SAFETY: plain system calls. Orphans of containers that see the host's processes are reaped
    // here.
    unsafe {
        libc::setsid();
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    }
    Ok(())
}

/// Everything that can fail before the pod exists. Texts go to the daemon.
pub fn prepare(dir: &Path, config: &ShimConfig) -> Result<OwnedFd, String> {
    namespaces(&config.sandbox)?;
    sysctls(&config.sandbox)?;
    if !config.sandbox.host_ipc {
        shared_memory(dir, config.sandbox.shm_size)
            .map_err(|e| format!("mount the pod's /dev/shm: {e}"))?;
    }
    signals();
    serve(dir).map_err(|e| format!("listen on the shim's socket: {e}"))
}

fn namespaces(sandbox: &SandboxConfig) -> Result<(), String> {
    let mut flags = 0;
    if !sandbox.host_ipc {
        flags |= libc::CLONE_NEWIPC;
    }
    // With the host's network a pod has the host's name too.
    if let Network::Namespace(path) = &sandbox.network {
        flags |= libc::CLONE_NEWUTS;
        let namespace = File::open(path)
            .map_err(|e| format!("open network namespace {}: {e}", path.display()))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|e| format!("enter network namespace {}: {e}", path.display()))?;
    }
    // SAFETY: a plain system call in a single-threaded process.
    if unsafe { libc::unshare(flags) } < 0 {
        return Err(format!("unshare: {}", io::Error::last_os_error()));
    }
    if flags & libc::CLONE_NEWUTS != 0 && !sandbox.hostname.is_empty() {
        rustix::system::sethostname(sandbox.hostname.as_bytes())
            .map_err(|e| format!("set the hostname: {e}"))?;
    }
    Ok(())
}

/// `net.*` and the IPC ones act on the namespaces that the shim is in; the daemon refused others.
fn sysctls(sandbox: &SandboxConfig) -> Result<(), String> {
    for (name, value) in &sandbox.sysctls {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        fs::write(&path, value).map_err(|e| format!("set sysctl {name}={value}: {e}"))?;
    }
    Ok(())
}

/// On the host's side, because containers come and go while it stays.
fn shared_memory(dir: &Path, size: u64) -> io::Result<()> {
    let point = dir.join("shm");
    fs::create_dir_all(&point)?;
    let size = if size == 0 { DEFAULT_SHM } else { size };
    let options = std::ffi::CString::new(format!("mode=1777,size={size}"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount("shm", &point, "tmpfs", flags, options.as_c_str())?)
}

fn signals() {
    // SAFETY: plain system calls; ignoring is inherited by children, which reset it.
    unsafe {
        for signal in [libc::SIGPIPE, libc::SIGHUP, libc::SIGINT] {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
}

fn serve(dir: &Path) -> io::Result<OwnedFd> {
    let socket = wire::packet_socket()?;
    let (_open, address) = wire::address(dir)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// A descriptor that becomes readable when a child ends.
pub fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised before use; signalfd returns a new descriptor.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        let fd = libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(std::os::fd::FromRawFd::from_raw_fd(fd))
    }
}

/// Standard streams of a shim that is ready: the daemon's ends are let go.
pub fn let_go_of_streams() {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        for to in 0..3 {
            // SAFETY: replaces this process's own standard streams.
            unsafe { libc::dup2(null.as_raw_fd(), to) };
        }
    }
}
