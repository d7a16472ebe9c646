//! Control groups, v1 (and hybrid) or v2, behind one small type.
//!
//! Paths are absolute below the root of every hierarchy (`/timonier/kubepods/pod…`). All calls are
//! plain file operations, so that the shim and its children can use them too.

mod devices;
mod limits;
mod stats;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use timonier_meta::mountinfo::mounts;

pub use devices::DeviceRule;
pub use limits::OOM_GROUP;

/// How often killing is tried again while processes are still there.
const KILL_ATTEMPTS: u32 = 50;
/// How often removal is tried again while the kernel still holds dying processes: five seconds, for a
/// busy machine.
const REMOVE_ATTEMPTS: u32 = 1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const REMOVE_PAUSE: Duration = Duration::from_millis(5);

/// The control groups of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroups {
    version: Version,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Version {
    /// One mount per controller, and perhaps a v2 mount without controllers beside them.
    V1 {
        hierarchies: Vec<Hierarchy>,
    },
    V2 {
        root: PathBuf,
    },
}

/// One mounted hierarchy of v1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    pub dir: PathBuf,
    /// `memory`, `cpu`, `cpuacct`, …; `name=systemd` when named; empty for the v2 mount.
    pub controllers: Vec<String>,
}

impl Cgroups {
    /// Finds what is mounted.
    pub fn detect() -> io::Result<Self> {
        Self::parse(&fs::read("/proc/self/mountinfo")?).ok_or_else(|| {
            io::Error::new(io::ErrorKind::Unsupported, "no cgroup file system is mounted")
        })
    }

    /// Reads the text of `/proc/self/mountinfo`.
    fn parse(mountinfo: &[u8]) -> Option<Self> {
        let mut hierarchies = Vec::new();
        let mut unified = None;
        for mount in mounts(mountinfo) {
            // A bind mount of one group (seen inside containers) is not the hierarchy's root; the
            // first mount of a hierarchy wins.
            let whole = mount.root == b"/" || mount.root.starts_with(b"/..");
            let dir = PathBuf::from(OsString::from_vec(mount.point));
            match mount.kind {
                "cgroup2" if unified.is_none() => unified = Some(dir),
                "cgroup" if whole => {
                    let options = mount.options.split(',');
                    let controllers: Vec<String> =
                        options.filter(|o| is_controller(o)).map(String::from).collect();
                    if !hierarchies.iter().any(|h: &Hierarchy| h.controllers == controllers) {
                        hierarchies.push(Hierarchy { dir, controllers });
                    }
                }
                _ => {}
            }
        }
        if hierarchies.is_empty() {
            return Some(Self { version: Version::V2 { root: unified? } });
        }
        hierarchies.extend(unified.map(|dir| Hierarchy { dir, controllers: Vec::new() }));
        Some(Self { version: Version::V1 { hierarchies } })
    }

    pub fn is_v2(&self) -> bool {
        matches!(self.version, Version::V2 { .. })
    }

    /// Creates a group and its parents in every hierarchy.
    pub fn create(&self, path: &str) -> io::Result<()> {
        check(path)?;
        match &self.version {
            Version::V1 { hierarchies } => {
                for hierarchy in hierarchies {
                    create_v1(hierarchy, path)?;
                }
                Ok(())
            }
            Version::V2 { root } => create_v2(root, path),
        }
    }

    pub fn exists(&self, path: &str) -> bool {
        self.dirs(path).iter().any(|(_, dir)| dir.is_dir())
    }

    /// Moves the calling, single-threaded process into the group of every v1 hierarchy, and returns
    /// the group of the v2 hierarchy for [`fork_into`].
    ///
    /// Moving a process with `cgroup.procs` waits for every processor to pass through a quiet state
    /// (13 ms measured) and holds up every fork of the host meanwhile. Moving only the calling
    /// thread with `tasks`, and being born in a v2 group, does not.
    pub fn join(&self, path: &str) -> io::Result<Option<OwnedFd>> {
        let below = path.trim_start_matches('/');
        if let Version::V1 { hierarchies } = &self.version {
            for hierarchy in hierarchies.iter().filter(|h| !h.controllers.is_empty()) {
                let dir = hierarchy.dir.join(below);
                fs::write(dir.join("tasks"), "0").map_err(|e| named(&dir, "tasks", e))?;
            }
        }
        let Some(root) = self.unified() else { return Ok(None) };
        Ok(Some(fs::File::open(root.join(below)).map_err(|e| named(root, below, e))?.into()))
    }

