//! Full and failing disks.

mod common;

use common::disk::Disk;
use common::{Random, bytes, options, stamped};
use timonier_store::{Error, Expect, Store};

/// The value that the tests give a key; a key of "/large" needs new blocks soon.
fn value(key: &str) -> String {
    key.repeat(if key.starts_with("/large") { 10_000 } else { 1 })
}

async fn filled(disk: &Disk) -> (Store, Vec<(String, u64)>) {
    let store = Store::open(disk.location(), options()).await.unwrap();
    let mut written = Vec::new();
    for i in 0..20 {
        let key = format!("/k/{i:03}");
        let item = store.put(key.as_str(), bytes(&value(&key)), Expect::Absent).await.unwrap();
        written.push((key, item.mod_revision));
    }
    (store, written)
}

fn check(store: &Store, written: &[(String, u64)]) {
    let snapshot = store.snapshot();
    assert_eq!(snapshot.len(), written.len());
    for (key, revision) in written {
        let item = snapshot.get(key).unwrap();
        assert_eq!((item.mod_revision, &item.value), (*revision, &stamped(&value(key), *revision)));
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    for seed in 0..8 {
        let disk = Disk::default();
        let (store, mut written) = filled(&disk).await;
        disk.set_full(true);
        let mut random = Random(seed);
        let mut refused = 0;
        while refused < 5 {
            let key = format!("/large/{:03}", random.next());
            match store.put(key.as_str(), bytes(&value(&key)), Expect::Absent).await {
                Ok(item) => written.push((key, item.mod_revision)),
                Err(error @ Error::Full(_)) => {
                    assert!(error.to_string().contains("disk is full"), "{error}");
                    refused += 1;
                }
                Err(other) => panic!("seed {seed}: {other}"),
            }
        }
        let mut watcher = store.watch("/", store.revision()).unwrap();
        let refused = store.put("/k/000", bytes(&"x".repeat(400_000)), Expect::Any).await;
        assert!(matches!(refused, Err(Error::Full(_))), "{refused:?}");
        assert!(watcher.try_next().is_none(), "a refused write was seen");
        check(&store, &written);

        disk.set_full(false);
        let item = store.put("/k/new", bytes("/k/new"), Expect::Absent).await.unwrap();
        assert_eq!(watcher.next().await.unwrap().item, item);
        written.push(("/k/new".into(), item.mod_revision));
        check(&store, &written);
        store.close().await;
        let store = Store::open(disk.location(), options()).await.unwrap();
        check(&store, &written);
        store.close().await;
    }
}

#[tokio::test]
async fn a_failed_write_or_sync_stops_writing_for_good() {
    for sync in [true, false] {
        let disk = Disk::default();
        let (store, written) = filled(&disk).await;
        let fail = |on| match sync {
            true => disk.fail_syncs(on),
            false => disk.fail_writes(on),
        };
        fail(true);
        let opened = disk.times_opened();
        assert_eq!(store.failure(), None);
        let refused = store.put("/k/new", bytes("x"), Expect::Absent).await;
        assert!(matches!(refused, Err(Error::Failed(_))), "{refused:?}");
        assert_eq!(Some(store.failed().await), store.failure());
        // A disk that says it is well again is not believed: what it kept is unknown.
        fail(false);
        let refused = store.delete("/k/001", Expect::Any).await;
        let Err(error @ Error::Failed(_)) = refused else { panic!("{refused:?}") };
        assert!(error.to_string().contains("opened again"), "{error}");
        assert_eq!(disk.times_opened(), opened);
        check(&store, &written);
        store.close().await;

        // The write that was refused may be found afterwards, as a whole.
        let store = Store::open(disk.location(), options()).await.unwrap();
        let snapshot = store.snapshot();
        if let Some(item) = snapshot.get("/k/new") {
            assert_eq!(item.value, stamped("x", item.mod_revision));
            store.delete("/k/new", Expect::Any).await.unwrap();
        }
        check(&store, &written);
        store.close().await;
    }
}

#[tokio::test]
async fn the_memory_disk_has_the_same_faults() {
    let disk = timonier_store::MemoryDisk::new();
    let store =
        Store::open(timonier_store::Location::Memory(disk.clone()), options()).await.unwrap();
    store.put("a", bytes("1"), Expect::Absent).await.unwrap();
    disk.set_full(true);
    assert!(matches!(store.delete("a", Expect::Any).await, Err(Error::Full(_))));
    disk.set_full(false);
    store.put("b", bytes("2"), Expect::Absent).await.unwrap();
    disk.set_broken(true);
    assert!(matches!(store.delete("a", Expect::Any).await, Err(Error::Failed(_))));
    disk.set_broken(false);
    assert!(matches!(store.delete("a", Expect::Any).await, Err(Error::Failed(_))));
    assert_eq!((store.snapshot().len(), store.revision()), (2, 3));
}

#[tokio::test]
async fn a_crashed_store_cannot_write_to_the_memory_disk() {
    let disk = timonier_store::MemoryDisk::new();
    let open = || Store::open(timonier_store::Location::Memory(disk.clone()), options());
    let crashed = open().await.unwrap();
    crashed.put("a", bytes("1"), Expect::Absent).await.unwrap();
    disk.release();
    let store = open().await.unwrap();
    assert!(matches!(crashed.put("b", bytes("2"), Expect::Any).await, Err(Error::Failed(_))));
    drop(crashed);
    assert!(matches!(open().await, Err(Error::InUse { .. })));
    assert_eq!(store.snapshot().get("a").unwrap().value, stamped("1", 2));
    store.put("c", bytes("3"), Expect::Absent).await.unwrap();
}
