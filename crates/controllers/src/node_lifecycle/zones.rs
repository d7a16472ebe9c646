//! How fast the nodes of a zone may be emptied (upstream's zone states and rate limits): where
//! most of a zone is silent, the fault is more likely in between than in the nodes.

use timonier_meta::gvk::resources::NODES;
use timonier_meta::{Duration, Time};
use timonier_object::Value;
use timonier_reconcile::World;

use crate::common::taints::{NOT_READY, UNREACHABLE};

/// The time between two nodes of a zone (`--node-eviction-rate` 0.1 a second).
const USUAL: Duration = Duration::from_secs(10);
/// The same where most of a large zone is unready (`--secondary-node-eviction-rate` 0.01).
const SLOW: Duration = Duration::from_secs(100);
/// A zone of more nodes is large (`--large-cluster-size-threshold`).
const LARGE: u64 = 50;
/// From so many unready nodes of a hundred on, and more than two, a zone is disrupted
/// (`--unhealthy-zone-threshold`).
const UNHEALTHY: u64 = 55;

/// Whether pods are being sent away from the node because it is not ready.
pub fn is_emptied(node: &Value) -> bool {
    emptied_since(node).is_some()
}

/// When it is this node's turn to be emptied, which is not ready; `None` if not while its zone is
/// as it is. The nodes of a zone that wait go by their names.
pub fn turn(
    node: &Value,
    world: &World,
    is_ready: impl Fn(&Value) -> bool,
    now: Time,
) -> Option<Time> {
    let (mut size, mut unready, mut before, mut last) = (0, 0, 0, None);
    for other in world.table(&NODES).iter().filter(|n| zone(n) == zone(node)) {
        size += 1;
        let own = other.name() == node.name();
        if !own && is_ready(other) {
            continue;
        }
        unready += 1;
        match emptied_since(other) {
            Some(at) => last = last.max(Some(at)),
            None => before += i64::from(other.name() < node.name() && !other.is_deleting()),
        }
    }
    // Where no node at all is ready the zone may be gone for good: the others go on as usual.
    let disrupted = unready > 2 && unready < size && unready * 100 >= size * UNHEALTHY;
    let period = match disrupted {
        false => USUAL,
        true if size > LARGE => SLOW,
        true => return None,
    };
    let next = last.map_or(now, |at| now.max(at + period));
    Some(next + Duration::from_secs(period.as_secs() * before))
}

fn emptied_since(node: &Value) -> Option<Time> {
    let taints = node.at("spec.taints").items().iter();
    let ours = taints.filter(|t| {
        t.at("effect").str() == "NoExecute" && [NOT_READY, UNREACHABLE].contains(&t.at("key").str())
    });
    ours.map(|t| t.time("timeAdded").unwrap_or_default()).max()
}

/// Zones of the same name in two regions are two.
fn zone(node: &Value) -> (&str, &str) {
    let label = |key| node.label(key).unwrap_or_default();
    (label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}