    /// The groups directly below the roots whose names begin so, as paths.
    pub fn with_prefix(&self, prefix: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (_, dir) in self.dirs("/") {
            let names =
                subdirs(&dir).into_iter().filter_map(|d| d.file_name().map(|n| n.to_owned()));
            let names = names.filter_map(|n| n.into_string().ok());
            found.extend(names.filter(|n| n.starts_with(prefix)).map(|n| format!("/{n}")));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The group's directories: the name under `/sys/fs/cgroup` as seen in a container (empty for
    /// v2), and where it is on the host.
    pub fn dirs(&self, path: &str) -> Vec<(String, PathBuf)> {
        let below = path.trim_start_matches('/');
        match &self.version {
            Version::V1 { hierarchies } => hierarchies
                .iter()
                .map(|h| {
                    let name = h.dir.file_name().unwrap_or_default().to_string_lossy();
                    (name.into_owned(), h.dir.join(below))
                })
                .collect(),
            Version::V2 { root } => vec![(String::new(), root.join(below))],
        }
    }

    /// The directories that the container gets to see. On a host with both versions these are v1's,
    /// as with runc: programs that find a v2 hierarchy would look for their limits there.
    pub fn shown_dirs(&self, path: &str) -> Vec<(String, PathBuf)> {
        let mut dirs = self.dirs(path);
        if let (Version::V1 { .. }, Some(root)) = (&self.version, self.unified()) {
            dirs.retain(|(_, dir)| !dir.starts_with(root));
        }
        dirs
    }

    /// Every process in the group and below it.
    pub fn processes(&self, path: &str) -> Vec<i32> {
        let mut found = Vec::new();
        for (_, dir) in self.dirs(path) {
            collect_processes(&dir, &mut found);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Kills every process in the group and below it, until none is left.
    pub fn kill(&self, path: &str) {
        if let Version::V2 { root } = &self.version {
            let file = root.join(path.trim_start_matches('/')).join("cgroup.kill");
            if fs::write(file, "1").is_ok() {
                return;
            }
        }
        // Freezing first means that nothing can fork away between listing and killing.
        self.freeze(path, true);
        for _ in 0..KILL_ATTEMPTS {
            let processes = self.processes(path);
            for pid in processes.iter().filter_map(|p| Pid::from_raw(*p)) {
                let _ = kill_process(pid, Signal::KILL);
            }
            self.freeze(path, false);
            if processes.is_empty() {
                return;
            }
            std::thread::sleep(REMOVE_PAUSE);
        }
    }

    /// Stops or continues every process of the group; best effort, for [`Cgroups::kill`].
    fn freeze(&self, path: &str, on: bool) {
        let below = path.trim_start_matches('/');
        match &self.version {
            Version::V1 { .. } => {
                if let Some(h) = self.controller("freezer") {
                    let state = if on { "FROZEN" } else { "THAWED" };
                    let _ = fs::write(h.join(below).join("freezer.state"), state);
                }
            }
            Version::V2 { root } => {
                let _ =
                    fs::write(root.join(below).join("cgroup.freeze"), if on { "1" } else { "0" });
            }
        }
    }

    /// Kills what is left and removes the group with everything below it.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        check(path)?;
        if !self.processes(path).is_empty() {
            self.kill(path);
        }
        for (_, dir) in self.dirs(path) {
            remove_tree(&dir)?;
        }
        Ok(())
    }

    /// Where a v1 controller is mounted, or the root of v2.
    fn controller(&self, name: &str) -> Option<&Path> {
        match &self.version {
            Version::V1 { hierarchies } => hierarchies
                .iter()
                .find(|h| h.controllers.iter().any(|c| c == name))
                .map(|h| h.dir.as_path()),
            Version::V2 { root } => Some(root),
        }
    }

    /// The directory of the v2 hierarchy, which v1 hosts may have beside the others.
    fn unified(&self) -> Option<&Path> {
        match &self.version {
            Version::V1 { hierarchies } => {
                hierarchies.iter().find(|h| h.controllers.is_empty()).map(|h| h.dir.as_path())
            }
            Version::V2 { root } => Some(root),
        }
    }
}

/// Forks a single-threaded process; the child is born in a v2 group and is a child of this process's
/// parent. Returns 0 in the child.
pub fn fork_into(group: Option<&OwnedFd>) -> io::Result<i32> {
    /// `struct clone_args` of Linux 5.7.
    #[repr(C)]
    #[derive(Default)]
    struct Arguments {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }
    // With CLONE_PARENT the signal is that of this process, SIGCHLD.
    let mut arguments = Arguments { flags: libc::CLONE_PARENT as u64, ..Arguments::default() };
    if let Some(group) = group {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = group.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM this is a fork; with one thread no lock can be held by another.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &arguments, size_of::<Arguments>()) };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid as i32) }
}

