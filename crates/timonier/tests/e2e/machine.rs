//! A machine that a case may switch off: namespaces of processes, mounts and network that end all
//! at once, as power does. Disks and cgroups are the host's.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::shell::{Result, eventually};

/// What the machine does when it starts. The shell then collects orphans, as process 1 must.
const BOOT: &str = "set -e
mount -t tmpfs tmpfs /run
busybox ip link set lo up
busybox ip link add uplink type veth
busybox ip addr add 198.51.100.2/24 dev uplink
busybox ip link set uplink up
busybox ip link set veth0 up
busybox ip route add default via 198.51.100.1
echo booted
while :; do sleep 1000 & wait; done";

/// A machine that runs, or is switched off.
pub struct Machine {
    power: Option<Child>,
}

impl Machine {
    /// Switches a machine on.
    pub fn boot() -> Result<Machine> {
        let mut machine = Machine { power: None };
        machine.power_on()?;
        Ok(machine)
    }

    pub fn power_on(&mut self) -> Result {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        let mut child = command
            .args(["sh", "-c", BOOT])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("unshare: {e}"))?;
        let output = child.stdout.take().expect("a piped standard output");
        self.power = Some(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).map_err(|e| e.to_string())?;
        if line != "booted\n" { Err("the machine did not boot".into()) } else { Ok(()) }
    }

    /// Every process, mount and interface of the machine is gone, without a word to any of them.
    /// Its cgroups are removed, because they would not survive either.
    pub fn power_off(&mut self, cgroup: &str) -> Result {
        let Some(mut child) = self.power.take() else { return Ok(()) };
        let _ = child.kill();
        child.wait().map_err(|e| e.to_string())?;
        eventually("the machine's cgroups are empty", || {
            cgroups(cgroup).iter().rev().try_for_each(|dir| {
                std::fs::remove_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))
            })
        })
    }

    /// A program on this machine.
    pub fn program(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        let pid = self.power.as_ref().map_or(0, Child::id);
        command.arg(format!("--target={pid}")).args(["--net", "--mount"]);
        command.arg(format!("--pid=/proc/{pid}/ns/pid_for_children")).arg("--").arg(program);
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut child) = self.power.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The directories of a cgroup and those below it, parents first, in every hierarchy.
fn cgroups(name: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let mut open: Vec<PathBuf> = std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|hierarchy| hierarchy.path().join(name))
        .chain([root.join(name)])
        .filter(|dir| dir.is_dir())
        .collect();
    let mut found = Vec::new();
    while let Some(dir) = open.pop() {
        let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        open.extend(entries.map(|e| e.path()).filter(|p| p.is_dir()));
        found.push(dir);
    }
    found
}
