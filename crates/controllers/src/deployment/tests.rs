use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;

use timonier_meta::Duration;
use timonier_object::value;
use timonier_reconcile::Operation;

use super::*;
use crate::common::conditions;
use crate::common::testing::{add, body, events, now, object, plan, short, world};

fn deployment(replicas: i64, image: &str) -> Value {
    let mut d = object(
        r#"{"apiVersion":"apps/v1","kind":"Deployment",
            "metadata":{"name":"web","namespace":"ns","uid":"uid-web","generation":1,
                        "resourceVersion":"1","annotations":{"note":"x"}},
            "spec":{"selector":{"matchLabels":{"app":"web"}},"revisionHistoryLimit":10,
                    "progressDeadlineSeconds":600,
                    "strategy":{"type":"RollingUpdate",
                                "rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"}},
                    "template":{"metadata":{"labels":{"app":"web"}},
                                "spec":{"containers":[{"name":"c","image":"i"}]}}}}"#,
    );
    d.set("spec.replicas", replicas);
    d.entry("spec.template.spec.containers").make_array()[0].set("image", image);
    d
}

/// Carries out a plan's writes on ReplicaSets and the Deployment.
fn apply(world: &mut World, plan: &Plan) {
    for write in &plan.writes {
        match &write.operation {
            Operation::Create { object } | Operation::Update { object, .. } => {
                let mut object = object.clone();
                let next = object.revision() + 1;
                object.set("metadata.resourceVersion", next.to_string());
                if object.at("metadata.creationTimestamp").is_empty() {
                    object.set(
                        "metadata.creationTimestamp",
                        format!("2026-01-01T00:00:{:02}Z", world.table(&REPLICASETS).len()),
                    );
                }
                add(world, object);
            }
            Operation::Patch { patch, .. } => {
                let old = world.get(&write.resource, &write.key).unwrap();
                let mut object = Value::clone(old);
                let next = object.revision() + 1;
                object.set("metadata.resourceVersion", next.to_string());
                for (k, v) in patch.at("metadata.annotations").entries() {
                    object.entry("metadata.annotations").make_object().insert(k, v.clone());
                }
                add(world, object);
            }
            Operation::Delete { .. } => {
                let old = world.get(&write.resource, &write.key).unwrap().clone();
                world.remove(&write.resource.group_resource(), &old, crate::common::testing::now());
            }
        }
    }
}

/// Makes every ReplicaSet have what it wants; the pods of `broken` are not available.
fn serve(world: &mut World, broken: &str) {
    let sets: Vec<_> = world.table(&REPLICASETS).iter().cloned().collect();
    for set in sets {
        let n = set.at("spec.replicas").int_or(0);
        let up = if image(&set) == broken { 0 } else { n };
        let mut set = Value::clone(&set);
        set.set("metadata.resourceVersion", (set.revision() + 1).to_string());
        set.set("status", value!({ "replicas": n, "readyReplicas": up, "availableReplicas": up }));
        add(world, set);
    }
}

fn image(set: &Value) -> String {
    set.at("spec.template.spec.containers").items()[0].at("image").str().to_string()
}

/// Image and wanted replicas of each ReplicaSet, sorted.
fn sizes(world: &World) -> Vec<(String, i64)> {
    let mut sizes: Vec<_> = world
        .table(&REPLICASETS)
        .iter()
        .map(|s| (image(s), s.at("spec.replicas").int_or(0)))
        .collect();
    sizes.sort();
    sizes
}

fn step(world: &mut World, broken: &str) -> Plan {
    let plan = plan(&Deployments, world, "web");
    apply(world, &plan);
    serve(world, broken);
    plan
}

fn set_spec(world: &mut World, change: impl FnOnce(&mut Value)) {
    let mut d = Value::clone(world.get(&DEPLOYMENTS, &ObjectKey::new("ns", "web")).unwrap());
    change(&mut d);
    d.set("metadata.generation", d.generation() + 1);
    d.set("metadata.resourceVersion", (d.revision() + 1).to_string());
    add(world, d);
}

fn settled(replicas: i64) -> World {
    let mut world = world([deployment(replicas, "v1")]);
    for _ in 0..4 {
        step(&mut world, "");
    }
    assert_eq!(short(&plan(&Deployments, &world, "web")), [""; 0]);
    world
}

fn current(world: &World) -> Value {
    Value::clone(world.get(&DEPLOYMENTS, &ObjectKey::new("ns", "web")).unwrap())
}

