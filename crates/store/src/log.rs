//! The last events and states, the watchers, and the keys that expire. Everything here is behind
//! one lock, so that a watch starts exactly where its replay ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock, Weak};

use smol_str::SmolStr;
use tokio::sync::mpsc;

use crate::shared::Shared;
use crate::snapshot::State;
use crate::watch::Feed;
use crate::{Compacted, Event, EventKind, Retention, WatchEnd, Watcher};

/// One event and the state it led to.
#[derive(Debug)]
pub(crate) struct Entry {
    pub event: Arc<Event>,
    pub state: Arc<State>,
}

#[derive(Debug)]
struct Kept {
    entry: Entry,
    /// Unix milliseconds.
    at: u64,
}

#[derive(Debug)]
pub(crate) struct Log {
    retention: Retention,
    /// The state before the oldest entry of the ring.
    base: Arc<State>,
    ring: VecDeque<Kept>,
    /// The bytes of the ring's values.
    bytes: usize,
    /// By prefix: few distinct prefixes have many watchers.
    watchers: BTreeMap<SmolStr, Vec<Feed>>,
    next_id: u64,
    expiring: BTreeSet<(u64, SmolStr)>,
    closed: bool,
}

impl Log {
    pub fn new(base: Arc<State>, retention: Retention) -> Self {
        let mut log = Log {
            retention,
            base: base.clone(),
            ring: VecDeque::new(),
            bytes: 0,
            watchers: BTreeMap::new(),
            next_id: 0,
            expiring: BTreeSet::new(),
            closed: false,
        };
        log.index_expiring(&base);
        log
    }

    /// Takes up events in order: into the ring, to the watchers, into the index of expiry.
    pub fn append(&mut self, entries: Vec<Entry>, now: u64) {
        for entry in entries {
            self.index(&entry.event);
            self.deliver(&entry.event);
            self.bytes += entry.event.item.value.len();
            self.ring.push_back(Kept { entry, at: now });
        }
        self.trim(now);
    }

    /// Starts over from a state that has no known way from the former one.
    #[cfg(feature = "etcd")]
    pub fn reset(&mut self, base: Arc<State>) {
        self.end_all(WatchEnd::Reset);
        self.ring.clear();
        self.bytes = 0;
        self.expiring.clear();
        self.index_expiring(&base);
        self.base = base;
    }

    /// Forgets what is too old or too much.
    pub fn trim(&mut self, now: u64) {
        let r = &self.retention;
        while let Some(first) = self.ring.front() {
            let old = now.saturating_sub(first.at) > r.age.as_millis() as u64;
            let over = self.ring.len() > r.most || self.bytes > r.bytes;
            let done_with = old && self.ring.len() > r.least;
            if !(over || done_with) {
                break;
            }
            let Some(kept) = self.ring.pop_front() else { break };
            self.bytes -= kept.entry.event.item.value.len();
            self.base = kept.entry.state;
        }
    }

    /// The state at a revision, where it is still known.
    pub fn state_at(&self, revision: u64) -> Option<Arc<State>> {
        let newest = self.ring.back().map_or(self.base.revision, |k| k.entry.event.revision);
        if revision < self.base.revision || revision > newest {
            return None;
        }
        let n = self.ring.partition_point(|k| k.entry.event.revision <= revision);
        Some(match n.checked_sub(1) {
            Some(i) => self.ring[i].entry.state.clone(),
            None => self.base.clone(),
        })
    }

    /// Registers a watcher of the events after `from`.
    pub fn watch(
        &mut self,
        prefix: SmolStr,
        from: u64,
        buffer: usize,
        shared: Weak<Shared>,
    ) -> Result<Watcher, Compacted> {
        if from < self.base.revision {
            return Err(Compacted { requested: from, oldest: self.base.revision });
        }
        let first = self.ring.partition_point(|k| k.entry.event.revision <= from);
        let backlog = self
            .ring
            .range(first..)
            .map(|k| &k.entry.event)
            .filter(|e| e.item.key.starts_with(prefix.as_str()))
            .cloned()
            .collect();
        let (sender, receiver) = mpsc::channel(buffer.max(1));
        let end = Arc::new(OnceLock::new());
        let id = self.next_id;
        self.next_id += 1;
        if self.closed {
            let _ = end.set(WatchEnd::Closed);
        } else {
            let feed = Feed { id, sender, end: end.clone(), after: from };
            self.watchers.entry(prefix.clone()).or_default().push(feed);
        }
        Ok(Watcher { prefix, id, backlog, receiver, end, ended: false, shared })
    }

    /// Takes a dropped watcher off the list.
    pub fn forget(&mut self, prefix: &str, id: u64) {
        if let Some(feeds) = self.watchers.get_mut(prefix) {
            feeds.retain(|f| f.id != id);
            if feeds.is_empty() {
                self.watchers.remove(prefix);
            }
        }
    }

    /// Ends every watch and takes no new ones.
    pub fn close(&mut self) {
        self.closed = true;
        self.end_all(WatchEnd::Closed);
    }

    /// Keys whose time is over, at most `most`.
    pub fn expired(&self, now: u64, most: usize) -> Vec<SmolStr> {
        self.expiring
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(most)
            .map(|x| x.1.clone())
            .collect()
    }

    /// When the next key expires, in Unix milliseconds.
    pub fn next_expiry(&self) -> Option<u64> {
        self.expiring.first().map(|(at, _)| *at)
    }

    /// How many watchers there are.
    pub fn watcher_count(&self) -> usize {
        self.watchers.values().map(Vec::len).sum()
    }

    fn deliver(&mut self, event: &Arc<Event>) {
        let key = event.item.key.as_str();
        self.watchers.retain(|prefix, feeds| {
            if key.starts_with(prefix.as_str()) {
                feeds.retain(|feed| offer(feed, event));
            }
            !feeds.is_empty()
        });
    }

    fn end_all(&mut self, why: WatchEnd) {
        for feed in std::mem::take(&mut self.watchers).into_values().flatten() {
            let _ = feed.end.set(why);
        }
    }

    fn index(&mut self, event: &Event) {
        if let Some(previous) = &event.previous
            && previous.expires != 0
        {
            self.expiring.remove(&(previous.expires, previous.key.clone()));
        }
        if event.kind == EventKind::Put && event.item.expires != 0 {
            self.expiring.insert((event.item.expires, event.item.key.clone()));
        }
    }

    fn index_expiring(&mut self, state: &State) {
        for item in state.items.values().filter(|i| i.expires != 0) {
            self.expiring.insert((item.expires, item.key.clone()));
        }
    }
}

/// Queues an event for a watcher; whether the watcher stays.
fn offer(feed: &Feed, event: &Arc<Event>) -> bool {
    if event.revision <= feed.after {
        return true;
    }
    match feed.sender.try_send(event.clone()) {
        Ok(()) => true,
        Err(mpsc::error::TrySendError::Closed(_)) => false,
        Err(mpsc::error::TrySendError::Full(_)) => {
            let _ = feed.end.set(WatchEnd::Slow);
            false
        }
    }
}
