//! Keeps pods off nodes that are cordoned, but for those that tolerate it.

use alloc::boxed::Box;

use smol_str::SmolStr;

use crate::cluster::Cluster;
use crate::facts::{Effect, PodFacts, Taint, tolerated};
use crate::{Filter, Happening, Plugin, Verdict};

/// See the file's text.
pub struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn filter<'a>(&'a self, pod: &'a PodFacts, _: &'a Cluster) -> Option<Filter<'a>> {
        let stays_away = !tolerates(pod);
        stays_away.then(|| {
            Box::new(|node: &crate::NodeState| match node.facts.unschedulable {
                true => Verdict::unresolvable("node(s) were unschedulable"),
                false => Verdict::Fits,
            }) as Filter<'a>
        })
    }

    fn wakes(&self, pod: &PodFacts, change: &Happening<'_>) -> bool {
        match change {
            Happening::NodeAdded(node) => !node.unschedulable,
            Happening::NodeChanged { old, new } => old.unschedulable && !new.unschedulable,
            _ => tolerates(pod),
        }
    }
}

fn tolerates(pod: &PodFacts) -> bool {
    let taint = Taint {
        key: SmolStr::new_static("node.kubernetes.io/unschedulable"),
        value: SmolStr::default(),
        effect: Effect::NoSchedule,
    };
    tolerated(&taint, &pod.tolerations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{cluster, fits, node, pod};
    use timonier_object::value;

    #[test]
    fn cordoned_nodes_take_only_who_tolerates_it() {
        let cordoned = node("b", |n| n.set("spec.unschedulable", true));
        let c = cluster([node("a", |_| {}), cordoned.clone()], &[]);
        let plain = pod("p", value!({}));
        assert_eq!(fits(&NodeUnschedulable, &plain, &c), [true, false]);
        let daemon = pod(
            "p",
            value!({ "tolerations": [
            { "key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule" }] }),
        );
        assert_eq!(fits(&NodeUnschedulable, &daemon, &c), [true, true]);
        let open = node("b", |_| {});
        let uncordoned = Happening::NodeChanged { old: &cordoned, new: &open };
        assert!(NodeUnschedulable.wakes(&plain, &uncordoned));
        assert!(!NodeUnschedulable.wakes(&plain, &Happening::NodeAdded(&cordoned)));
    }
}
