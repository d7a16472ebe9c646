//! Whether what a pod asks for is free on a node; prefers nodes where more is free
//! (`LeastAllocated`).

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use smol_str::SmolStr;

use crate::cluster::{Cluster, NodeState};
use crate::facts::{NodeFacts, PodFacts};
use crate::plugin::MAX_SCORE;
use crate::{Filter, Happening, Plugin, Verdict};

/// See the file's text.
pub struct NodeResourcesFit;

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn filter<'a>(&'a self, pod: &'a PodFacts, _: &'a Cluster) -> Option<Filter<'a>> {
        Some(Box::new(|node| judge(pod, node)))
    }

    fn score(&self, pod: &PodFacts, _: &Cluster, nodes: &[&NodeState]) -> Option<Vec<i64>> {
        let free = |node: &&NodeState| {
            let allocatable = &node.facts.allocatable;
            let cpu = share_free(allocatable.milli_cpu, node.scored.0 + pod.scored.0);
            let memory = share_free(allocatable.memory, node.scored.1 + pod.scored.1);
            match (cpu, memory) {
                (Some(cpu), Some(memory)) => (cpu + memory) / 2,
                (one, other) => one.or(other).unwrap_or(0),
            }
        };
        Some(nodes.iter().map(free).collect())
    }

    fn wakes(&self, pod: &PodFacts, change: &Happening<'_>) -> bool {
        match change {
            // A pod that asked for nothing counted as a pod, too.
            Happening::PodGone(_) => true,
            Happening::PodChanged { old, new } => old.request != new.request,
            Happening::NodeAdded(node) => could_fit(pod, node),
            Happening::NodeChanged { old, new } => {
                (old.allocatable != new.allocatable || old.pods != new.pods) && could_fit(pod, new)
            }
            _ => false,
        }
    }
}

fn judge(pod: &PodFacts, node: &NodeState) -> Verdict {
    let mut reasons: Vec<SmolStr> = Vec::new();
    let mut hopeless = false;
    if node.pods.len() as i64 + 1 > node.facts.pods {
        reasons.push(SmolStr::new_static("Too many pods"));
    }
    let mut check = |wanted: i64, total: i64, used: i64, reason: &dyn Fn() -> SmolStr| {
        if wanted > 0 && wanted > total.saturating_sub(used) {
            hopeless |= wanted > total;
            reasons.push(reason());
        }
    };
    let (want, all, used) = (&pod.request, &node.facts.allocatable, &node.requested);
    check(want.milli_cpu, all.milli_cpu, used.milli_cpu, &|| "Insufficient cpu".into());
    check(want.memory, all.memory, used.memory, &|| "Insufficient memory".into());
    let ephemeral = &|| SmolStr::new_static("Insufficient ephemeral-storage");
    check(want.ephemeral_storage, all.ephemeral_storage, used.ephemeral_storage, ephemeral);
    for (name, amount) in &want.others {
        let of = |r: &crate::facts::Resources| r.others.get(name).copied().unwrap_or(0);
        check(*amount, of(all), of(used), &|| format!("Insufficient {name}").into());
    }
    match (reasons.is_empty(), hopeless) {
        (true, _) => Verdict::Fits,
        (false, true) => Verdict::Unresolvable(reasons),
        (false, false) => Verdict::Unschedulable(reasons),
    }
}

/// Whether the pod would fit on the node if that were empty.
fn could_fit(pod: &PodFacts, node: &NodeFacts) -> bool {
    judge(pod, &NodeState::new(node.clone())).fits()
}

/// The share that stays free, up to [`MAX_SCORE`]; `None` where the node has none of it.
fn share_free(total: i64, used: i64) -> Option<i64> {
    match total {
        0 => None,
        _ if used > total => Some(0),
        _ => Some((total - used) * MAX_SCORE / total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{asking, cluster, node, pod, scores, verdicts};
    use timonier_object::value;

    #[test]
    fn says_everything_that_is_missing() {
        let c = cluster([node("a", |_| {})], &[("a", asking("x", "3", "1Gi"))]);
        let verdict = |p: &PodFacts| verdicts(&NodeResourcesFit, p, &c).remove(0);
        assert!(verdict(&asking("p", "1", "3Gi")).fits());
        assert_eq!(
            verdict(&asking("p", "2", "3.5Gi")),
            Verdict::Unschedulable(
                ["Insufficient cpu".into(), "Insufficient memory".into()].into()
            )
        );
        assert_eq!(
            verdict(&asking("p", "5", "1")),
            Verdict::unresolvable("Insufficient cpu"),
            "an empty node has not so much"
        );
        let gpu = pod(
            "p",
            value!({ "containers": [
            { "resources": { "requests": { "example.com/gpu": "1" } } }] }),
        );
        assert_eq!(verdict(&gpu), Verdict::unresolvable("Insufficient example.com/gpu"));
    }

    #[test]
    fn counts_pods() {
        let small = node("a", |n| n.set("status.allocatable.pods", "1"));
        let c = cluster([small], &[("a", pod("x", value!({})))]);
        let p = pod("p", value!({}));
        let no = Verdict::unschedulable("Too many pods");
        assert_eq!(verdicts(&NodeResourcesFit, &p, &c), [no]);
        assert!(NodeResourcesFit.wakes(&p, &Happening::PodGone(&pod("x", value!({})))));
    }

    #[test]
    fn prefers_the_emptier_node() {
        let c = cluster([node("a", |_| {}), node("b", |_| {})], &[("a", asking("x", "2", "2Gi"))]);
        assert_eq!(scores(&NodeResourcesFit, &asking("p", "1", "1Gi"), &c), [25, 75]);
    }

    #[test]
    fn wakes_when_there_may_be_room() {
        let p = asking("p", "3", "1Gi");
        let small = node("a", |n| n.set("status.allocatable.cpu", "2"));
        let large = node("a", |_| {});
        assert!(NodeResourcesFit.wakes(&p, &Happening::NodeAdded(&large)));
        assert!(!NodeResourcesFit.wakes(&p, &Happening::NodeAdded(&small)));
        assert!(NodeResourcesFit.wakes(&p, &Happening::NodeChanged { old: &small, new: &large }));
        assert!(!NodeResourcesFit.wakes(&p, &Happening::NodeChanged { old: &large, new: &large }));
        let idle = pod("x", value!({}));
        assert!(NodeResourcesFit.wakes(&p, &Happening::PodGone(&idle)), "too many pods");
    }
}
