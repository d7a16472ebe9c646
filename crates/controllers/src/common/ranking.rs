//! Which pods of a set are to go first (upstream's `ActivePodsWithRanks`).

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;

use smol_str::SmolStr;
use timonier_meta::Time;
use timonier_object::Value;

use super::pods;

/// The annotation with which a pod says what its deletion costs.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Sorts pods, those to delete first: unassigned, pending, not ready, cheap, doubled up on a node
/// with `related` pods, ready for a shorter time, restarted more often, newer.
pub fn sort_for_deletion(pods: &mut [Arc<Value>], related: &[Arc<Value>], now: Time) {
    let mut on_node: BTreeMap<SmolStr, usize> = BTreeMap::new();
    for pod in related.iter().filter(|p| pods::is_active(p)) {
        *on_node.entry(pod.at("spec.nodeName").smol()).or_insert(0) += 1;
    }
    let mut ranked: Vec<(Facts, Arc<Value>)> =
        pods.iter().map(|pod| (Facts::of(pod, &on_node), pod.clone())).collect();
    ranked.sort_by(|a, b| a.0.compare(&b.0, now));
    for (slot, (_, pod)) in pods.iter_mut().zip(ranked) {
        *slot = pod;
    }
}

struct Facts {
    assigned: bool,
    phase: u8,
    ready: bool,
    cost: i64,
    doubled: usize,
    ready_since: Option<Time>,
    restarts: (i64, i64),
    created: Option<Time>,
    uid: SmolStr,
}

impl Facts {
    fn of(pod: &Value, on_node: &BTreeMap<SmolStr, usize>) -> Self {
        let node = pod.at("spec.nodeName").smol();
        Facts {
            assigned: !node.is_empty(),
            phase: match pod.at("status.phase").str() {
                "Running" => 2,
                "Unknown" => 1,
                _ => 0,
            },
            ready: pods::is_ready(pod),
            cost: pod
                .annotation(DELETION_COST)
                .and_then(|c| c.parse::<i32>().ok())
                .unwrap_or(0)
                .into(),
            doubled: on_node.get(&node).copied().unwrap_or(0),
            ready_since: pods::ready_since(pod),
            restarts: restarts(pod),
            created: pod.created(),
            uid: pod.uid().into(),
        }
    }

    fn compare(&self, other: &Self, now: Time) -> Ordering {
        let by_ready_time = || match self.ready && other.ready {
            true => by_age(self.ready_since, other.ready_since, now, (&self.uid, &other.uid)),
            false => Ordering::Equal,
        };
        self.assigned
            .cmp(&other.assigned)
            .then(self.phase.cmp(&other.phase))
            .then(self.ready.cmp(&other.ready))
            .then(self.cost.cmp(&other.cost))
            .then(other.doubled.cmp(&self.doubled))
            .then_with(by_ready_time)
            .then(other.restarts.cmp(&self.restarts))
            .then_with(|| by_age(self.created, other.created, now, (&self.uid, &other.uid)))
    }
}

/// The younger first, in powers of two; the uid decides within one.
fn by_age(a: Option<Time>, b: Option<Time>, now: Time, uids: (&str, &str)) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let rank = |t: Option<Time>| {
        t.map_or(-2, |t| {
            let age = (now - t).0;
            if age > 0 { i64::from(age.ilog2()) } else { -1 }
        })
    };
    rank(a).cmp(&rank(b)).then_with(|| uids.0.cmp(uids.1))
}

/// The most restarts of a regular container, and of a restartable init container.
fn restarts(pod: &Value) -> (i64, i64) {
    let most = |path: &str| {
        let statuses = pod.at(path).items();
        statuses.iter().map(|c| c.at("restartCount").int_or(0)).max().unwrap_or(0)
    };
    (most("status.containerStatuses"), most("status.initContainerStatuses"))
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    fn pod(name: &str, node: &str, phase: &str, ready: &str, created: &str) -> Arc<Value> {
        Arc::new(value!({
            "metadata": { "name": name, "uid": name, "creationTimestamp": created },
            "spec": { "nodeName": node },
            "status": { "phase": phase, "conditions": [{ "type": "Ready", "status": ready,
                                                          "lastTransitionTime": created }] },
        }))
    }

    #[test]
    fn the_least_useful_goes_first() {
        let old = "2026-01-01T00:00:00Z";
        let mut pods = [
            pod("ready-alone", "n2", "Running", "True", old),
            pod("ready-doubled", "n1", "Running", "True", old),
            pod("ready-new", "n2", "Running", "True", "2026-01-01T01:00:00Z"),
            pod("unready", "n1", "Running", "False", old),
            pod("pending", "n1", "Pending", "False", old),
            pod("unassigned", "", "Pending", "False", old),
        ];
        let related = pods.to_vec();
        sort_for_deletion(&mut pods, &related, Time::parse("2026-01-01T02:00:00Z").unwrap());
        let names: Vec<&str> = pods.iter().map(|p| p.name()).collect();
        assert_eq!(
            names,
            ["unassigned", "pending", "unready", "ready-doubled", "ready-new", "ready-alone"]
        );
    }
}
