//! The committer: decides a batch of writes against the state they lead to one after the other,
//! makes them durable in one go, and publishes them.

use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use smol_str::SmolStr;
use tokio::sync::oneshot;

use crate::backend::{Backend, Change, Failure, Loaded, Record};
use crate::log::Entry;
use crate::shared::Shared;
use crate::snapshot::State;
use crate::{Error, Event, EventKind, Expect, Item, Options};

/// The most writes of one batch.
pub(crate) const BATCH: usize = 1024;

/// The bytes after which a batch takes no further write.
pub(crate) const BATCH_BYTES: usize = 16 << 20;

pub(crate) type Reply = oneshot::Sender<Result<Arc<Item>, Error>>;

/// What is to be done to a key.
#[derive(Debug)]
pub(crate) enum Intent {
    Put { value: Bytes, expires: u64 },
    Delete,
}

#[derive(Debug)]
pub(crate) struct Request {
    pub key: SmolStr,
    pub intent: Intent,
    pub expect: Expect,
    pub reply: Reply,
}

impl Request {
    /// The bytes this adds to a batch.
    pub fn size(&self) -> usize {
        match &self.intent {
            Intent::Put { value, .. } => value.len() + self.key.len(),
            Intent::Delete => self.key.len(),
        }
    }
}

/// The one writer of a backend.
pub(crate) struct Committer {
    backend: Box<dyn Backend>,
    shared: Arc<Shared>,
    /// Set for good when it is unknown what is on the disk.
    broken: Option<String>,
}

/// A write that fits, waiting for the disk.
struct Accepted {
    /// The new state; of a deletion the old one, to be stamped anew.
    item: Arc<Item>,
    previous: Option<Arc<Item>>,
    kind: EventKind,
    revision: u64,
    items: OrdMap<SmolStr, Arc<Item>>,
    reply: Reply,
}

/// A write that does not fit, and the state it met.
type Refused = (Reply, Option<Arc<Item>>);

impl Committer {
    /// Loads what the backend keeps.
    pub fn open(mut backend: Box<dyn Backend>, options: Options) -> Result<Self, Error> {
        let state = state_of(backend.load()?, &options);
        Ok(Committer { backend, shared: Shared::new(state, options), broken: None })
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Carries out a batch and answers every request of it.
    pub fn commit(&mut self, batch: Vec<Request>) {
        if let Some(why) = &self.broken {
            for request in batch {
                let _ = request.reply.send(Err(Error::Failed(why.clone())));
            }
            return;
        }
        let (accepted, changes, refused) = self.decide(batch);
        let outcome = match accepted.last() {
            Some(last) => self.backend.commit(last.revision, &changes),
            None => Ok(Vec::new()),
        };
        match outcome {
            Ok(removed) => {
                self.publish(accepted, removed);
                for (reply, current) in refused {
                    let _ = reply.send(Err(Error::Conflict { current }));
                }
            }
            // A conflict may have been with a write of this batch, so it fails with the batch.
            Err(failure) => {
                let error = self.failed(failure);
                let replies = accepted.into_iter().map(|a| a.reply);
                for reply in replies.chain(refused.into_iter().map(|r| r.0)) {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }

    fn decide(&self, batch: Vec<Request>) -> (Vec<Accepted>, Vec<Change>, Vec<Refused>) {
        let state = self.shared.state();
        let mut revision = state.revision;
        let mut items = state.items.clone();
        let (mut accepted, mut changes, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for Request { key, intent, expect, reply } in batch {
            let current = items.get(&key).cloned();
            let absent = matches!(intent, Intent::Delete) && current.is_none();
            if absent || !expect.holds(current.as_ref()) {
                refused.push((reply, current));
                continue;
            }
            revision += 1;
            let (kind, item, record) = match intent {
                Intent::Put { value, expires } => {
                    let create_revision = current.as_ref().map_or(revision, |c| c.create_revision);
                    let record = Record { value, create_revision, mod_revision: revision, expires };
                    let item = Arc::new(item_of(&key, &record, &self.shared.options));
                    items.insert(item.key.clone(), item.clone());
                    (EventKind::Put, item, Some(record))
                }
                Intent::Delete => match items.remove(&key) {
                    Some(item) => (EventKind::Delete, item, None),
                    None => continue,
                },
            };
            changes.push(Change { key, record });
            let items = items.clone();
            accepted.push(Accepted { item, previous: current, kind, revision, items, reply });
        }
        (accepted, changes, refused)
    }

    fn publish(&self, accepted: Vec<Accepted>, removed: Vec<Bytes>) {
        let mut removed = removed.into_iter();
        let mut entries = Vec::with_capacity(accepted.len());
        let mut replies = Vec::with_capacity(accepted.len());
        for a in accepted {
            let item = match a.kind {
                EventKind::Put => a.item,
                EventKind::Delete => {
                    let raw = removed.next().unwrap_or_default();
                    Arc::new(deleted(&a.item, &raw, a.revision, &self.shared.options))
                }
            };
            replies.push((a.reply, item.clone()));
            let event = Event { kind: a.kind, item, previous: a.previous, revision: a.revision };
            let state = Arc::new(State { revision: a.revision, items: a.items });
            entries.push(Entry { event: Arc::new(event), state });
        }
        self.shared.publish(entries);
        for (reply, item) in replies {
            let _ = reply.send(Ok(item));
        }
    }

    fn failed(&mut self, failure: Failure) -> Error {
        match failure {
            Failure::Full(why) => Error::Full(why),
            Failure::Broken(why) => {
                tracing::error!(%why, "the store takes no more writes");
                self.broken = Some(why.clone());
                self.shared.fail(why.clone());
                Error::Failed(why)
            }
        }
    }
}

/// An item of a record as it is kept.
pub(crate) fn item_of(key: &SmolStr, record: &Record, options: &Options) -> Item {
    Item {
        key: key.clone(),
        value: (options.stamp)(&record.value, record.mod_revision),
        create_revision: record.create_revision,
        mod_revision: record.mod_revision,
        expires: record.expires,
    }
}

/// The last state of a removed item, stamped with the revision of the removal.
pub(crate) fn deleted(last: &Item, raw: &Bytes, revision: u64, options: &Options) -> Item {
    Item { value: (options.stamp)(raw, revision), mod_revision: revision, ..last.clone() }
}

/// The map of what was loaded. A key that expired while nothing ran stays for a grace, so that
/// whoever renews it has time to.
fn state_of(loaded: Loaded, options: &Options) -> State {
    let earliest = (options.clock)() + options.grace.as_millis() as u64;
    let items = loaded
        .records
        .iter()
        .map(|(key, record)| {
            let mut item = item_of(key, record, options);
            if item.expires != 0 {
                item.expires = item.expires.max(earliest);
            }
            (item.key.clone(), Arc::new(item))
        })
        .collect();
    State { revision: loaded.revision, items }
}
