//! Node lifecycle: a node whose kubelet is silent becomes `Unknown`, conditions become taints
//! (upstream `pkg/controller/nodelifecycle`).

use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::{LEASES, NODES, PODS};
use timonier_meta::{Duration, GroupVersionResource, ObjectKey, Time};
use timonier_object::{Value, value};
use timonier_reconcile::{Change, Context, PatchKind, Plan, Reason, Reconciler, World, Write};

use crate::common::taints::{
    DISK_PRESSURE, MEMORY_PRESSURE, NETWORK_UNAVAILABLE, NOT_READY, PID_PRESSURE, UNREACHABLE,
    UNSCHEDULABLE,
};
use crate::common::{conditions, pods};

mod zones;

/// The namespace of the nodes' leases.
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// The conditions that a silent kubelet leaves unknown.
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// The controller of the health of Nodes.
pub struct NodeLifecycle {
    /// A kubelet silent for longer is unreachable (`--node-monitor-grace-period`).
    pub grace: Duration,
    /// The same for a new node that never was heard of (`--node-startup-grace-period`).
    pub startup_grace: Duration,
}

impl Default for NodeLifecycle {
    /// Upstream's figures.
    fn default() -> Self {
        NodeLifecycle { grace: Duration::from_secs(50), startup_grace: Duration::from_secs(60) }
    }
}

impl Reconciler for NodeLifecycle {
    fn name(&self) -> &'static str {
        "node-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![NODES, LEASES, PODS]
    }

    fn concerns(&self, change: &Change, world: &World) -> Vec<ObjectKey> {
        if change.is(&LEASES) {
            // A renewed lease only matters to a node that is given up: the others look again
            // when their grace period ends.
            let key = ObjectKey::new("", change.key.name.clone());
            let lost = world.get(&NODES, &key).is_some_and(|n| !n.condition_is_true("Ready"));
            let ours = change.key.namespace == LEASE_NAMESPACE;
            return if ours && (lost || change.old.is_none()) { vec![key] } else { Vec::new() };
        }
        if change.is(&NODES) {
            let ready = |n: &Option<alloc::sync::Arc<Value>>| {
                n.as_ref().map(|n| n.condition_is_true("Ready"))
            };
            if ready(&change.old) == ready(&change.new) {
                return vec![change.key.clone()];
            }
            // Whether any node is ready decides about the taints of all.
            return world.table(&NODES).keys().cloned().collect();
        }
        let bound = change.new.as_ref().filter(|p| pods::is_ready(p));
        let node = bound.map(|p| ObjectKey::new("", p.at("spec.nodeName").smol()));
        let unready =
            |k: &ObjectKey| world.get(&NODES, k).is_some_and(|n| !n.condition_is_true("Ready"));
        node.into_iter().filter(unready).collect()
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        let Some(node) = world.get(&NODES, key).filter(|n| !n.is_deleting()) else {
            return Plan::nothing();
        };
        let mut plan = Plan::nothing();
        let deadline = self.deadline(node, world);
        let mut health = Value::clone(node);
        if deadline <= context.now {
            give_up(&mut health, context.now);
        } else {
            plan.requeue(deadline + Duration::from_millis(1));
        }
        let ready = health.condition("Ready").map_or("Unknown", |c| c.at("status").str());
        let before = node.condition("Ready").map(|c| c.at("status").str().to_string());
        if health.at("status.conditions") != node.at("status.conditions") {
            let mut write = Write::update_status(&NODES, health.clone());
            if ready != "True" && before.as_deref() == Some("True") {
                let message = format!("Node {} status is now: NodeNotReady", node.name());
                write = write.event(Reason::normal(node, "NodeNotReady", message));
            }
            plan.writes.push(write);
        }
        if ready != "True" {
            plan.writes.extend(unready_pods(node, world, context.now));
        }
        let emptied = ready != "True" && self.is_emptied(node, world, &mut plan, context.now);
        let wanted = taints(&health, ready, emptied, context.now);
        if wanted.items() != node.at("spec.taints").items() {
            plan.writes.push(taint_patch(node, wanted));
        }
        plan
    }
}

impl NodeLifecycle {
    /// Whether the pods of a node that is not ready shall leave it; asks to look again where its
    /// turn is yet to come.
    fn is_emptied(&self, node: &Value, world: &World, plan: &mut Plan, now: Time) -> bool {
        let is_ready = |n: &Value| n.condition_is_true("Ready") && self.deadline(n, world) > now;
        // Where no node is ready, the fault is more likely on this side: nothing is evicted.
        if !world.table(&NODES).iter().any(|n| is_ready(n)) {
            return false;
        }
        let turn = || zones::turn(node, world, is_ready, now);
        match zones::is_emptied(node).then_some(now).or_else(turn) {
            Some(at) if at <= now => true,
            Some(at) => {
                plan.requeue(at);
                false
            }
            None => false,
        }
    }

