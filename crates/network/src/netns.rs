//! Network namespaces, held by bind mounts.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{FsType, fstatfs};

/// `NSFS_MAGIC`: the file system that namespaces live in.
const NSFS: FsType = FsType(0x6e73_6673);

/// Runs `work` on a thread of its own, which may change its namespace because it ends afterwards.
pub async fn on_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> crate::Result<T> + Send + 'static,
) -> crate::Result<T> {
    use crate::error::Context;
    let (done, result) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name(format!("net-{name}"))
        .stack_size(256 << 10)
        .spawn(move || {
            // The caller may have gone away; the work is done all the same.
            let _ = done.send(work());
        })
        .what(|| format!("start a thread to {name}"))?;
    match result.await {
        Ok(result) => result,
        Err(_) => Err(io::Error::other("the thread panicked")).what(|| name.to_owned()),
    }
}

/// Gives the calling thread a new namespace and binds it to `path`.
pub fn create(path: &Path) -> io::Result<File> {
    File::create(path)?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    let own = Path::new("/proc/thread-self/ns/net");
    mount(Some(own), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    File::open(path)
}

/// Gives the calling thread a new namespace that ends with it.
pub fn unshare_network() -> io::Result<()> {
    Ok(unshare(CloneFlags::CLONE_NEWNET)?)
}

/// Settings of a pod's namespace, by the thread that is in it: whoever runs in a pod may listen on
/// low ports and send pings, as with upstream's runtimes.
pub fn allow_unprivileged() -> io::Result<()> {
    fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")?;
    fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")
}

/// Moves the calling thread into the namespace of a bind mount.
pub fn enter(path: &Path) -> io::Result<()> {
    enter_file(&File::open(path)?)
}

/// Moves the calling thread into a namespace.
pub fn enter_file(file: &File) -> io::Result<()> {
    Ok(setns(file.as_fd(), CloneFlags::CLONE_NEWNET)?)
}

/// Whether a live namespace is bound to the path. After a reboot the file is there and empty.
pub fn is_live(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| fstatfs(&file).is_ok_and(|s| s.filesystem_type() == NSFS))
}

/// Removes a bind mount and its file; no error where there is none.
pub fn remove(path: &Path) -> io::Result<()> {
    // Mounts may lie one over the other after an attempt that failed half-way.
    while is_live(path) {
        umount2(path, MntFlags::MNT_DETACH)?;
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
