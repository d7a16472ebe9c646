//! The contract suite. Revisions are compared, never counted: another backend may leave gaps.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use timonier_store::{
    Error, Event, EventKind, Expect, Item, Location, Options, Retention, Store, WatchEnd, Watcher,
};

use crate::common::{Random, bytes, options, stamped};

/// Where a store is kept; the same state each time it is opened.
pub trait Place {
    fn location(&self) -> Location;
}

/// Runs the whole suite but for what etcd does in its own way, each part on a place of its own.
pub async fn all<P: Place>(new: impl AsyncFn() -> P) {
    writes(&new().await).await;
    expectations(&new().await).await;
    snapshots(&new().await).await;
    watches(&new().await).await;
    compaction(&new().await).await;
    slow_watchers(&new().await).await;
    restart(&new().await).await;
    contention(&new().await).await;
    random_operations(&new().await).await;
    closing(&new().await).await;
}

async fn open(place: &impl Place) -> Store {
    open_with(place, options()).await
}

async fn open_with(place: &impl Place, options: Options) -> Store {
    Store::open(place.location(), options).await.unwrap()
}

async fn put(store: &Store, key: &str, value: &str) -> Arc<Item> {
    store.put(key, bytes(value), Expect::Any).await.unwrap()
}

async fn next(watcher: &mut Watcher) -> Arc<Event> {
    let event = tokio::time::timeout(Duration::from_secs(10), watcher.next()).await;
    event.expect("an event in ten seconds").unwrap()
}

fn keys(store: &Store, prefix: &str, after: Option<&str>) -> Vec<String> {
    store.snapshot().range(prefix, after).map(|i| i.key.to_string()).collect()
}

pub async fn writes(place: &impl Place) {
    let store = open(place).await;
    let start = store.revision();
    assert!(start >= 1 && store.snapshot().is_empty());

    let created = put(&store, "/a", "one").await;
    assert!(created.mod_revision > start);
    assert_eq!(created.create_revision, created.mod_revision);
    assert_eq!(created.value, stamped("one", created.mod_revision));
    assert_eq!(store.snapshot().get("/a"), Some(&created));
    assert_eq!(store.revision(), created.mod_revision);

    let updated = put(&store, "/a", "two").await;
    assert!(updated.mod_revision > created.mod_revision);
    assert_eq!(updated.create_revision, created.create_revision);

    let deleted = store.delete("/a", Expect::Any).await.unwrap();
    assert!(deleted.mod_revision > updated.mod_revision);
    assert_eq!(deleted.create_revision, created.create_revision);
    assert_eq!(deleted.value, stamped("two", deleted.mod_revision));
    assert_eq!(store.snapshot().get("/a"), None);

    let again = put(&store, "/a", "").await;
    assert_eq!(store.fresh("/").await.unwrap().get("/a"), Some(&again));
    assert_eq!(again.create_revision, again.mod_revision);
    assert_eq!(again.value, stamped("", again.mod_revision));
    store.close().await;
}

pub async fn expectations(place: &impl Place) {
    fn current(result: Result<Arc<Item>, Error>) -> Option<Arc<Item>> {
        match result {
            Err(Error::Conflict { current }) => current,
            other => panic!("no conflict but {other:?}"),
        }
    }
    let store = open(place).await;
    let value = || bytes("v");
    assert_eq!(current(store.put("/a", value(), Expect::Revision(7)).await), None);
    assert_eq!(current(store.delete("/a", Expect::Any).await), None);
    assert_eq!(current(store.delete("/a", Expect::Revision(7)).await), None);
    let item = store.put("/a", value(), Expect::Absent).await.unwrap();
    let revision = store.revision();
    assert_eq!(current(store.put("/a", value(), Expect::Absent).await), Some(item.clone()));
    let old = Expect::Revision(item.mod_revision - 1);
    assert_eq!(current(store.put("/a", value(), old).await), Some(item.clone()));
    assert_eq!(current(store.delete("/a", old).await), Some(item.clone()));
    assert_eq!(store.revision(), revision, "a refused write has a revision");
    let item = store.put("/a", value(), Expect::Revision(item.mod_revision)).await.unwrap();
    store.delete("/a", Expect::Revision(item.mod_revision)).await.unwrap();
    let large = bytes(&"x".repeat(options().max_value + 1));
    assert!(matches!(store.put("/a", large, Expect::Any).await, Err(Error::TooLarge { .. })));
    store.close().await;
}

