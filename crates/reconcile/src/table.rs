//! The objects of one resource, with the indexes that controllers need.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;

use smol_str::SmolStr;
use timonier_meta::{ObjectKey, Time};
use timonier_object::Value;

type Index = BTreeMap<SmolStr, BTreeSet<ObjectKey>>;

/// The most objects whose end is remembered.
const MAX_GONE: usize = 1024;

/// The objects of one resource as far as they were observed.
#[derive(Clone, Debug, Default)]
pub struct Table {
    objects: BTreeMap<ObjectKey, Entry>,
    /// By the uid of each owner.
    owned: Index,
    /// By namespace: objects without a controller.
    orphans: Index,
    /// By `spec.nodeName`.
    on_node: Index,
    /// When objects were seen to be gone; of cluster-scoped resources only, and not of all.
    gone: BTreeMap<ObjectKey, Time>,
    /// Everything up to this revision was observed; `None` before the first list.
    synced: Option<u64>,
}

#[derive(Clone, Debug)]
struct Entry {
    object: Arc<Value>,
    seen: Time,
}

/// What every table that is not there looks like.
pub(crate) static EMPTY: Table = Table {
    objects: BTreeMap::new(),
    owned: BTreeMap::new(),
    orphans: BTreeMap::new(),
    on_node: BTreeMap::new(),
    gone: BTreeMap::new(),
    synced: None,
};

impl Table {
    /// The object under a key.
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<Value>> {
        self.objects.get(key).map(|e| &e.object)
    }

    /// When the present state of an object was observed here.
    pub fn seen_at(&self, key: &ObjectKey) -> Option<Time> {
        self.objects.get(key).map(|e| e.seen)
    }

    /// When a cluster-scoped object was seen to be gone, if that was lately.
    pub fn gone_at(&self, key: &ObjectKey) -> Option<Time> {
        self.gone.get(key).copied()
    }

    /// The number of objects.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are no objects.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.objects.keys()
    }

    /// All objects, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.objects.values().map(|e| &e.object)
    }

    /// The objects of a namespace, in the order of their names.
    pub fn in_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Value>> {
        let from = ObjectKey::new(namespace, "");
        self.objects
            .range(from..)
            .take_while(move |(k, _)| k.namespace == namespace)
            .map(|(_, e)| &e.object)
    }

    /// The objects with an owner reference to this uid.
    pub fn owned_by(&self, uid: &str) -> impl Iterator<Item = &Arc<Value>> {
        self.select(&self.owned, uid)
    }

    /// The objects whose controller has this uid.
    pub fn controlled_by<'a>(&'a self, uid: &'a str) -> impl Iterator<Item = &'a Arc<Value>> {
        self.owned_by(uid).filter(move |o| o.controller().is_some_and(|r| r.uid == uid))
    }

    /// The objects of a namespace that have no controller.
    pub fn orphans_in(&self, namespace: &str) -> impl Iterator<Item = &Arc<Value>> {
        self.select(&self.orphans, namespace)
    }

    /// The objects bound to a node (pods only).
    pub fn on_node(&self, node: &str) -> impl Iterator<Item = &Arc<Value>> {
        self.select(&self.on_node, node)
    }

    /// Everything up to this revision was observed; `None` before the first list.
    pub fn synced(&self) -> Option<u64> {
        self.synced
    }

    fn select<'a>(&'a self, index: &'a Index, key: &str) -> impl Iterator<Item = &'a Arc<Value>> {
        index.get(key).into_iter().flatten().filter_map(|k| self.get(k))
    }

    pub(crate) fn progress(&mut self, revision: u64) {
        self.synced = Some(self.synced.unwrap_or(0).max(revision));
    }

    pub(crate) fn put(&mut self, object: Arc<Value>, now: Time) -> Option<Arc<Value>> {
        let key = object.key();
        let old = self.take(&key);
        self.gone.remove(&key);
        self.index(&key, &object, true);
        self.objects.insert(key, Entry { object, seen: now });
        old
    }

    pub(crate) fn note_gone(&mut self, key: &ObjectKey, now: Time) {
        if !key.namespace.is_empty() {
            return;
        }
        if self.gone.len() >= MAX_GONE
            && let Some(oldest) =
                self.gone.iter().min_by_key(|(_, at)| **at).map(|(k, _)| k.clone())
        {
            self.gone.remove(&oldest);
        }
        self.gone.insert(key.clone(), now);
    }

    pub(crate) fn take(&mut self, key: &ObjectKey) -> Option<Arc<Value>> {
        let entry = self.objects.remove(key)?;
        self.index(key, &entry.object, false);
        Some(entry.object)
    }

    fn index(&mut self, key: &ObjectKey, object: &Value, add: bool) {
        let mut controlled = false;
        for owner in object.at("metadata.ownerReferences").items() {
            controlled |= owner.at("controller").bool();
            change(&mut self.owned, owner.at("uid").smol(), key, add);
        }
        if !controlled {
            change(&mut self.orphans, key.namespace.clone(), key, add);
        }
        if let Some(node) = object.at("spec.nodeName").as_str()
            && !node.is_empty()
        {
            change(&mut self.on_node, node.into(), key, add);
        }
    }
}

fn change(index: &mut Index, at: SmolStr, key: &ObjectKey, add: bool) {
    if add {
        index.entry(at).or_default().insert(key.clone());
    } else if let Some(keys) = index.get_mut(&at) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(&at);
        }
    }
}
