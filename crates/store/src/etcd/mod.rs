//! A real etcd cluster as the durable half: several control planes can share it.
//!
//! ```text
//! put ─► transaction ─► etcd ─► watch ─► published to readers and watchers ─► put returns
//! ```
//!
//! All keys under the prefix are in memory, as with the embedded engine; one watch keeps them
//! up. What another control plane writes is seen with the delay of that watch, and so is a write
//! whose answer was lost; whoever must not miss them asks etcd first ([`Etcd::fresh`]). Keys with a
//! time to live hang on etcd's leases, many on one.

mod grpc;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use imbl::OrdMap;
use smol_str::SmolStr;
use tokio::sync::Mutex;

use crate::backend::Record;
use crate::commit::{Intent, deleted, item_of};
use crate::log::Entry;
use crate::shared::Shared;
use crate::snapshot::State;
use crate::{Error, Event, EventKind, Expect, Item, Options, Snapshot};
use grpc::{Channel, EXHAUSTED, Failure, INVALID};
use wire::{KeyValue, Out, Range, Txn, Watch, WatchEvent};

/// Keys per page when loading.
const PAGE: i64 = 1000;
/// What etcd takes per request unless told otherwise.
const ETCD_LIMIT: usize = 3 << 19;
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// How often etcd is told to forget the past, as upstream's API server does.
const COMPACT: Duration = Duration::from_secs(300);
/// Keys whose times are this close share a lease, and so many of them.
const LEASE_SPAN: Duration = Duration::from_secs(60);
const LEASE_KEYS: usize = 1000;

/// Where the cluster is.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// Such as `http://127.0.0.1:2379`.
    pub endpoints: Vec<String>,
    /// In front of every key, so that clusters can share an etcd.
    pub prefix: String,
    /// With a client certificate where the cluster wants one; `None` without TLS.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

/// The writer of a store on etcd.
pub(crate) struct Etcd {
    channel: Arc<Channel>,
    prefix: String,
    shared: Arc<Shared>,
    lease: Mutex<Option<Lease>>,
}

struct Lease {
    id: i64,
    until: Instant,
    keys: usize,
}

impl Etcd {
    /// Loads everything and starts to follow. Must be called within a tokio runtime.
    pub async fn open(config: EtcdConfig, options: Options) -> Result<(Arc<Shared>, Self), Error> {
        let at = config.endpoints.join(", ");
        let failed = |reason: String| Error::Open { at: at.clone(), reason };
        let endpoints = config.endpoints.iter().map(|e| e.parse::<http::Uri>());
        let endpoints =
            endpoints.collect::<Result<Vec<_>, _>>().map_err(|e| failed(e.to_string()))?;
        let channel = Arc::new(Channel::new(endpoints, config.tls));
        let state = load(&channel, &config.prefix, &options).await;
        let state = state.map_err(|e| failed(e.to_string()))?;
        let shared = Shared::new(state, options);
        let follow = Follower {
            channel: channel.clone(),
            prefix: config.prefix.clone(),
            shared: shared.clone(),
        };
        tokio::spawn(follow.run());
        let lease = Mutex::new(None);
        Ok((shared.clone(), Etcd { channel, prefix: config.prefix, shared, lease }))
    }

