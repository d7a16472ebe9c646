//! Limits, written the way each version wants them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Cgroups, Version, named};
use crate::spec::Resources;

/// "1": a lack of memory ends the whole group, not one of its processes.
pub const OOM_GROUP: &str = "memory.oom.group";

impl Cgroups {
    /// Writes the limits that are given; an unavailable controller is an error that names it.
    pub fn apply(&self, path: &str, resources: &Resources) -> io::Result<()> {
        let below = path.trim_start_matches('/');
        match &self.version {
            Version::V1 { .. } => {
                let dir = |controller: &str| self.v1_dir(controller, below);
                write_all(&v1_files(resources), &dir)?;
                v1_memory(resources, &dir)
            }
            Version::V2 { root } => {
                let dir = root.join(below);
                let mut files = v2_files(resources);
                // Kernels may be built or started without accounting of swap, or of memory at all.
                let optional = ["memory.swap.max", OOM_GROUP];
                files.retain(|(f, _)| !optional.contains(&f.as_str()) || dir.join(f).exists());
                write_all(&files, &|_| Ok(dir.clone()))
            }
        }
    }

    fn v1_dir(&self, controller: &str, below: &str) -> io::Result<PathBuf> {
        match self.controller(controller) {
            Some(root) => Ok(root.join(below)),
            None => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("cgroup controller {controller:?} is not available on this host"),
            )),
        }
    }
}

type Files = Vec<(String, String)>;
type DirOf<'a> = dyn Fn(&str) -> io::Result<PathBuf> + 'a;

fn write_all(files: &Files, dir: &DirOf) -> io::Result<()> {
    for (file, value) in files {
        let controller = file.split('.').next().unwrap_or_default();
        write(&dir(controller)?, file, value)?;
    }
    Ok(())
}

fn write(dir: &Path, file: &str, value: &str) -> io::Result<()> {
    fs::write(dir.join(file), value).map_err(|e| named(dir, file, e))
}

/// The files of v1 but for memory, whose order depends on what is there.
fn v1_files(r: &Resources) -> Files {
    let mut files = Files::new();
    let mut push = |file: &str, value: Option<String>| {
        files.extend(value.map(|v| (file.to_string(), v)));
    };
    push("cpu.shares", r.cpu_shares.map(|v| v.max(2).to_string()));
    push("cpu.cfs_period_us", r.cpu_period.map(|v| v.to_string()));
    push("cpu.cfs_quota_us", r.cpu_quota.map(|v| if v <= 0 { "-1".into() } else { v.to_string() }));
    push("cpuset.cpus", r.cpuset_cpus.clone().filter(|v| !v.is_empty()));
    push("cpuset.mems", r.cpuset_mems.clone().filter(|v| !v.is_empty()));
    push("pids.max", r.pids_limit.map(max_or));
    for (size, limit) in &r.hugepages {
        push(&format!("hugetlb.{size}.limit_in_bytes"), Some(limit.to_string()));
    }
    files
}

/// The kernel wants memory ≤ memory+swap at every moment, so that lowering and raising need
/// opposite orders.
fn v1_memory(r: &Resources, dir: &DirOf) -> io::Result<()> {
    let Some(limit) = r.memory_limit else { return Ok(()) };
    let dir = dir("memory")?;
    let limit = limit.to_string();
    let swap = r.memory_swap_limit.filter(|_| dir.join("memory.memsw.limit_in_bytes").exists());
    let Some(swap) = swap.map(|v| v.to_string()) else {
        return write(&dir, "memory.limit_in_bytes", &limit);
    };
    if write(&dir, "memory.limit_in_bytes", &limit).is_ok() {
        return write(&dir, "memory.memsw.limit_in_bytes", &swap);
    }
    write(&dir, "memory.memsw.limit_in_bytes", &swap)?;
    write(&dir, "memory.limit_in_bytes", &limit)
}

