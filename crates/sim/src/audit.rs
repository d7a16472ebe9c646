//! What is durable, kept apart from the store: the truth that answers, lists, watches and restarts
//! are held against.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smol_str::SmolStr;
use timonier_apiserver::storage;
use timonier_client::{List, ListOptions, WatchEvent};
use timonier_meta::{Environment, GroupResource, GroupVersionResource, ObjectKey};
use timonier_object::{Value, json};
use timonier_schema::Catalogue;
use timonier_store::{Change, Loaded, Record};

use crate::checks::{Checks, Tables, Write};

/// Everything that ever became durable.
pub struct Audit {
    env: Arc<dyn Environment>,
    /// Whether to print every write.
    aloud: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    revision: u64,
    records: BTreeMap<SmolStr, Record>,
    tables: Tables,
    /// Every write to a resource: its revision and object.
    log: BTreeMap<GroupResource, Vec<(u64, ObjectKey)>>,
    /// What was written at a revision, the revision being the index.
    keys: Vec<SmolStr>,
    checks: Checks,
    trace: Trace,
}

/// How far a watch is in the log of its resource.
pub struct Cursor {
    resource: GroupResource,
    namespace: SmolStr,
    /// `None` for a watch that selects, of which only the order is known.
    next: Option<usize>,
    last: u64,
    /// The present objects come first, in the order of their keys.
    initial: bool,
}

impl Audit {
    /// An audit that prints every write where it is `aloud`.
    pub fn new(env: Arc<dyn Environment>, aloud: bool) -> Arc<Self> {
        Arc::new(Audit { env, aloud, state: Mutex::default() })
    }

    /// Says something beside the writes that it prints.
    pub fn say(&self, text: &str) {
        if self.aloud {
            println!("{} {text}", self.env.now().rfc3339_micro());
        }
    }

    /// What the checks have found so far.
    pub fn violations(&self) -> Vec<String> {
        self.state().checks.violations.clone()
    }

    /// Adds to what the checks have found.
    pub fn report(&self, text: String) {
        let now = self.env.now();
        self.state().checks.report(now, text);
    }

    /// Whether something was violated: nothing more is written then.
    pub fn is_halted(&self) -> bool {
        !self.state().checks.violations.is_empty()
    }

    /// The writes so far, and how many of them were to leases and events.
    pub fn writes(&self) -> (u64, u64) {
        let state = self.state();
        (state.checks.writes, state.checks.background)
    }

    /// A number that differs where two runs differ in any write or its time.
    pub fn trace(&self) -> u64 {
        self.state().trace.0
    }

    /// All objects of a resource.
    pub fn all(&self, resource: &GroupVersionResource) -> Vec<Arc<Value>> {
        let state = self.state();
        let table = state.tables.get(&stored(resource).group_resource());
        table.into_iter().flat_map(|t| t.values().cloned()).collect()
    }

    /// All objects of all resources.
    pub fn everything(&self) -> Vec<Arc<Value>> {
        self.state().tables.values().flat_map(|t| t.values().cloned()).collect()
    }

    /// The keys that begin with a prefix.
    pub fn keys(&self, prefix: &str) -> Vec<SmolStr> {
        let state = self.state();
        let from = state.records.range(SmolStr::new(prefix)..);
        from.map(|(key, _)| key.clone()).take_while(|key| key.starts_with(prefix)).collect()
    }

    /// A user is about to delete an object; without that nobody may delete what users made.
    pub fn asked_to_delete(&self, object: &Value) {
        self.state().checks.asked_to_delete(object);
    }

    /// A process starts: it must find what was made durable, no more and no less.
    pub fn on_load(&self, loaded: &Loaded) {
        let now = self.env.now();
        let mut state = self.state();
        if state.keys.is_empty() {
            state.revision = loaded.revision;
            state.keys = vec![SmolStr::default(); loaded.revision as usize + 1];
        }
        let same = state.records.len() == loaded.records.len()
            && state.records.iter().zip(&loaded.records).all(|(a, (k, r))| a == (k, r));
        if !same || state.revision != loaded.revision {
            let text = format!(
                "a restart found {} records at revision {}, not {} at {}",
                loaded.records.len(),
                loaded.revision,
                state.records.len(),
                state.revision
            );
            state.checks.report(now, text);
        }
    }

