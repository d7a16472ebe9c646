use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::sync::atomic::{AtomicU64, Ordering};

use timonier_object::value;
use timonier_reconcile::Operation;

use super::*;
use crate::common::revisions::HASH_LABEL;
use crate::common::testing::{add, body, now, object, plan, short, world};

fn set() -> Value {
    object(
        r#"{"apiVersion":"apps/v1","kind":"DaemonSet",
            "metadata":{"name":"ds","namespace":"ns","uid":"uid-ds","generation":1},
            "spec":{"selector":{"matchLabels":{"app":"ds"}},
                    "updateStrategy":{"type":"RollingUpdate",
                                      "rollingUpdate":{"maxUnavailable":1,"maxSurge":0}},
                    "template":{"metadata":{"labels":{"app":"ds"}},
                                "spec":{"containers":[{"name":"c","image":"i"}]}}}}"#,
    )
}

fn node(n: usize) -> Value {
    value!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": (format!("n{n}")) } })
}

/// Carries out a plan; created pods run and are ready at once, deleted ones are gone.
fn apply(world: &mut World, plan: &Plan) {
    for write in &plan.writes {
        match &write.operation {
            Operation::Create { object } | Operation::Update { object, .. } => {
                let mut object = object.clone();
                if object.kind() == "Pod" {
                    let node = node_of(&object);
                    object.set("spec.nodeName", node);
                    let ready = value!([{ "type": "Ready", "status": "True",
                                          "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
                    object.set("status", value!({ "phase": "Running", "conditions": ready }));
                    object.set("metadata.creationTimestamp", "2026-01-01T00:00:00Z");
                }
                add(world, object);
            }
            Operation::Delete { .. } => {
                let last = world.get(&write.resource, &write.key).unwrap().clone();
                world.remove(&write.resource.group_resource(), &last, now());
            }
            Operation::Patch { .. } => panic!("no patches here"),
        }
    }
}

fn run(world: &mut World, steps: u64) {
    static SEED: AtomicU64 = AtomicU64::new(100);
    for _ in 0..steps {
        let context = Context::at(now(), SEED.fetch_add(1, Ordering::Relaxed));
        let plan = DaemonSets.reconcile(&ObjectKey::new("ns", "ds"), world, &context);
        apply(world, &plan);
    }
}

fn hashes(world: &World) -> Vec<String> {
    let pods = world.table(&PODS).iter();
    let mut all: Vec<_> = pods.map(|p| String::from(p.label(HASH_LABEL).unwrap_or(""))).collect();
    all.sort();
    all
}

#[test]
fn every_node_that_suits_gets_a_pod() {
    let mut tainted = node(2);
    tainted.set("spec.taints", value!([{ "key": "x", "effect": "NoSchedule" }]));
    let mut cordoned = node(3);
    cordoned.set(
        "spec.taints",
        value!([{ "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule" }]),
    );
    let mut world = world([set(), node(1), tainted, cordoned]);
    let first = plan(&DaemonSets, &world, "ds");
    let revision = body(&first, &CONTROLLERREVISIONS);
    assert_eq!(revision.at("data.spec.template").get("$patch").unwrap().str(), "replace");
    let pod = body(&first, &PODS);
    assert_eq!(node_of(pod), "n1");
    assert_eq!(pod.label(HASH_LABEL), revision.label(HASH_LABEL));
    assert_eq!(pod.at("spec.tolerations").items().len(), 6);
    apply(&mut world, &first);
    run(&mut world, 2);
    assert_eq!(world.table(&PODS).len(), 2);
    let stored = world.get(&DAEMONSETS, &ObjectKey::new("ns", "ds")).unwrap();
    assert_eq!(
        stored.at("status"),
        &value!({ "currentNumberScheduled": 2, "numberMisscheduled": 0,
                  "desiredNumberScheduled": 2, "numberReady": 2, "observedGeneration": 1,
                  "updatedNumberScheduled": 2, "numberAvailable": 2 })
    );
    assert_eq!(plan(&DaemonSets, &world, "ds").writes, []);
}

#[test]
fn a_rolling_update_replaces_one_at_a_time() {
    let mut world = world([set(), node(1), node(2), node(3)]);
    run(&mut world, 3);
    let old = hashes(&world)[0].clone();
    let mut next = set();
    next.set("metadata.generation", 2);
    next.entry("spec.template.spec.containers").make_array()[0].set("image", "j");
    add(&mut world, next);
    for seed in 0..20 {
        run(&mut world, 1 + seed % 2);
        assert!(world.table(&PODS).len() >= 2);
    }
    assert_eq!(world.table(&PODS).len(), 3);
    assert!(hashes(&world).iter().all(|h| *h != old));
    let revisions: Vec<_> =
        world.table(&CONTROLLERREVISIONS).iter().map(|r| r.at("revision").int_or(0)).collect();
    assert_eq!(revisions.len(), 2);
    assert!(revisions.contains(&1) && revisions.contains(&2));
}

#[test]
fn a_surging_update_keeps_every_node_served() {
    let mut start = set();
    start.set("spec.updateStrategy.rollingUpdate", value!({ "maxUnavailable": 0, "maxSurge": 1 }));
    let mut world = world([start.clone(), node(1), node(2)]);
    run(&mut world, 3);
    start.entry("spec.template.spec.containers").make_array()[0].set("image", "j");
    add(&mut world, start);
    let old = hashes(&world)[0].clone();
    for _ in 0..20 {
        run(&mut world, 1);
        let n = world.table(&PODS).len();
        assert!((2..=3).contains(&n), "{n}");
    }
    assert!(hashes(&world).iter().all(|h| *h != old));
}

#[test]
fn pods_leave_nodes_that_do_not_suit() {
    let mut start = set();
    start.set("spec.template.spec.nodeSelector", value!({ "disk": "ssd" }));
    let mut labelled = node(1);
    labelled.set("metadata.labels", value!({ "disk": "ssd" }));
    let mut world = world([start, labelled, node(2)]);
    run(&mut world, 2);
    assert_eq!(world.table(&PODS).len(), 1);
    add(&mut world, node(1));
    let plan = plan(&DaemonSets, &world, "ds");
    assert!(short(&plan)[0].starts_with("delete pods ds-"), "{:?}", short(&plan));
}

#[test]
fn failed_pods_are_replaced_ever_more_slowly() {
    let mut world = world([set(), node(1)]);
    run(&mut world, 2);
    let mut failed = Value::clone(world.table(&PODS).iter().next().unwrap());
    failed.set("status.phase", "Failed");
    add(&mut world, failed);
    let mut memory = None;
    let mut run_at = |now: Time| {
        let context = Context { now, seed: 1, failure: None, memory: memory.as_ref() };
        let plan = DaemonSets.reconcile(&ObjectKey::new("ns", "ds"), &world, &context);
        memory = plan.remember.clone();
        let deleted = plan.writes.iter().any(|w| matches!(w.operation, Operation::Delete { .. }));
        assert_eq!(deleted, plan.because.iter().any(|r| r.reason == "FailedDaemonPod"));
        (deleted, plan.requeue_at)
    };
    let mut at = now();
    for wait in [1, 2, 4, 8].map(Duration::from_secs) {
        assert_eq!(run_at(at), (true, None));
        assert_eq!(run_at(at), (false, Some(at + wait)));
        at = at + wait;
    }
    at = at + Duration::from_secs(40 * 60);
    run_at(at);
    assert_eq!(run_at(at), (false, Some(at + Duration::from_secs(1))), "forgotten after long");
}

#[test]
fn a_revision_holds_the_template_as_upstream_clients_write_it() {
    let mut set = set();
    let template = object(
        r#"{"spec":{"tolerations":[{"operator":"Exists","key":"k"}],
                    "containers":[{"name":"c","image":"i","resources":{},
                                   "env":[{"value":"v","name":"n"}]}]},
            "metadata":{"labels":{"b":"2","app":"ds","a":"1"}}}"#,
    );
    set.set("spec.template", template);
    let world = world([set, node(1)]);
    let revision = body(&plan(&DaemonSets, &world, "ds"), &CONTROLLERREVISIONS).clone();
    // `daemon.Match` and kubectl compare these bytes.
    let expected = r#"{"spec":{"template":{"$patch":"replace","#.to_owned()
        + r#""metadata":{"labels":{"a":"1","app":"ds","b":"2"}},"#
        + r#""spec":{"containers":[{"env":[{"name":"n","value":"v"}],"image":"i","name":"c","#
        + r#""resources":{}}],"tolerations":[{"key":"k","operator":"Exists"}]}}}}"#;
    assert_eq!(format!("{}", revision.at("data")), expected);
}