    /// When the node counts as unreachable if nothing more is heard of it. What counts is when
    /// its heartbeats were observed here: clocks differ, and the control plane may have slept.
    fn deadline(&self, node: &Value, world: &World) -> Time {
        let lease = ObjectKey::new(LEASE_NAMESPACE, node.name());
        let beat = world.table(&LEASES).seen_at(&lease);
        let posted = node.condition("Ready").and_then(|_| world.table(&NODES).seen_at(&node.key()));
        // A status that the kubelet has not posted since is no sign of life: `Unknown` is ours.
        let posted = posted.filter(|_| {
            node.condition("Ready").is_some_and(|c| c.at("status").str() != "Unknown")
                && beat.is_none()
        });
        match beat.into_iter().chain(posted).max() {
            Some(seen) => seen + self.grace,
            None => node.created().unwrap_or_default() + self.startup_grace,
        }
    }
}

/// What is not known any more becomes `Unknown`.
fn give_up(node: &mut Value, now: Time) {
    let created = node.at("metadata.creationTimestamp").clone();
    let list = node.entry("status.conditions");
    for kind in CONDITIONS {
        let old = conditions::find(list, kind).cloned();
        match old {
            None => conditions::put(
                list,
                kind,
                value!({ "type": kind, "status": "Unknown", "lastHeartbeatTime": (&created),
                    "lastTransitionTime": (now.rfc3339()), "reason": "NodeStatusNeverUpdated",
                    "message": "Kubelet never posted node status." }),
            ),
            Some(mut c) if c.at("status").str() != "Unknown" => {
                c.set("status", "Unknown");
                c.set("reason", "NodeStatusUnknown");
                c.set("message", "Kubelet stopped posting node status.");
                c.set("lastTransitionTime", now.rfc3339());
                conditions::put(list, kind, c);
            }
            Some(_) => {}
        }
    }
}

/// The pods of a node that is not ready are not ready, whatever they said last.
fn unready_pods(node: &Value, world: &World, now: Time) -> Vec<Write> {
    let ready = world.table(&PODS).on_node(node.name()).filter(|p| pods::is_ready(p));
    ready
        .map(|pod| {
            let mut pod = Value::clone(pod);
            let mut condition = pod.condition("Ready").cloned().unwrap_or_default();
            condition.set("status", "False");
            condition.set("lastTransitionTime", now.rfc3339());
            conditions::put(pod.entry("status.conditions"), "Ready", condition);
            let event = Reason::warning(&pod, "NodeNotReady", "Node is not ready");
            Write::update_status(&PODS, pod).event(event)
        })
        .collect()
}

/// The node's taints as its conditions want them; those of others are kept.
fn taints(node: &Value, ready: &str, emptied: bool, now: Time) -> Value {
    let is = |kind: &str| node.condition_is_true(kind);
    let unschedulable = node.at("spec.unschedulable").bool();
    let rules = [
        (NOT_READY, "NoSchedule", ready == "False"),
        (UNREACHABLE, "NoSchedule", ready == "Unknown"),
        (MEMORY_PRESSURE, "NoSchedule", is("MemoryPressure")),
        (DISK_PRESSURE, "NoSchedule", is("DiskPressure")),
        (PID_PRESSURE, "NoSchedule", is("PIDPressure")),
        (NETWORK_UNAVAILABLE, "NoSchedule", is("NetworkUnavailable")),
        (UNSCHEDULABLE, "NoSchedule", unschedulable),
        (NOT_READY, "NoExecute", ready == "False" && emptied),
        (UNREACHABLE, "NoExecute", ready == "Unknown" && emptied),
    ];
    let mut list: Vec<Value> = node.at("spec.taints").items().to_vec();
    let same = |t: &Value, key: &str, effect: &str| {
        t.at("key").str() == key && t.at("effect").str() == effect
    };
    for (key, effect, wanted) in rules {
        let there = list.iter().any(|t| same(t, key, effect));
        if there && !wanted {
            list.retain(|t| !same(t, key, effect));
        } else if !there && wanted {
            list.push(value!({ "key": key, "effect": effect, "timeAdded": (now.rfc3339()) }));
        }
    }
    // Eviction counts from when a taint was first seen.
    for taint in list.iter_mut().filter(|t| t.at("effect").str() == "NoExecute") {
        if taint.at("timeAdded").is_empty() {
            taint.set("timeAdded", now.rfc3339());
        }
    }
    Value::array(list)
}

