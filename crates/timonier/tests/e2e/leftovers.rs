//! What a cluster could leave on the host.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cluster;
use crate::shell::Result;

/// Names of everything on the host that a cluster makes some of.
pub fn snapshot() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    mounts(&mut found);
    interfaces(&mut found);
    routes(&mut found);
    cgroups(&mut found);
    processes(&mut found);
    tables(&mut found);
    found
}

/// Fails with what is there now and was not before.
pub fn compare(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Result {
    let new: Vec<&String> = after.difference(before).collect();
    if new.is_empty() {
        return Ok(());
    }
    Err(format!(
        "left behind:\n{}",
        new.into_iter().map(|s| format!("  {s}\n")).collect::<String>()
    ))
}

fn lines(path: &str) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn mounts(found: &mut BTreeSet<String>) {
    for line in lines("/proc/self/mountinfo") {
        let fields: Vec<&str> = line.split(' ').collect();
        found.insert(format!("mount {}", fields.get(4).unwrap_or(&"")));
    }
}

fn interfaces(found: &mut BTreeSet<String>) {
    for entry in fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
        found.insert(format!("interface {}", entry.file_name().to_string_lossy()));
    }
}

fn routes(found: &mut BTreeSet<String>) {
    for line in lines("/proc/net/route").iter().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [interface, destination, ..] = fields[..] {
            found.insert(format!("route {destination} on {interface}"));
        }
    }
}

fn cgroups(found: &mut BTreeSet<String>) {
    fn walk(dir: &Path, depth: usize, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if depth > 0 && path.is_dir() && !path.is_symlink() {
                found.insert(format!("cgroup {}", path.display()));
                walk(&path, depth - 1, found);
            }
        }
    }
    walk(Path::new("/sys/fs/cgroup"), 4, found);
}

/// Processes of the binary under test: shims, servers, containers' first processes.
fn processes(found: &mut BTreeSet<String>) {
    let binary = fs::canonicalize(cluster::binary()).unwrap_or_default();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = entry.path();
        if fs::read_link(path.join("exe")).is_ok_and(|exe| exe == binary) {
            let line = fs::read(path.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            found.insert(format!("process {} {line}", path.display()));
        }
    }
}

/// Tables of packet rules, where the nft program is there to list them; the network crate's own
/// tests read them over netlink.
fn tables(found: &mut BTreeSet<String>) {
    if let Ok(output) = Command::new("nft").args(["list", "tables"]).output() {
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            found.insert(format!("rules {line}"));
        }
    }
}
