//! `/dev` of a container.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Dev, FileType, Mode, major, makedev, minor, mknodat, symlinkat};
use rustix::io::Errno;

use super::{Explain, Outcome, mounts};
use crate::cgroup::DeviceRule;
use crate::spec::{ContainerConfig, Device, Security};

/// Directories of the host's `/dev` that are mounts of their own or none of a container's business.
const SKIPPED: [&str; 7] = ["pts", "shm", "mqueue", "hugepages", ".udev", ".lxc", "console"];
const MAX_DEPTH: u32 = 4;

/// A device node to make.
pub struct Node {
    path: String,
    kind: FileType,
    device: Dev,
    mode: u32,
}

/// The nodes of a container. Must run before the host's `/dev` is out of sight.
pub fn nodes(config: &ContainerConfig) -> Outcome<Vec<Node>> {
    let character = |name: &str, major, minor| Node {
        path: format!("/dev/{name}"),
        kind: FileType::CharacterDevice,
        device: makedev(major, minor),
        mode: 0o666,
    };
    let mut nodes = vec![
        character("null", 1, 3),
        character("zero", 1, 5),
        character("full", 1, 7),
        character("random", 1, 8),
        character("urandom", 1, 9),
        character("tty", 5, 0),
    ];
    if config.security.privileged {
        collect(Path::new("/dev"), 0, &mut nodes);
    }
    for device in &config.devices {
        let node = of_host(&device.host_path, &device.container_path)
            .ok_or_else(|| format!("{} is not a device", device.host_path.display()))?;
        nodes.retain(|n| n.path != node.path);
        nodes.push(node);
    }
    Ok(nodes)
}

/// What the container's cgroup may use.
pub fn rules(config: &ContainerConfig) -> Outcome<Vec<DeviceRule>> {
    rules_of(&config.security, &config.devices)
}

pub fn rules_of(security: &Security, devices: &[Device]) -> Outcome<Vec<DeviceRule>> {
    if security.privileged {
        return Ok(vec![DeviceRule::new('a', None, None, "rwm")]);
    }
    let mut rules = DeviceRule::defaults();
    for Device { host_path, container_path, permissions } in devices {
        let node = of_host(host_path, container_path)
            .ok_or_else(|| format!("{} is not a device", host_path.display()))?;
        let kind = if node.kind == FileType::BlockDevice { 'b' } else { 'c' };
        let numbers = (Some(major(node.device)), Some(minor(node.device)));
        rules.push(DeviceRule::new(kind, numbers.0, numbers.1, permissions));
    }
    Ok(rules)
}

fn collect(dir: &Path, depth: u32, nodes: &mut Vec<Node>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if depth == 0 && SKIPPED.iter().any(|s| name == *s) {
            continue;
        }
        let text = path.to_string_lossy().into_owned();
        if entry.file_type().is_ok_and(|t| t.is_dir()) && depth < MAX_DEPTH {
            collect(&path, depth + 1, nodes);
        } else if let Some(node) = of_host(&path, &text)
            && !nodes.iter().any(|n| n.path == node.path)
        {
            nodes.push(node);
        }
    }
}

fn of_host(host: &Path, container: &str) -> Option<Node> {
    let metadata = fs::symlink_metadata(host).ok()?;
    // Links are followed only for devices that were asked for by name.
    let metadata = if metadata.is_symlink() { fs::metadata(host).ok()? } else { metadata };
    let kind = match metadata.file_type() {
        t if t.is_char_device() => FileType::CharacterDevice,
        t if t.is_block_device() => FileType::BlockDevice,
        _ => return None,
    };
    let mode = metadata.mode() & 0o777;
    Some(Node { path: container.to_string(), kind, device: metadata.rdev(), mode })
}

/// Makes nodes and the usual links in a `/dev` that is already mounted.
pub fn create(root: BorrowedFd, nodes: &[Node]) -> Outcome<()> {
    // SAFETY: only this process's mask; modes must come out as they are.
    let mask = unsafe { libc::umask(0) };
    for node in nodes {
        let (dir, name) = node.path.rsplit_once('/').unwrap_or(("", &node.path));
        let dir = mounts::target(root, if dir.is_empty() { "/" } else { dir }, true)?;
        let mode = Mode::from_raw_mode(node.mode);
        match mknodat(&dir, name, node.kind, mode, node.device) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e).explain(|| format!("make device {}", node.path)),
        }
    }
    // SAFETY: as above.
    unsafe { libc::umask(mask) };
    let dev = mounts::open_in(root, "/dev").explain(|| "open /dev".into())?;
    for (link, to) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("core", "/proc/kcore"),
        ("ptmx", "pts/ptmx"),
    ] {
        match symlinkat(to, dev.as_fd(), link) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e).explain(|| format!("link /dev/{link}")),
        }
    }
    Ok(())
}
