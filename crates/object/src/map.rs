//! An ordered map of fields.

use core::fmt;

use smol_str::SmolStr;
use thin_vec::ThinVec;

use crate::Value;

/// Fields in the order in which they were written. Equality ignores the order.
#[derive(Clone, Default)]
pub struct Map(ThinVec<(SmolStr, Value)>);

impl Map {
    /// A map without fields; allocates nothing.
    pub fn new() -> Self {
        Map(ThinVec::new())
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a field.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// The value of a field, to change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.0.iter_mut().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// Whether the field is there, null included.
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Sets a field in its place, or at the end where it is new; gives the value before.
    pub fn insert(&mut self, key: impl Into<SmolStr>, value: Value) -> Option<Value> {
        let key = key.into();
        match self.get_mut(&key) {
            Some(old) => Some(core::mem::replace(old, value)),
            None => {
                self.0.push((key, value));
                None
            }
        }
    }

    /// Appends a field that the caller knows to be new.
    pub(crate) fn push_new(&mut self, key: SmolStr, value: Value) {
        self.0.push((key, value));
    }

    /// The value at a position known to exist.
    pub(crate) fn value_at_mut(&mut self, index: usize) -> &mut Value {
        &mut self.0[index].1
    }

    /// Sets a field in its place, or before all others where it is new.
    pub fn insert_first(&mut self, key: impl Into<SmolStr>, value: Value) {
        let key = key.into();
        match self.get_mut(&key) {
            Some(old) => *old = value,
            None => self.0.insert(0, (key, value)),
        }
    }

    /// The field's value, made null first where the field is new.
    pub fn entry(&mut self, key: &str) -> &mut Value {
        let index = match self.0.iter().position(|(k, _)| k == key) {
            Some(index) => index,
            None => {
                self.0.push((key.into(), Value::Null));
                self.0.len() - 1
            }
        };
        &mut self.0[index].1
    }

    /// Removes a field, keeping the order of the others.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let index = self.0.iter().position(|(k, _)| k == key)?;
        Some(self.0.remove(index).1)
    }

    /// Keeps the fields for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        self.0.retain_mut(|(k, v)| keep(k, v));
    }

    /// Fields in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Value)> + ExactSizeIterator {
        self.0.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// Fields in order, values to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Value)> {
        self.0.iter_mut().map(|(k, v)| (k.as_str(), v))
    }

    /// Names in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(k, _)| k.as_str())
    }

    /// Values in order.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.0.iter().map(|(_, v)| v)
    }

    /// Gives back spare room.
    pub fn shrink_to_fit(&mut self) {
        self.0.shrink_to_fit();
    }

    /// Sorts the fields by name.
    pub fn sort_keys(&mut self) {
        self.0.sort_by(|a, b| a.0.cmp(&b.0));
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        if self.len() != other.len() {
            return false;
        }
        // The usual case: same fields in the same order.
        let mut pairs = self.0.iter().zip(other.0.iter());
        if pairs.all(|(a, b)| a.0 == b.0 && a.1 == b.1) {
            return true;
        }
        if self.len() <= 16 {
            return self.iter().all(|(k, v)| other.get(k) == Some(v));
        }
        let (mut a, mut b) = (self.clone(), other.clone());
        a.sort_keys();
        b.sort_keys();
        a.0.iter().zip(b.0.iter()).all(|(a, b)| a.0 == b.0 && a.1 == b.1)
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl IntoIterator for Map {
    type Item = (SmolStr, Value);
    type IntoIter = thin_vec::IntoIter<(SmolStr, Value)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<K: Into<SmolStr>> FromIterator<(K, Value)> for Map {
    fn from_iter<T: IntoIterator<Item = (K, Value)>>(fields: T) -> Self {
        let mut map = Map::new();
        for (k, v) in fields {
            map.insert(k, v);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use crate::value;

    #[test]
    fn order_is_kept_and_ignored_by_equality() {
        let a = value!({ "x": 1, "y": 2 });
        let b = value!({ "y": 2, "x": 1 });
        assert_eq!(a, b);
        assert_eq!(a.as_object().unwrap().keys().collect::<alloc::vec::Vec<_>>(), ["x", "y"]);
        assert_ne!(a, value!({ "x": 1, "y": 3 }));
        assert_ne!(a, value!({ "x": 1 }));
    }
}
