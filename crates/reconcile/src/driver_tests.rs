use alloc::vec;

use timonier_meta::gvk::resources::{PODS, REPLICASETS};
use timonier_meta::{GroupVersionResource, Reason as ErrorReason};
use timonier_object::{Value, value};

use super::*;
use crate::ResourceInfo;

/// Wants one pod under the name of each ReplicaSet.
struct OnePod;

impl Reconciler for OnePod {
    fn name(&self) -> &'static str {
        "one-pod"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![REPLICASETS, PODS]
    }

    fn concerns(&self, change: &Change, _: &World) -> Vec<ObjectKey> {
        vec![change.key.clone()]
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        let Some(set) = world.get(&REPLICASETS, key) else { return Plan::nothing() };
        if world.get(&PODS, key).is_some() {
            return Plan {
                requeue_at: Some(context.now + Duration::from_secs(60)),
                ..Plan::default()
            };
        }
        let name = set.name();
        Plan::write(Write::create(
            &PODS,
            value!({ "metadata": { "name": name, "namespace": "ns" } }),
        ))
    }
}

fn object(revision: u64) -> Arc<Value> {
    let version = alloc::format!("{revision}");
    Arc::new(
        value!({ "metadata": { "name": "a", "namespace": "ns", "uid": "u", "resourceVersion": version } }),
    )
}

fn start() -> (Driver, World) {
    let mut world = World::new();
    for (resource, kind) in [(PODS, "Pod"), (REPLICASETS, "ReplicaSet")] {
        world.register(ResourceInfo { resource, kind: kind.into(), namespaced: true });
    }
    (Driver::new(vec![Arc::new(OnePod)], Config::default()), world)
}

fn put(driver: &mut Driver, world: &mut World, resource: &GroupVersionResource, revision: u64) {
    let change = world.put(&resource.group_resource(), object(revision), Time(0)).unwrap();
    driver.observe(&change, world);
}

fn listed(driver: &mut Driver, world: &mut World, revision: u64) {
    for resource in [PODS, REPLICASETS] {
        world.progress(&resource.group_resource(), revision);
        driver.progressed(&resource.group_resource(), world);
    }
}

#[test]
fn a_key_waits_for_the_first_lists_and_for_its_own_writes() {
    let (mut driver, mut world) = start();
    put(&mut driver, &mut world, &REPLICASETS, 5);
    assert!(driver.next(&world, Time(0)).is_none(), "pods were not listed");
    listed(&mut driver, &mut world, 5);
    let task = driver.next(&world, Time(0)).unwrap();
    put(&mut driver, &mut world, &REPLICASETS, 6);
    assert!(driver.next(&world, Time(0)).is_none(), "the key is under way");
    driver.finish(task.id, vec![Outcome::done(&task.writes[0], 7)], Time(0));
    assert!(driver.next(&world, Time(0)).is_none(), "the pod is not observed");
    put(&mut driver, &mut world, &PODS, 7);
    assert!(driver.next(&world, Time(0)).is_none(), "the pod is there");
    assert_eq!(driver.wake_at(), Some(Time::from_unix(60)));
    assert!(driver.is_idle());
}

#[test]
fn an_unknown_outcome_waits_for_a_fresh_list() {
    let (mut driver, mut world) = start();
    put(&mut driver, &mut world, &REPLICASETS, 5);
    listed(&mut driver, &mut world, 5);
    let task = driver.next(&world, Time(0)).unwrap();
    let lost = Outcome::failed(&task.writes[0], ApiError::unavailable("lost"));
    driver.finish(task.id, vec![lost], Time(0));
    let wanted = driver.take_relists();
    assert_eq!(wanted.len(), 1);
    put(&mut driver, &mut world, &REPLICASETS, 8);
    assert!(driver.next(&world, Time::from_unix(900)).is_none(), "no list yet");
    let (pods, number) = &wanted[0];
    driver.relisted(pods, *number, &world);
    assert!(driver.next(&world, Time::from_unix(901)).is_some(), "the write did not take place");
}

#[test]
fn refused_writes_back_off_and_tell_the_reconciler() {
    let (mut driver, mut world) = start();
    put(&mut driver, &mut world, &REPLICASETS, 5);
    listed(&mut driver, &mut world, 5);
    let mut now = Time(0);
    for wait in [5, 10, 20, 40] {
        let task = driver.next(&world, now).unwrap();
        let error = ApiError::new(403, ErrorReason::Forbidden, "quota");
        driver.finish(task.id, vec![Outcome::failed(&task.writes[0], error)], now);
        assert!(driver.next(&world, now).is_none());
        assert_eq!(driver.wake_at(), Some(now + Duration::from_millis(wait)));
        now = now + Duration::from_millis(wait);
    }
    assert_eq!(backoff(40), LONGEST_BACKOFF);
}