pub async fn snapshots(place: &impl Place) {
    let store = open(place).await;
    for key in ["/a/1", "/a/2", "/a/3", "/ab", "/b/1"] {
        put(&store, key, key).await;
    }
    assert_eq!(keys(&store, "/a/", None), ["/a/1", "/a/2", "/a/3"]);
    assert_eq!(keys(&store, "/a", None).len(), 4);
    assert_eq!(keys(&store, "", None).len(), 5);
    assert_eq!(keys(&store, "/a/", Some("/a/1")), ["/a/2", "/a/3"]);
    assert_eq!(keys(&store, "/a/", Some("/a/15")), ["/a/2", "/a/3"]);
    assert_eq!(keys(&store, "/a/", Some("/a/3")), [""; 0]);
    assert_eq!(keys(&store, "/b/", Some("/a/9")), ["/b/1"]);
    assert_eq!(keys(&store, "/c", None), [""; 0]);

    let before = store.snapshot();
    let item = put(&store, "/a/2", "new").await;
    store.delete("/a/1", Expect::Any).await.unwrap();
    assert_eq!(before.len(), 5);
    assert_eq!(
        before.get("/a/2").unwrap().value,
        stamped("/a/2", before.get("/a/2").unwrap().mod_revision)
    );
    let then = store.snapshot_at(before.revision).unwrap();
    assert_eq!((then.revision, then.len()), (before.revision, 5));
    assert_eq!(then.get("/a/2"), before.get("/a/2"));
    let between = store.snapshot_at(item.mod_revision).unwrap();
    assert_eq!((between.get("/a/2"), between.len()), (Some(&item), 5));
    assert_eq!(store.snapshot_at(store.revision()).unwrap().len(), 4);
    assert!(store.snapshot_at(store.revision() + 1).is_none());
    assert!(store.snapshot_at(0).is_none());
    store.close().await;
}

pub async fn watches(place: &impl Place) {
    let store = open(place).await;
    let first = put(&store, "/a/1", "1").await;
    let mut all = store.watch("/", first.mod_revision).unwrap();
    let mut some = store.watch("/a/", first.mod_revision).unwrap();
    let mut replay = store.watch("/", first.mod_revision - 1).unwrap();
    assert_eq!(store.watchers(), 3);
    assert_eq!(next(&mut replay).await.item, first);
    assert_eq!(replay.progress(), Some(first.mod_revision));
    assert!(all.try_next().is_none());

    let second = put(&store, "/a/1", "2").await;
    let other = put(&store, "/b/1", "3").await;
    let gone = store.delete("/a/1", Expect::Any).await.unwrap();
    let wanted = [
        (EventKind::Put, second.clone(), Some(first.clone())),
        (EventKind::Put, other.clone(), None),
        (EventKind::Delete, gone.clone(), Some(second.clone())),
    ];
    for (i, (kind, item, previous)) in wanted.into_iter().enumerate() {
        let revision = item.mod_revision;
        let event = Arc::new(Event { kind, item, previous, revision });
        assert_eq!(next(&mut all).await, event);
        assert_eq!(next(&mut replay).await, event);
        if i != 1 {
            assert_eq!(next(&mut some).await, event);
        }
    }
    store.wait_for(gone.mod_revision).await.unwrap();
    assert!(some.try_next().is_none());
    assert!(some.progress().unwrap() >= gone.mod_revision);

    // From the past, a future revision, and the present.
    let mut past = store.watch("/b/", first.mod_revision).unwrap();
    assert_eq!(next(&mut past).await.item, other);
    let mut future = store.watch("/", store.revision() + 1).unwrap();
    put(&store, "/c", "4").await;
    let last = loop {
        let last = put(&store, "/c", "5").await;
        if let Some(event) = future.try_next() {
            assert!(event.unwrap().revision > gone.mod_revision + 1);
            break last;
        }
    };
    assert_eq!(store.snapshot().get("/c"), Some(&last));
    drop((all, some, replay, past, future));
    assert_eq!(store.watchers(), 0, "dropped watchers stay");
    store.close().await;
}

