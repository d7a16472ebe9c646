//! `nodeSelector` and node affinity.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use smol_str::SmolStr;

use crate::cluster::{Cluster, NodeState};
use crate::facts::PodFacts;
use crate::plugin::normalize;
use crate::{Filter, Happening, Plugin, Verdict};

/// See the file's text.
pub struct NodeAffinity;

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn narrow(&self, pod: &PodFacts, _: &Cluster) -> Result<Option<BTreeSet<SmolStr>>, SmolStr> {
        match pod.node_affinity.names() {
            Some(names) if names.is_empty() => {
                Err(SmolStr::new_static("pod affinity terms conflict"))
            }
            names => Ok(names),
        }
    }

    fn filter<'a>(&'a self, pod: &'a PodFacts, _: &'a Cluster) -> Option<Filter<'a>> {
        (!pod.node_affinity.demands_nothing()).then(|| {
            Box::new(|node: &NodeState| match pod.node_affinity.matches(&node.facts) {
                true => Verdict::Fits,
                false => Verdict::unresolvable("node(s) didn't match Pod's node affinity/selector"),
            }) as Filter<'a>
        })
    }

    fn score(&self, pod: &PodFacts, _: &Cluster, nodes: &[&NodeState]) -> Option<Vec<i64>> {
        let preferred = &pod.node_affinity.preferred;
        if preferred.is_empty() {
            return None;
        }
        let liking = |node: &&NodeState| {
            preferred.iter().filter(|p| p.what.matches(&node.facts)).map(|p| p.weight).sum()
        };
        Some(normalize(nodes.iter().map(liking).collect(), false))
    }

    fn weight(&self) -> i64 {
        2
    }

    fn wakes(&self, pod: &PodFacts, change: &Happening<'_>) -> bool {
        let matches = |node| pod.node_affinity.matches(node);
        match change {
            Happening::NodeAdded(node) => matches(node),
            Happening::NodeChanged { old, new } => matches(new) && !matches(old),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{cluster, fits, node, pod, scores};
    use timonier_object::value;

    #[test]
    fn demands_and_wishes() {
        let disk = |name, kind: &str| node(name, |n| n.set("metadata.labels.disk", kind));
        let c = cluster([disk("a", "ssd"), disk("b", "hdd"), node("c", |_| {})], &[]);
        let demanding = pod("p", value!({ "nodeSelector": { "disk": "ssd" } }));
        assert_eq!(fits(&NodeAffinity, &demanding, &c), [true, false, false]);
        let wish = |weight: i64, kind: &str| {
            value!({ "weight": weight, "preference": { "matchExpressions": [
                { "key": "disk", "operator": "In", "values": [kind] }] } })
        };
        let wishing = pod(
            "p",
            value!({ "affinity": { "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [(wish(10, "ssd")), (wish(5, "hdd"))] } } }),
        );
        assert_eq!(fits(&NodeAffinity, &wishing, &c), [true, true, true]);
        assert_eq!(scores(&NodeAffinity, &wishing, &c), [100, 50, 0]);
        assert_eq!(scores(&NodeAffinity, &demanding, &c), [0i64; 0]);
        assert!(NodeAffinity.wakes(&demanding, &Happening::NodeAdded(&disk("d", "ssd"))));
        assert!(!NodeAffinity.wakes(&demanding, &Happening::NodeAdded(&disk("d", "hdd"))));
    }
}