fn v2_files(r: &Resources) -> Files {
    let mut files = Files::new();
    let mut push = |file: &str, value: Option<String>| {
        files.extend(value.map(|v| (file.to_string(), v)));
    };
    push("cpu.weight", r.cpu_shares.map(|v| weight(v).to_string()));
    if r.cpu_quota.is_some() || r.cpu_period.is_some() {
        let period = r.cpu_period.unwrap_or(100_000);
        push("cpu.max", Some(format!("{} {period}", max_or(r.cpu_quota.unwrap_or(-1)))));
    }
    push("cpuset.cpus", r.cpuset_cpus.clone().filter(|v| !v.is_empty()));
    push("cpuset.mems", r.cpuset_mems.clone().filter(|v| !v.is_empty()));
    push("memory.max", r.memory_limit.map(max_or));
    if let Some(swap) = r.memory_swap_limit {
        // v2 counts swap alone, the configuration counts memory and swap together.
        let only = if swap < 0 { -1 } else { (swap - r.memory_limit.unwrap_or(0)).max(0) };
        push("memory.swap.max", Some(if only == 0 { "0".into() } else { max_or(only) }));
    }
    push("pids.max", r.pids_limit.map(max_or));
    for (size, limit) in &r.hugepages {
        push(&format!("hugetlb.{size}.max"), Some(limit.to_string()));
    }
    for (file, value) in &r.unified {
        if !file.contains('/') {
            push(file, Some(value.clone()));
        }
    }
    files
}

fn max_or(value: i64) -> String {
    if value <= 0 { "max".into() } else { value.to_string() }
}

/// Shares 2–262144 to weight 1–10000, as the kubelet converts them.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Resources {
        Resources {
            cpu_shares: Some(1024),
            cpu_quota: Some(50_000),
            cpu_period: Some(100_000),
            memory_limit: Some(64 << 20),
            memory_swap_limit: Some(64 << 20),
            pids_limit: Some(-1),
            ..Resources::default()
        }
    }

    fn pairs(files: Files) -> Vec<String> {
        files.into_iter().map(|(f, v)| format!("{f}={v}")).collect()
    }

    #[test]
    fn v2_converts_what_v1_means() {
        assert_eq!(
            pairs(v2_files(&sample())),
            [
                "cpu.weight=39",
                "cpu.max=50000 100000",
                "memory.max=67108864",
                "memory.swap.max=0",
                "pids.max=max"
            ]
        );
        assert_eq!((weight(0), weight(2), weight(262_144)), (1, 1, 10_000));
    }

    #[test]
    fn v1_writes_period_before_quota() {
        assert_eq!(
            pairs(v1_files(&sample())),
            [
                "cpu.shares=1024",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "pids.max=max"
            ]
        );
    }

    #[test]
    fn v2_writes_into_the_group() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("pod")).unwrap();
        std::fs::write(dir.path().join("pod/memory.swap.max"), "max").unwrap();
        let cgroups = Cgroups { version: Version::V2 { root: dir.path().into() } };
        std::fs::write(dir.path().join("pod/memory.oom.group"), "0").unwrap();
        let mut limits = sample();
        limits.unified.insert(OOM_GROUP.into(), "1".into());
        cgroups.apply("/pod", &limits).unwrap();
        let read = |f: &str| std::fs::read_to_string(dir.path().join("pod").join(f)).unwrap();
        assert_eq!(read("memory.max"), "67108864");
        assert_eq!(read("cpu.max"), "50000 100000");
        assert_eq!(read("memory.swap.max"), "0");
        assert_eq!(read("memory.oom.group"), "1");
        std::fs::remove_file(dir.path().join("pod/memory.oom.group")).unwrap();
        cgroups.apply("/pod", &limits).unwrap();
        assert!(!dir.path().join("pod/memory.oom.group").exists(), "no memory controller");
    }

    #[test]
    fn a_missing_controller_is_named() {
        let cgroups = Cgroups { version: Version::V1 { hierarchies: Vec::new() } };
        let error = cgroups.apply("/pod", &sample()).unwrap_err();
        assert_eq!(error.to_string(), "cgroup controller \"cpu\" is not available on this host");
    }
}
