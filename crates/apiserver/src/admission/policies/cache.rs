//! What was compiled of stored objects, until they change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use smol_str::SmolStr;
use timonier_object::Value;

/// More entries than this are forgotten at once: an unlikely number of policies.
const MAX: usize = 4096;

/// Something compiled, by the object that it was compiled from and a number within it.
pub struct Cache<T>(Mutex<HashMap<(SmolStr, usize), Entry<T>>>);

struct Entry<T> {
    version: SmolStr,
    compiled: Arc<T>,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Cache(Mutex::default())
    }
}

impl<T> Cache<T> {
    /// What `make` makes of the object, from before where the object is the same.
    pub fn of(&self, object: &Value, part: usize, make: impl FnOnce(&Value) -> T) -> Arc<T> {
        let (key, version) = ((object.at("metadata.uid").smol(), part), object.resource_version());
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = lock().get(&key).filter(|e| e.version == version) {
            return entry.compiled.clone();
        }
        let compiled = Arc::new(make(object));
        let mut entries = lock();
        if entries.len() >= MAX {
            entries.clear();
        }
        entries.insert(key, Entry { version: version.into(), compiled: compiled.clone() });
        compiled
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn a_new_version_is_compiled_again() {
        let cache: Cache<i64> = Cache::default();
        let mut object = value!({ "metadata": { "uid": "u", "resourceVersion": "1" }, "n": 1 });
        let of = |object: &Value, part| *cache.of(object, part, |o| o.at("n").int_or(0));
        assert_eq!(of(&object, 0), 1);
        object.set("n", 2);
        assert_eq!((of(&object, 0), of(&object, 1)), (1, 2));
        object.set("metadata.resourceVersion", "2");
        assert_eq!(of(&object, 0), 2);
    }
}
