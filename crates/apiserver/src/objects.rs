//! Decoded objects, shared by everybody in the process who reads the same state.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use smol_str::SmolStr;
use timonier_object::{Value, json};
use timonier_store::Item;

/// Finds the decoded form of an item while somebody holds it. Bounded by what the process holds
/// anyway: entries that nobody holds are swept when the table has doubled.
#[derive(Default)]
pub struct Objects(Mutex<Table>);

#[derive(Default)]
struct Table {
    entries: HashMap<(SmolStr, u64), Weak<Value>>,
    sweep_at: usize,
}

impl Objects {
    /// The item's object. Bytes that are no object (the store is damaged) give null.
    pub fn of(&self, item: &Item) -> Arc<Value> {
        let id = (item.key.clone(), item.mod_revision);
        if let Some(found) = self.table().entries.get(&id).and_then(Weak::upgrade) {
            return found;
        }
        let object = Arc::new(decode(item));
        let mut table = self.table();
        if table.entries.len() >= table.sweep_at {
            table.entries.retain(|_, weak| weak.strong_count() > 0);
            table.sweep_at = (table.entries.len() * 2).max(1024);
        }
        table.entries.insert(id, Arc::downgrade(&object));
        object
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Decodes an item for one use.
pub fn decode(item: &Item) -> Value {
    json::decode(&item.value).unwrap_or_else(|error| {
        tracing::error!(key = %item.key, error, "the stored object cannot be read");
        Value::Null
    })
}