fn is_controller(option: &str) -> bool {
    const OTHER: [&str; 6] = ["rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode"];
    !option.is_empty() && !OTHER.contains(&option) && !option.starts_with("release_agent")
}

/// Refuses paths that could reach the root of a hierarchy or leave it.
fn check(path: &str) -> io::Result<()> {
    let mut parts = path.strip_prefix('/').unwrap_or_default().split('/');
    if path.len() < 2 || parts.any(|p| p.is_empty() || p == "." || p == "..") {
        let text = format!("cgroup path {path:?} must be absolute, clean and not the root");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(())
}

fn create_v1(hierarchy: &Hierarchy, path: &str) -> io::Result<()> {
    let cpuset = hierarchy.controllers.iter().any(|c| c == "cpuset");
    let mut dir = hierarchy.dir.clone();
    for part in path.split('/').filter(|p| !p.is_empty()) {
        let parent = dir.clone();
        dir.push(part);
        match fs::create_dir(&dir) {
            Ok(()) if cpuset => inherit_cpuset(&parent, &dir)?,
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(named(&dir, "", e)),
        }
    }
    Ok(())
}

/// A new cpuset group of v1 is empty and takes no process until it has processors and memory.
fn inherit_cpuset(parent: &Path, dir: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = fs::read_to_string(dir.join(file))?;
        if own.trim().is_empty() {
            let value = fs::read_to_string(parent.join(file))?;
            fs::write(dir.join(file), value.trim()).map_err(|e| named(dir, file, e))?;
        }
    }
    Ok(())
}

fn create_v2(root: &Path, path: &str) -> io::Result<()> {
    let mut dir = root.to_path_buf();
    for part in path.split('/').filter(|p| !p.is_empty()) {
        enable_controllers(&dir);
        dir.push(part);
        match fs::create_dir(&dir) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(named(&dir, "", e)),
        }
    }
    Ok(())
}

/// Hands every controller down. One at a time, because a single refusal would lose all.
fn enable_controllers(dir: &Path) {
    let Ok(available) = fs::read_to_string(dir.join("cgroup.controllers")) else { return };
    let enabled = fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap_or_default();
    for controller in available.split_whitespace() {
        if !enabled.split_whitespace().any(|e| e == controller) {
            let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
}

fn collect_processes(dir: &Path, into: &mut Vec<i32>) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    into.extend(text.lines().filter_map(|l| l.trim().parse::<i32>().ok()).filter(|p| *p > 0));
    for child in subdirs(dir) {
        collect_processes(&child, into);
    }
}

fn subdirs(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .map(|e| e.path())
        .collect()
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    for child in subdirs(dir) {
        remove_tree(&child)?;
    }
    for attempt in 0.. {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) if attempt == REMOVE_ATTEMPTS => return Err(named(dir, "", e)),
            Err(_) => std::thread::sleep(REMOVE_PAUSE),
        }
    }
    Ok(())
}

