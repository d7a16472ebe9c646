//! What the host must offer, checked before anything is changed.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

/// Fails with everything that is missing on this host, by name.
pub fn check() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "a node needs root: namespaces, mounts, cgroups and packet rules are made by it. Run it with sudo."
        );
    }
    let missing: Vec<String> =
        [filesystem(), namespaces(), cgroups(), netfilter()].into_iter().flatten().collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("this host lacks what a node needs:\n  - {}", missing.join("\n  - "))
}

fn filesystem() -> Option<String> {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has = known.lines().any(|l| l.split_whitespace().last() == Some("overlay"));
    (!has && !load_module("overlay"))
        .then(|| "the kernel feature overlayfs (CONFIG_OVERLAY_FS; try `modprobe overlay`)".into())
}

fn namespaces() -> Option<String> {
    let missing: Vec<&str> = ["mnt", "pid", "net", "ipc", "uts", "cgroup"]
        .into_iter()
        .filter(|n| !Path::new("/proc/self/ns").join(n).exists())
        .collect();
    (!missing.is_empty()).then(|| format!("the kernel's namespaces {}", missing.join(", ")))
}

fn cgroups() -> Option<String> {
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let controllers = if v2 {
        fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default()
    } else {
        ["cpu", "memory", "pids"]
            .into_iter()
            .filter(|c| Path::new("/sys/fs/cgroup").join(c).join("tasks").exists())
            .map(|c| format!("{c} "))
            .collect()
    };
    let missing: Vec<&str> = ["cpu", "memory", "pids"]
        .into_iter()
        .filter(|c| !controllers.split_whitespace().any(|have| have == *c))
        .collect();
    (!missing.is_empty())
        .then(|| format!("the cgroup controllers {} below /sys/fs/cgroup", missing.join(", ")))
}

fn netfilter() -> Option<String> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
    let opens = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    );
    (opens.is_err() && !load_module("nf_tables"))
        .then(|| "the kernel feature nf_tables (CONFIG_NF_TABLES; try `modprobe nf_tables`)".into())
}

/// Asks the kernel's helper for a module; hosts without it have it built in or not at all.
fn load_module(name: &str) -> bool {
    std::process::Command::new("modprobe")
        .arg(name)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}
