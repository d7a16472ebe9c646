//! A state of the whole store that never changes.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use smol_str::SmolStr;

use crate::Item;

/// The map at one revision.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub revision: u64,
    pub items: OrdMap<SmolStr, Arc<Item>>,
}

/// The store as it was at one revision. Cloning is a pointer; holding one for long keeps the
/// replaced items in memory.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Every write up to this revision is in the snapshot, and none after it.
    pub revision: u64,
    pub(crate) state: Arc<State>,
}

impl Snapshot {
    /// The item of a key.
    pub fn get(&self, key: &str) -> Option<&Arc<Item>> {
        self.state.items.get(key)
    }

    /// The items whose keys start with `prefix`, in the order of their keys, those up to and
    /// including the key `after` left out.
    pub fn range<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<Item>> + 'a {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.state
            .items
            .range::<_, str>((from, Bound::Unbounded))
            .map(|(_, item)| item)
            .take_while(move |item| item.key.starts_with(prefix))
    }

    /// How many keys the store holds.
    pub fn len(&self) -> usize {
        self.state.items.len()
    }

    /// Whether the store holds no key.
    pub fn is_empty(&self) -> bool {
        self.state.items.is_empty()
    }
}
