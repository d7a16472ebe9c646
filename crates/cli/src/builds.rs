//! The cgroups of image builds.
//!
//! A build belongs to a data directory and not to a cluster, which need not be there yet. Its group
//! has a name that no cluster's has (theirs have no dot before their own name), that tells the
//! directory, and that tells whether the build still runs.

use std::fs;
use std::io;

use timonier_runtime::Cgroups;

use crate::cluster::Paths;
use crate::host;

/// The builds into one data directory.
pub struct Builds {
    prefix: String,
}

impl Builds {
    /// Those of this data directory.
    pub fn of(paths: &Paths) -> Self {
        let directory = host::hash(&paths.data.to_string_lossy());
        Builds { prefix: format!("timonier.build-{directory:016x}-") }
    }

    /// The cgroup of this process's steps.
    pub fn own(&self) -> io::Result<String> {
        let pid = std::process::id();
        let started = started(pid).ok_or_else(|| io::Error::other("/proc is not to be read"))?;
        Ok(format!("/{}{pid}-{started}", self.prefix))
    }

    /// Removes what builds left that were killed.
    pub fn sweep(&self, cgroups: &Cgroups) -> io::Result<()> {
        for group in cgroups.with_prefix(&self.prefix) {
            if !self.runs(&group) {
                cgroups.remove(&group)?;
            }
        }
        Ok(())
    }

    fn runs(&self, group: &str) -> bool {
        let of = || {
            let (pid, at) = group.strip_prefix('/')?.strip_prefix(&self.prefix)?.split_once('-')?;
            Some(started(pid.parse().ok()?)? == at.parse::<u64>().ok()?)
        };
        of().unwrap_or(false)
    }
}

/// When a process started, in ticks since the boot: with it a process number names one process only.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it is in parentheses and may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builds(dir: &str) -> Builds {
        Builds::of(&Paths { data: dir.into() })
    }

    #[test]
    fn a_name_tells_the_directory_and_whether_it_runs() {
        let (one, two) = (builds("/one"), builds("/two"));
        let own = one.own().unwrap();
        assert!(one.runs(&own) && !two.runs(&own));
        let (before, ticks) = own.rsplit_once('-').unwrap();
        let ticks: u64 = ticks.parse().unwrap();
        assert!(!one.runs(&format!("{before}-{}", ticks + 1)), "another process of this number");
        assert!(!one.runs(&format!("/{}x-y", one.prefix)));
    }

    #[test]
    fn what_was_killed_is_swept() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: needs root");
        }
        let cgroups = Cgroups::detect().unwrap();
        let name = format!("/test-{}", std::process::id());
        let (mine, other) = (builds(&name), builds(&format!("{name}-other")));
        let dead = |b: &Builds| format!("/{}4194305-1", b.prefix);
        let groups = [mine.own().unwrap(), dead(&mine), dead(&other)];
        for group in &groups {
            cgroups.create(group).unwrap();
        }
        mine.sweep(&cgroups).unwrap();
        let left: Vec<bool> = groups.iter().map(|g| cgroups.exists(g)).collect();
        for group in &groups {
            cgroups.remove(group).unwrap();
        }
        assert_eq!(left, [true, false, true]);
    }
}
