//! The power goes at every sync of a workload. Whatever the disk kept of what was not synced:
//! every acknowledged write is there, and a write that was not acknowledged is there as a whole
//! or not at all.

mod common;

use std::collections::BTreeMap;

use common::disk::Disk;
use common::{Random, bytes, options, stamped};
use timonier_store::{Expect, Store};

/// Key to value and revision.
type Model = BTreeMap<String, (String, u64)>;

enum Op {
    Put(String, String),
    Delete(String),
}

fn workload(seed: u64, n: usize) -> Vec<Op> {
    let mut random = Random(seed);
    (0..n)
        .map(|i| {
            let key = format!("/k/{}", random.below(12));
            match random.below(4) {
                0 => Op::Delete(key),
                1 => Op::Put(key, format!("{i}").repeat(1 + random.below(3000) as usize)),
                _ => Op::Put(key, format!("value {i}")),
            }
        })
        .collect()
}

/// Applies an operation to the model; whether it changes anything.
fn apply(model: &mut Model, op: &Op, revision: &mut u64) -> bool {
    match op {
        Op::Put(key, value) => {
            *revision += 1;
            model.insert(key.clone(), (value.clone(), *revision));
            true
        }
        Op::Delete(key) => {
            let there = model.remove(key).is_some();
            *revision += u64::from(there);
            there
        }
    }
}

fn matches(store: &Store, model: &Model, revision: u64) -> bool {
    let snapshot = store.snapshot();
    snapshot.revision == revision
        && snapshot.len() == model.len()
        && model.iter().all(|(key, (value, revision))| {
            snapshot.get(key).is_some_and(|i| {
                i.mod_revision == *revision && i.value == stamped(value, *revision)
            })
        })
}

/// What an operation's caller was told last, and the states that may be found afterwards.
struct Outcome {
    acknowledged: (Model, u64),
    in_flight: Option<(Model, u64)>,
}

/// Runs the workload until the power goes.
async fn run(store: &Store, ops: &[Op], start: (Model, u64)) -> Outcome {
    let (mut model, mut revision) = start;
    for op in ops {
        let before = (model.clone(), revision);
        let changes = apply(&mut model, op, &mut revision);
        let done = match op {
            Op::Put(key, value) => store.put(key.as_str(), bytes(value), Expect::Any).await.is_ok(),
            Op::Delete(key) => store.delete(key.as_str(), Expect::Any).await.is_ok(),
        };
        if changes && !done {
            return Outcome { acknowledged: before, in_flight: Some((model, revision)) };
        }
    }
    Outcome { acknowledged: (model, revision), in_flight: None }
}

async fn check(disk: &Disk, outcome: &Outcome, what: &str) -> (Store, (Model, u64)) {
    let store =
        Store::open(disk.location(), options()).await.unwrap_or_else(|e| panic!("{what}: {e}"));
    let states = [Some(&outcome.acknowledged), outcome.in_flight.as_ref()];
    let found = states.into_iter().flatten().find(|(m, r)| matches(&store, m, *r));
    let found = found.unwrap_or_else(|| {
        panic!(
            "{what}: found revision {} with {} keys, acknowledged was revision {} with {}",
            store.revision(),
            store.snapshot().len(),
            outcome.acknowledged.1,
            outcome.acknowledged.0.len()
        )
    });
    let found = found.clone();
    (store, found)
}

/// A new disk with an empty store on it.
async fn formatted() -> Disk {
    let disk = Disk::default();
    Store::open(disk.location(), options()).await.unwrap().close().await;
    disk
}

#[tokio::test]
async fn every_sync_point() {
    for seed in 0..3 {
        let ops = workload(seed, 24);
        let mut crashes = 0;
        for point in 1.. {
            let what = format!("seed {seed}, power lost at sync {point}");
            let mut random = Random(seed << 32 | point);
            let disk = formatted().await;
            disk.crash_in(point);
            let outcome = match Store::open(disk.location(), options()).await {
                Ok(store) => {
                    let outcome = run(&store, &ops, (Model::new(), Store::FIRST_REVISION)).await;
                    store.close().await;
                    outcome
                }
                Err(_) => {
                    let empty = (Model::new(), Store::FIRST_REVISION);
                    Outcome { acknowledged: empty, in_flight: None }
                }
            };
            if outcome.in_flight.is_none() && crashes > 0 {
                break;
            }
            crashes += usize::from(outcome.in_flight.is_some());

            // Once more in the midst of the repair, then for good.
            let half = Disk::with(disk.image_after_crash(&mut random));
            half.crash_in(1 + random.below(3));
            if let Ok(store) = Store::open(half.location(), options()).await {
                store.close().await;
            }
            let disk = Disk::with(half.image_after_crash(&mut random));
            let (store, start) = check(&disk, &outcome, &what).await;

            // The store is whole: it takes the same workload again.
            let again = run(&store, &ops, start).await;
            assert!(again.in_flight.is_none(), "{what}: writes fail afterwards");
            store.close().await;
            check(&disk, &again, &what).await.0.close().await;
        }
        assert!(crashes > 20, "the power went in only {crashes} writes");
    }
}

/// The check itself can fail: a disk that ignores syncs loses acknowledged writes.
#[tokio::test]
async fn a_lying_disk_is_found_out() {
    let mut lost = 0;
    for seed in 0..20 {
        let disk = formatted().await;
        let before = disk.image_after_crash(&mut Random(seed));
        let store = Store::open(disk.location(), options()).await.unwrap();
        let outcome = run(&store, &workload(seed, 10), (Model::new(), 1)).await;
        store.close().await;
        let old = Disk::with(before);
        let store = Store::open(old.location(), options()).await.unwrap();
        let (model, revision) = &outcome.acknowledged;
        lost += usize::from(!matches(&store, model, *revision));
        store.close().await;
    }
    assert_eq!(lost, 20);
}