/// An error that names the file.
fn named(dir: &Path, file: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", dir.join(file).display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 25 0:27 / /sys/fs/cgroup rw shared:1 - tmpfs tmpfs rw,mode=755
31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 30 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
34 30 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn finds_the_hierarchies_of_a_hybrid_host() {
        let cgroups = Cgroups::parse(HYBRID.as_bytes()).unwrap();
        assert!(!cgroups.is_v2());
        assert_eq!(cgroups.controller("cpuacct").unwrap(), Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(cgroups.controller("pids"), None);
        assert_eq!(cgroups.unified().unwrap(), Path::new("/sys/fs/cgroup/unified"));
        let names: Vec<String> = cgroups.dirs("/a/b").into_iter().map(|(n, _)| n).collect();
        assert_eq!(names, ["cpu,cpuacct", "memory", "systemd", "unified"]);
        let shown: Vec<String> = cgroups.shown_dirs("/g").into_iter().map(|d| d.0).collect();
        assert_eq!(shown, ["cpu,cpuacct", "memory", "systemd"]);
    }

    #[test]
    fn finds_v2() {
        let line = "24 1 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let cgroups = Cgroups::parse(line.as_bytes()).unwrap();
        assert!(cgroups.is_v2());
        assert_eq!(cgroups.dirs("/a")[0].1, Path::new("/sys/fs/cgroup/a"));
        assert_eq!(Cgroups::parse(b""), None);
    }

    #[test]
    fn refuses_paths_that_are_not_clean() {
        for path in ["", "/", "a/b", "/a/../b", "/a//b", "/a/", "/./a"] {
            assert!(check(path).is_err(), "{path}");
        }
        assert!(check("/timonier/pod-1").is_ok());
    }

    /// The v2 hierarchy of this host, also where it has no controllers: birth into a group, the
    /// device filter, killing and removal are the kernel's own here.
    #[test]
    fn v2_groups_of_this_host() {
        let Some(root) = Cgroups::detect().ok().and_then(|c| c.unified().map(PathBuf::from)) else {
            return eprintln!("skipped: no cgroup2 is mounted");
        };
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: needs root");
        }
        let cgroups = Cgroups { version: Version::V2 { root } };
        let parent = format!("/timonier-test-v2-{}", std::process::id());
        let path = format!("{parent}/pod/container");
        cgroups.create(&path).unwrap();
        cgroups.restrict_devices(&path, &[DeviceRule::new('a', None, None, "rwm")]).unwrap();
        cgroups.restrict_devices(&path, &DeviceRule::defaults()).unwrap();
        let group = cgroups.join(&path).unwrap().unwrap();
        // A program of its own, because this process has threads.
        let script = "echo $$ > \"$0/cgroup.procs\"; \
            echo x > /dev/null || exit 1; head -c1 /dev/zero > /dev/null || exit 2; \
            cat /dev/kmsg > /dev/null 2>&1 & sleep 0.2; kill $! 2>/dev/null && exit 3; \
            head -c1 /dev/mem >/dev/null 2>&1 && exit 4; touch \"$1\"; sleep 1000";
        let dir = cgroups.dirs(&path)[0].1.clone();
        let scratch = tempfile::tempdir().unwrap();
        let reached = scratch.path().join("reached");
        let mut shell = std::process::Command::new("/bin/sh");
        let mut child = shell.args(["-c", script]).arg(&dir).arg(&reached).spawn().unwrap();
        let mut early = None;
        while !reached.exists() && early.is_none() {
            std::thread::sleep(Duration::from_millis(20));
            early = child.try_wait().unwrap();
        }
        cgroups.kill(&parent);
        let status = child.wait().unwrap();
        drop(group);
        cgroups.remove(&parent).unwrap();
        assert!(!cgroups.exists(&parent));
        assert_eq!(early, None, "the filter let something through");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }
}
