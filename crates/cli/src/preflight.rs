//! What the host must offer, checked before anything is changed.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::access;

/// Fails unless this process is root's.
pub fn root() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "a node needs root: namespaces, mounts, cgroups and packet rules are made by it. Run it with sudo."
        );
    }
    Ok(())
}

/// Fails with everything that is missing on this host, by name.
pub fn check() -> Result<()> {
    root()?;
    let mut missing: Vec<String> = [version(), filesystem(), namespaces(), cgroups(), filter()]
        .into_iter()
        .flatten()
        .collect();
    missing.extend(network());
    if missing.is_empty() {
        return Ok(());
    }
    bail!("this host lacks what a node needs:\n  - {}", missing.join("\n  - "))
}

/// The first kernel with every system call that the runtime uses (`mount_setattr` is the newest).
const OLDEST: (u32, u32) = (5, 12);

fn version() -> Option<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let old = parse_release(&release).is_some_and(|found| found < OLDEST);
    old.then(|| format!("Linux {}.{} or newer; this is {}", OLDEST.0, OLDEST.1, release.trim()))
}

/// Major and minor number of a release such as `6.1.0-31-amd64`.
fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
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

fn filter() -> Option<String> {
    let known = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    (!known.split_whitespace().any(|a| a == "errno"))
        .then(|| "the kernel feature system call filters (CONFIG_SECCOMP_FILTER)".into())
}

/// What the pod network needs, tried out in a network namespace that goes away again.
fn network() -> Vec<String> {
    let tried = access::block_on(async { Ok(timonier_network::missing_features(false).await?) });
    match tried {
        Ok(missing) => missing.into_iter().map(|m| format!("the kernel feature {m}")).collect(),
        Err(error) => vec![format!("the kernel feature network namespaces: {error:#}")],
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_by_number() {
        assert_eq!(parse_release("6.1.0-31-amd64\n"), Some((6, 1)));
        assert!(
            parse_release("5.4.0").unwrap() < OLDEST && parse_release("5.12").unwrap() >= OLDEST
        );
        assert_eq!(parse_release("x"), None);
    }
}