#[test]
fn the_first_replica_set_is_made_with_hash_revision_and_event() {
    let world = world([deployment(3, "v1")]);
    let plan = plan(&Deployments, &world, "web");
    let set = body(&plan, &REPLICASETS);
    let hash = set.label("pod-template-hash").unwrap();
    assert_eq!(set.name(), format!("web-{hash}"));
    assert_eq!(set.at("spec.selector.matchLabels").get("pod-template-hash").unwrap().str(), hash);
    assert_eq!(set.annotation("deployment.kubernetes.io/revision"), Some("1"));
    assert_eq!(set.annotation("deployment.kubernetes.io/desired-replicas"), Some("3"));
    assert_eq!(set.annotation("deployment.kubernetes.io/max-replicas"), Some("4"));
    assert_eq!(set.annotation("note"), Some("x"));
    assert_eq!(
        events(&plan),
        [format!("ScalingReplicaSet: Scaled up replica set web-{hash} from 0 to 3")]
    );
    let d = body(&plan, &DEPLOYMENTS);
    assert_eq!(d.condition("Progressing").unwrap().at("reason").str(), "NewReplicaSetCreated");
    assert_eq!(d.condition("Available").unwrap().at("status").str(), "False");
}

#[test]
fn a_rollout_completes_and_says_so() {
    let world = settled(3);
    let d = current(&world);
    let progressing = d.condition("Progressing").unwrap();
    assert_eq!(progressing.at("reason").str(), "NewReplicaSetAvailable");
    assert!(progressing.at("message").str().ends_with("has successfully progressed."));
    assert_eq!(d.at("status.availableReplicas").as_i64(), Some(3));
    assert_eq!(d.annotation("deployment.kubernetes.io/revision"), Some("1"));
}

#[test]
fn a_rolling_update_stays_within_its_bounds() {
    let mut world = settled(10);
    set_spec(&mut world, |d| {
        d.entry("spec.template.spec.containers").make_array()[0].set("image", "v2");
    });
    for _ in 0..40 {
        step(&mut world, "");
        let total: i64 = sizes(&world).iter().map(|(_, n)| n).sum();
        assert!((8..=13).contains(&total), "{:?}", sizes(&world));
    }
    assert_eq!(sizes(&world), [("v1".to_string(), 0), ("v2".to_string(), 10)]);
    assert_eq!(current(&world).annotation("deployment.kubernetes.io/revision"), Some("2"));
}

#[test]
fn a_late_status_of_an_old_set_takes_no_pods_too_many() {
    let mut world = settled(10);
    set_spec(&mut world, |d| {
        d.entry("spec.template.spec.containers").make_array()[0].set("image", "v2");
    });
    for up in 0..10 {
        let plan = plan(&Deployments, &world, "web");
        apply(&mut world, &plan);
        let sets: Vec<_> = world.table(&REPLICASETS).iter().cloned().collect();
        // Pods of the new set come one by one; the status of the old one stays as it was.
        for mut set in sets.iter().filter(|s| image(s) == "v2").map(|s| Value::clone(s)) {
            set.set("metadata.resourceVersion", (set.revision() + 1).to_string());
            set.set("status.availableReplicas", up.min(set.at("spec.replicas").int_or(0)));
            add(&mut world, set);
        }
        let stays = |s: &Arc<Value>| {
            let available = s.at("status.availableReplicas").int_or(0);
            available.min(s.at("spec.replicas").int_or(0))
        };
        let left: i64 = world.table(&REPLICASETS).iter().map(stays).sum();
        assert!(left >= 8, "{left} available pods stay: {:?}", sizes(&world));
    }
}

#[test]
fn a_broken_update_leaves_enough_old_pods_and_times_out() {
    let mut world = settled(10);
    set_spec(&mut world, |d| {
        d.entry("spec.template.spec.containers").make_array()[0].set("image", "bad");
    });
    for _ in 0..20 {
        step(&mut world, "bad");
    }
    assert_eq!(sizes(&world), [("bad".to_string(), 5), ("v1".to_string(), 8)]);
    let quiet = plan(&Deployments, &world, "web");
    assert!(quiet.requeue_at.unwrap() >= now() + Duration::from_secs(600));
    let key = ObjectKey::new("ns", "web");
    let late = Context::at(now() + Duration::from_secs(700), 1);
    let plan = Deployments.reconcile(&key, &world, &late);
    let condition = body(&plan, &DEPLOYMENTS).condition("Progressing").unwrap().clone();
    assert_eq!(condition.at("reason").str(), "ProgressDeadlineExceeded");
    assert_eq!(condition.at("status").str(), "False");
}

#[test]
fn an_undone_template_reuses_its_replica_set_under_a_new_revision() {
    let mut world = settled(2);
    for image in ["v2", "v1"] {
        set_spec(&mut world, |d| {
            d.entry("spec.template.spec.containers").make_array()[0].set("image", image);
        });
        for _ in 0..20 {
            step(&mut world, "");
        }
    }
    assert_eq!(sizes(&world), [("v1".to_string(), 2), ("v2".to_string(), 0)]);
    let first = world.table(&REPLICASETS).iter().find(|s| image(s) == "v1").unwrap();
    assert_eq!(first.annotation("deployment.kubernetes.io/revision"), Some("3"));
    assert_eq!(first.annotation("deployment.kubernetes.io/revision-history"), Some("1"));
}