pub async fn compaction(place: &impl Place) {
    let retention = Retention { most: 10, least: 3, ..Retention::default() };
    let now = Arc::new(AtomicU64::new(1_000_000));
    let clock = now.clone();
    let clock = Arc::new(move || clock.load(Ordering::Relaxed));
    let store = open_with(place, Options { retention, clock, ..options() }).await;
    let mut revisions = Vec::new();
    for i in 0..20 {
        revisions.push(put(&store, "/a", &i.to_string()).await.mod_revision);
    }
    let compacted = store.watch("/", revisions[8]).unwrap_err();
    assert_eq!((compacted.requested, compacted.oldest), (revisions[8], revisions[9]));
    assert!(store.snapshot_at(revisions[8]).is_none());
    let mut watcher = store.watch("/", revisions[9]).unwrap();
    for revision in &revisions[10..] {
        assert_eq!(next(&mut watcher).await.revision, *revision);
    }
    assert!(store.snapshot_at(revisions[9]).is_some());

    // Old events go, but for the last few.
    now.fetch_add(retention.age.as_millis() as u64 + 1, Ordering::Relaxed);
    store.maintain().await;
    assert_eq!(store.watch("/", 0).unwrap_err().oldest, revisions[16]);
    assert!(store.watch("/", revisions[16]).is_ok());
    store.close().await;
}

pub async fn slow_watchers(place: &impl Place) {
    let store = open_with(place, Options { watcher_buffer: 4, ..options() }).await;
    let start = store.revision();
    let mut slow = store.watch("/", start).unwrap();
    let mut other = store.watch("/b", start).unwrap();
    let mut revisions = Vec::new();
    for i in 0..10 {
        revisions.push(put(&store, "/a", &i.to_string()).await.mod_revision);
    }
    let mut seen = Vec::new();
    let end = loop {
        match slow.next().await {
            Ok(event) => seen.push(event.revision),
            Err(end) => break end,
        }
    };
    assert_eq!(end, WatchEnd::Slow);
    assert_eq!(seen, revisions[..seen.len()], "events were skipped");
    assert!((4..10).contains(&seen.len()));
    assert_eq!((slow.progress(), store.watchers()), (None, 1));
    // It goes on where it was.
    let mut again = store.watch("/", *seen.last().unwrap()).unwrap();
    assert_eq!(next(&mut again).await.revision, revisions[seen.len()]);
    let item = put(&store, "/b", "x").await;
    assert_eq!(next(&mut other).await.item, item);
    store.close().await;
}

pub async fn restart(place: &impl Place) {
    let store = open(place).await;
    let kept = put(&store, "/a", "1").await;
    put(&store, "/b", "2").await;
    let last = store.delete("/b", Expect::Any).await.unwrap().mod_revision;
    store.close().await;

    let store = open(place).await;
    assert_eq!(store.snapshot().get("/a"), Some(&kept));
    assert_eq!(store.snapshot().len(), 1);
    assert!(store.revision() >= last, "a revision would be given twice");
    // What happened before is not known any more, and that is said.
    assert!(store.watch("/", kept.mod_revision).is_err());
    assert!(store.snapshot_at(kept.mod_revision).is_none());
    let mut watcher = store.watch("/", store.revision()).unwrap();
    let item = put(&store, "/c", "3").await;
    assert!(item.mod_revision > last);
    assert_eq!(next(&mut watcher).await.item, item);
    let gone = store.delete("/a", Expect::Revision(kept.mod_revision)).await.unwrap();
    assert_eq!(gone.value, stamped("1", gone.mod_revision));
    store.close().await;
}