    /// Carries out one write; returns when it is visible here.
    pub async fn write(
        &self,
        key: SmolStr,
        intent: Intent,
        expect: Expect,
    ) -> Result<Arc<Item>, Error> {
        if self.shared.is_closed() {
            return Err(Error::Closed);
        }
        let full = format!("{}{key}", self.prefix);
        let request = self.transaction(full.as_bytes(), &intent, expect).await?;
        let answer = self.channel.call("KV/Txn", request).await;
        let answer = answer.map_err(|e| error_of(e, &intent))?;
        let txn = Txn::read(answer).ok_or_else(broken)?;
        let options = &self.shared.options;
        let found = txn.found.map(|kv| record(&kv));
        if !txn.succeeded {
            let current = found.map(|record| Arc::new(item_of(&key, &record, options)));
            if let Some(current) = &current {
                self.visible(current.mod_revision).await?;
            }
            return Err(Error::Conflict { current });
        }
        self.visible(txn.revision).await?;
        Ok(Arc::new(match intent {
            Intent::Put { value, .. } => {
                let create_revision = found.map_or(txn.revision, |f| f.create_revision);
                let mod_revision = txn.revision;
                let record = Record { value, create_revision, mod_revision, expires: 0 };
                item_of(&key, &record, options)
            }
            Intent::Delete => {
                let former = found.ok_or_else(broken)?;
                let last = item_of(&key, &former, options);
                deleted(&last, &former.value, txn.revision, options)
            }
        }))
    }

    /// The state, when it holds for the keys with a prefix whatever etcd holds for them now.
    ///
    /// etcd tells the revision of the last write among them and how many they are. A copy that has
    /// come to that revision and has as many keys is the same: what it could lack are deletions,
    /// and they would leave fewer keys; whatever was both written and deleted since leaves nothing.
    /// So nothing has to be known of writes to other keys, of which the watch does not tell. (etcd's
    /// notices of progress would, but before 3.4.25 and 3.5.8 they overtake events.)
    pub async fn fresh(&self, prefix: &str) -> Result<Snapshot, Error> {
        const DESCENDING: i64 = 2;
        const BY_LAST_WRITE: i64 = 3;
        let full = format!("{}{prefix}", self.prefix);
        let last = Out::default()
            .bytes(1, &start_of(&full))
            .bytes(2, &end_of(&full))
            .number(3, 1)
            .number(5, DESCENDING)
            .number(6, BY_LAST_WRITE)
            // Keys without values.
            .number(8, 1);
        let answer = self.channel.call("KV/Range", last.finish()).await;
        let answer = answer.map_err(|e| error_of(e, &Intent::Delete))?;
        let there = Range::read(answer).ok_or_else(broken)?;
        let written = there.kvs.first().map_or(0, |kv| kv.mod_revision);
        let same = |here: &Snapshot| {
            here.revision >= there.revision
                || here.revision >= written
                    && here.range(prefix, None).count() as u64 == there.count
        };
        self.shared.wait_until(same).await.ok_or(Error::Closed)
    }

    async fn visible(&self, revision: u64) -> Result<(), Error> {
        match self.shared.wait_for(revision).await {
            true => Ok(()),
            false => Err(Error::Closed),
        }
    }

    async fn transaction(
        &self,
        key: &[u8],
        intent: &Intent,
        expect: Expect,
    ) -> Result<Vec<u8>, Error> {
        let mut txn = Out::default();
        // Compare the revision of the last change: 0 is a key that does not exist.
        let compare = |result, revision: u64| {
            Out::default()
                .number(1, result)
                .number(2, 2)
                .bytes(3, key)
                .number_always(6, revision as i64)
        };
        const EQUAL: i64 = 0;
        const GREATER: i64 = 1;
        match (expect, intent) {
            (Expect::Absent, _) => txn = txn.message(1, compare(EQUAL, 0)),
            (Expect::Revision(revision), _) => txn = txn.message(1, compare(EQUAL, revision)),
            (Expect::Any, Intent::Delete) => txn = txn.message(1, compare(GREATER, 0)),
            (Expect::Any, Intent::Put { .. }) => {}
        }
        let operation = match intent {
            Intent::Put { value, expires } => {
                let lease = self.lease_until(*expires).await?;
                let put =
                    Out::default().bytes(1, key).bytes(2, value).number(3, lease).number(4, 1);
                Out::default().message(2, put)
            }
            Intent::Delete => Out::default().message(3, Out::default().bytes(1, key).number(3, 1)),
        };
        let look = Out::default().message(1, Out::default().bytes(1, key));
        Ok(txn.message(2, operation).message(3, look).finish())
    }

