//! Keeps pods off nodes with taints that they do not tolerate, and prefers nodes with fewer
//! `PreferNoSchedule` taints.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::cluster::{Cluster, NodeState};
use crate::facts::{Effect, PodFacts, tolerated, untolerated};
use crate::plugin::normalize;
use crate::{Filter, Happening, Plugin, Verdict};

/// See the file's text.
pub struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn filter<'a>(&'a self, pod: &'a PodFacts, _: &'a Cluster) -> Option<Filter<'a>> {
        Some(Box::new(|node| match untolerated(&node.facts.taints, &pod.tolerations) {
            // Since v1.34.2 the text names no taint: it may be nobody's business.
            Some(_) => Verdict::unresolvable("node(s) had untolerated taint(s)"),
            None => Verdict::Fits,
        }))
    }

    fn score(&self, pod: &PodFacts, _: &Cluster, nodes: &[&NodeState]) -> Option<Vec<i64>> {
        let disliked = |node: &&NodeState| {
            let soft = node.facts.taints.iter().filter(|t| t.effect == Effect::PreferNoSchedule);
            soft.filter(|t| !tolerated(t, &pod.tolerations)).count() as i64
        };
        Some(normalize(nodes.iter().map(disliked).collect(), true))
    }

    fn weight(&self) -> i64 {
        3
    }

    fn wakes(&self, pod: &PodFacts, change: &Happening<'_>) -> bool {
        let changed = match change {
            Happening::NodeAdded(_) => true,
            Happening::NodeChanged { old, new } => old.taints != new.taints,
            _ => false,
        };
        changed && change.node().is_some_and(|n| untolerated(&n.taints, &pod.tolerations).is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{cluster, node, pod, scores, verdicts};
    use timonier_object::value;

    #[test]
    fn hard_taints_keep_out_and_soft_ones_cost() {
        let hard = node("b", |n| {
            n.set("spec.taints", value!([{ "key": "k", "value": "v", "effect": "NoSchedule" }]))
        });
        let soft = node("c", |n| {
            n.set("spec.taints", value!([{ "key": "s", "effect": "PreferNoSchedule" }]))
        });
        let c = cluster([node("a", |_| {}), hard.clone(), soft], &[]);
        let plain = pod("p", value!({}));
        let no = Verdict::unresolvable("node(s) had untolerated taint(s)");
        assert_eq!(verdicts(&TaintToleration, &plain, &c), [Verdict::Fits, no, Verdict::Fits]);
        assert_eq!(scores(&TaintToleration, &plain, &c), [100, 100, 0]);
        let tolerant = pod("p", value!({ "tolerations": [{ "operator": "Exists" }] }));
        assert!(verdicts(&TaintToleration, &tolerant, &c).iter().all(Verdict::fits));
        assert_eq!(scores(&TaintToleration, &tolerant, &c), [100, 100, 100]);
        let clean = node("b", |_| {});
        let cleared = Happening::NodeChanged { old: &hard, new: &clean };
        assert!(TaintToleration.wakes(&plain, &cleared));
        assert!(!TaintToleration.wakes(&plain, &Happening::NodeAdded(&hard)));
    }
}
