//! What every backend must do, in one suite: here memory and the embedded engine.

mod common;
mod suite;

use common::options;
use suite::Place;
use timonier_store::{Location, MemoryDisk};

struct Memory(MemoryDisk);

impl Place for Memory {
    fn location(&self) -> Location {
        Location::Memory(self.0.clone())
    }
}

/// As [`Memory`], written by a task that takes its time.
struct Paced(MemoryDisk);

impl Place for Paced {
    fn location(&self) -> Location {
        let mut wait = 0;
        let pace = move || {
            wait = (wait + 1) % 5;
            std::time::Duration::from_millis(wait)
        };
        Location::Paced(self.0.backend().unwrap(), Box::new(pace))
    }
}

struct Directory(tempfile::TempDir);

impl Place for Directory {
    fn location(&self) -> Location {
        Location::Directory(self.0.path().join("store"))
    }
}

#[tokio::test]
async fn memory() {
    suite::all(async || Memory(MemoryDisk::new())).await;
    suite::expiry(&Memory(MemoryDisk::new())).await;
    suite::one_owner(&Memory(MemoryDisk::new())).await;
}

#[tokio::test(start_paused = true)]
async fn memory_with_a_writer_of_its_own() {
    suite::all(async || Paced(MemoryDisk::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded() {
    let new = async || Directory(tempfile::tempdir().unwrap());
    suite::all(new).await;
    suite::expiry(&new().await).await;
    suite::one_owner(&new().await).await;
}

#[tokio::test]
async fn the_directory_and_its_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let place = Directory(tempfile::tempdir().unwrap());
    let store = timonier_store::Store::open(place.location(), options()).await.unwrap();
    let mode = |path: &str| {
        let path = place.0.path().join(path);
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("store"), 0o700);
    assert_eq!((mode("store/store.redb"), mode("store/lock")), (0o600, 0o600));
    store.close().await;
}

#[tokio::test]
async fn what_is_not_a_store_is_refused() {
    let place = Directory(tempfile::tempdir().unwrap());
    let directory = place.0.path().join("store");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("store.redb"), "something else".repeat(1000)).unwrap();
    let error = timonier_store::Store::open(place.location(), options()).await.unwrap_err();
    assert!(error.to_string().contains("cannot open the store at"), "{error}");
    // Nothing is left locked.
    std::fs::remove_file(directory.join("store.redb")).unwrap();
    timonier_store::Store::open(place.location(), options()).await.unwrap().close().await;
}
