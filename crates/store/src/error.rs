//! What can go wrong.

use std::path::PathBuf;
use std::sync::Arc;

use crate::Item;

/// Why a call of the store failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The key's state is not as expected, or a key to delete does not exist.
    #[error("{}", conflict_text(.current))]
    Conflict {
        /// The present state, `None` where the key does not exist.
        current: Option<Arc<Item>>,
    },
    /// There is no room for the write. Nothing was changed; later writes succeed as soon as there
    /// is room.
    #[error("the store's disk is full, the write was refused and nothing was changed: {0}")]
    Full(String),
    /// The value is larger than [`crate::Options::max_value`] allows.
    #[error("the value has {size} bytes, the store takes at most {limit}")]
    TooLarge { size: usize, limit: usize },
    /// The disk failed in a way that leaves unknown what is on it. Reading goes on, writing needs
    /// the store to be opened again.
    #[error("the store takes no writes since its disk failed; it must be opened again: {0}")]
    Failed(String),
    /// The backend cannot be reached at the moment; whether the write took place is unknown.
    #[error("the store's backend does not answer: {0}")]
    Unavailable(String),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// Another process, or another store of this one, has the directory open.
    #[error("the data directory {} is in use by {owner}", path.display())]
    InUse { path: PathBuf, owner: String },
    /// The store cannot be opened.
    #[error("cannot open the store at {at}: {reason}")]
    Open { at: String, reason: String },
}

fn conflict_text(current: &Option<Arc<Item>>) -> String {
    match current {
        Some(item) => format!("{} is at revision {}", item.key, item.mod_revision),
        None => "the key does not exist".into(),
    }
}

/// A revision that the store no longer knows the way from. The client lists again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("revision {requested} has been compacted, the oldest one is {oldest}")]
pub struct Compacted {
    pub requested: u64,
    pub oldest: u64,
}

/// Why a watch ended. The client watches again from the last event it has seen, or lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WatchEnd {
    /// The watcher did not take its events in time.
    #[error("the watcher is too slow")]
    Slow,
    /// The backend lost the thread (an etcd cluster compacted what was not read yet).
    #[error("the store was loaded anew")]
    Reset,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}
