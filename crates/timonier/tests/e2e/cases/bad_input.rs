//! What a cluster says when the host or its user is at fault.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cases::images;
use crate::cluster::{Cluster, binary};
use crate::shell::{Output, Result, contains, equal, eventually, run, succeed};

/// Debian's user `nobody`.
const NOBODY: u32 = 65534;

fn refused(output: &Output, parts: &[&str]) -> Result {
    if output.status == 0 {
        return Err(format!("it succeeded:\n{}{}", output.stdout, output.stderr));
    }
    contains(&output.stderr, parts)
}

pub fn no_root(cluster: &Cluster) -> Result {
    // The build directory may be closed to others.
    let dir = cluster.base().join("nobody");
    fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    let program = dir.join("timonier");
    fs::copy(binary(), &program).map_err(|e| e.to_string())?;
    for path in [cluster.base(), &dir, &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(|e| e.to_string())?;
    }
    let fresh = dir.join("data");
    let result = [
        (vec!["up", "--data-dir"], &fresh, "a node needs root"),
        (vec!["server", "--data-dir"], &fresh, "a node needs root"),
        (vec!["up", "--data-dir"], &cluster.data, "a node needs root"),
        (vec!["status", "--data-dir"], &cluster.data, "run it with sudo"),
        (vec!["down", "--data-dir"], &cluster.data, "run it with sudo"),
        (vec!["reset", "--data-dir"], &cluster.data, "run it with sudo"),
        (vec!["images", "--data-dir"], &cluster.data, "run it with sudo"),
        (vec!["example", "--data-dir"], &cluster.data, "root"),
        (vec!["build", "-t", "x", ".", "--data-dir"], &cluster.data, "root"),
    ]
    .into_iter()
    .try_for_each(|(arguments, data, expected)| {
        let mut command = Command::new(&program);
        command.args(&arguments).arg(data).env("HOME", "/nonexistent").uid(NOBODY).gid(NOBODY);
        let output = run(command.current_dir("/"), "")?;
        refused(&output, &[expected]).map_err(|why| format!("{arguments:?}: {why}"))
    });
    fs::remove_dir_all(&dir).map_err(|e| e.to_string())?;
    result?;
    cluster.timonier(&["status"]).map(drop)
}

pub fn second_server(cluster: &Cluster) -> Result {
    let pid = cluster.server_pid()?;
    let output = run(&mut cluster.command(&["server"]), "")?;
    let who = format!("another server (process {pid}) runs on this data directory already");
    refused(&output, &[&who]).or_else(|_| contains(&output.stdout, &[&who]))?;
    equal("the first server's process", cluster.server_pid()?, pid)?;
    cluster.timonier(&["status"]).map(drop)
}

pub fn taken_name(cluster: &Cluster) -> Result {
    let data = cluster.base().join("namesake");
    let mut command = Command::new(binary());
    command.args(["up", "--name", &cluster.name, "--data-dir"]).arg(&data);
    let output = run(&mut command, "")?;
    let owner = cluster.data.display().to_string();
    refused(&output, &[&owner, "choose another name with --name"])?;
    equal("the second directory is there", data.exists(), false)
}

pub fn taken_port(cluster: &Cluster) -> Result {
    let taken = TcpListener::bind("0.0.0.0:0").map_err(|e| e.to_string())?;
    let port = taken.local_addr().map_err(|e| e.to_string())?.port();
    let other = cluster.neighbour("port")?;
    let output = run(other.command(&["up"]).args(["--port", &port.to_string()]), "")?;
    let who = format!("port {port} cannot be used: process {} (", std::process::id());
    refused(&output, &[&who])?;
    equal("the data directory is there", other.data.exists(), false)
}

pub fn missing_kernel_features(cluster: &Cluster) -> Result {
    let other = cluster.neighbour("kernel")?;
    let attempt = |options: &[&str], script: &str| {
        let mut command = Command::new("unshare");
        command.args(options).args(["sh", "-c", script, "sh"]).arg(binary());
        run(command.args(["up", "--data-dir"]).arg(&other.data), "")
    };
    // A kernel without overlayfs and cgroup controllers, as far as /proc and /sys tell.
    let hide = "grep -v overlay /proc/filesystems >/tmp/filesystems.$$ && \
        mount --bind /tmp/filesystems.$$ /proc/filesystems && rm /tmp/filesystems.$$ && \
        mount -t tmpfs tmpfs /sys/fs/cgroup && export PATH=/nonexistent && exec \"$@\"";
    let output = attempt(&["--mount"], hide)?;
    refused(
        &output,
        &[
            "this host lacks what a node needs",
            "overlayfs (CONFIG_OVERLAY_FS",
            "the cgroup controllers cpu, memory, pids",
        ],
    )?;
    // A kernel that makes no network namespaces.
    let forbid = "echo 0 >/proc/sys/user/max_net_namespaces && exec \"$@\"";
    let output = attempt(&["--user", "--map-root-user"], forbid)?;
    refused(&output, &["network namespaces", "CONFIG_NET_NS"])?;
    equal("the data directory is there", other.data.exists(), false)
}

