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
    /// Percent of the image disk in use.
    pub disk_percent: u8,
}

/// Upstream's default thresholds of eviction: 100 MiB of memory, 10% of the disk, 5% of inodes.
const MEMORY_LEFT: i64 = 100 << 20;
const DISK_LEFT_PERCENT: u64 = 10;
const INODES_LEFT_PERCENT: u64 = 5;

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
    if let Ok(s) = rustix::fs::statvfs(image_dir)
        && s.f_blocks > 0
    {
        out.disk_percent = (100 - s.f_bavail * 100 / s.f_blocks).min(100) as u8;
        let blocks = s.f_bavail * 100 / s.f_blocks < DISK_LEFT_PERCENT;
        let inodes = s.f_files > 0 && s.f_favail * 100 / s.f_files < INODES_LEFT_PERCENT;
        out.disk = blocks || inodes;
    }
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
        assert!(pressure(Path::new("/")).disk_percent <= 100);
    }
}