    /// A batch became durable.
    pub fn on_commit(&self, revision: u64, changes: &[Change]) {
        let now = self.env.now();
        let mut state = self.state();
        state.trace.add(&now.0.to_le_bytes());
        let first = revision + 1 - changes.len() as u64;
        if first != state.revision + 1 {
            let text = format!("revision {first} follows revision {}", state.revision);
            state.checks.report(now, text);
        }
        for (change, revision) in changes.iter().zip(first..) {
            if self.aloud {
                self.say(&format!("{revision} {}", text_of(change)));
            }
            state.take_up(change, revision, now);
        }
        state.revision = revision;
    }

    /// An answer: what it shows is durable.
    pub fn on_answer(&self, resource: &GroupVersionResource, object: &Value) {
        let (now, revision) = (self.env.now(), object.revision());
        let mut state = self.state();
        if revision == 0 {
            return;
        }
        let key = storage::resource_key(&stored(resource), object.namespace(), object.name());
        let written = state.keys.get(revision as usize);
        if written != Some(&key) {
            let text =
                format!("an answer shows {key} at {revision}, where {written:?} was written");
            state.checks.report(now, text);
        }
    }

    /// An answer to a read: it shows the newest state.
    pub fn on_read(&self, resource: &GroupVersionResource, object: &Value) {
        self.on_answer(resource, object);
        let now = self.env.now();
        let mut state = self.state();
        let table = state.tables.get(&stored(resource).group_resource());
        let newest = table.and_then(|t| t.get(&object.key())).map_or(0, |o| o.revision());
        if newest != object.revision() {
            let text = format!(
                "{} {} was read at revision {}, and is at {newest}",
                resource.resource,
                object.key(),
                object.revision()
            );
            state.checks.report(now, text);
        }
    }

    /// A whole list at the newest revision has what there is.
    pub fn on_list(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        options: &ListOptions,
        list: &List,
    ) {
        let now = self.env.now();
        let mut state = self.state();
        if list.revision > state.revision {
            let text = format!("a list is at {}, after {}", list.revision, state.revision);
            state.checks.report(now, text);
        }
        if !is_whole(options) || options.limit > 0 || list.revision != state.revision {
            return;
        }
        let table = state.tables.get(&stored(resource).group_resource());
        let there = table.into_iter().flatten().map(|(_, o)| o);
        let there = there.filter(|o| namespace.is_empty() || o.namespace() == namespace);
        let mut there: Vec<u64> = there.map(|o| o.revision()).collect();
        let mut listed: Vec<u64> = list.items.iter().map(|o| o.revision()).collect();
        there.sort_unstable();
        listed.sort_unstable();
        if there != listed {
            let text = format!("a list of {} at {} is wrong", resource.resource, list.revision);
            state.checks.report(now, text);
        }
    }

    /// The place in the log from which a watch tells. Call it when the watch has begun.
    pub fn cursor(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        options: &ListOptions,
    ) -> Cursor {
        let state = self.state();
        let resource = stored(resource).group_resource();
        let log = state.log.get(&resource).map_or(&[][..], Vec::as_slice);
        let next = options
            .revision
            .filter(|_| is_whole(options))
            .map(|from| log.partition_point(|(revision, _)| *revision <= from));
        let last = options.revision.unwrap_or(0);
        let initial = options.revision.is_none();
        Cursor { resource, namespace: namespace.into(), next, last, initial }
    }