/// The data directory on a small disk of its own, until the value is dropped.
struct SmallDisk<'a>(&'a Path);

impl SmallDisk<'_> {
    fn mount(at: &Path) -> Result<SmallDisk<'_>> {
        fs::create_dir_all(at).map_err(|e| e.to_string())?;
        let mut command = Command::new("mount");
        succeed(command.args(["-t", "tmpfs", "-o", "size=128m,mode=700", "tmpfs"]).arg(at), "")?;
        Ok(SmallDisk(at))
    }

    /// Takes every byte that is left.
    fn fill(&self) -> Result {
        let mut file = File::create(self.0.join("filler")).map_err(|e| e.to_string())?;
        let full = [vec![1; 1 << 20], vec![1; 512]].iter().all(|chunk| {
            loop {
                match file.write_all(chunk) {
                    Ok(()) => {}
                    Err(e) => break e.kind() == std::io::ErrorKind::StorageFull,
                }
            }
        });
        if full { Ok(()) } else { Err("the small disk does not fill up".into()) }
    }

    fn free(&self) -> Result {
        fs::remove_file(self.0.join("filler")).map_err(|e| e.to_string())
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

pub fn full_disk(first: &Cluster) -> Result {
    let cluster = first.neighbour("full")?;
    let data = cluster.data.clone();
    let disk = SmallDisk::mount(&data)?;
    let result = on_full_disk(&cluster, &disk);
    let reset = cluster.timonier(&["reset"]);
    let left: Vec<_> = fs::read_dir(&data).into_iter().flatten().flatten().collect();
    drop(disk);
    result?;
    reset?;
    // The directory that the disk is mounted on stays, empty.
    equal("files after reset", left.len(), 0)
}

fn on_full_disk(cluster: &Cluster, disk: &SmallDisk<'_>) -> Result {
    cluster.start(images::busybox)?;
    let ns = cluster.namespace("full")?;
    ns.kubectl(&["run", "steady", "--image=busybox:e2e", "--command", "--", "sleep", "100000"])?;
    ns.wait("condition=Ready", &["pod/steady"])?;
    let state = "jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}";
    let before = ns.kubectl(&["get", "pod", "steady", "-o", state])?;
    let pid = cluster.server_pid()?;
    disk.fill()?;
    let value = "x".repeat(100_000);
    let mut written = Vec::new();
    let why = loop {
        let name = format!("m{}", written.len());
        let manifest = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{k: {value}}}\n"
        );
        let output = run(&mut ns.command(&["create", "-f", "-"]), &manifest)?;
        if output.status != 0 {
            break output.stderr;
        }
        written.push(name);
    };
    contains(&why, &["Error from server", "the store's disk is full", "nothing was changed"])?;
    let all_there = || -> Result {
        let list = ns.kubectl(&["get", "cm", "-o", "jsonpath={.items[*].metadata.name}"])?;
        let names: Vec<&str> = list.split(' ').collect();
        match written.iter().find(|w| !names.contains(&w.as_str())) {
            Some(lost) => Err(format!("{lost} was acknowledged and is lost")),
            None => Ok(()),
        }
    };
    all_there()?;
    equal("the server's process on a full disk", cluster.server_pid()?, pid)?;
    // It also starts on a full disk, and what was acknowledged is there.
    kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(|e| e.to_string())?;
    cluster.timonier(&["up"])?;
    all_there()?;
    disk.free()?;
    eventually("writes go on once there is room", || ns.kubectl(&["create", "cm", "after"]))?;
    all_there()?;
    equal("the container", ns.kubectl(&["get", "pod", "steady", "-o", state])?, before)?;
    equal("exec", ns.kubectl(&["exec", "steady", "--", "echo", "x"])?.as_str(), "x\n")
}