/// Many writers count up one key by compare-and-swap while others write keys of their own.
pub async fn contention(place: &impl Place) {
    const WRITERS: u64 = 12;
    const ROUNDS: u64 = 8;
    let store = open(place).await;
    let start = put(&store, "/counter", "0").await;
    let mut watcher = store.watch("/counter", start.mod_revision).unwrap();
    let tasks = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                put(&store, &format!("/own/{writer}/{round}"), "x").await;
                count_up(&store).await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let mut previous = start;
    for n in 1..=WRITERS * ROUNDS {
        let event = next(&mut watcher).await;
        assert_eq!(event.item.value, stamped(&n.to_string(), event.revision));
        assert_eq!(event.previous.as_ref(), Some(&previous));
        previous = event.item.clone();
    }
    assert!(watcher.try_next().is_none());
    assert_eq!(keys(&store, "/own/", None).len() as u64, WRITERS * ROUNDS);
    store.close().await;
}

async fn count_up(store: &Store) {
    let mut item = store.snapshot().get("/counter").unwrap().clone();
    loop {
        let text = std::str::from_utf8(&item.value).unwrap();
        let n: u64 = text.split_once(':').unwrap().1.parse().unwrap();
        let expect = Expect::Revision(item.mod_revision);
        match store.put("/counter", bytes(&(n + 1).to_string()), expect).await {
            Ok(_) => return,
            Err(Error::Conflict { current }) => item = current.unwrap(),
            Err(other) => panic!("{other}"),
        }
    }
}

/// Random operations and restarts beside a plain map; a watcher that follows must arrive at the
/// same state.
pub async fn random_operations(place: &impl Place) {
    let mut random = Random(20);
    let mut model: BTreeMap<String, (String, u64)> = BTreeMap::new();
    let mut store = open(place).await;
    let mut watcher = store.watch("/", store.revision()).unwrap();
    let mut followed: BTreeMap<String, u64> = BTreeMap::new();
    let mut last = 0;
    for step in 0..400 {
        let key = format!("/{}", random.below(20));
        let known = model.get(&key).map(|(_, revision)| *revision);
        let expect = match random.below(4) {
            0 => Expect::Absent,
            1 => Expect::Revision(known.unwrap_or(1)),
            2 => Expect::Revision(1),
            _ => Expect::Any,
        };
        let fits = match expect {
            Expect::Absent => known.is_none(),
            Expect::Revision(revision) => known == Some(revision),
            Expect::Any => true,
        };
        if random.below(3) == 0 {
            let result = store.delete(key.as_str(), expect).await;
            assert_eq!(result.is_ok(), fits && known.is_some(), "step {step}");
            model.retain(|k, _| result.is_err() || *k != key);
        } else {
            let value = format!("{step}").repeat(random.below(40) as usize);
            let result = store.put(key.as_str(), bytes(&value), expect).await;
            assert_eq!(result.is_ok(), fits, "step {step}");
            if let Ok(item) = result {
                model.insert(key, (value, item.mod_revision));
            }
        }
        while let Some(event) = watcher.try_next() {
            follow(&mut followed, &event.unwrap(), &mut last);
        }
        if random.below(80) == 0 {
            store.close().await;
            store = open(place).await;
            watcher = store.watch("/", store.revision()).unwrap();
            last = store.revision();
        }
        let snapshot = store.snapshot();
        assert_eq!(snapshot.len(), model.len(), "step {step}");
        for (item, (key, (value, revision))) in snapshot.range("", None).zip(&model) {
            assert_eq!((item.key.as_str(), item.mod_revision), (key.as_str(), *revision));
            assert_eq!(item.value, stamped(value, *revision), "step {step}");
        }
        assert_eq!(followed.len(), model.len(), "step {step}");
        assert!(followed.iter().zip(&model).all(|(f, m)| f.0 == m.0 && *f.1 == m.1.1));
    }
    store.close().await;
}