    /// A lease for a key that goes at this time (Unix milliseconds, 0 is never); 0 is none.
    async fn lease_until(&self, expires: u64) -> Result<i64, Error> {
        if expires == 0 {
            return Ok(0);
        }
        let now = (self.shared.options.clock)();
        let ttl = Duration::from_millis(expires.saturating_sub(now));
        let wanted = Instant::now() + ttl;
        let mut lease = self.lease.lock().await;
        if let Some(lease) = lease.as_mut()
            && (wanted..=wanted + LEASE_SPAN).contains(&lease.until)
            && lease.keys < LEASE_KEYS
        {
            lease.keys += 1;
            return Ok(lease.id);
        }
        // A minute would be long for a key that lives for seconds.
        let span = LEASE_SPAN.min(ttl / 20);
        let seconds = (ttl + span).as_secs_f64().ceil().max(1.0) as i64;
        let request = Out::default().number(1, seconds).finish();
        let answer = self.channel.call("Lease/LeaseGrant", request).await;
        let answer = answer.map_err(|e| error_of(e, &Intent::Delete))?;
        let id = wire::lease_id(answer).ok_or_else(broken)?;
        *lease = Some(Lease { id, until: wanted + span, keys: 1 });
        Ok(id)
    }
}

fn error_of(failure: Failure, intent: &Intent) -> Error {
    match (&failure, intent) {
        (Failure::Status { code: EXHAUSTED, message }, _) => Error::Full(message.clone()),
        (Failure::Status { code: INVALID, message }, Intent::Put { value, .. })
            if message.contains("too large") =>
        {
            Error::TooLarge { size: value.len(), limit: ETCD_LIMIT }
        }
        _ => Error::Unavailable(failure.to_string()),
    }
}

fn broken() -> Error {
    Error::Unavailable("etcd's answer cannot be read".into())
}

fn record(kv: &KeyValue) -> Record {
    Record {
        // Not a part of the whole answer, which it would keep in memory.
        value: Bytes::copy_from_slice(&kv.value),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        expires: 0,
    }
}

/// The first key after all those with a prefix.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    // Every key.
    vec![0]
}

fn start_of(prefix: &str) -> Vec<u8> {
    if prefix.is_empty() { vec![0] } else { prefix.as_bytes().to_vec() }
}

async fn load(channel: &Channel, prefix: &str, options: &Options) -> Result<State, Failure> {
    let mut items: OrdMap<SmolStr, Arc<Item>> = OrdMap::new();
    let mut revision = 0;
    let mut from = start_of(prefix);
    let unreadable = || Failure::Transport("etcd's answer cannot be read".into());
    loop {
        let request = Out::default()
            .bytes(1, &from)
            .bytes(2, &end_of(prefix))
            .number(3, PAGE)
            .number(4, revision as i64);
        let answer = channel.call("KV/Range", request.finish()).await?;
        let page = Range::read(answer).ok_or_else(unreadable)?;
        if revision == 0 {
            revision = page.revision;
        }
        for kv in &page.kvs {
            let Some(key) = key_of(kv, prefix) else { continue };
            let item = Arc::new(item_of(&key, &record(kv), options));
            items.insert(item.key.clone(), item);
        }
        match page.kvs.last() {
            Some(last) if page.more => {
                from = last.key.to_vec();
                from.push(0);
            }
            _ => return Ok(State { revision, items }),
        }
    }
}

/// The store's key; `None` for one that is not text, which is not the store's.
fn key_of(kv: &KeyValue, prefix: &str) -> Option<SmolStr> {
    let key = std::str::from_utf8(&kv.key).ok()?;
    Some(SmolStr::new(key.strip_prefix(prefix)?))
}

/// Keeps the state up to date until the store is closed.
struct Follower {
    channel: Arc<Channel>,
    prefix: String,
    shared: Arc<Shared>,
}

/// Why a watch ended.
enum End {
    /// Watch again from the last revision.
    Broken(String),
    /// The past is gone: load anew.
    Compacted,
}

