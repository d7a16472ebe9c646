use alloc::format;
use alloc::string::{String, ToString};
use core::sync::atomic::{AtomicU64, Ordering};

use timonier_reconcile::Operation;

use super::*;
use crate::common::testing::{add, body, events, now, object, plan, world};

fn job(spec: Value) -> Value {
    let mut job = object(
        r#"{"apiVersion":"batch/v1","kind":"Job",
            "metadata":{"name":"j","namespace":"ns","uid":"uid-j","generation":1},
            "spec":{"selector":{"matchLabels":{"job":"j"}},"backoffLimit":6,
                    "template":{"metadata":{"labels":{"job":"j"}},
                                "spec":{"restartPolicy":"Never",
                                        "containers":[{"name":"c","image":"i"}]}}}}"#,
    );
    for (k, v) in spec.entries() {
        job.set(&format!("spec.{k}"), v);
    }
    job
}

fn key() -> ObjectKey {
    ObjectKey::new("ns", "j")
}

/// Runs the controller at a time, carries out its plan, and gives it.
fn step_at(world: &mut World, at: Time) -> Plan {
    step_with(world, at, None)
}

/// The same, with what an earlier run wanted remembered.
fn step_with(world: &mut World, at: Time, memory: Option<&Value>) -> Plan {
    static SEED: AtomicU64 = AtomicU64::new(1);
    let seed = SEED.fetch_add(1, Ordering::Relaxed);
    let context = Context { now: at, seed, failure: None, memory };
    let plan = Jobs.reconcile(&key(), world, &context);
    for write in &plan.writes {
        match &write.operation {
            Operation::Create { object } | Operation::Update { object, .. } => {
                let mut object = object.clone();
                if object.at("metadata.creationTimestamp").is_empty() {
                    object.set("metadata.creationTimestamp", at.rfc3339());
                }
                add(world, object);
            }
            Operation::Patch { .. } => {
                let mut pod = Value::clone(world.get(&PODS, &write.key).unwrap());
                pod.set("metadata.finalizers", value!([]));
                let gone = pod.is_deleting();
                add(world, pod.clone());
                if gone {
                    world.remove(&PODS.group_resource(), &Arc::new(pod), at);
                }
            }
            Operation::Delete { .. } => {
                let mut pod = Value::clone(world.get(&PODS, &write.key).unwrap());
                if pod.finalizers().next().is_none() {
                    world.remove(&PODS.group_resource(), &Arc::new(pod), at);
                } else {
                    pod.set("metadata.deletionTimestamp", at.rfc3339());
                    add(world, pod);
                }
            }
        }
    }
    plan
}

fn steps(world: &mut World, n: usize) {
    for _ in 0..n {
        step_at(world, now());
    }
}

fn status(world: &World) -> Value {
    world.get(&JOBS, &key()).unwrap().at("status").clone()
}

fn names(world: &World) -> Vec<String> {
    let live = world.table(&PODS).iter().filter(|p| pods::is_active(p));
    live.map(|p| p.name().to_string()).collect()
}

fn end(world: &mut World, name: &str, phase: &str, at: Time) {
    let mut pod = Value::clone(world.get(&PODS, &ObjectKey::new("ns", name)).unwrap());
    pod.set("status.phase", phase);
    let code = i64::from(phase == "Failed") * 3;
    pod.set(
        "status.containerStatuses",
        value!([{ "name": "c", "state": { "terminated": {
        "exitCode": code, "finishedAt": (at.rfc3339()) } } }]),
    );
    add(world, pod);
}

fn condition(world: &World, kind: &str) -> Option<String> {
    let job = world.get(&JOBS, &key()).unwrap();
    Some(
        job.condition(kind)
            .filter(|c| c.at("status").str() == "True")?
            .at("reason")
            .str()
            .to_string(),
    )
}

#[test]
fn pods_run_in_parallel_until_enough_have_succeeded() {
    let mut world = world([job(value!({ "parallelism": 2, "completions": 3 }))]);
    let first = step_at(&mut world, now());
    let pod = body(&first, &PODS);
    assert_eq!(pod.finalizers().collect::<Vec<_>>(), [FINALIZER]);
    assert_eq!(names(&world).len(), 2);
    for round in 0..3 {
        assert_eq!(condition(&world, "Complete"), None, "{round}");
        let name = names(&world)[0].clone();
        end(&mut world, &name, "Succeeded", now());
        steps(&mut world, 3);
        assert_eq!(status(&world).at("succeeded").int_or(0), round + 1);
        assert!(names(&world).len() as i64 <= 2 - round / 2);
    }
    assert_eq!(condition(&world, "Complete").as_deref(), Some("CompletionsReached"));
    assert_eq!(condition(&world, "SuccessCriteriaMet").as_deref(), Some("CompletionsReached"));
    let done = status(&world);
    assert_eq!(done.at("completionTime").str(), now().rfc3339());
    assert_eq!(done.at("uncountedTerminatedPods"), &value!({}));
    assert!(done.find("active").is_none());
}