fn taint_patch(node: &Value, taints: Value) -> Write {
    // Guarded by the old list rather than the version, which heartbeats and status change.
    let mut ops = Vec::new();
    match node.find("spec.taints") {
        Some(old) => {
            ops.push(value!({ "op": "test", "path": "/spec/taints", "value": old }));
            ops.push(value!({ "op": "replace", "path": "/spec/taints", "value": taints }));
        }
        None => ops.push(value!({ "op": "add", "path": "/spec/taints", "value": taints })),
    }
    ops.insert(0, value!({ "op": "test", "path": "/metadata/uid", "value": (node.uid()) }));
    Write::patch(&NODES, node, PatchKind::Json, Value::array(ops))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::sync::Arc;

    use crate::common::testing::{add, body, events, now, object, plan_key, pod, short, world};

    fn node(name: &str, status: &str) -> Value {
        let mut node = object(
            r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1",
                "creationTimestamp":"2026-01-01T00:00:00Z"},
                "status":{"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady"},
                                        {"type":"DiskPressure","status":"False"}]}}"#,
        );
        node.set("metadata.name", name);
        node.entry("status.conditions").make_array()[0].set("status", status);
        node
    }

    fn lease(name: &str) -> Value {
        value!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                 "metadata": { "name": name, "namespace": LEASE_NAMESPACE, "uid": (format!("lease-{name}")) } })
    }

    fn at(world: &World, seconds: i64) -> Plan {
        let key = ObjectKey::new("", "n1");
        let now = now() + Duration::from_secs(seconds);
        NodeLifecycle::default().reconcile(&key, world, &Context::at(now, 1))
    }

    /// A node's lease is renewed at a time.
    fn beat(world: &mut World, name: &str, seconds: i64) {
        let mut beat = lease(name);
        beat.set("metadata.resourceVersion", "2");
        let at = now() + Duration::from_secs(seconds);
        world.put(&LEASES.group_resource(), Arc::new(beat), at);
    }

    /// The effects of the taints that a plan sets.
    fn effects(plan: &Plan) -> Vec<String> {
        let patches = plan.writes.iter().filter_map(|w| match &w.operation {
            timonier_reconcile::Operation::Patch { patch, .. } => patch.items().last(),
            _ => None,
        });
        let taints = patches.flat_map(|p| p.at("value").items());
        taints.map(|t| t.at("effect").str().to_string()).collect()
    }

    #[test]
    fn a_silent_node_becomes_unknown_and_its_pods_unready() {
        let mut world = world([node("n1", "True"), node("n2", "True"), lease("n1"), lease("n2")]);
        add(&mut world, pod("p", &node("n1", "True"), value!({}), true));
        let quiet = at(&world, 49);
        assert!(quiet.writes.is_empty() && quiet.requeue_at.is_some());
        let lost = effects(&at(&world, 51));
        assert!(!lost.contains(&"NoExecute".to_string()), "the other node is silent, too");
        beat(&mut world, "n2", 40);
        let plan = at(&world, 51);
        assert_eq!(
            short(&plan),
            ["update-status nodes n1", "update-status pods p", "patch nodes n1"]
        );
        assert_eq!(
            events(&plan),
            [
                "NodeNotReady: Node n1 status is now: NodeNotReady",
                "NodeNotReady: Node is not ready"
            ]
        );
        let ready = body(&plan, &NODES).condition("Ready").unwrap();
        assert_eq!(ready.at("reason").str(), "NodeStatusUnknown");
        let never = body(&plan, &NODES).condition("PIDPressure").unwrap();
        assert_eq!(never.at("reason").str(), "NodeStatusNeverUpdated");
        let timonier_reconcile::Operation::Patch { patch, .. } = &plan.writes[2].operation else {
            panic!()
        };
        let taints = patch.items().last().unwrap().at("value").clone();
        let found: Vec<_> =
            taints.items().iter().map(|t| (t.at("key").str(), t.at("effect").str())).collect();
        assert_eq!(found, [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]);
    }

    #[test]
    fn conditions_and_cordon_become_taints_and_go_again() {
        let mut bad = node("n1", "False");
        bad.set("spec.unschedulable", true);
        bad.set(
            "spec.taints",
            value!([{ "key": "mine", "effect": "NoSchedule" },
                                       { "key": (DISK_PRESSURE), "effect": "NoSchedule" }]),
        );
        let world = world([bad, node("n2", "True"), lease("n1")]);
        let plan = at(&world, 1);
        let timonier_reconcile::Operation::Patch { patch, .. } = &plan.writes[0].operation else {
            panic!()
        };
        let taints = patch.items().last().unwrap().at("value").clone();
        let keys: Vec<_> = taints.items().iter().map(|t| t.at("key").str()).collect();
        assert_eq!(keys, ["mine", NOT_READY, UNSCHEDULABLE, NOT_READY]);
    }

    #[test]
    fn where_no_node_is_ready_nothing_is_evicted() {
        let world = world([node("n1", "False"), lease("n1")]);
        let plan = at(&world, 1);
        let timonier_reconcile::Operation::Patch { patch, .. } = &plan.writes[0].operation else {
            panic!()
        };
        let taints = patch.items().last().unwrap().at("value").clone();
        assert!(taints.items().iter().all(|t| t.at("effect").str() == "NoSchedule"));
    }

    /// What happens to a node's pods at a time: whether they are sent away, and when the node is
    /// looked at again.
    fn emptied(world: &World, name: &str, seconds: i64) -> (bool, Option<i64>) {
        let time = now() + Duration::from_secs(seconds);
        let key = ObjectKey::new("", name);
        let plan = NodeLifecycle::default().reconcile(&key, world, &Context::at(time, 1));
        let again = plan.requeue_at.map(|at| at.unix() - now().unix());
        (effects(&plan).contains(&"NoExecute".to_string()), again)
    }

    fn zone(nodes: &[(&str, &str)]) -> World {
        let leases = nodes.iter().map(|(name, _)| lease(name));
        world(nodes.iter().map(|(name, status)| node(name, status)).chain(leases))
    }

    #[test]
    fn where_most_of_a_zone_is_unready_nothing_is_evicted() {
        let four =
            |last: &str| zone(&[("n1", "False"), ("n2", "Unknown"), ("n3", last), ("n4", "True")]);
        assert_eq!(emptied(&four("False"), "n1", 1), (false, Some(50)));
        assert!(emptied(&four("True"), "n1", 1).0, "two of four");
        // A node that has fallen silent counts before it is known as such.
        let mut silent = zone(&[("n1", "False"), ("n2", "False"), ("n3", "True"), ("n4", "True")]);
        beat(&mut silent, "n4", 40);
        assert!(!emptied(&silent, "n1", 51).0);
        // Another zone is another matter, and one without any ready node is emptied.
        let mut apart = four("False");
        for name in ["n1", "n2"] {
            let mut moved = node(name, "False");
            moved.set("metadata.labels", value!({ "topology.kubernetes.io/zone": "b" }));
            add(&mut apart, moved);
        }
        assert!(emptied(&apart, "n1", 1).0);
    }

    #[test]
    fn the_nodes_of_a_zone_are_emptied_one_after_the_other() {
        let mut world = zone(&[("n1", "False"), ("n2", "False"), ("n3", "True"), ("n4", "True")]);
        assert!(emptied(&world, "n1", 1).0);
        assert_eq!(emptied(&world, "n2", 1), (false, Some(11)));
        let mut first = node("n1", "False");
        let since = (now() + Duration::from_secs(1)).rfc3339();
        first.set(
            "spec.taints",
            value!([{ "key": NOT_READY, "effect": "NoExecute", "timeAdded": since }]),
        );
        add(&mut world, first);
        assert_eq!(emptied(&world, "n2", 2), (false, Some(11)));
        assert!(emptied(&world, "n2", 11).0);
        assert!(emptied(&world, "n1", 11).0, "it stays as it is");
    }

    #[test]
    fn most_of_a_large_zone_is_emptied_slowly() {
        let names: Vec<_> = (10..70).map(|n| format!("n{n}")).collect();
        let status = |i: usize| if i < 40 { "False" } else { "True" };
        let all: Vec<_> = names.iter().enumerate().map(|(i, n)| (n.as_str(), status(i))).collect();
        let world = zone(&all);
        assert!(emptied(&world, "n10", 1).0);
        assert!(!emptied(&world, "n11", 1).0 && !emptied(&world, "n11", 20).0);
    }

    #[test]
    fn a_healthy_node_needs_nothing() {
        let world = world([node("n1", "True"), lease("n1")]);
        let plan = plan_key(&NodeLifecycle::default(), &world, &ObjectKey::new("", "n1"));
        assert!(plan.writes.is_empty());
    }
}
