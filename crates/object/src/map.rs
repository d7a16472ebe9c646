//! An ordered map of fields.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::fmt;

use smol_str::SmolStr;
use thin_vec::ThinVec;

use crate::Value;

/// Fields in the order in which they were written. Equality ignores the order.
///
/// Up to 32 fields are searched one after the other; more have an index, so that work on an object
/// with very many fields does not grow with their square.
#[derive(Clone, Default)]
pub struct Map {
    fields: ThinVec<(SmolStr, Value)>,
    #[expect(clippy::box_collection, reason = "most maps have none: a value stays at 24 bytes")]
    index: Option<Box<BTreeMap<SmolStr, usize>>>,
}

/// More fields than this have an index.
const LINEAR: usize = 32;

impl Map {
    /// A map without fields; allocates nothing.
    pub fn new() -> Self {
        Map { fields: ThinVec::new(), index: None }
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    fn position(&self, key: &str) -> Option<usize> {
        match &self.index {
            None => self.fields.iter().position(|(k, _)| k == key),
            Some(index) => index.get(key).copied(),
        }
    }

    /// The value of a field.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.position(key).map(|at| &self.fields[at].1)
    }

    /// The value of a field, to change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.position(key).map(|at| &mut self.fields[at].1)
    }

    /// Whether the field is there, null included.
    pub fn contains_key(&self, key: &str) -> bool {
        self.position(key).is_some()
    }

    /// Sets a field in its place, or at the end where it is new; gives the value before.
    pub fn insert(&mut self, key: impl Into<SmolStr>, value: Value) -> Option<Value> {
        let key = key.into();
        match self.get_mut(&key) {
            Some(old) => Some(core::mem::replace(old, value)),
            None => {
                self.push(key, value);
                None
            }
        }
    }

    /// Appends a field that is new.
    fn push(&mut self, key: SmolStr, value: Value) {
        let at = self.fields.len();
        match &mut self.index {
            Some(index) => drop(index.insert(key.clone(), at)),
            None if at >= LINEAR => {
                self.fields.push((key, value));
                return self.build_index();
            }
            None => {}
        }
        self.fields.push((key, value));
    }

    fn build_index(&mut self) {
        let all = || self.fields.iter().enumerate().map(|(at, (key, _))| (key.clone(), at));
        self.index = (self.len() > LINEAR).then(|| Box::new(all().collect()));
    }

    /// Sets a field in its place, or before all others where it is new.
    pub fn insert_first(&mut self, key: impl Into<SmolStr>, value: Value) {
        let key = key.into();
        match self.get_mut(&key) {
            Some(old) => *old = value,
            None => {
                self.fields.insert(0, (key, value));
                self.build_index();
            }
        }
    }

    /// The field's value, made null first where the field is new.
    pub fn entry(&mut self, key: &str) -> &mut Value {
        let at = self.position(key).unwrap_or_else(|| {
            self.push(key.into(), Value::Null);
            self.fields.len() - 1
        });
        &mut self.fields[at].1
    }

    /// Removes a field, keeping the order of the others. Of more than 32 fields the last one comes
    /// into its place.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.position(key)?;
        let Some(index) = &mut self.index else { return Some(self.fields.remove(at).1) };
        index.remove(key);
        let value = self.fields.swap_remove(at).1;
        if let Some((moved, _)) = self.fields.get(at) {
            index.insert(moved.clone(), at);
        }
        if self.fields.len() <= LINEAR / 2 {
            self.index = None;
        }
        Some(value)
    }

    /// Keeps the fields for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        let before = self.fields.len();
        self.fields.retain_mut(|(k, v)| keep(k, v));
        if self.fields.len() < before {
            self.build_index();
        }
    }

    /// Fields in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Value)> + ExactSizeIterator {
        self.fields.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// Fields in order, values to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Value)> {
        self.fields.iter_mut().map(|(k, v)| (k.as_str(), v))
    }

    /// Names in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(k, _)| k.as_str())
    }

    /// Values in order.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.fields.iter().map(|(_, v)| v)
    }

    /// Gives back spare room.
    pub fn shrink_to_fit(&mut self) {
        self.fields.shrink_to_fit();
    }

    /// Sorts the fields by name.
    pub fn sort_keys(&mut self) {
        self.fields.sort_by(|a, b| a.0.cmp(&b.0));
        self.build_index();
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        if self.len() != other.len() {
            return false;
        }
        // The usual case: the same fields in the same order. From where the order differs, fields
        // are looked up; no value is compared twice, which would double the work with each level.
        for (at, (a, b)) in self.fields.iter().zip(other.fields.iter()).enumerate() {
            if a.0 != b.0 {
                return self.fields[at..].iter().all(|(k, v)| other.get(k) == Some(v));
            }
            if a.1 != b.1 {
                return false;
            }
        }
        true
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
        self.fields.into_iter()
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
    use super::*;
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

    #[test]
    fn large_maps_are_maps() {
        let name = |i: usize| alloc::format!("k{i}");
        let mut map: Map = (0..100).map(|i| (name(i), Value::from(i))).collect();
        assert_eq!(map.insert("k50", Value::Null), Some(Value::Int(50)));
        map.insert("k50", Value::Int(50));
        map.insert_first("first", Value::Null);
        assert_eq!((map.len(), map.keys().next()), (101, Some("first")));
        for i in (0..100).filter(|i| i % 3 > 0) {
            assert_eq!(map.remove(&name(i)), Some(Value::from(i)), "{i}");
            assert_eq!(map.remove(&name(i)), None, "{i}");
        }
        assert_eq!(map.len(), 35);
        let same: Map = map.iter().rev().map(|(k, v)| (k, v.clone())).collect();
        assert_eq!(map, same);
        map.retain(|_, v| !v.is_null());
        assert_ne!(map, same);
        for i in 0..100 {
            let want = (i % 3 == 0).then(|| Value::from(i));
            assert_eq!(map.get(&name(i)).cloned(), want, "{i}");
        }
        *map.entry("new") = Value::Bool(true);
        map.sort_keys();
        assert_eq!(map.get("k99").cloned(), map.remove("k99"));
        for i in (0..99).step_by(3) {
            assert_eq!(map.remove(&name(i)), Some(Value::from(i)), "{i}");
        }
        assert_eq!(map.keys().collect::<alloc::vec::Vec<_>>(), ["new"]);
    }

    /// With work that grows with the square of the fields this takes minutes.
    #[test]
    fn very_many_fields_are_no_work() {
        let name = |i: usize| alloc::format!("k{i}");
        let mut map: Map = (0..100_000).map(|i| (name(i), Value::Null)).collect();
        assert!((0..100_000).all(|i| map.get(&name(i)).is_some()));
        let other: Map = (0..100_000).rev().map(|i| (name(i), Value::Null)).collect();
        assert_eq!(map, other);
        assert!((0..100_000).all(|i| map.remove(&name(i)).is_some()) && map.is_empty());
    }

    /// Each level once: compared twice, a hundred levels would never end.
    #[test]
    fn nested_maps_in_another_order_compare_once() {
        let (mut a, mut b) = (value!(1), value!(1));
        for _ in 0..100 {
            a = value!({ "a": (a), "x": 1, "y": 2 });
            b = value!({ "a": (b), "y": 2, "x": 1 });
        }
        assert_eq!(a, b);
        a.set("a.a.a.x", 2);
        assert_ne!(a, b);
    }
}