#[test]
fn a_paused_deployment_scales_and_does_not_roll_out() {
    let mut world = settled(2);
    set_spec(&mut world, |d| {
        d.set("spec.paused", true);
        d.set("spec.replicas", 4);
        d.entry("spec.template.spec.containers").make_array()[0].set("image", "v2");
    });
    for _ in 0..5 {
        step(&mut world, "");
    }
    assert_eq!(sizes(&world), [("v1".to_string(), 4)]);
    let d = current(&world);
    assert_eq!(d.condition("Progressing").unwrap().at("reason").str(), "DeploymentPaused");
    set_spec(&mut world, |d| d.set("spec.paused", false));
    for _ in 0..20 {
        step(&mut world, "");
    }
    assert_eq!(sizes(&world), [("v1".to_string(), 0), ("v2".to_string(), 4)]);
}

#[test]
fn scaling_amid_a_rollout_is_proportional() {
    let mut world = settled(10);
    set_spec(&mut world, |d| {
        d.entry("spec.template.spec.containers").make_array()[0].set("image", "bad");
    });
    for _ in 0..20 {
        step(&mut world, "bad");
    }
    set_spec(&mut world, |d| d.set("spec.replicas", 20));
    step(&mut world, "bad");
    // 13 pods become 25: 8/13 and 5/13 of them, the rest to the largest.
    assert_eq!(sizes(&world), [("bad".to_string(), 10), ("v1".to_string(), 15)]);
}

#[test]
fn recreate_waits_until_old_pods_are_gone() {
    let mut d = deployment(2, "v1");
    d.set("spec.strategy", value!({ "type": "Recreate" }));
    let mut world = world([d]);
    for _ in 0..4 {
        step(&mut world, "");
    }
    let set = world.table(&REPLICASETS).iter().next().unwrap().clone();
    add(&mut world, crate::common::testing::pod("old", &set, value!({ "app": "web" }), true));
    set_spec(&mut world, |d| {
        d.entry("spec.template.spec.containers").make_array()[0].set("image", "v2");
    });
    for _ in 0..5 {
        step(&mut world, "");
        assert_eq!(sizes(&world), [("v1".to_string(), 0)]);
    }
    let old = world.get(&PODS, &ObjectKey::new("ns", "old")).unwrap().clone();
    world.remove(&PODS.group_resource(), &old, crate::common::testing::now());
    for _ in 0..5 {
        step(&mut world, "");
    }
    assert_eq!(sizes(&world), [("v1".to_string(), 0), ("v2".to_string(), 2)]);
}

#[test]
fn history_beyond_the_limit_is_deleted() {
    let mut world = settled(1);
    set_spec(&mut world, |d| d.set("spec.revisionHistoryLimit", 1));
    for image in ["v2", "v3", "v4"] {
        set_spec(&mut world, |d| {
            d.entry("spec.template.spec.containers").make_array()[0].set("image", image);
        });
        for _ in 0..20 {
            step(&mut world, "");
        }
    }
    assert_eq!(sizes(&world), [("v3".to_string(), 0), ("v4".to_string(), 1)]);
}

#[test]
fn a_taken_name_counts_as_a_collision() {
    let mut world = world([deployment(1, "v1")]);
    let first = plan(&Deployments, &world, "web");
    let mut other = body(&first, &REPLICASETS).clone();
    other.set("metadata.ownerReferences", value!([{ "uid": "x", "controller": true }]));
    add(&mut world, other);
    let second = plan(&Deployments, &world, "web");
    assert_eq!(short(&second), ["update-status deployments web"]);
    apply(&mut world, &second);
    let third = plan(&Deployments, &world, "web");
    assert_ne!(body(&third, &REPLICASETS).name(), body(&first, &REPLICASETS).name());
}

#[test]
fn a_rollback_annotation_is_carried_out() {
    let mut world = settled(1);
    set_spec(&mut world, |d| {
        d.entry("spec.template.spec.containers").make_array()[0].set("image", "v2");
    });
    for _ in 0..10 {
        step(&mut world, "");
    }
    set_spec(&mut world, |d| {
        d.entry("metadata.annotations").make_object().insert(ROLLBACK_TO, "0".into());
    });
    let plan = plan(&Deployments, &world, "web");
    assert_eq!(events(&plan), ["DeploymentRollback: Rolled back deployment \"web\" to revision 1"]);
    assert_eq!(image(body(&plan, &DEPLOYMENTS)), "v1");
    assert!(conditions::find(body(&plan, &DEPLOYMENTS).at("status.conditions"), "x").is_none());
}
