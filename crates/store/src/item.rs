//! What the store holds and what it tells watchers.

use std::sync::Arc;

use bytes::Bytes;
use smol_str::SmolStr;

/// One key's present state. Shared by reference with every list and watch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    pub key: SmolStr,
    /// The value as the stamp function made it from the stored bytes and `mod_revision`.
    pub value: Bytes,
    /// The revision that brought the key into being.
    pub create_revision: u64,
    /// The revision of the last write; of the deletion in a deletion's event.
    pub mod_revision: u64,
    /// When the store removes the key by itself, in Unix milliseconds; 0 is never.
    pub expires: u64,
}

/// What must hold of a key for a write to take place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// The key does not exist.
    Absent,
    /// The key exists and was last written at this revision.
    Revision(u64),
    /// Anything; a delete still needs the key to exist.
    Any,
}

impl Expect {
    /// Whether the key's state fits.
    pub(crate) fn holds(self, current: Option<&Arc<Item>>) -> bool {
        match self {
            Expect::Absent => current.is_none(),
            Expect::Revision(revision) => current.is_some_and(|c| c.mod_revision == revision),
            Expect::Any => true,
        }
    }
}

/// What happened to a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// It was written; a creation where `previous` is `None`.
    Put,
    /// It was removed, by a delete or because its time was over.
    Delete,
}

/// One write, as watchers see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    pub kind: EventKind,
    /// The new state; of a deletion the last state, stamped with the deletion's revision.
    pub item: Arc<Item>,
    /// The state before.
    pub previous: Option<Arc<Item>>,
    pub revision: u64,
}