    /// A watch tells of every write, in order.
    pub fn on_event(&self, cursor: &mut Cursor, event: &WatchEvent) {
        if cursor.initial {
            let is_end = |e| matches!(e, &WatchEvent::Bookmark { initial_events_end: true, .. });
            cursor.initial = !is_end(event);
            return;
        }
        let now = self.env.now();
        let mut state = self.state();
        let told = match event {
            WatchEvent::Added(o) | WatchEvent::Modified(o) | WatchEvent::Deleted(o) => {
                Some((o.revision(), o.key()))
            }
            WatchEvent::Bookmark { .. } => None,
        };
        let until = match (event, &told) {
            (WatchEvent::Bookmark { revision, .. }, _) => *revision,
            (_, Some((revision, _))) => *revision,
            _ => 0,
        };
        let resource = &cursor.resource;
        let mut wrong = (until < cursor.last || until > state.revision)
            .then(|| format!("a watch of {resource} went from {} to {until}", cursor.last));
        cursor.last = cursor.last.max(until);
        if let Some(next) = &mut cursor.next {
            let log = state.log.get(resource).map_or(&[][..], Vec::as_slice);
            let of = |(_, key): &&(u64, ObjectKey)| {
                cursor.namespace.is_empty() || key.namespace == cursor.namespace
            };
            let passed = log.partition_point(|(revision, _)| *revision <= until);
            let due: Vec<&(u64, ObjectKey)> =
                log.get(*next..passed).unwrap_or_default().iter().filter(of).collect();
            let told: Vec<&(u64, ObjectKey)> = told.iter().collect();
            if due != told {
                wrong = Some(format!("a watch of {resource} told of {told:?}, where {due:?} was"));
            }
            *next = passed;
        }
        if let Some(text) = wrong {
            state.checks.report(now, text);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_up(&mut self, change: &Change, revision: u64, now: timonier_meta::Time) {
        self.trace.add(change.key.as_bytes());
        self.keys.push(change.key.clone());
        let value = change.record.as_ref().map(|record| {
            self.trace.add(&record.value);
            if record.mod_revision != revision {
                let text = format!("{} was written at {}", change.key, record.mod_revision);
                self.checks.report(now, text);
            }
            storage::stamp(&record.value, revision)
        });
        match &change.record {
            Some(record) => drop(self.records.insert(change.key.clone(), record.clone())),
            None => drop(self.records.remove(&change.key)),
        }
        let Some((resource, key)) = parse(&change.key) else { return };
        let new = value.map(|bytes| {
            Arc::new(json::decode(&bytes).unwrap_or_else(|error| {
                self.checks.report(now, format!("{} is stored as no JSON: {error}", change.key));
                Value::Null
            }))
        });
        self.log.entry(resource.clone()).or_default().push((revision, key.clone()));
        let table = self.tables.entry(resource.clone()).or_default();
        let old = match &new {
            Some(object) => table.insert(key, object.clone()),
            None => table.remove(&key),
        };
        let write = Write {
            resource: &resource,
            old: old.as_deref(),
            new: new.as_deref(),
            tables: &self.tables,
            records: &self.records,
            now,
        };
        self.checks.on_write(&write, revision);
    }
}

fn text_of(change: &Change) -> String {
    let (key, record) = (&change.key, &change.record);
    match record {
        Some(record) => {
            format!("{key} {}", String::from_utf8_lossy(record.value.get(4..).unwrap_or_default()))
        }
        None => format!("{key} is gone"),
    }
}

/// The resource in whose place a resource is stored: Events of two groups are the same.
fn stored(resource: &GroupVersionResource) -> GroupVersionResource {
    let catalogue = Catalogue::builtin();
    catalogue.by_resource(resource).map_or_else(|| resource.clone(), |row| row.storage.clone())
}

fn is_whole(options: &ListOptions) -> bool {
    options.label_selector.is_everything() && options.field_selector.is_everything()
}

/// The resource and object of a storage key; `None` for keys that are no objects.
fn parse(key: &str) -> Option<(GroupResource, ObjectKey)> {
    let mut parts = key.strip_prefix("/registry/")?.split('/');
    let (group, plural) = (parts.next()?, parts.next()?);
    if group == "ranges" {
        return None;
    }
    let (first, second) = (parts.next()?, parts.next());
    let group = if group == "core" { "" } else { group };
    let resource = GroupResource { group: group.into(), resource: plural.into() };
    Some((resource, second.map_or(ObjectKey::new("", first), |name| ObjectKey::new(first, name))))
}

/// FNV-1a over all that is written.
struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Trace(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
