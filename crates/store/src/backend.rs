//! The durable half of a store that this process alone writes.

use bytes::Bytes;
use smol_str::SmolStr;

use crate::Error;

/// Where items are kept. One caller at a time; calls may block on the disk.
pub trait Backend: Send + 'static {
    /// Everything that is kept. Called once, first.
    fn load(&mut self) -> Result<Loaded, Error>;

    /// Makes all changes durable, or none. The store's revision is `revision` from then on. Gives
    /// the former raw value for each change that is a removal, in order.
    fn commit(&mut self, revision: u64, changes: &[Change]) -> Result<Vec<Bytes>, Failure>;
}

/// A key as it is kept: the value is raw, without a stamp.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    pub value: Bytes,
    pub create_revision: u64,
    pub mod_revision: u64,
    /// Unix milliseconds, 0 is never.
    pub expires: u64,
}

/// One key's new state, `None` for its removal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub key: SmolStr,
    pub record: Option<Record>,
}

/// What [`Backend::load`] found.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The revision of the last write, deletions included.
    pub revision: u64,
    /// In the order of the keys.
    pub records: Vec<(SmolStr, Record)>,
}

/// Why a commit did not take place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// No room; certainly nothing was changed, and the next commit may succeed.
    Full(String),
    /// It is unknown what is on the disk. No commit may follow.
    Broken(String),
}
