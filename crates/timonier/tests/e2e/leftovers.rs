//! What a cluster could leave on the host.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cases::pods::pod;
use crate::cluster::{self, Cluster};
use crate::shell::Result;

/// Directories of the host in which nothing with our name may stay.
const DIRECTORIES: [&str; 3] = ["/etc", "/run", "/var/lib"];
/// What `ip` lists beyond the routes of the main table.
const LISTS: [&[&str]; 7] = [
    &["rule"],
    &["-6", "rule"],
    &["route", "show", "table", "all"],
    &["-6", "route", "show", "table", "all"],
    &["neigh", "show", "nud", "permanent"],
    &["xfrm", "state"],
    &["xfrm", "policy"],
];

/// Names of everything on the host that a cluster makes some of.
pub fn snapshot() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    mounts(&mut found);
    interfaces(&mut found);
    routes(&mut found);
    cgroups(&mut found);
    processes(&mut found);
    tables(&mut found);
    lists(&mut found);
    for dir in DIRECTORIES {
        files(Path::new(dir), false, &mut found);
    }
    found
}

/// Fails unless the search finds everything that a running pod has on the host: what it does not
/// see it cannot miss later.
pub fn are_seen(cluster: &Cluster, before: &BTreeSet<String>) -> Result {
    let ns = cluster.namespace("leftovers")?;
    ns.apply(&pod("seen", "sleep 987654", ""))?;
    ns.ready(&["seen"])?;
    let uid = ns.value("pod/seen", "{.metadata.uid}")?;
    let after = snapshot();
    let new: Vec<&String> = after.difference(before).collect();
    let wanted: [(&str, &[&str]); 8] = [
        ("the server", &["process ", " server"]),
        ("the shim", &["process ", " __shim "]),
        ("the container's process", &["process ", " 987654"]),
        ("the container's cgroup", &["cgroup ", &format!("pod{uid}/")]),
        ("the pod's namespace", &["mount ", "netns", &uid]),
        ("an interface", &["interface "]),
        ("the pod's route", &["ip route ", "10."]),
        ("a file", &["file /run/", &cluster.name]),
    ];
    for (what, texts) in wanted {
        if !new.iter().any(|line| texts.iter().all(|text| line.contains(text))) {
            let new: String = new.iter().map(|s| format!("  {s}\n")).collect();
            return Err(format!("the search for leftovers does not see {what}:\n{new}"));
        }
    }
    Ok(())
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
    fn walk(dir: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = entry.path();
                found.insert(format!("cgroup {}", path.display()));
                walk(&path, found);
            }
        }
    }
    walk(Path::new("/sys/fs/cgroup"), found);
}

/// Processes of the binary under test and of containers. Shims run from a mount of their own, so
/// that their file has no path, and containers run files of images: commands and cgroups tell.
fn processes(found: &mut BTreeSet<String>) {
    let binary = fs::canonicalize(cluster::binary()).unwrap_or_default();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        // Dead already: what a pod's first process has not waited for is no process any more.
        if line.is_empty() {
            continue;
        }
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let helper = line.split(' ').nth(1).is_some_and(|word| word.starts_with("__"));
        let groups = fs::read_to_string(path.join("cgroup")).unwrap_or_default();
        let ours = groups.lines().any(|l| l.contains(":/timonier"));
        if helper || ours || fs::read_link(path.join("exe")).is_ok_and(|exe| exe == binary) {
            found.insert(format!("process {} {line}", path.display()));
        }
    }
}

/// Rules, routes of all tables, neighbours, transformations, where the program ip is there.
fn lists(found: &mut BTreeSet<String>) {
    for list in LISTS {
        let Ok(output) = Command::new("ip").arg("-o").args(list).output() else { continue };
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            // How long a route holds changes all the time.
            let line = line.split(" expires ").next().unwrap_or(line).trim_end();
            found.insert(format!("ip {} {line}", list.join(" ")));
        }
    }
}

/// Files with our name in their path. What lies in a directory of data goes with it.
fn files(dir: &Path, ours: bool, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let ours = ours || entry.file_name().to_string_lossy().contains("timonier");
        if ours {
            found.insert(format!("file {}", entry.path().display()));
        }
        let data = ours && !dir.starts_with("/run");
        if !data && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files(&entry.path(), ours, found);
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