#[test]
fn the_status_is_written_before_finalizers_go() {
    let mut world = world([job(value!({ "parallelism": 1, "completions": 2 }))]);
    steps(&mut world, 1);
    let name = names(&world)[0].clone();
    end(&mut world, &name, "Succeeded", now());
    let plan = step_at(&mut world, now());
    assert!(matches!(plan.writes[0].operation, Operation::Update { .. }));
    assert!(matches!(plan.writes[1].operation, Operation::Patch { .. }));
    assert_eq!(
        status(&world).at("uncountedTerminatedPods.succeeded").items(),
        [Value::from(format!("uid-{name}"))]
    );
    assert!(status(&world).find("succeeded").is_none());
    steps(&mut world, 1);
    assert_eq!(status(&world).at("succeeded").as_i64(), Some(1));
}

#[test]
fn failures_back_off_and_end_the_job() {
    let mut world = world([job(value!({ "backoffLimit": 2 }))]);
    let mut at = now();
    step_at(&mut world, at);
    for wait in [10, 20] {
        let name = names(&world)[0].clone();
        end(&mut world, &name, "Failed", at);
        for _ in 0..3 {
            let plan = step_at(&mut world, at);
            assert!(names(&world).is_empty());
            assert_eq!(plan.requeue_at, Some(at + Duration::from_secs(wait)));
        }
        at = at + Duration::from_secs(wait);
        step_at(&mut world, at);
        assert_eq!(names(&world).len(), 1);
    }
    let name = names(&world)[0].clone();
    end(&mut world, &name, "Failed", at);
    let last: Vec<Plan> = (0..3).map(|_| step_at(&mut world, at)).collect();
    assert_eq!(condition(&world, "Failed").as_deref(), Some("BackoffLimitExceeded"));
    assert_eq!(status(&world).at("failed").as_i64(), Some(3));
    let told: Vec<String> = last.iter().flat_map(events).collect();
    assert_eq!(told, ["BackoffLimitExceeded: Job has reached the specified backoff limit"]);
}

#[test]
fn failures_of_pods_that_are_gone_count() {
    let mut world = world([job(value!({ "backoffLimit": 100 }))]);
    let (mut at, mut memory) = (now(), step_at(&mut world, now()).remember);
    for wait in [10, 20, 40] {
        let name = names(&world)[0].clone();
        end(&mut world, &name, "Failed", at);
        for _ in 0..2 {
            memory = step_with(&mut world, at, memory.as_ref()).remember;
        }
        let pod = world.get(&PODS, &ObjectKey::new("ns", name)).unwrap().clone();
        world.remove(&PODS.group_resource(), &pod, at);
        let plan = step_with(&mut world, at, memory.as_ref());
        assert_eq!(plan.requeue_at, Some(at + Duration::from_secs(wait)));
        at = at + Duration::from_secs(wait);
        memory = step_with(&mut world, at, memory.as_ref()).remember;
        assert_eq!(names(&world).len(), 1);
    }
}

#[test]
fn indexes_wait_each_for_themselves_and_pass_on_their_failures() {
    let spec = value!({ "completionMode": "Indexed", "completions": 2, "parallelism": 2,
                        "backoffLimitPerIndex": 3, "backoffLimit": 1000 });
    let mut world = world([job(spec)]);
    steps(&mut world, 1);
    let failed = names(&world).into_iter().find(|n| n.starts_with("j-1-")).unwrap();
    end(&mut world, &failed, "Failed", now());
    for _ in 0..3 {
        let plan = step_at(&mut world, now());
        assert_eq!(plan.requeue_at, Some(now() + Duration::from_secs(10)));
    }
    let kept = world.get(&PODS, &ObjectKey::new("ns", failed.clone())).unwrap();
    assert!(tracked(kept), "it knows how often the index failed");
    let later = now() + Duration::from_secs(10);
    let plan = step_at(&mut world, later);
    assert_eq!(body(&plan, &PODS).annotation(backoff::INDEX_FAILURES), Some("1"));
    step_at(&mut world, later);
    step_at(&mut world, later);
    assert!(!tracked(world.get(&PODS, &ObjectKey::new("ns", failed)).unwrap()));
    assert_eq!(status(&world).at("failed").as_i64(), Some(1));
}

