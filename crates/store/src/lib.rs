//! Revisions, compare-and-swap, watch, compaction: the one place where the cluster's state lives.
//! Knows keys, bytes and revisions, and no kinds.
//!
//! ```text
//! put/delete ─► committer ─► Backend (redb, memory)  ─┐ durable first,
//!               (or etcd, whose watch feeds back)     │
//!                                                     ▼ then visible
//!            snapshot ◄── ArcSwap<OrdMap> ◄── log: ring of the last events and states
//!            watch    ◄── one bounded queue per watcher ◄──┘
//! ```
//!
//! Invariants:
//! - A write is visible, to readers, watchers and its own writer, only after it is durable.
//! - Revisions grow by one with every write and are never given twice, restarts included.
//! - A watcher gets every event of its prefix after its revision, in order, or an error: at the
//!   start ([`Compacted`]) or at the end ([`WatchEnd`]). It is never skipped over.
//! - A snapshot never changes and never blocks a writer.
//! - A fresh snapshot holds every write that was done before it was asked for, whoever wrote it.
//! - Memory is bounded: the ring by count, age and bytes; each watcher's queue; each batch.
//! - After a failed sync nothing more is written until the store is opened again. A full disk
//!   refuses writes, loses nothing, and writes go on when there is room again.
//!
//! Deliberately absent: objects and their meaning (`timonier-apiserver`), leases as objects, home
//! made consensus (several control planes share an etcd cluster), a durable event log (a watch
//! from before a restart is answered with [`Compacted`], and its client lists again).

mod backend;
mod commit;
mod disk;
mod error;
#[cfg(feature = "etcd")]
mod etcd;
mod item;
mod log;
mod memory;
mod shared;
mod snapshot;
mod store;
mod watch;
mod writer;

pub use backend::{Backend, Change, Failure, Loaded, Record};
pub use disk::{DiskBackend, OpenStorage};
pub use error::{Compacted, Error, WatchEnd};
#[cfg(feature = "etcd")]
pub use etcd::EtcdConfig;
pub use item::{Event, EventKind, Expect, Item};
pub use memory::MemoryDisk;
pub use redb::StorageBackend;
pub use snapshot::Snapshot;
pub use store::{Clock, Location, Options, Pace, Retention, Stamp, Store};
pub use watch::Watcher;
