//! A second node that joined: its pods, the way between nodes, and what happens when it goes.

use std::collections::BTreeSet;

use crate::cluster::{Cluster, Namespace};
use crate::second_node::SecondNode;
use crate::shell::{Result, contains, equal, eventually};

/// One pod a node that says on which it is.
const WEB: &str = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: web}\nspec:\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec:\n      containers:\n      - name: web\n        image: busybox:e2e\n        command: [sh, -c, 'mkdir /www; echo $NODE >/www/index.html; echo $NODE serves; exec httpd -f -p 80 -h /www']\n        env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]\n        readinessProbe: {httpGet: {port: 80}, periodSeconds: 1}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  selector: {app: web}\n  ports: [{port: 80}]\n";

/// A pod of the DaemonSet.
struct Pod {
    name: String,
    node: String,
    ip: String,
}

fn pods(ns: &Namespace<'_>) -> Result<Vec<Pod>> {
    let path =
        "jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName} {.status.podIP}{\"\\n\"}{end}";
    let text = ns.kubectl(&["get", "pods", "-l", "app=web", "-o", path])?;
    text.lines()
        .map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            [name, node, ip] => Ok(Pod { name: name.into(), node: node.into(), ip: ip.into() }),
            _ => Err(format!("unexpected line {line:?}")),
        })
        .collect()
}

fn fetch(ns: &Namespace<'_>, from: &Pod, host: &str) -> Result<String> {
    let url = format!("http://{host}/");
    let page = ns.kubectl(&["exec", &from.name, "--", "wget", "-q", "-O", "-", &url])?;
    Ok(page.trim().to_owned())
}

/// Asks the Service from a pod until it was answered on every node.
fn answered_by_all(ns: &Namespace<'_>, from: &Pod, host: &str, all: &BTreeSet<String>) -> Result {
    let mut seen = BTreeSet::new();
    eventually("every node answers on the Service", || {
        seen.insert(fetch(ns, from, host)?);
        if seen == *all { Ok(()) } else { Err(format!("from {}: {seen:?}", from.node)) }
    })
}

pub fn pods_reach_across_nodes(cluster: &Cluster) -> Result {
    let node = SecondNode::join(cluster, "second")?;
    let ns = cluster.namespace("across")?;
    ns.apply(WEB)?;
    ns.kubectl(&["rollout", "status", "daemonset/web", "--timeout=90s"])?;
    let pods = pods(&ns)?;
    let nodes: BTreeSet<String> = pods.iter().map(|p| p.node.clone()).collect();
    equal("nodes with a pod", nodes.len(), 2)?;
    for from in &pods {
        for to in &pods {
            equal("the pod's page", fetch(&ns, from, &to.ip)?, to.node.clone())?;
        }
        answered_by_all(&ns, from, "web.across.svc.cluster.local", &nodes)?;
        let lookup =
            ["exec", &from.name, "--", "nslookup", "kube-dns.kube-system.svc.cluster.local"];
        contains(&ns.kubectl(&lookup)?, &["Address"])?;
        contains(&ns.kubectl(&["logs", &from.name])?, &[&format!("{} serves", from.node)])?;
    }
    let slices = [
        "get",
        "endpointslices",
        "-n",
        "kube-system",
        "kube-dns",
        "-o",
        "jsonpath={.endpoints[*].nodeName} {.endpoints[*].conditions.ready}",
    ];
    contains(&ns.kubectl(&slices)?, &["second", "true true"])?;
    ns.kubectl(&["drain", &node.name, "--ignore-daemonsets", "--timeout=60s"])?;
    ns.kubectl(&["run", "elsewhere", "--image=busybox:e2e", "--command", "--", "sleep", "1000"])?;
    ns.wait("condition=Ready", &["pod/elsewhere"])?;
    let at = ns.kubectl(&["get", "pod", "elsewhere", "-o", "jsonpath={.spec.nodeName}"])?;
    if at == node.name {
        return Err("a pod was scheduled to the drained node".into());
    }
    contains(&node.timonier(&["status"])?, &["second", &cluster.name])
}

pub fn agent_killed(cluster: &Cluster) -> Result {
    let mut node = SecondNode::join(cluster, "restarted")?;
    let ns = cluster.namespace("agent-killed")?;
    let choose = "{\"spec\":{\"nodeName\":\"restarted\"}}";
    ns.kubectl(&[
        "run",
        "steady",
        "--image=busybox:e2e",
        "--overrides",
        choose,
        "--command",
        "--",
        "sleep",
        "1000",
    ])?;
    ns.wait("condition=Ready", &["pod/steady"])?;
    let facts = [
        "get",
        "pod",
        "steady",
        "-o",
        "jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {.status.podIP}",
    ];
    let before = ns.kubectl(&facts)?;
    node.kill()?;
    // Neither server nor token: the node knows both.
    node.start(&[])?;
    // The log's way goes through the new process.
    eventually("exec works again", || {
        equal("exec", ns.kubectl(&["exec", "steady", "--", "echo", "x"])?.as_str(), "x\n")
    })?;
    equal("the pod after the restart", ns.kubectl(&facts)?, before)
}

pub fn a_lost_node_is_given_up(cluster: &Cluster) -> Result {
    let mut node = SecondNode::join(cluster, "lost")?;
    let ns = cluster.namespace("lost")?;
    let choose = "{\"spec\":{\"nodeName\":\"lost\",\"tolerations\":[{\"key\":\"node.kubernetes.io/unreachable\",\"operator\":\"Exists\",\"effect\":\"NoExecute\",\"tolerationSeconds\":0}]}}";
    ns.kubectl(&[
        "run",
        "victim",
        "--image=busybox:e2e",
        "--overrides",
        choose,
        "--command",
        "--",
        "sleep",
        "1000",
    ])?;
    ns.wait("condition=Ready", &["pod/victim"])?;
    node.kill()?;
    // Fifty seconds of silence are allowed.
    ns.kubectl(&["wait", "--for=condition=Ready=unknown", "node/lost", "--timeout=120s"])?;
    ns.wait("jsonpath={.metadata.deletionTimestamp}", &["pod/victim"])?;
    // Whoever comes back finds the pod deleted, and ends it.
    node.start(&[])?;
    ns.wait("delete", &["pod/victim"])
}
