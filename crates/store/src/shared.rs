//! What readers, watchers and the committer share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::log::{Entry, Log};
use crate::snapshot::State;
use crate::{Options, Snapshot};

#[derive(Clone, Copy)]
struct Progress {
    /// What is visible.
    revision: u64,
    closed: bool,
    failed: bool,
}

pub(crate) struct Shared {
    pub options: Options,
    state: ArcSwap<State>,
    log: Mutex<Log>,
    /// Events up to this revision are in the queues of their watchers.
    delivered: AtomicU64,
    /// Why no more is written, where the disk failed.
    failure: OnceLock<String>,
    /// To wait for.
    progress: watch::Sender<Progress>,
}

impl Shared {
    pub fn new(state: State, options: Options) -> Arc<Self> {
        let state = Arc::new(state);
        let revision = state.revision;
        Arc::new(Shared {
            log: Mutex::new(Log::new(state.clone(), options.retention)),
            state: ArcSwap::new(state),
            delivered: AtomicU64::new(revision),
            progress: watch::Sender::new(Progress { revision, closed: false, failed: false }),
            failure: OnceLock::new(),
            options,
        })
    }

    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        Snapshot { revision: state.revision, state }
    }

    /// Makes durable events visible: first to readers, so that whoever hears of an event finds it
    /// in a snapshot, then to watchers.
    pub fn publish(&self, entries: Vec<Entry>) {
        let Some(state) = entries.last().map(|e| e.state.clone()) else { return };
        let revision = state.revision;
        let mut log = self.log();
        self.state.store(state);
        log.append(entries, (self.options.clock)());
        self.delivered.store(revision, Ordering::Release);
        drop(log);
        self.progress.send_modify(|p| p.revision = revision);
    }

    /// Takes up a state that has no known way from the former one; ends all watches.
    #[cfg(feature = "etcd")]
    pub fn reset(&self, state: State) {
        let (revision, state) = (state.revision, Arc::new(state));
        let mut log = self.log();
        self.state.store(state.clone());
        log.reset(state);
        self.delivered.store(revision, Ordering::Release);
        drop(log);
        self.progress.send_modify(|p| p.revision = revision);
    }

    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Acquire)
    }

    /// Waits until everything up to `revision` is visible; `false` if the store was closed first.
    pub async fn wait_for(&self, revision: u64) -> bool {
        let mut progress = self.progress.subscribe();
        let seen = progress.wait_for(|p| p.revision >= revision || p.closed).await;
        seen.is_ok_and(|p| p.revision >= revision)
    }

    /// Waits for a state of this kind; `None` if the store was closed first.
    #[cfg(feature = "etcd")]
    pub async fn wait_until(&self, wanted: impl Fn(&Snapshot) -> bool) -> Option<Snapshot> {
        let mut progress = self.progress.subscribe();
        loop {
            let closed = progress.borrow_and_update().closed;
            let snapshot = self.snapshot();
            if wanted(&snapshot) {
                return Some(snapshot);
            }
            if closed || progress.changed().await.is_err() {
                return None;
            }
        }
    }

    /// Ends the watches and whoever waits; writers refuse from then on.
    pub fn close(&self) {
        self.log().close();
        self.progress.send_modify(|p| p.closed = true);
    }

    /// The disk failed: what is on it may be more than what is visible.
    pub fn fail(&self, why: String) {
        let _ = self.failure.set(why);
        self.progress.send_modify(|p| p.failed = true);
    }

    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Waits for [`Shared::fail`].
    pub async fn failed(&self) -> &str {
        // Cannot fail: the sender lives as long as this.
        let _ = self.progress.subscribe().wait_for(|p| p.failed).await;
        self.failure().unwrap_or_default()
    }

    pub fn is_closed(&self) -> bool {
        self.progress.borrow().closed
    }

    /// Waits for [`Shared::close`].
    pub async fn closed(&self) {
        // Cannot fail: the sender lives as long as this.
        let _ = self.progress.subscribe().wait_for(|p| p.closed).await;
    }

    pub fn forget(&self, prefix: &str, id: u64) {
        self.log().forget(prefix, id);
    }

    pub fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("revision", &self.state.load().revision).finish()
    }
}
