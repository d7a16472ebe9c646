//! Figures, read directly: eight small files take about 30 µs.

use std::fs;
use std::path::Path;

use super::{Cgroups, Version};
use crate::api::CgroupStats;

/// v1 writes "no limit" as a number near this.
const NO_LIMIT: u64 = 1 << 60;

impl Cgroups {
    /// Figures of a group; what cannot be read is 0.
    pub fn stats(&self, path: &str) -> CgroupStats {
        let below = path.trim_start_matches('/');
        match &self.version {
            Version::V1 { .. } => {
                let dir = |c: &str| self.controller(c).map(|d| d.join(below)).unwrap_or_default();
                v1(&dir("cpuacct"), &dir("cpu"), &dir("memory"), &dir("pids"))
            }
            Version::V2 { root } => v2(&root.join(below)),
        }
    }

    /// How many processes of the group the kernel killed for lack of memory.
    pub fn oom_kills(&self, path: &str) -> u64 {
        let below = path.trim_start_matches('/');
        let file = if self.is_v2() { "memory.events" } else { "memory.oom_control" };
        let dir = self.controller("memory").map(|d| d.join(below)).unwrap_or_default();
        Table::read(&dir, file).get("oom_kill")
    }
}

fn v1(cpuacct: &Path, cpu: &Path, memory: &Path, pids: &Path) -> CgroupStats {
    let throttling = Table::read(cpu, "cpu.stat");
    let stat = Table::read(memory, "memory.stat");
    let usage = number(memory, "memory.usage_in_bytes");
    CgroupStats {
        cpu_usage_ns: number(cpuacct, "cpuacct.usage"),
        cpu_throttled_periods: throttling.get("nr_throttled"),
        cpu_throttled_ns: throttling.get("throttled_time"),
        memory_usage: usage,
        memory_working_set: usage.saturating_sub(stat.get("total_inactive_file")),
        memory_rss: stat.get("total_rss"),
        memory_limit: Some(number(memory, "memory.limit_in_bytes"))
            .filter(|l| *l > 0 && *l < NO_LIMIT),
        page_faults: stat.get("total_pgfault"),
        major_page_faults: stat.get("total_pgmajfault"),
        pids: number(pids, "pids.current"),
        oom_kills: Table::read(memory, "memory.oom_control").get("oom_kill"),
    }
}

fn v2(dir: &Path) -> CgroupStats {
    let cpu = Table::read(dir, "cpu.stat");
    let stat = Table::read(dir, "memory.stat");
    let usage = number(dir, "memory.current");
    CgroupStats {
        cpu_usage_ns: cpu.get("usage_usec").saturating_mul(1000),
        cpu_throttled_periods: cpu.get("nr_throttled"),
        cpu_throttled_ns: cpu.get("throttled_usec").saturating_mul(1000),
        memory_usage: usage,
        memory_working_set: usage.saturating_sub(stat.get("inactive_file")),
        memory_rss: stat.get("anon"),
        // "max" is not a number, so that no limit reads as 0.
        memory_limit: Some(number(dir, "memory.max")).filter(|l| *l > 0),
        page_faults: stat.get("pgfault"),
        major_page_faults: stat.get("pgmajfault"),
        pids: number(dir, "pids.current"),
        oom_kills: Table::read(dir, "memory.events").get("oom_kill"),
    }
}

fn number(dir: &Path, file: &str) -> u64 {
    fs::read_to_string(dir.join(file)).ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0)
}

/// Lines of `name number`.
struct Table(String);

impl Table {
    fn read(dir: &Path, file: &str) -> Self {
        Self(fs::read_to_string(dir.join(file)).unwrap_or_default())
    }

    fn get(&self, name: &str) -> u64 {
        let line = self.0.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|v| v.trim().parse().ok()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from a Debian 12 guest with cgroup v2 (shortened).
    #[test]
    fn reads_recorded_v2_files() {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in [
            (
                "cpu.stat",
                "usage_usec 52310\nuser_usec 40000\nsystem_usec 12310\nnr_periods 9\nnr_throttled 4\nthrottled_usec 150020\n",
            ),
            ("memory.current", "7340032\n"),
            ("memory.max", "max\n"),
            (
                "memory.stat",
                "anon 1048576\nfile 4194304\ninactive_anon 12\ninactive_file 2097152\npgfault 3011\npgmajfault 7\n",
            ),
            ("memory.events", "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n"),
            ("pids.current", "3\n"),
        ] {
            fs::write(dir.path().join(file), text).unwrap();
        }
        let cgroups = Cgroups { version: Version::V2 { root: dir.path().into() } };
        assert_eq!(
            cgroups.stats("/"),
            CgroupStats {
                cpu_usage_ns: 52_310_000,
                cpu_throttled_periods: 4,
                cpu_throttled_ns: 150_020_000,
                memory_usage: 7_340_032,
                memory_working_set: 5_242_880,
                memory_rss: 1_048_576,
                memory_limit: None,
                page_faults: 3011,
                major_page_faults: 7,
                pids: 3,
                oom_kills: 1,
            }
        );
        assert_eq!(cgroups.oom_kills("/"), 1);
    }

    #[test]
    fn reads_v1_files() {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("cpuacct.usage", "998877\n"),
            ("cpu.stat", "nr_periods 1\nnr_throttled 2\nthrottled_time 300\n"),
            ("memory.usage_in_bytes", "4096\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.stat", "rss 1\ntotal_rss 1024\ntotal_inactive_file 96\ntotal_pgfault 5\n"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
            ("pids.current", "1\n"),
        ] {
            fs::write(dir.path().join(file), text).unwrap();
        }
        let stats = v1(dir.path(), dir.path(), dir.path(), dir.path());
        assert_eq!((stats.cpu_usage_ns, stats.cpu_throttled_ns), (998_877, 300));
        assert_eq!((stats.memory_working_set, stats.memory_rss), (4000, 1024));
        assert_eq!((stats.memory_limit, stats.oom_kills), (None, 2));
    }
}