#[test]
fn a_gate_that_stays_shut_asks_for_a_list() {
    let (mut driver, mut world) = start();
    put(&mut driver, &mut world, &REPLICASETS, 5);
    listed(&mut driver, &mut world, 5);
    let task = driver.next(&world, Time(0)).unwrap();
    driver.finish(task.id, vec![Outcome::done(&task.writes[0], 7)], Time(0));
    put(&mut driver, &mut world, &REPLICASETS, 6);
    assert!(driver.next(&world, Time(0)).is_none());
    let at = driver.wake_at().unwrap();
    assert_eq!(at, Time::from_unix(2));
    assert!(driver.next(&world, at).is_none());
    assert_eq!(driver.take_relists().len(), 1);
}

#[test]
fn a_deletion_is_waited_for_by_uid() {
    let (_, mut world) = start();
    let (pods, key) = (PODS.group_resource(), ObjectKey::new("ns", "a"));
    world.put(&pods, object(3), Time(0));
    let gate = Gate::Gone(pods.clone(), key.clone(), "u".into());
    assert!(!gate.is_open(&world, &Relists::new()));
    world.remove(&pods, &object(4), Time(0));
    assert!(gate.is_open(&world, &Relists::new()));
}

/// Counts its own runs, and asks for the next one by a Pod under the count's name.
struct Counter;

impl Reconciler for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![REPLICASETS]
    }

    fn concerns(&self, change: &Change, _: &World) -> Vec<ObjectKey> {
        vec![change.key.clone()]
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        if world.get(&REPLICASETS, key).is_none() {
            return Plan::nothing();
        }
        let runs = context.memory.map_or(0, |m| m.int_or(0)) + 1;
        let name = alloc::format!("run-{runs}");
        let write =
            Write::create(&PODS, value!({ "metadata": { "name": name, "namespace": "ns" } }));
        Plan { remember: Some(runs.into()), ..Plan::write(write) }
    }
}

#[test]
fn a_key_remembers_what_its_last_good_run_told_it() {
    let (_, mut world) = start();
    let mut driver = Driver::new(vec![Arc::new(Counter)], Config::default());
    listed(&mut driver, &mut world, 1);
    let run = |driver: &mut Driver, world: &mut World, revision: u64, good: bool| {
        put(driver, world, &REPLICASETS, revision);
        let task = driver.next(world, Time(0)).unwrap();
        let name = task.writes[0].key.name.clone();
        let outcome = match good {
            true => Outcome::done(&task.writes[0], 0),
            false => {
                Outcome::failed(&task.writes[0], ApiError::new(403, ErrorReason::Forbidden, "no"))
            }
        };
        driver.finish(task.id, vec![outcome], Time(0));
        name
    };
    assert_eq!(run(&mut driver, &mut world, 5, true), "run-1");
    assert_eq!(run(&mut driver, &mut world, 6, false), "run-2");
    assert_eq!(run(&mut driver, &mut world, 7, true), "run-2", "the failed run left nothing");
    assert_eq!(run(&mut driver, &mut world, 8, true), "run-3");
}

/// Wants as many pods as fit into two tasks, and tells so.
struct Many;

impl Reconciler for Many {
    fn name(&self) -> &'static str {
        "many"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![REPLICASETS]
    }

    fn concerns(&self, change: &Change, _: &World) -> Vec<ObjectKey> {
        vec![change.key.clone()]
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, _: &Context<'_>) -> Plan {
        let Some(set) = world.get(&REPLICASETS, key) else { return Plan::nothing() };
        let pod = |n: usize| {
            let name = alloc::format!("p{n}");
            Write::create(&PODS, value!({ "metadata": { "name": name, "namespace": "ns" } }))
        };
        Plan {
            writes: (0..=MAX_WRITES).map(pod).collect(),
            because: vec![crate::Reason::normal(set, "Made", "all of them")],
            remember: Some("all".into()),
            ..Plan::default()
        }
    }
}

#[test]
fn what_is_left_of_a_large_plan_is_not_told_as_done() {
    let (_, mut world) = start();
    let mut driver = Driver::new(vec![Arc::new(Many)], Config::default());
    listed(&mut driver, &mut world, 1);
    put(&mut driver, &mut world, &REPLICASETS, 5);
    let task = driver.next(&world, Time(0)).unwrap();
    assert_eq!(task.writes.len(), MAX_WRITES);
    assert!(task.because.is_empty(), "{:?}", task.because);
    let outcomes = task.writes.iter().map(|w| Outcome::done(w, 0)).collect();
    driver.finish(task.id, outcomes, Time(0));
    let memory = driver.items.values().find_map(|item| item.memory.clone());
    assert_eq!(memory, None);
}
