//! What goes on when something dies.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cluster::{Cluster, Namespace};
use crate::shell::{Result, contains, equal, eventually};

/// A pod that echoes lines, and one that holds a connection to it through a Service for as long as
/// its container lives: what goes into `/tmp/in` comes back in `/tmp/out`.
const CONNECTED: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: echo}\nspec:\n  selector: {app: echo}\n  ports: [{port: 7000}]\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: echo, labels: {app: echo}}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers: [{name: main, image: 'busybox:e2e', command: [nc, -ll, -p, '7000', -e, cat]}]\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: steady}\nspec:\n  terminationGracePeriodSeconds: 0\n  restartPolicy: Never\n  containers:\n  - name: main\n    image: busybox:e2e\n    command: [sh, -c, 'mkfifo /tmp/in; until nc -w 1 echo 7000 </dev/null; do :; done; sleep 100000 >/tmp/in & exec nc echo 7000 </tmp/in >>/tmp/out']\n    readinessProbe: {exec: {command: [test, -e, /tmp/out]}, periodSeconds: 1}\n";

fn started(ns: &Namespace<'_>, pod: &str) -> Result<String> {
    ns.kubectl(&["get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].state.running.startedAt} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {.status.podIP}"])
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
    let before = started(&ns, "steady")?;
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
    equal("the container after the restart", started(&ns, "steady")?, before)?;
    equal(
        "exec after the restart",
        ns.kubectl(&["exec", "steady", "--", "echo", "x"])?.as_str(),
        "x\n",
    )
}

/// Sends a line through the connection that the pod holds, and waits until it is back.
fn through_the_connection(ns: &Namespace<'_>, word: &str) -> Result {
    let script = format!(
        "echo {word} >/tmp/in; until grep -q {word} /tmp/out; do sleep 0.05; done; echo back"
    );
    let output = ns.kubectl(&["exec", "steady", "--", "timeout", "30", "sh", "-c", &script])?;
    equal("a line through the connection", output.as_str(), "back\n")
}

/// Creates objects and kills the server when some of them are acknowledged; gives all that are.
fn killed_while_writing(
    ns: &Namespace<'_>,
    round: usize,
    after: usize,
) -> Result<BTreeSet<String>> {
    const OBJECTS: usize = 200;
    let list: String = (0..OBJECTS)
        .map(|i| {
            format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: r{round}-{i}}}\n")
        })
        .collect();
    let mut kubectl = ns
        .command(&["create", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| e.to_string())?;
    let mut input = kubectl.stdin.take().expect("a piped standard input");
    input.write_all(list.as_bytes()).map_err(|e| e.to_string())?;
    drop(input);
    let pid = ns.cluster.server_pid()?;
    let mut acknowledged = BTreeSet::new();
    let output = kubectl.stdout.take().expect("a piped standard output");
    for line in BufReader::new(output).lines() {
        let line = line.map_err(|e| e.to_string())?;
        if let Some(name) = line.strip_suffix(" created") {
            acknowledged.insert(name.to_owned());
        }
        if acknowledged.len() == after {
            // Once dead it stays dead; more lines may still be in the pipe.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    kubectl.wait().map_err(|e| e.to_string())?;
    match acknowledged.len() {
        n if n >= after && n < OBJECTS => Ok(acknowledged),
        n => Err(format!("{n} of {OBJECTS} objects were acknowledged, killed after {after}")),
    }
}

pub fn server_killed_at_any_moment(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("kills")?;
    ns.apply(CONNECTED)?;
    ns.wait("condition=Ready", &["pod/echo", "pod/steady"])?;
    through_the_connection(&ns, "first")?;
    let before = (started(&ns, "echo")?, started(&ns, "steady")?);
    let mut acknowledged = BTreeSet::new();
    // Moments without a pattern, the same in every run.
    for (round, after) in [37, 1, 118, 64, 9].into_iter().enumerate() {
        acknowledged.extend(killed_while_writing(&ns, round, after)?);
        cluster.timonier(&["up"])?;
        let list = ns.kubectl(&["get", "cm", "-o", "name"])?;
        let found: BTreeSet<String> = list.lines().map(str::to_owned).collect();
        let lost: Vec<_> = acknowledged.difference(&found).collect();
        equal("acknowledged objects that are lost", lost, Vec::new())?;
        through_the_connection(&ns, &format!("round{round}"))?;
    }
    ns.wait("condition=Ready", &["pod/echo", "pod/steady"])?;
    equal("the containers", (started(&ns, "echo")?, started(&ns, "steady")?), before)
}
