//! Keeps pods off nodes where a port of the host that they ask for is taken.

use alloc::boxed::Box;

use crate::cluster::{Cluster, NodeState};
use crate::facts::PodFacts;
use crate::{Filter, Happening, Plugin, Verdict};

/// See the file's text.
pub struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn filter<'a>(&'a self, pod: &'a PodFacts, _: &'a Cluster) -> Option<Filter<'a>> {
        (!pod.ports.is_empty()).then(|| {
            Box::new(|node: &NodeState| match node.has_taken(&pod.ports) {
                true => Verdict::unschedulable(
                    "node(s) didn't have free ports for the requested pod ports",
                ),
                false => Verdict::Fits,
            }) as Filter<'a>
        })
    }

    fn wakes(&self, pod: &PodFacts, change: &Happening<'_>) -> bool {
        match change {
            Happening::NodeAdded(_) => true,
            Happening::PodGone(gone) => {
                gone.ports.iter().any(|p| pod.ports.iter().any(|q| p.conflicts(q)))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{cluster, fits, node, pod};
    use timonier_object::value;

    fn with_port(name: &str, ip: &str, protocol: &str, port: i64) -> PodFacts {
        pod(
            name,
            value!({ "containers": [{ "ports": [
            { "hostPort": port, "hostIP": ip, "protocol": protocol }] }] }),
        )
    }

    #[test]
    fn a_port_is_taken_by_address_and_protocol() {
        let c = cluster(
            [node("a", |_| {}), node("b", |_| {})],
            &[("a", with_port("x", "127.0.0.1", "TCP", 80))],
        );
        let on_a = |p: PodFacts| fits(&NodePorts, &p, &c)[0];
        assert!(!on_a(with_port("p", "127.0.0.1", "TCP", 80)));
        assert!(!on_a(with_port("p", "", "", 80)), "every address, TCP");
        assert!(on_a(with_port("p", "10.0.0.1", "TCP", 80)));
        assert!(on_a(with_port("p", "127.0.0.1", "UDP", 80)));
        assert!(on_a(with_port("p", "127.0.0.1", "TCP", 81)));
        assert_eq!(fits(&NodePorts, &with_port("p", "", "", 80), &c), [false, true]);
        let gone = with_port("x", "", "TCP", 80);
        assert!(NodePorts.wakes(&with_port("p", "", "", 80), &Happening::PodGone(&gone)));
        assert!(!NodePorts.wakes(&with_port("p", "", "", 81), &Happening::PodGone(&gone)));
    }
}
