//! Keeps a pod that names its node off all others.

use alloc::boxed::Box;

use crate::cluster::Cluster;
use crate::facts::PodFacts;
use crate::{Filter, Happening, Plugin, Verdict};

/// See the file's text.
pub struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn filter<'a>(&'a self, pod: &'a PodFacts, _: &'a Cluster) -> Option<Filter<'a>> {
        (!pod.node.is_empty()).then(|| {
            Box::new(|node: &crate::NodeState| match node.facts.name == pod.node {
                true => Verdict::Fits,
                false => Verdict::unresolvable("node(s) didn't match the requested node name"),
            }) as Filter<'a>
        })
    }

    fn wakes(&self, pod: &PodFacts, change: &Happening<'_>) -> bool {
        matches!(change, Happening::NodeAdded(node) if node.name == pod.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{cluster, fits, node, pod};
    use timonier_object::value;

    #[test]
    fn only_the_named_node_passes() {
        let c = cluster([node("a", |_| {}), node("b", |_| {})], &[]);
        assert_eq!(fits(&NodeName, &pod("p", value!({ "nodeName": "b" })), &c), [false, true]);
        assert_eq!(fits(&NodeName, &pod("p", value!({})), &c), [true, true]);
    }
}
