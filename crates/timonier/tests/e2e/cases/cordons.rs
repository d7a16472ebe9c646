//! Cases that change the node: they run alone.

use crate::cases::pods::pod;
use crate::cluster::{Cluster, Namespace};
use crate::shell::{Result, contains, equal};

fn node(ns: &Namespace<'_>) -> Result<String> {
    ns.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])
}

/// Undoes what a case did to the node, also when it failed.
struct Undo<'a>(&'a Namespace<'a>, Vec<String>);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        let _ = self.0.kubectl(&self.1.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

fn undo<'a>(ns: &'a Namespace<'a>, arguments: &[&str]) -> Undo<'a> {
    Undo(ns, arguments.iter().map(|a| a.to_string()).collect())
}

pub fn cordoned_nodes_take_no_pods(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("cordoned")?;
    let node = node(&ns)?;
    let _undo = undo(&ns, &["uncordon", &node]);
    contains(&ns.kubectl(&["cordon", &node])?, &["cordoned"])?;
    contains(&ns.kubectl(&["cordon", &node])?, &["already cordoned"])?;
    contains(&ns.kubectl(&["get", "nodes"])?, &["Ready,SchedulingDisabled"])?;
    ns.apply(&pod("waits", "sleep 1000", ""))?;
    ns.wait("condition=PodScheduled=false", &["pod/waits"])?;
    let why = ns.value("pod/waits", "{.status.conditions[?(@.type==\"PodScheduled\")].message}")?;
    contains(&why, &["0/1 nodes are available: 1 node(s) were unschedulable."])?;
    ns.kubectl(&["uncordon", &node])?;
    ns.ready(&["waits"])?;
    let events = [
        "get",
        "events",
        "-n",
        "default",
        "--field-selector=involvedObject.kind=Node",
        "-o",
        "jsonpath={.items[*].reason}",
    ];
    crate::shell::eventually("the node's events tell", || {
        contains(&ns.kubectl(&events)?, &["NodeNotSchedulable", "NodeSchedulable"])
    })
}

pub fn drained_nodes_are_empty(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("drained")?;
    let node = node(&ns)?;
    let manifest = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: stays}\nspec:\n  selector: {matchLabels: {app: stays}}\n  template:\n    metadata: {labels: {app: stays}}\n    spec:\n      terminationGracePeriodSeconds: 0\n      containers: [{name: main, image: 'busybox:e2e', command: [sleep, '1000']}]\n";
    ns.apply(manifest)?;
    ns.apply(
        &manifest
            .replace("DaemonSet", "Deployment")
            .replace("stays", "moves")
            .replace("spec:\n  selector", "spec:\n  replicas: 2\n  selector"),
    )?;
    ns.wait("jsonpath={.status.numberAvailable}=1", &["daemonset/stays"])?;
    ns.wait("jsonpath={.status.readyReplicas}=2", &["deployment/moves"])?;
    ns.apply(&pod("single", "sleep 1000", ""))?;
    ns.ready(&["single"])?;
    ns.kubectl(&[
        "create",
        "poddisruptionbudget",
        "budget",
        "--selector=app=moves",
        "--min-available=2",
    ])?;
    ns.wait("jsonpath={.status.currentHealthy}=2", &["pdb/budget"])?;
    let _undo = undo(&ns, &["uncordon", &node]);
    let only = ["--pod-selector=pod-template-hash", "--timeout=5s"];
    let drain = |more: &[&str]| ns.command(&[&["drain", &node], more].concat());
    let refused = crate::shell::run(&mut drain(&["--timeout=5s"]), "")?;
    contains(
        &refused.stderr,
        &[
            "cannot delete DaemonSet-managed Pods",
            "drained/stays-",
            "declare no controller",
            "drained/single",
        ],
    )?;
    let held = crate::shell::run(&mut drain(&only), "")?;
    contains(&held.stderr, &["Cannot evict pod as it would violate the pod's disruption budget."])?;
    equal(
        "pods that the budget kept",
        ns.value("deploy/moves", "{.status.readyReplicas}")?.as_str(),
        "2",
    )?;
    ns.kubectl(&["delete", "pdb", "budget"])?;
    let all = [
        "--ignore-daemonsets",
        "--force",
        "--delete-emptydir-data",
        "--grace-period=0",
        "--timeout=60s",
    ];
    let done = crate::shell::succeed(&mut drain(&all), "")?;
    contains(&done, &["evicting pod drained/moves-", "evicting pod drained/single", "drained"])?;
    contains(&ns.kubectl_fails(&["get", "pod", "single"], "")?, &["NotFound"])?;
    equal("the DaemonSet's pod", ns.value("ds/stays", "{.status.numberReady}")?.as_str(), "1")?;
    ns.kubectl(&["uncordon", &node])?;
    ns.wait("jsonpath={.status.readyReplicas}=2", &["deployment/moves"])
}

pub fn taints_evict(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("tainted")?;
    let node = node(&ns)?;
    let tolerates = |name: &str, key: &str, more: &str| {
        pod(
            name,
            "sleep 1000",
            &format!("  tolerations: [{{key: {key}, operator: Exists{more}}}]\n"),
        )
    };
    ns.apply(&tolerates("stays", "e2e", ""))?;
    ns.apply(&tolerates("leaves", "other", ""))?;
    ns.apply(&tolerates("lingers", "e2e", ", effect: NoExecute, tolerationSeconds: 1"))?;
    ns.ready(&["stays", "leaves", "lingers"])?;
    let _undo = undo(&ns, &["taint", "node", &node, "e2e-"]);
    contains(&ns.kubectl(&["taint", "node", &node, "e2e=x:NoExecute"])?, &["tainted"])?;
    ns.wait("delete", &["pod/leaves", "pod/lingers"])?;
    equal("who tolerates it", ns.value("pod/stays", "{.status.phase}")?.as_str(), "Running")?;
    ns.apply(&tolerates("late", "other", ""))?;
    ns.wait("condition=PodScheduled=false", &["pod/late"])?;
    let why = ns.value("pod/late", "{.status.conditions[?(@.type==\"PodScheduled\")].message}")?;
    contains(&why, &["1 node(s) had untolerated taint"])?;
    let held = ns.kubectl_fails(&["taint", "node", &node, "e2e=y:NoExecute"], "")?;
    contains(&held, &["already has e2e taint(s) with same effect(s) and --overwrite is false"])?;
    contains(&ns.kubectl(&["taint", "node", &node, "e2e:NoExecute-"])?, &["untainted"])?;
    ns.ready(&["late"])?;
    let events = [
        "get",
        "events",
        "--field-selector=reason=TaintManagerEviction",
        "-o",
        "jsonpath={.items[*].involvedObject.name}",
    ];
    crate::shell::eventually("evictions are told", || {
        contains(&ns.kubectl(&events)?, &["leaves", "lingers"])
    })
}
