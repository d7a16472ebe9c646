//! The cgroups of all pods and of the classes of service: `kubepods`, `burstable`, `besteffort`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use timonier_meta::mountinfo::mounts;
use timonier_object::Value;
use timonier_pod::resources::{Qos, cpu_shares, cpu_weight, pod_cpu_request, qos};

const ROOT: &str = "/sys/fs/cgroup";

/// Where cgroups are mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hierarchy {
    /// One mount per controller (or group of controllers).
    V1(Vec<PathBuf>),
    V2(PathBuf),
}

/// The cgroups above those of pods.
pub(crate) struct Cgroups {
    hierarchy: Hierarchy,
    /// Relative to the hierarchy's root.
    root: PathBuf,
    burstable_shares: i64,
}

impl Cgroups {
    /// Makes the cgroups. `root` is absolute below the hierarchy's root.
    pub fn prepare(root: &str, cpus: u32) -> io::Result<Cgroups> {
        let table = fs::read("/proc/self/mountinfo")?;
        let cgroups = Cgroups {
            hierarchy: hierarchy(&table),
            root: PathBuf::from(root.trim_start_matches('/')),
            burstable_shares: 0,
        };
        for below in ["", "burstable", "besteffort"] {
            cgroups.make(below)?;
        }
        cgroups.set_shares("", cpu_shares(i64::from(cpus) * 1000))?;
        cgroups.set_shares("besteffort", cpu_shares(0))?;
        Ok(cgroups)
    }

    /// Gives the burstable pods what they ask for together.
    pub fn update<'a>(&mut self, pods: impl Iterator<Item = &'a Value>) {
        let burstable = pods.filter(|p| qos(p) == Qos::Burstable).map(pod_cpu_request);
        let shares = cpu_shares(burstable.sum());
        if shares == self.burstable_shares {
            return;
        }
        match self.set_shares("burstable", shares) {
            Ok(()) => self.burstable_shares = shares,
            Err(error) => tracing::warn!(%error, "setting the shares of burstable pods"),
        }
    }

    fn mounts(&self) -> &[PathBuf] {
        match &self.hierarchy {
            Hierarchy::V1(mounts) => mounts,
            Hierarchy::V2(mount) => std::slice::from_ref(mount),
        }
    }

    fn make(&self, below: &str) -> io::Result<()> {
        let path = self.root.join(below);
        for mount in self.mounts() {
            let mut dir = mount.clone();
            for part in path.components() {
                if let Hierarchy::V2(_) = self.hierarchy {
                    enable_controllers(&dir);
                }
                let parent = dir.clone();
                dir.push(part);
                match fs::create_dir(&dir) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(io::Error::new(e.kind(), format!("{}: {e}", dir.display())));
                    }
                    _ => inherit_cpuset(&parent, &dir)?,
                }
            }
            if let Hierarchy::V2(_) = self.hierarchy {
                enable_controllers(&dir);
            }
        }
        Ok(())
    }

    fn set_shares(&self, below: &str, shares: i64) -> io::Result<()> {
        let (file, value) = match self.hierarchy {
            Hierarchy::V1(_) => ("cpu.shares", shares),
            Hierarchy::V2(_) => ("cpu.weight", cpu_weight(shares)),
        };
        for mount in self.mounts() {
            let path = mount.join(&self.root).join(below).join(file);
            if path.exists() {
                fs::write(&path, value.to_string())?;
            }
        }
        Ok(())
    }
}

/// Finds the hierarchies in a mount table. On a hybrid host the controllers of v1 count.
fn hierarchy(table: &[u8]) -> Hierarchy {
    let mut v1 = BTreeMap::new();
    let mut v2 = None;
    for mount in mounts(table) {
        let at = PathBuf::from(OsString::from_vec(mount.point));
        if !at.starts_with(ROOT) {
            continue;
        }
        match mount.kind {
            // The same controllers mounted twice count once.
            "cgroup" if !mount.options.contains("name=") => {
                v1.entry(mount.options).or_insert(at);
            }
            "cgroup2" => v2 = Some(at),
            _ => {}
        }
    }
    match (v1.is_empty(), v2) {
        (true, Some(at)) => Hierarchy::V2(at),
        (true, None) => Hierarchy::V2(PathBuf::from(ROOT)),
        (false, _) => Hierarchy::V1(v1.into_values().collect()),
    }
}

/// Lets children of a v2 cgroup be limited; a controller that the kernel has not is left out.
fn enable_controllers(dir: &Path) {
    let Ok(available) = fs::read_to_string(dir.join("cgroup.controllers")) else { return };
    for controller in available.split_whitespace() {
        let file = dir.join("cgroup.subtree_control");
        if let Err(error) = fs::write(file, format!("+{controller}")) {
            tracing::debug!(%error, controller, dir = %dir.display(), "cgroup controller");
        }
    }
}

/// A v1 cpuset without processors and memory nodes takes no process.
fn inherit_cpuset(parent: &Path, dir: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (from, to) = (parent.join(file), dir.join(file));
        let (Ok(above), Ok(own)) = (fs::read_to_string(from), fs::read_to_string(&to)) else {
            continue;
        };
        let v1 = !dir.join("cgroup.controllers").exists();
        if v1 && own.trim().is_empty() && !above.trim().is_empty() {
            fs::write(to, above.trim())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found() {
        let v1 = "30 29 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                  31 29 0:27 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n\
                  32 29 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                  33 29 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let want = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpuacct"].map(PathBuf::from).to_vec();
        assert_eq!(hierarchy(v1.as_bytes()), Hierarchy::V1(want));
        let v2 = "30 29 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(hierarchy(v2.as_bytes()), Hierarchy::V2("/sys/fs/cgroup".into()));
    }

    #[test]
    fn a_tree_of_v2_files() {
        let base = std::env::temp_dir().join(format!("timonier-cgroup-{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        fs::create_dir_all(&base).unwrap();
        fs::write(base.join("cgroup.controllers"), "cpu memory\n").unwrap();
        let mut cgroups = Cgroups {
            hierarchy: Hierarchy::V2(base.clone()),
            root: "t/kubepods".into(),
            burstable_shares: 0,
        };
        cgroups.make("burstable").unwrap();
        let weight = base.join("t/kubepods/burstable/cpu.weight");
        fs::write(&weight, "100").unwrap();
        let pod = timonier_object::value!({ "spec": { "containers": [
            { "name": "a", "resources": { "requests": { "cpu": "1" } } }] } });
        cgroups.update([&pod].into_iter());
        assert_eq!(fs::read_to_string(&weight).unwrap(), "39");
        assert_eq!(fs::read_to_string(base.join("cgroup.subtree_control")).unwrap(), "+memory");
        fs::remove_dir_all(&base).unwrap();
    }
}
