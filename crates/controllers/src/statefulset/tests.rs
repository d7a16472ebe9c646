use alloc::string::{String, ToString};

use timonier_object::value;
use timonier_reconcile::Operation;

use super::*;
use crate::common::testing::{add, body, events, now, object, plan, short, world};

fn set(replicas: i64) -> Value {
    let mut set = object(
        r#"{"apiVersion":"apps/v1","kind":"StatefulSet",
            "metadata":{"name":"db","namespace":"ns","uid":"uid-db","generation":1},
            "spec":{"serviceName":"db","selector":{"matchLabels":{"app":"db"}},
                    "updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"partition":0}},
                    "volumeClaimTemplates":[{"metadata":{"name":"data"},
                                             "spec":{"accessModes":["ReadWriteOnce"]}}],
                    "template":{"metadata":{"labels":{"app":"db"}},
                                "spec":{"containers":[{"name":"c","image":"i"}]}}}}"#,
    );
    set.set("spec.replicas", replicas);
    set
}

/// Carries out a plan: created pods are ready, deleted ones are gone.
fn apply(world: &mut World, plan: &Plan) {
    for write in &plan.writes {
        match &write.operation {
            Operation::Create { object } | Operation::Update { object, .. } => {
                let mut object = object.clone();
                if object.kind() == "Pod" {
                    let ready = value!([{ "type": "Ready", "status": "True",
                                          "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
                    object.set("status", value!({ "phase": "Running", "conditions": ready }));
                }
                add(world, object);
            }
            Operation::Delete { .. } => {
                let last = world.get(&write.resource, &write.key).unwrap().clone();
                world.remove(&write.resource.group_resource(), &last, now());
            }
            Operation::Patch { .. } => {}
        }
    }
}

fn run(world: &mut World, steps: usize) -> Vec<String> {
    let mut done = Vec::new();
    for _ in 0..steps {
        let plan = plan(&StatefulSets, world, "db");
        done.extend(short(&plan).into_iter().filter(|w| w.contains(" pods ")));
        apply(world, &plan);
    }
    done
}

fn change(world: &mut World, f: impl FnOnce(&mut Value)) {
    let mut set = Value::clone(world.get(&STATEFULSETS, &ObjectKey::new("ns", "db")).unwrap());
    f(&mut set);
    set.set("metadata.generation", set.generation() + 1);
    add(world, set);
}

#[test]
fn pods_come_one_after_another_with_name_and_claim() {
    let mut world = world([set(2)]);
    let first = plan(&StatefulSets, &world, "db");
    assert!(short(&first).contains(&"create persistentvolumeclaims data-db-0".to_string()));
    let pod = body(&first, &PODS);
    assert_eq!((pod.name(), pod.at("spec.hostname").str()), ("db-0", "db-0"));
    assert_eq!(pod.at("spec.subdomain").str(), "db");
    assert_eq!(pod.label("apps.kubernetes.io/pod-index"), Some("0"));
    assert_eq!(
        pod.at("spec.volumes").items()[0].at("persistentVolumeClaim.claimName").str(),
        "data-db-0"
    );
    assert_eq!(
        events(&first),
        [
            "SuccessfulCreate: create Claim data-db-0 Pod db-0 in StatefulSet db success",
            "SuccessfulCreate: create Pod db-0 in StatefulSet db successful"
        ]
    );
    apply(&mut world, &first);
    let mut unready = Value::clone(world.get(&PODS, &ObjectKey::new("ns", "db-0")).unwrap());
    unready.remove("status.conditions");
    let ready = world.get(&PODS, &unready.key()).unwrap().clone();
    add(&mut world, unready);
    assert_eq!(run(&mut world, 2), [""; 0]);
    add(&mut world, Value::clone(&ready));
    assert_eq!(run(&mut world, 3), ["create pods db-1"]);
    let stored = world.get(&STATEFULSETS, &ObjectKey::new("ns", "db")).unwrap();
    assert_eq!(stored.at("status.readyReplicas").as_i64(), Some(2));
    assert_eq!(stored.at("status.currentRevision"), stored.at("status.updateRevision"));
}

#[test]
fn scaling_down_takes_the_highest_first() {
    let mut world = world([set(3)]);
    run(&mut world, 5);
    change(&mut world, |s| s.set("spec.replicas", 1));
    assert_eq!(run(&mut world, 4), ["delete pods db-2", "delete pods db-1"]);
    assert_eq!(world.table(&PERSISTENTVOLUMECLAIMS).len(), 3);
}

#[test]
fn scaling_down_waits_for_pods_that_do_not_serve() {
    let mut world = world([set(3)]);
    run(&mut world, 5);
    let unready = |world: &mut World, name: &str| {
        let mut pod = Value::clone(world.get(&PODS, &ObjectKey::new("ns", name)).unwrap());
        pod.remove("status.conditions");
        add(world, pod);
    };
    unready(&mut world, "db-2");
    unready(&mut world, "db-1");
    change(&mut world, |s| s.set("spec.replicas", 1));
    assert_eq!(run(&mut world, 4), [""; 0]);
    let mut ready = Value::clone(world.get(&PODS, &ObjectKey::new("ns", "db-1")).unwrap());
    let served = world.get(&PODS, &ObjectKey::new("ns", "db-0")).unwrap().at("status").clone();
    ready.set("status", served);
    add(&mut world, ready);
    assert_eq!(run(&mut world, 4), ["delete pods db-2", "delete pods db-1"]);
}

#[test]
fn an_update_goes_from_the_highest_to_the_partition() {
    let mut world = world([set(3)]);
    run(&mut world, 6);
    change(&mut world, |s| {
        s.set("spec.updateStrategy.rollingUpdate.partition", 1);
        s.entry("spec.template.spec.containers").make_array()[0].set("image", "j");
    });
    let done = run(&mut world, 8);
    assert_eq!(
        done,
        ["delete pods db-2", "create pods db-2", "delete pods db-1", "create pods db-1"]
    );
    let image = |world: &World, name: &str| {
        let pod = world.get(&PODS, &ObjectKey::new("ns", name)).unwrap();
        pod.at("spec.containers").items()[0].at("image").str().to_string()
    };
    assert_eq!((image(&world, "db-0"), image(&world, "db-2")), ("i".into(), "j".into()));
    change(&mut world, |s| s.set("spec.updateStrategy.rollingUpdate.partition", 0));
    assert_eq!(run(&mut world, 4), ["delete pods db-0", "create pods db-0"]);
    let stored = world.get(&STATEFULSETS, &ObjectKey::new("ns", "db")).unwrap();
    assert_eq!(stored.at("status.currentRevision"), stored.at("status.updateRevision"));
}

#[test]
fn parallel_sets_start_all_at_once_and_failed_pods_are_made_again() {
    let mut start = set(3);
    start.set("spec.podManagementPolicy", "Parallel");
    let mut world = world([start]);
    assert_eq!(run(&mut world, 1).len(), 3);
    let mut failed = Value::clone(world.get(&PODS, &ObjectKey::new("ns", "db-1")).unwrap());
    failed.set("status.phase", "Failed");
    add(&mut world, failed);
    let plan = plan(&StatefulSets, &world, "db");
    assert!(events(&plan).contains(
        &"RecreatingFailedPod: StatefulSet ns/db is recreating failed Pod db-1".to_string()
    ));
}

#[test]
fn a_pending_pod_is_given_the_claim_that_it_lost() {
    let mut world = world([set(1)]);
    let first = plan(&StatefulSets, &world, "db");
    apply(&mut world, &first);
    let key = ObjectKey::new("ns", "data-db-0");
    let claim = world.get(&PERSISTENTVOLUMECLAIMS, &key).unwrap().clone();
    let resource = PERSISTENTVOLUMECLAIMS.group_resource();
    let change = world.remove(&resource, &claim, now()).unwrap();
    assert_eq!(StatefulSets.concerns(&change, &world), [ObjectKey::new("ns", "db")]);
    let made = |world: &World| {
        short(&plan(&StatefulSets, world, "db"))
            .contains(&"create persistentvolumeclaims data-db-0".to_string())
    };
    assert!(!made(&world), "a running pod has its volume");
    let mut pod = Value::clone(world.get(&PODS, &ObjectKey::new("ns", "db-0")).unwrap());
    pod.set("status", value!({ "phase": "Pending" }));
    add(&mut world, pod);
    assert!(made(&world));
}
