//! The store's calls.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smol_str::SmolStr;
use tokio::sync::oneshot;

use crate::backend::Backend;
use crate::commit::{Intent, Request};
use crate::shared::Shared;
use crate::writer::Writer;
use crate::{Compacted, DiskBackend, Error, Expect, Item, MemoryDisk, Snapshot, Watcher};

/// Makes the value that readers see from the stored bytes and the revision of the write.
pub type Stamp = fn(&Bytes, u64) -> Bytes;

/// The wall clock in Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How long a commit takes, asked before each.
pub type Pace = Box<dyn FnMut() -> Duration + Send>;

/// How much of the past stays in memory. What is older is answered with [`Compacted`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Events beyond this many are forgotten.
    pub most: usize,
    /// This many are kept whatever their age.
    pub least: usize,
    /// Events older than this are forgotten.
    pub age: Duration,
    /// The bytes of all values of the kept events.
    pub bytes: usize,
}

impl Default for Retention {
    /// Five minutes, as upstream compacts.
    fn default() -> Self {
        Retention { most: 10_000, least: 500, age: Duration::from_secs(300), bytes: 32 << 20 }
    }
}

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    pub stamp: Stamp,
    pub clock: Clock,
    pub retention: Retention,
    /// Events that a watcher may be behind before it is ended.
    pub watcher_buffer: usize,
    /// The most bytes of one value.
    pub max_value: usize,
    /// How long a key whose time ran out while the store was closed stays after it is opened.
    pub grace: Duration,
}

impl Default for Options {
    /// No stamp, the system's clock.
    fn default() -> Self {
        Options {
            stamp: |value, _| value.clone(),
            clock: Arc::new(system_clock),
            retention: Retention::default(),
            watcher_buffer: 4096,
            max_value: 8 << 20,
            grace: Duration::from_secs(60),
        }
    }
}

/// Where a store is kept.
pub enum Location {
    /// In memory. Every write is done when the call returns, on the caller's thread, so that a
    /// single-threaded runtime sees the same order each time.
    Memory(MemoryDisk),
    /// In a redb file in this directory, which is made where it does not exist.
    Directory(PathBuf),
    /// In a backend of the caller's, written by a thread of the store.
    Backend(Box<dyn Backend>),
    /// In a backend of the caller's, written by a task of the runtime that opens the store: a
    /// single-threaded runtime with virtual time sees the same batches each time.
    Paced(Box<dyn Backend>, Pace),
    /// In an etcd cluster, which other control planes may share.
    #[cfg(feature = "etcd")]
    Etcd(crate::EtcdConfig),
}

/// The state of the cluster. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    writer: Arc<Writer>,
}

impl Store {
    /// The revision of an empty store, as of an empty etcd.
    pub const FIRST_REVISION: u64 = 1;

    /// Opens a store and loads what it keeps.
    ///
    /// # Errors
    /// [`Error::InUse`] where it is open already, [`Error::Open`] where it cannot be read.
    pub async fn open(location: Location, options: Options) -> Result<Store, Error> {
        let (shared, writer) = match location {
            Location::Memory(disk) => Writer::inline(Box::new(disk.open()?), options)?,
            Location::Directory(path) => {
                Writer::thread(move || Ok(Box::new(DiskBackend::directory(&path)?)), options)
                    .await?
            }
            Location::Backend(backend) => Writer::thread(move || Ok(backend), options).await?,
            Location::Paced(backend, pace) => Writer::task(backend, options, pace)?,
            #[cfg(feature = "etcd")]
            Location::Etcd(config) => {
                let (shared, etcd) = crate::etcd::Etcd::open(config, options).await?;
                (shared, Writer::Etcd(etcd))
            }
        };
        Ok(Store { shared, writer: Arc::new(writer) })
    }

    /// Writes a key. Gives its new state when that is durable and visible.
    ///
    /// Where the caller stops waiting, the write may still take place.
    ///
    /// # Errors
    /// [`Error::Conflict`] with the present state where `expect` does not hold.
    pub async fn put(
        &self,
        key: impl Into<SmolStr>,
        value: Bytes,
        expect: Expect,
    ) -> Result<Arc<Item>, Error> {
        self.put_until(key.into(), value, expect, 0).await
    }

