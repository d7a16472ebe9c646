//! Pod garbage: pods of nodes that are gone, pods deleted before they had a node, and terminated
//! pods beyond a number (upstream `pkg/controller/podgc`).

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::{NODES, PODS};
use timonier_meta::{Duration, GroupVersionResource, ObjectKey, Time};
use timonier_object::{Value, value};
use timonier_reconcile::{Change, Context, Plan, Reconciler, World, Write};

use crate::common::taints::OUT_OF_SERVICE;
use crate::common::{conditions, pods};

/// A node may come back within this time (upstream's `quarantineTime`).
const QUARANTINE: Duration = Duration::from_secs(40);

/// The pod garbage collector. Its keys are pods, and the empty key for all terminated ones.
pub struct PodGarbageCollector {
    /// More terminated pods are deleted, the oldest first (`--terminated-pod-gc-threshold`).
    pub threshold: usize,
}

impl Default for PodGarbageCollector {
    /// Upstream's figure.
    fn default() -> Self {
        PodGarbageCollector { threshold: 12_500 }
    }
}

impl Reconciler for PodGarbageCollector {
    fn name(&self) -> &'static str {
        "pod-garbage-collector-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![NODES, PODS]
    }

    fn concerns(&self, change: &Change, world: &World) -> Vec<ObjectKey> {
        if change.is(&NODES) {
            let gone = change.new.is_none();
            let out = change.new.as_ref().is_some_and(|n| is_out_of_service(n));
            if !gone && !out {
                return Vec::new();
            }
            return world.table(&PODS).on_node(&change.key.name).map(|p| p.key()).collect();
        }
        let Some(pod) = &change.new else { return Vec::new() };
        let mut keys = Vec::new();
        if pods::is_terminal(pod) && !change.old.as_ref().is_some_and(|p| pods::is_terminal(p)) {
            keys.push(ObjectKey::default());
        }
        let node = ObjectKey::new("", pod.at("spec.nodeName").smol());
        let node_lost = world.get(&NODES, &node).is_none_or(|n| is_out_of_service(n));
        if pod.is_deleting() && node.name.is_empty() || !node.name.is_empty() && node_lost {
            keys.push(change.key.clone());
        }
        keys
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        if *key == ObjectKey::default() {
            return self.terminated(world);
        }
        let Some(pod) = world.get(&PODS, key) else { return Plan::nothing() };
        let node = ObjectKey::new("", pod.at("spec.nodeName").smol());
        if node.name.is_empty() {
            let due = pod.is_deleting();
            return if due { kill(pod, None, context.now) } else { Plan::nothing() };
        }
        match world.get(&NODES, &node) {
            Some(node) if is_out_of_service(node) && pod.is_deleting() => {
                kill(pod, Some("PodGC: node is out of service"), context.now)
            }
            Some(_) => Plan::nothing(),
            None => orphaned(pod, &node, world, context.now),
        }
    }
}

impl PodGarbageCollector {
    fn terminated(&self, world: &World) -> Plan {
        let all = world.table(&PODS).iter();
        let mut ended: Vec<&Arc<Value>> =
            all.filter(|p| pods::is_terminal(p) && !p.is_deleting()).collect();
        let surplus = ended.len().saturating_sub(self.threshold);
        if surplus == 0 {
            return Plan::nothing();
        }
        ended.sort_by_key(|p| (p.created(), p.key()));
        let writes = ended.into_iter().take(surplus).map(|p| Write::delete(&PODS, p).grace(0));
        Plan { writes: writes.collect(), ..Plan::default() }
    }
}

fn orphaned(pod: &Value, node: &ObjectKey, world: &World, now: Time) -> Plan {
    let nodes = world.table(&NODES);
    if nodes.synced().is_none_or(|s| s < pod.revision()) {
        let wait = vec![(NODES.group_resource(), pod.revision())];
        return Plan { wait, ..Plan::default() };
    }
    let since = nodes.gone_at(node).or(world.table(&PODS).seen_at(&pod.key()));
    let due = since.unwrap_or(now) + QUARANTINE;
    if due > now {
        return Plan { requeue_at: Some(due), ..Plan::default() };
    }
    kill(pod, Some("PodGC: node no longer exists"), now)
}

/// Deletes a pod at once; one that still counted as running has failed.
fn kill(pod: &Value, why: Option<&str>, now: Time) -> Plan {
    let mut plan = Plan::nothing();
    if let Some(why) = why.filter(|_| !pods::is_terminal(pod)) {
        let mut failed = pod.clone();
        failed.set("status.phase", "Failed");
        let condition = value!({
            "type": "DisruptionTarget", "status": "True", "lastProbeTime": null,
            "lastTransitionTime": (now.rfc3339()), "reason": "DeletionByPodGC", "message": why,
        });
        conditions::put(failed.entry("status.conditions"), "DisruptionTarget", condition);
        plan.writes.push(Write::update_status(&PODS, failed));
    }
    plan.writes.push(Write::delete(&PODS, pod).grace(0));
    plan
}

fn is_out_of_service(node: &Value) -> bool {
    !node.condition_is_true("Ready")
        && node.at("spec.taints").items().iter().any(|t| t.at("key").str() == OUT_OF_SERVICE)
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::common::testing::{body, now, object, plan, plan_key, pod, short, world};

    fn owner() -> Value {
        object(r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}}"#)
    }

    #[test]
    fn pods_of_a_lost_node_go_after_a_quarantine() {
        let gc = PodGarbageCollector::default();
        let world = world([pod("p", &owner(), value!({}), true)]);
        let first = plan(&gc, &world, "p");
        assert_eq!(first.requeue_at, Some(now() + QUARANTINE));
        let later = Context::at(now() + QUARANTINE, 1);
        let plan = gc.reconcile(&ObjectKey::new("ns", "p"), &world, &later);
        assert_eq!(short(&plan), ["update-status pods p", "delete pods p"]);
        assert_eq!(body(&plan, &PODS).at("status.phase").str(), "Failed");
    }

    #[test]
    fn a_pod_deleted_before_it_had_a_node_goes_at_once() {
        let mut pod = pod("p", &owner(), value!({}), false);
        pod.set("spec.nodeName", "");
        let gc = PodGarbageCollector::default();
        assert_eq!(plan(&gc, &world([pod.clone()]), "p"), Plan::nothing());
        pod.set("metadata.deletionTimestamp", "2026-01-01T00:00:00Z");
        assert_eq!(short(&plan(&gc, &world([pod]), "p")), ["delete pods p"]);
    }

    #[test]
    fn the_oldest_terminated_pods_go_beyond_the_threshold() {
        let pods = (0..5).map(|n| {
            let mut pod = pod(&format!("p{n}"), &owner(), value!({}), false);
            pod.set("status.phase", "Succeeded");
            pod.set("metadata.creationTimestamp", format!("2026-01-01T00:00:0{}Z", 9 - n));
            pod
        });
        let gc = PodGarbageCollector { threshold: 3 };
        let plan = plan_key(&gc, &world(pods), &ObjectKey::default());
        assert_eq!(short(&plan), ["delete pods p4", "delete pods p3"]);
    }
}
