//! Where a node runs in a network namespace that is not the host's: several nodes share a host
//! that way.
//!
//! What such a node makes must be found again by its next process and by `down`, wherever those
//! are started. So its mounts are made in the host's mount namespace, and its network namespace
//! is kept by a bind mount in its data directory.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns};

use crate::cluster::Paths;
use crate::files;

const OWN: &str = "/proc/thread-self/ns/net";
const HOSTS: &str = "/proc/1/ns/net";
/// Where `ip netns` keeps namespaces.
const NAMED: &str = "/run/netns";

/// The directory of what is shared by the clusters of this network namespace.
pub fn shared_dir(host: &str) -> PathBuf {
    match inode(OWN) {
        Ok(own) if is_foreign() => PathBuf::from(format!("{host}-net-{own}")),
        _ => host.into(),
    }
}

/// Takes the process back to the host's mounts where `ip netns exec` has given it a copy of them:
/// what it mounted there would vanish with it.
fn leave_private_mounts() -> Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("read the mounts")?;
    let Some(name) = exec_name(&table).filter(|name| is_own(&Path::new(NAMED).join(name))) else {
        return Ok(());
    };
    let own = inode("/proc/self/ns/mnt").context("find the mount namespace")?;
    let host = ancestors().find_map(|pid| {
        let path = format!("/proc/{pid}/ns/mnt");
        inode(&path).is_ok_and(|n| n != own).then(|| File::open(path).ok())?
    });
    let Some(host) = host else {
        bail!(
            "`ip netns exec` gave this process mounts of its own, which would vanish with it; use --netns {name}"
        );
    };
    setns(host.as_fd(), CloneFlags::CLONE_NEWNS).context("enter the host's mount namespace")
}

/// The network namespace for which `ip netns exec` made the mounts: it mounts `/sys` anew, with
/// the name as the source.
fn exec_name(mountinfo: &str) -> Option<&str> {
    let line = mountinfo.lines().rfind(|l| l.split(' ').nth(4) == Some("/sys"))?;
    let mut fields = line.split_once(" - ")?.1.split(' ');
    (fields.next() == Some("sysfs")).then(|| fields.next())?
}

/// The first process of the system, then this one's parents from the nearest on.
fn ancestors() -> impl Iterator<Item = u32> {
    let parent = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("PPid:"))?;
        line.trim().parse().ok().filter(|p| *p > 1)
    };
    let parents = std::iter::successors(parent(std::process::id()), move |pid| parent(*pid));
    std::iter::once(1).chain(parents)
}

/// Goes where the node on this data directory belongs: into the network namespace that is asked
/// for (a name of `ip netns` or a path), else into the one that an earlier process kept. Must be
/// called before the process has threads.
pub fn settle(paths: &Paths, wanted: Option<&str>) -> Result<()> {
    let Some(wanted) = wanted else {
        leave_private_mounts()?;
        return if is_foreign() { Ok(()) } else { enter_kept_network(paths) };
    };
    let path = if wanted.contains('/') { wanted.into() } else { Path::new(NAMED).join(wanted) };
    let namespace =
        File::open(&path).with_context(|| format!("open the namespace {}", path.display()))?;
    setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("enter the network namespace {}", path.display()))
}

/// Keeps this process's network namespace for the next process on the same data directory.
pub fn keep_network(paths: &Paths) -> Result<()> {
    let path = paths.network_namespace();
    release_network(paths)?;
    if !is_foreign() {
        return Ok(());
    }
    files::create_private_dir(&paths.run())?;
    File::create(&path).with_context(|| format!("create {}", path.display()))?;
    mount(Some(OWN), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("keep the network namespace at {}", path.display()))
}

/// Enters the network namespace that [`keep_network`] kept, if one is there. Concerns the calling
/// thread and those that it starts.
pub fn enter_kept_network(paths: &Paths) -> Result<()> {
    let path = paths.network_namespace();
    if !is_mounted(&path) {
        return Ok(());
    }
    let kept = File::open(&path).with_context(|| format!("open {}", path.display()))?;
    setns(kept.as_fd(), CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("enter the network namespace {}", path.display()))
}

/// Lets go of the network namespace; no error where none is kept.
pub fn release_network(paths: &Paths) -> Result<()> {
    let path = paths.network_namespace();
    while is_mounted(&path) {
        umount2(&path, MntFlags::MNT_DETACH)
            .with_context(|| format!("unmount {}", path.display()))?;
    }
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Whether this is not the host's network.
fn is_foreign() -> bool {
    match (inode(OWN), inode(HOSTS)) {
        (Ok(own), Ok(hosts)) => own != hosts,
        // A sandbox may hide the first process. Then those with a name count.
        _ => fs::read_dir(NAMED).into_iter().flatten().flatten().any(|e| is_own(&e.path())),
    }
}

/// Whether the file is this network namespace.
fn is_own(path: &Path) -> bool {
    matches!((inode(OWN), inode(path)), (Ok(own), Ok(other)) if own == other)
}

/// A namespace's file has the inode of the namespace, on a file system of its own.
fn is_mounted(path: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|m| m.dev());
    matches!((device(path), device(Path::new(OWN))), (Ok(a), Ok(b)) if a == b)
}

fn inode(path: impl AsRef<Path>) -> io::Result<u64> {
    fs::metadata(path).map(|m| m.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_ip_netns_exec_are_known() {
        let host = "24 1 0:22 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
                    29 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(exec_name(host), Some("sysfs"));
        let inside = format!("{host}77 31 0:44 / /sys rw,relatime - sysfs n2 rw\n");
        assert_eq!(exec_name(&inside), Some("n2"));
        assert_eq!(exec_name("24 1 0:22 / /sys rw - tmpfs n2 rw\n"), None);
    }

    #[test]
    fn nothing_kept_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths { data: dir.path().to_owned() };
        release_network(&paths).unwrap();
        enter_kept_network(&paths).unwrap();
    }
}
