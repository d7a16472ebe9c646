//! What the plug-ins' tests share.

use alloc::sync::Arc;
use alloc::vec::Vec;

use timonier_object::{Value, value};

use crate::cluster::{Cluster, NodeState};
use crate::facts::{NodeFacts, PodFacts};
use crate::{Plugin, Verdict};

/// Facts of a pod of the namespace `ns` from its `spec`.
pub fn pod(name: &str, spec: Value) -> PodFacts {
    labelled(name, value!({}), spec)
}

pub fn labelled(name: &str, labels: Value, spec: Value) -> PodFacts {
    PodFacts::read(&Arc::new(value!({
        "metadata": { "namespace": "ns", "name": name, "uid": name, "labels": labels },
        "spec": spec,
    })))
}

/// A pod that asks for this much.
pub fn asking(name: &str, cpu: &str, memory: &str) -> PodFacts {
    pod(
        name,
        value!({ "containers": [
        { "resources": { "requests": { "cpu": cpu, "memory": memory } } }] }),
    )
}

/// A node of four cores and four GiB, with changes.
pub fn node(name: &str, change: impl FnOnce(&mut Value)) -> NodeFacts {
    let mut node = value!({
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
        "status": { "allocatable": { "cpu": "4", "memory": "4Gi", "pods": "110" } },
    });
    change(&mut node);
    NodeFacts::read(&node)
}

/// A cluster of nodes and of pods on them.
pub fn cluster<const N: usize>(nodes: [NodeFacts; N], pods: &[(&str, PodFacts)]) -> Cluster {
    let mut cluster = Cluster::default();
    for node in nodes {
        cluster.put_node(node);
    }
    for (node, pod) in pods {
        cluster.put_pod(Arc::new(PodFacts { node: (*node).into(), ..pod.clone() }));
    }
    cluster
}

/// What a plug-in says of each node.
pub fn verdicts(plugin: &dyn Plugin, pod: &PodFacts, cluster: &Cluster) -> Vec<Verdict> {
    let filter = plugin.filter(pod, cluster);
    let judge = |node: &Arc<NodeState>| filter.as_ref().map_or(Verdict::Fits, |f| f(node));
    cluster.nodes().iter().map(judge).collect()
}

/// Which nodes pass.
pub fn fits(plugin: &dyn Plugin, pod: &PodFacts, cluster: &Cluster) -> Vec<bool> {
    verdicts(plugin, pod, cluster).iter().map(Verdict::fits).collect()
}

/// The scores of all nodes; empty where the plug-in gives none.
pub fn scores(plugin: &dyn Plugin, pod: &PodFacts, cluster: &Cluster) -> Vec<i64> {
    let nodes: Vec<&NodeState> = cluster.nodes().iter().map(|n| &**n).collect();
    plugin.score(pod, cluster, &nodes).unwrap_or_default()
}