    /// Writes a key that the store removes by itself when `ttl` is over.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn put_with_ttl(
        &self,
        key: impl Into<SmolStr>,
        value: Bytes,
        expect: Expect,
        ttl: Duration,
    ) -> Result<Arc<Item>, Error> {
        let expires = (self.shared.options.clock)() + ttl.as_millis() as u64;
        self.put_until(key.into(), value, expect, expires).await
    }

    /// Removes a key. Gives its last state, stamped with the revision of the removal.
    ///
    /// # Errors
    /// [`Error::Conflict`] where `expect` does not hold, or the key does not exist.
    pub async fn delete(
        &self,
        key: impl Into<SmolStr>,
        expect: Expect,
    ) -> Result<Arc<Item>, Error> {
        self.write(key.into(), Intent::Delete, expect).await
    }

    /// The present state. On an etcd, what others wrote may be missing: see [`Store::fresh`].
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// The present state, with whatever was written to the keys with this prefix before the call:
    /// also by other control planes on the same etcd, and also where a write's answer was lost.
    /// Costs a round trip with etcd, and nothing elsewhere. May wait for etcd's watch, for as long
    /// as that takes.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where etcd does not answer, [`Error::Closed`].
    pub async fn fresh(&self, prefix: &str) -> Result<Snapshot, Error> {
        self.writer.fresh(&self.shared, prefix).await
    }

    /// The state at a revision of the recent past; `None` where it is forgotten, or not yet
    /// reached.
    pub fn snapshot_at(&self, revision: u64) -> Option<Snapshot> {
        let state = self.shared.log().state_at(revision)?;
        Some(Snapshot { revision, state })
    }

    /// The revision of the last visible write.
    pub fn revision(&self) -> u64 {
        self.shared.state().revision
    }

    /// Waits until everything up to `revision` is visible.
    ///
    /// # Errors
    /// [`Error::Closed`] where the store is closed before.
    pub async fn wait_for(&self, revision: u64) -> Result<(), Error> {
        match self.shared.wait_for(revision).await {
            true => Ok(()),
            false => Err(Error::Closed),
        }
    }

    /// The events of the keys with a prefix after `from_revision`: first those that have happened
    /// already, then those to come. A revision not reached yet is waited for.
    ///
    /// # Errors
    /// [`Compacted`] where events after `from_revision` are forgotten.
    pub fn watch(
        &self,
        prefix: impl Into<SmolStr>,
        from_revision: u64,
    ) -> Result<Watcher, Compacted> {
        let buffer = self.shared.options.watcher_buffer;
        let shared = Arc::downgrade(&self.shared);
        self.shared.log().watch(prefix.into(), from_revision, buffer, shared)
    }

    /// How many watches are running.
    pub fn watchers(&self) -> usize {
        self.shared.log().watcher_count()
    }

    /// One round of housekeeping: removes keys whose time is over and forgets old events. Gives
    /// how long the next round can wait.
    pub async fn maintain(&self) -> Duration {
        let now = (self.shared.options.clock)();
        let due = self.shared.log().expired(now, 1_000);
        let snapshot = self.snapshot();
        let deletions = due.into_iter().filter_map(|key| {
            // By revision: a key written anew in between has a new time.
            let revision = snapshot.get(&key)?.mod_revision;
            Some(self.delete(key, Expect::Revision(revision)))
        });
        for result in futures::future::join_all(deletions).await {
            if let Err(error @ (Error::Full(_) | Error::Failed(_))) = result {
                tracing::warn!(%error, "expired keys stay for now");
                break;
            }
        }
        let mut log = self.shared.log();
        log.trim(now);
        let next = log.next_expiry().map_or(u64::MAX, |at| at.saturating_sub(now));
        Duration::from_millis(next.clamp(1_000, 10_000))
    }

    /// Housekeeping for as long as the store is open.
    pub async fn run_maintenance(&self) {
        let rounds = async {
            loop {
                let pause = self.maintain().await;
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! {
            () = self.shared.closed() => {}
            () = rounds => {}
        }
    }

    /// Ends all watches, finishes the writes under way, and frees the data directory. Later
    /// writes are answered with [`Error::Closed`]; snapshots stay readable.
    pub async fn close(&self) {
        self.writer.close().await;
        self.shared.close();
    }

    /// Why the store takes no more writes, where its disk failed. What is visible may lack writes
    /// that are on the disk and that are found when the store is opened again; whoever has to know
    /// what became of a write must not look for it here.
    pub fn failure(&self) -> Option<&str> {
        self.shared.failure()
    }

    /// Waits until the disk fails; gives the reason.
    pub async fn failed(&self) -> &str {
        self.shared.failed().await
    }

    /// Whether the store was closed.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    async fn put_until(
        &self,
        key: SmolStr,
        value: Bytes,
        expect: Expect,
        expires: u64,
    ) -> Result<Arc<Item>, Error> {
        let limit = self.shared.options.max_value;
        if value.len() > limit {
            return Err(Error::TooLarge { size: value.len(), limit });
        }
        self.write(key, Intent::Put { value, expires }, expect).await
    }

    async fn write(
        &self,
        key: SmolStr,
        intent: Intent,
        expect: Expect,
    ) -> Result<Arc<Item>, Error> {
        let (reply, answer) = oneshot::channel();
        self.writer.send(Request { key, intent, expect, reply }).await?;
        answer.await.unwrap_or(Err(Error::Closed))
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("revision", &self.revision()).finish()
    }
}

fn system_clock() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as u64)
}
