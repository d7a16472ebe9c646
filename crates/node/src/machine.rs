//! The machine: what it has, and how full it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use timonier_meta::{Quantity, SmolStr, Time};

/// A `SystemTime` as a [`Time`].
pub(crate) fn to_time(at: SystemTime) -> Time {
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => Time(since.as_micros() as i64),
        Err(before) => Time(-(before.duration().as_micros() as i64)),
    }
}

/// What does not change while the node runs.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Machine {
    pub cpus: u32,
    /// Bytes.
    pub memory: i64,
    /// Bytes of the disk that the data directory is on.
    pub disk: i64,
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel: String,
    /// `PRETTY_NAME` of the distribution.
    pub os_image: String,
    /// Go's word: `amd64`, `arm64`.
    pub arch: &'static str,
    pub swap: i64,
}

/// How full the machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Pressure {
    pub memory: bool,
    pub disk: bool,
    pub pids: bool,
}

/// Upstream's default thresholds of eviction: 100 MiB of memory, 10% of the disk, 5% of inodes.
const MEMORY_LEFT: i64 = 100 << 20;
const DISK_LEFT_PERCENT: u64 = 10;
const INODES_LEFT_PERCENT: u64 = 5;
/// A disk with this much left is not full, whatever its size. Upstream knows percentages only,
/// and with them a workstation's large disk counts as full while tens of gigabytes are free.
const DISK_LEFT_ENOUGH: u64 = 1 << 30;

/// The size of a file system and what is left of it for us, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    pub size: u64,
    pub left: u64,
}

impl Disk {
    /// The file system that `dir` is on, where it can be asked.
    pub fn of(dir: &Path) -> Option<Disk> {
        let s = rustix::fs::statvfs(dir).ok().filter(|s| s.f_blocks > 0)?;
        Some(Disk { size: s.f_blocks * s.f_frsize, left: s.f_bavail * s.f_frsize })
    }

    /// How many bytes must be freed until `percent` of the disk are left, or `enough` bytes if
    /// that is less. 0: none.
    pub fn lacks(self, percent: u64, enough: u64) -> u64 {
        (self.size / 100 * percent).min(enough).saturating_sub(self.left)
    }
}

impl Machine {
    /// Reads the machine; what cannot be read stays empty.
    pub fn read(data_dir: &Path) -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_string();
        let uname = rustix::system::uname();
        let disk = rustix::fs::statvfs(data_dir).map_or(0, |s| (s.f_blocks * s.f_frsize) as i64);
        Machine {
            cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
            memory: meminfo("MemTotal:"),
            disk,
            machine_id: read("/etc/machine-id"),
            system_uuid: read("/sys/class/dmi/id/product_uuid"),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            kernel: uname.release().to_string_lossy().into_owned(),
            os_image: os_image(),
            arch: go_arch(),
            swap: meminfo("SwapTotal:"),
        }
    }

    /// `status.capacity`.
    pub fn capacity(&self, max_pods: u32) -> BTreeMap<SmolStr, Quantity> {
        BTreeMap::from([
            ("cpu".into(), Quantity::units(i64::from(self.cpus))),
            ("ephemeral-storage".into(), kibibytes(self.disk)),
            ("hugepages-1Gi".into(), Quantity::units(0)),
            ("hugepages-2Mi".into(), Quantity::units(0)),
            ("memory".into(), kibibytes(self.memory)),
            ("pods".into(), Quantity::units(i64::from(max_pods))),
        ])
    }

    /// `status.allocatable`: the capacity less what eviction keeps free.
    pub fn allocatable(&self, max_pods: u32) -> BTreeMap<SmolStr, Quantity> {
        let mut out = self.capacity(max_pods);
        out.insert("memory".into(), kibibytes((self.memory - MEMORY_LEFT).max(0)));
        out.insert("ephemeral-storage".into(), Quantity::units(self.disk / 100 * 90));
        out
    }
}

fn kibibytes(bytes: i64) -> Quantity {
    Quantity::bytes(bytes / 1024 * 1024)
}

/// How full the machine is now.
pub(crate) fn pressure(image_dir: &Path) -> Pressure {
    let mut out =
        Pressure { memory: meminfo("MemAvailable:") < MEMORY_LEFT, ..Pressure::default() };
    let blocks =
        Disk::of(image_dir).is_some_and(|d| d.lacks(DISK_LEFT_PERCENT, DISK_LEFT_ENOUGH) > 0);
    let inodes = rustix::fs::statvfs(image_dir)
        .is_ok_and(|s| s.f_files > 0 && s.f_favail * 100 / s.f_files < INODES_LEFT_PERCENT);
    out.disk = blocks || inodes;
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let used = fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split_whitespace().nth(3)?.split_once('/')?.1.parse::<u64>().ok());
    if let (Some(max), Some(used)) = (number("/proc/sys/kernel/pid_max"), used) {
        out.pids = max.saturating_sub(used) * 100 / max.max(1) < 10;
    }
    out
}

fn meminfo(field: &str) -> i64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(field));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<i64>().ok());
    kib.unwrap_or(0) * 1024
}

fn os_image() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".into(), |n| n.trim_matches('"').to_string())
}

/// The architecture as Go names it.
pub(crate) fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_reads() {
        let m = Machine::read(Path::new("/"));
        assert!(m.cpus > 0 && m.memory > 0 && m.disk > 0 && !m.kernel.is_empty());
        let (capacity, allocatable) = (m.capacity(110), m.allocatable(110));
        assert!(allocatable["memory"].value() < capacity["memory"].value());
        assert!(capacity["memory"].to_string().ends_with("Ki") || m.memory % (1 << 20) == 0);
        let disk = Disk::of(Path::new("/")).unwrap();
        assert!(disk.left <= disk.size);
    }

    #[test]
    fn a_large_disk_is_not_full_while_gigabytes_are_left() {
        const GIB: u64 = 1 << 30;
        let left = |size: u64, left: u64| Disk { size, left }.lacks(10, GIB);
        assert_eq!(left(250 * GIB, 20 * GIB), 0, "8% of a large disk");
        assert_eq!(left(250 * GIB, GIB / 4), GIB / 4 * 3);
        assert_eq!(left(500, 60), 0);
        assert_eq!(left(500, 40), 10, "10% of a small disk");
    }
}