#[test]
fn indexes_are_each_completed_once() {
    let spec = value!({ "completionMode": "Indexed", "completions": 3, "parallelism": 2 });
    let mut world = world([job(spec)]);
    let first = step_at(&mut world, now());
    let pod = body(&first, &PODS);
    assert!(pod.name().starts_with("j-0-"));
    assert_eq!(pod.at("spec.hostname").str(), "j-0");
    assert_eq!(pod.label(indexes::INDEX), Some("0"));
    let variable = &pod.at("spec.containers").items()[0].at("env").items()[0];
    assert_eq!(
        variable.at("valueFrom.fieldRef.fieldPath").str(),
        "metadata.labels['batch.kubernetes.io/job-completion-index']"
    );
    for _ in 0..3 {
        let name = names(&world)[0].clone();
        end(&mut world, &name, "Succeeded", now());
        steps(&mut world, 3);
    }
    assert_eq!(status(&world).at("completedIndexes").str(), "0-2");
    assert_eq!(condition(&world, "Complete").as_deref(), Some("CompletionsReached"));
    assert_eq!(world.table(&PODS).len(), 3);
}

#[test]
fn a_deadline_stops_the_pods() {
    let mut world = world([job(value!({ "activeDeadlineSeconds": 60 }))]);
    let first = step_at(&mut world, now());
    assert_eq!(first.requeue_at, Some(now() + Duration::from_secs(60)));
    for _ in 0..4 {
        step_at(&mut world, now() + Duration::from_secs(61));
    }
    assert_eq!(condition(&world, "Failed").as_deref(), Some("DeadlineExceeded"));
    assert_eq!(status(&world).at("failed").as_i64(), Some(1));
}

#[test]
fn suspending_stops_and_resuming_starts() {
    let mut world = world([job(value!({ "suspend": true }))]);
    let first = plan(&Jobs, &world, "j");
    assert_eq!(events(&first), ["Suspended: Job suspended"]);
    steps(&mut world, 2);
    assert!(names(&world).is_empty() && status(&world).find("startTime").is_none());
    let mut resumed = Value::clone(world.get(&JOBS, &key()).unwrap());
    resumed.set("spec.suspend", false);
    add(&mut world, resumed);
    let plan = step_at(&mut world, now());
    assert!(events(&plan).contains(&"Resumed: Job resumed".to_string()));
    assert_eq!(names(&world).len(), 1);
}

#[test]
fn the_failure_policy_ends_or_ignores() {
    let rule = |action: &str| {
        value!({ "podFailurePolicy": { "rules": [
        { "action": action, "onExitCodes": { "operator": "In", "values": [3] } } ] } })
    };
    let mut failing = world([job(rule("FailJob"))]);
    steps(&mut failing, 1);
    let name = names(&failing)[0].clone();
    end(&mut failing, &name, "Failed", now());
    steps(&mut failing, 3);
    assert_eq!(condition(&failing, "Failed").as_deref(), Some("PodFailurePolicy"));

    let mut ignoring = world([job(rule("Ignore"))]);
    steps(&mut ignoring, 1);
    let name = names(&ignoring)[0].clone();
    end(&mut ignoring, &name, "Failed", now());
    steps(&mut ignoring, 3);
    assert_eq!(condition(&ignoring, "Failed"), None);
    assert!(status(&ignoring).find("failed").is_none());
}

#[test]
fn failed_indexes_end_after_their_own_limit() {
    let spec = value!({ "completionMode": "Indexed", "completions": 2, "parallelism": 2,
                        "backoffLimitPerIndex": 0, "backoffLimit": 1000 });
    let mut world = world([job(spec)]);
    steps(&mut world, 1);
    let both = names(&world);
    end(&mut world, &both[0], "Failed", now());
    end(&mut world, &both[1], "Succeeded", now());
    steps(&mut world, 4);
    assert_eq!(status(&world).at("failedIndexes").str(), "0");
    assert_eq!(condition(&world, "Failed").as_deref(), Some("FailedIndexes"));
}

#[test]
fn a_pod_that_no_longer_matches_is_let_go_without_the_finalizer() {
    let mut world = world([job(value!({}))]);
    steps(&mut world, 1);
    let name = names(&world)[0].clone();
    let mut pod = Value::clone(world.get(&PODS, &ObjectKey::new("ns", &name)).unwrap());
    pod.set("metadata.labels", value!({}));
    add(&mut world, pod);
    let plan = plan(&Jobs, &world, "j");
    let kinds: Vec<_> = (plan.writes.iter().filter(|w| w.key.name == name))
        .map(|w| match &w.operation {
            Operation::Patch { kind, .. } => *kind,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, [PatchKind::Json, PatchKind::Strategic]);
}

#[test]
fn pods_of_a_job_that_is_gone_are_let_go() {
    let mut world = world([job(value!({}))]);
    steps(&mut world, 1);
    let job = world.get(&JOBS, &key()).unwrap().clone();
    world.remove(&JOBS.group_resource(), &job, now());
    let plan = plan(&Jobs, &world, "j");
    assert!(matches!(plan.writes[0].operation, Operation::Patch { .. }));
}
