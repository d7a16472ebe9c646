//! Processes as the kernel counts them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What a process of a cluster is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Server,
    Shim,
    /// Whatever a shim started.
    Container,
}

/// A process and its memory.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: i32,
    pub kind: Kind,
    pub memory: Memory,
}

/// Memory in MiB.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct Memory {
    /// Resident, pages shared with others included.
    pub resident: f64,
    /// Resident, a page that n processes share counted as its n-th part.
    pub proportional: f64,
}

/// The processes of the cluster in a data directory. A process that ends meanwhile is left out.
pub fn of(data: &Path) -> Vec<Process> {
    let mark = data.to_string_lossy().into_owned();
    let mut kinds = BTreeMap::new();
    let mut parents = BTreeMap::new();
    for pid in pids() {
        let dir = PathBuf::from(format!("/proc/{pid}"));
        let line = fs::read(dir.join("cmdline")).unwrap_or_default();
        if let Some(kind) = kind_of(&String::from_utf8_lossy(&line), &mark) {
            kinds.insert(pid, kind);
        }
        if let Some(parent) = stat(pid).and_then(|s| s.get(1)?.parse::<i32>().ok()) {
            parents.insert(pid, parent);
        }
    }
    let kind = |pid: i32| {
        let shim = |p: &i32| kinds.get(p) == Some(&Kind::Shim);
        kinds.get(&pid).copied().or_else(|| {
            std::iter::successors(parents.get(&pid), |p| parents.get(p))
                .take(64)
                .any(shim)
                .then_some(Kind::Container)
        })
    };
    parents
        .keys()
        .filter_map(|pid| Some(Process { pid: *pid, kind: kind(*pid)?, memory: memory(*pid)? }))
        .collect()
}

/// The server and shims name the data directory in their arguments.
fn kind_of(line: &str, data: &str) -> Option<Kind> {
    let mut arguments = line.split('\0').skip(1);
    let kind = match arguments.next()? {
        "server" => Kind::Server,
        "__shim" => Kind::Shim,
        _ => return None,
    };
    let below = |a: &str| a.strip_prefix(data).is_some_and(|r| r.is_empty() || r.starts_with('/'));
    arguments.any(below).then_some(kind)
}

/// The memory of a process; `None` where it is gone.
pub fn memory(pid: i32) -> Option<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let mib = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<f64>().ok().map(|kib| kib / 1024.0)
    };
    Some(Memory { resident: mib("Rss:")?, proportional: mib("Pss:")? })
}

/// Seconds of processor time of a process and of those of its children that have ended.
pub fn processor_time(pid: i32) -> Option<f64> {
    let fields = stat(pid)?;
    let ticks: u64 = (11..15).filter_map(|i| fields.get(i)?.parse::<u64>().ok()).sum();
    let hertz = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    Some(ticks as f64 / hertz as f64)
}

/// Seconds of processor time of all children of this process that have ended.
pub fn processor_time_of_ended_children() -> nix::Result<f64> {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = (usage.user_time() + usage.system_time()).num_microseconds();
    Ok(micros as f64 / 1e6)
}

fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// The fields of `/proc/PID/stat` after the program's name, which may hold blanks.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_processes_are_told_from_others() {
        let kind = |line: &str| kind_of(line, "/d/c");
        assert_eq!(kind("timonier\0server\0--background\0--data-dir\0/d/c\0"), Some(Kind::Server));
        assert_eq!(kind("timonier\0__shim\0/d/c/run/pods/x\0"), Some(Kind::Shim));
        assert_eq!(kind("timonier\0__shim\0/d/c2/run/pods/x\0"), None);
        assert_eq!(kind("vi\0/d/c/run\0"), None);
    }

    #[test]
    fn this_process_has_memory_and_time() {
        let pid = std::process::id() as i32;
        let memory = memory(pid).unwrap();
        assert!(memory.resident >= memory.proportional && memory.proportional > 0.0);
        assert!(processor_time(pid).is_some());
        assert!(stat(pid).unwrap()[1].parse::<i32>().is_ok());
    }
}