fn follow(followed: &mut BTreeMap<String, u64>, event: &Event, last: &mut u64) {
    assert!(event.revision > *last, "events out of order");
    *last = event.revision;
    assert_eq!(event.item.mod_revision, event.revision);
    let before = match event.kind {
        EventKind::Put => followed.insert(event.item.key.to_string(), event.revision),
        EventKind::Delete => followed.remove(event.item.key.as_str()),
    };
    assert_eq!(before, event.previous.as_ref().map(|p| p.mod_revision));
}

pub async fn closing(place: &impl Place) {
    let store = open(place).await;
    let item = put(&store, "/a", "1").await;
    let mut watcher = store.watch("/", item.mod_revision - 1).unwrap();
    let waiter = tokio::spawn({
        let store = store.clone();
        async move { store.wait_for(u64::MAX).await }
    });
    let housekeeping = tokio::spawn({
        let store = store.clone();
        async move { store.run_maintenance().await }
    });
    tokio::task::yield_now().await;
    store.close().await;
    store.close().await;
    assert!(store.is_closed());
    assert_eq!(watcher.next().await.unwrap().item, item);
    assert_eq!(watcher.next().await, Err(WatchEnd::Closed));
    assert!(matches!(waiter.await.unwrap(), Err(Error::Closed)));
    housekeeping.await.unwrap();
    assert!(matches!(store.put("/a", bytes("2"), Expect::Any).await, Err(Error::Closed)));
    assert!(matches!(store.delete("/a", Expect::Any).await, Err(Error::Closed)));
    assert_eq!(store.snapshot().get("/a"), Some(&item));
    let mut late = store.watch("/", store.revision()).unwrap();
    assert_eq!(late.next().await, Err(WatchEnd::Closed));
}

/// Keys with a time to live, under the store's own clock.
pub async fn expiry(place: &impl Place) {
    let now = Arc::new(AtomicU64::new(1_000_000));
    let clock = now.clone();
    let clock: timonier_store::Clock = Arc::new(move || clock.load(Ordering::Relaxed));
    let options = || Options { clock: clock.clone(), ..options() };
    let pass = |seconds: u64| now.fetch_add(seconds * 1000, Ordering::Relaxed);
    let hour = Duration::from_secs(3600);
    let store = open_with(place, options()).await;
    let brief = |key: &'static str| store.put_with_ttl(key, bytes("x"), Expect::Any, hour);
    let gone = brief("/gone").await.unwrap();
    brief("/renewed").await.unwrap();
    brief("/kept").await.unwrap();
    put(&store, "/kept", "for good").await;
    let mut watcher = store.watch("/", store.revision()).unwrap();
    pass(1800);
    let renewed = brief("/renewed").await.unwrap();
    assert_eq!(next(&mut watcher).await.item, renewed);
    assert!(store.maintain().await <= Duration::from_secs(10));
    assert!(watcher.try_next().is_none());
    pass(1800);
    store.maintain().await;
    let event = next(&mut watcher).await;
    assert_eq!((event.kind, event.previous.as_ref()), (EventKind::Delete, Some(&gone)));
    assert_eq!(keys(&store, "", None), ["/kept", "/renewed"]);
    store.close().await;

    // A key whose time ran out meanwhile stays for the grace.
    pass(10_000);
    let store = open_with(place, options()).await;
    store.maintain().await;
    assert_eq!(keys(&store, "", None), ["/kept", "/renewed"]);
    pass(61);
    store.maintain().await;
    assert_eq!(keys(&store, "", None), ["/kept"]);
    store.close().await;
}

pub async fn one_owner(place: &impl Place) {
    let store = open(place).await;
    let second = Store::open(place.location(), options()).await.unwrap_err();
    assert!(matches!(second, Error::InUse { .. }), "{second}");
    put(&store, "/a", "still works").await;
    store.close().await;
    open(place).await.close().await;
}
