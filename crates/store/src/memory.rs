//! A backend without a disk, for tests and the simulation: it outlives the store that writes to
//! it, as a disk would, and can be told to be full or to fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use smol_str::SmolStr;

use crate::backend::{Backend, Change, Failure, Loaded, Record};
use crate::{Error, Store};

/// A simulated disk. Clones are the same disk; a store opened on it later finds what an earlier
/// one committed.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    revision: u64,
    records: BTreeMap<SmolStr, Record>,
    full: bool,
    broken: bool,
    open: bool,
    /// Counts the openings. Only the last one writes.
    generation: u64,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on every commit finds no room, or finds room again.
    pub fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    /// From now on every commit fails as a failing sync does, or works again. A store that has
    /// seen a failure takes no more writes.
    pub fn set_broken(&self, broken: bool) {
        self.state().broken = broken;
    }

    /// What a crash of the process does: the disk may be opened again, although the store that
    /// had it open was not closed. That store cannot write any more.
    pub fn release(&self) {
        let mut state = self.state();
        state.open = false;
        state.generation += 1;
    }

    /// The disk as the durable half of a store.
    ///
    /// # Errors
    /// [`Error::InUse`] where another store has it open.
    pub fn backend(&self) -> Result<Box<dyn Backend>, Error> {
        Ok(Box::new(self.open()?))
    }

    pub(crate) fn open(&self) -> Result<MemoryBackend, Error> {
        let mut state = self.state();
        if state.open {
            return Err(Error::InUse { path: "memory".into(), owner: "another store".into() });
        }
        state.open = true;
        Ok(MemoryBackend { disk: self.clone(), generation: state.generation })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one writer of a [`MemoryDisk`]; the disk is free again when it is dropped.
pub(crate) struct MemoryBackend {
    disk: MemoryDisk,
    generation: u64,
}

impl Backend for MemoryBackend {
    fn load(&mut self) -> Result<Loaded, Error> {
        let state = self.disk.state();
        let records = state.records.iter().map(|(k, r)| (k.clone(), r.clone())).collect();
        Ok(Loaded { revision: state.revision.max(Store::FIRST_REVISION), records })
    }

    fn commit(&mut self, revision: u64, changes: &[Change]) -> Result<Vec<Bytes>, Failure> {
        let mut state = self.disk.state();
        if state.generation != self.generation {
            return Err(Failure::Broken("the simulated disk was taken away".into()));
        }
        if state.full {
            return Err(Failure::Full("no space left on the simulated disk".into()));
        }
        if state.broken {
            return Err(Failure::Broken("the simulated disk failed".into()));
        }
        let mut removed = Vec::new();
        for change in changes {
            match &change.record {
                Some(record) => {
                    state.records.insert(change.key.clone(), record.clone());
                }
                None => {
                    removed.extend(state.records.remove(&change.key).map(|r| r.value));
                }
            }
        }
        state.revision = revision;
        Ok(removed)
    }
}

impl Drop for MemoryBackend {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.generation == self.generation {
            state.open = false;
        }
    }
}