impl Follower {
    async fn run(self) {
        let work = async {
            tokio::join!(self.follow(), self.compact());
        };
        tokio::select! {
            () = self.shared.closed() => {}
            () = work => {}
        }
    }

    async fn follow(&self) {
        let mut wait = FIRST_WAIT;
        loop {
            let before = self.shared.state().revision;
            let end = self.watch().await;
            if self.shared.state().revision > before {
                wait = FIRST_WAIT;
            }
            match end {
                End::Broken(why) => tracing::warn!(%why, "the watch of etcd ended; it goes on"),
                End::Compacted => match self.reload().await {
                    Ok(()) => continue,
                    Err(error) => tracing::warn!(%error, "etcd cannot be loaded"),
                },
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn watch(&self) -> End {
        let from = self.shared.state().revision + 1;
        let create = Out::default()
            .bytes(1, &start_of(&self.prefix))
            .bytes(2, &end_of(&self.prefix))
            .number(3, from as i64)
            .number(6, 1);
        let request = Out::default().message(1, create).finish();
        let mut answers = match self.channel.stream("Watch/Watch", request).await {
            Ok(answers) => answers,
            Err(error) => return End::Broken(error.to_string()),
        };
        loop {
            let answer = match answers.next().await {
                Ok(Some(answer)) => answer,
                Ok(None) => return End::Broken("the stream ended".into()),
                Err(error) => return End::Broken(error.to_string()),
            };
            let Some(watch) = Watch::read(answer) else {
                return End::Broken("the answer cannot be read".into());
            };
            if watch.compacted > 0 {
                return End::Compacted;
            }
            if watch.canceled {
                return End::Broken(watch.reason);
            }
            self.publish(watch.events);
        }
    }

    fn publish(&self, events: Vec<WatchEvent>) {
        let state = self.shared.state();
        let mut items = state.items.clone();
        let mut entries: Vec<Entry> = Vec::with_capacity(events.len());
        for event in events {
            let revision = event.kv.mod_revision;
            // A watch that was taken up again may begin with what is known.
            let Some(key) = key_of(&event.kv, &self.prefix).filter(|_| revision > state.revision)
            else {
                continue;
            };
            let previous = items.get(&key).cloned();
            let (kind, item) = match (event.delete, &previous) {
                (false, _) => {
                    let item = item_of(&key, &record(&event.kv), &self.shared.options);
                    let item = Arc::new(item);
                    items.insert(item.key.clone(), item.clone());
                    (EventKind::Put, item)
                }
                (true, Some(last)) => {
                    items.remove(&key);
                    (EventKind::Delete, Arc::new(self.last_state(last, &event, revision)))
                }
                (true, None) => continue,
            };
            let event = Arc::new(Event { kind, item, previous, revision });
            entries
                .push(Entry { event, state: Arc::new(State { revision, items: items.clone() }) });
        }
        self.shared.publish(entries);
    }

    fn last_state(&self, last: &Item, event: &WatchEvent, revision: u64) -> Item {
        match &event.previous {
            Some(kv) => deleted(last, &record(kv).value, revision, &self.shared.options),
            // Compacted meanwhile: the stamp stays the one of the last write.
            None => Item { mod_revision: revision, ..last.clone() },
        }
    }

    async fn reload(&self) -> Result<(), Failure> {
        let state = load(&self.channel, &self.prefix, &self.shared.options).await?;
        self.shared.reset(state);
        Ok(())
    }

    /// Lets etcd forget what is older than five minutes.
    async fn compact(&self) {
        let mut old = self.shared.state().revision;
        loop {
            tokio::time::sleep(COMPACT).await;
            let now = self.shared.state().revision;
            if now > old {
                let request = Out::default().number(1, old as i64).finish();
                if let Err(error) = self.channel.call("KV/Compact", request).await {
                    tracing::debug!(%error, "etcd does not compact");
                }
            }
            old = now;
        }
    }
}
