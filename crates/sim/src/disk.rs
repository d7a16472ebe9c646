//! The disk under the store: it can be full, fail, and lose what it was about to write.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use timonier_store::{Backend, Change, Error, Failure, Loaded, Location, MemoryDisk};
use tokio::sync::Notify;

use crate::audit::Audit;
use crate::environment::Random;

/// What happens to the next commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accident {
    /// The process dies before anything is durable.
    DiesBefore,
    /// The process dies when everything is durable and nobody was told.
    DiesAfter,
    /// The sync fails, and nothing of it is on the disk.
    SyncLost,
    /// The sync fails, though everything is on the disk.
    SyncKept,
}

/// A disk with one process after the other, each with a number of its own.
pub struct SimDisk {
    disk: MemoryDisk,
    audit: Arc<Audit>,
    random: Random,
    /// The number of the process that may write.
    number: AtomicU64,
    /// Wakes in order, which tokio's `watch` does not: that would be another run each time.
    ended: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    accident: Option<Accident>,
    /// The process takes no more writes.
    failed: bool,
    slow: bool,
}

impl SimDisk {
    pub fn new(audit: Arc<Audit>, seed: u64) -> Arc<Self> {
        Arc::new(SimDisk {
            disk: MemoryDisk::new(),
            audit,
            random: Random::new(seed),
            number: AtomicU64::new(0),
            ended: Notify::new(),
            state: Mutex::default(),
        })
    }

    /// Where a store of the process `number` is kept. A commit takes up to a few milliseconds, and
    /// a slow disk's much longer, so that writes come together in batches.
    pub fn location(self: &Arc<Self>, number: u64) -> Result<Location, Error> {
        let inner = self.disk.backend()?;
        let backend = Audited { inner, sim: self.clone(), number };
        let sim = self.clone();
        let pace = move || {
            let most = if sim.state().slow { 2000 } else { 4 };
            Duration::from_millis(sim.random.below(most))
        };
        Ok(Location::Paced(Box::new(backend), Box::new(pace)))
    }

    /// The number of the present process.
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// Waits for the end of the process `number`.
    pub async fn end_of(&self, number: u64) {
        loop {
            let ended = self.ended.notified();
            if self.number() != number {
                return;
            }
            ended.await;
        }
    }

    /// Ends the present process, wherever it stands.
    pub fn kill(&self) {
        let mut state = self.state();
        *state = State { slow: state.slow, ..State::default() };
        drop(state);
        self.disk.release();
        self.number.fetch_add(1, Ordering::Relaxed);
        self.ended.notify_waiters();
    }

    pub fn set_full(&self, full: bool) {
        self.disk.set_full(full);
    }

    pub fn set_slow(&self, slow: bool) {
        self.state().slow = slow;
    }

    /// Orders an accident for the next commit.
    pub fn order(&self, accident: Option<Accident>) {
        self.state().accident = accident;
    }

    /// Whether the process takes no more writes since a sync failed.
    pub fn has_failed(&self) -> bool {
        self.state().failed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A backend that tells the audit what became durable.
struct Audited {
    inner: Box<dyn Backend>,
    sim: Arc<SimDisk>,
    number: u64,
}

impl Audited {
    fn write(&mut self, revision: u64, changes: &[Change]) -> Result<Vec<Bytes>, Failure> {
        let removed = self.inner.commit(revision, changes)?;
        self.sim.audit.on_commit(revision, changes);
        Ok(removed)
    }
}

impl Backend for Audited {
    fn load(&mut self) -> Result<Loaded, Error> {
        let loaded = self.inner.load()?;
        self.sim.audit.on_load(&loaded);
        Ok(loaded)
    }

    fn commit(&mut self, revision: u64, changes: &[Change]) -> Result<Vec<Bytes>, Failure> {
        if self.number != self.sim.number() {
            return Err(Failure::Broken("the process is dead".into()));
        }
        if self.sim.audit.is_halted() {
            return Err(Failure::Broken("halted".into()));
        }
        let accident = self.sim.state().accident.take();
        match accident {
            None => return self.write(revision, changes),
            Some(Accident::DiesBefore) => self.sim.kill(),
            Some(Accident::DiesAfter) => {
                self.write(revision, changes)?;
                self.sim.kill();
            }
            Some(Accident::SyncLost) => self.sim.state().failed = true,
            Some(Accident::SyncKept) => {
                self.write(revision, changes)?;
                self.sim.state().failed = true;
            }
        }
        Err(Failure::Broken(format!("{accident:?}")))
    }
}
