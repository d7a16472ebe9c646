//! What goes on when something dies.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cluster::{Cluster, Namespace};
use crate::shell::{Result, contains, equal, eventually};

fn started(ns: &Namespace<'_>) -> Result<String> {
    ns.kubectl(&["get", "pod", "steady", "-o", "jsonpath={.status.containerStatuses[0].state.running.startedAt} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {.status.podIP}"])
}

pub fn killed_containers_restart(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("killed")?;
    ns.kubectl(&[
        "run",
        "victim",
        "--image=busybox:e2e",
        "--command",
        "--",
        "sh",
        "-c",
        "trap 'exit 9' USR1; while :; do sleep 1000 & wait $!; done",
    ])?;
    ns.wait("condition=Ready", &["pod/victim"])?;
    // The command dies with the container, so its own end says nothing.
    crate::shell::run(&mut ns.command(&["exec", "victim", "--", "kill", "-USR1", "1"]), "")?;
    ns.wait("jsonpath={.status.containerStatuses[0].restartCount}=1", &["pod/victim"])?;
    ns.wait("condition=Ready", &["pod/victim"])
}

pub fn up_is_idempotent(cluster: &Cluster) -> Result {
    let before = cluster.server_pid()?;
    contains(&cluster.timonier(&["up"])?, &["runs already"])?;
    equal("the server's process", cluster.server_pid()?, before)?;
    contains(&cluster.timonier(&["status"])?, &["Ready", "running"])?;
    let kubeconfig =
        std::fs::read_to_string(cluster.user_kubeconfig()).map_err(|e| e.to_string())?;
    contains(&kubeconfig, &["current-context: e2e"])
}

pub fn server_killed(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("survive")?;
    ns.kubectl(&["run", "steady", "--image=busybox:e2e", "--command", "--", "sleep", "1000"])?;
    ns.wait("condition=Ready", &["pod/steady"])?;
    ns.kubectl(&["create", "configmap", "written", "--from-literal=a=1"])?;
    let before = started(&ns)?;
    let pid = cluster.server_pid()?;
    kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(|e| e.to_string())?;
    eventually("the killed server is gone", || {
        match std::path::Path::new(&format!("/proc/{pid}/exe")).exists() {
            true => Err("it is still there".into()),
            false => Ok(()),
        }
    })?;
    cluster.timonier(&["up"])?;
    equal(
        "an acknowledged write",
        ns.kubectl(&["get", "cm", "written", "-o", "jsonpath={.data.a}"])?.as_str(),
        "1",
    )?;
    ns.wait("condition=Ready", &["pod/steady"])?;
    equal("the container after the restart", started(&ns)?, before)?;
    equal(
        "exec after the restart",
        ns.kubectl(&["exec", "steady", "--", "echo", "x"])?.as_str(),
        "x\n",
    )
}
