//! The value tree.

use alloc::string::String;
use alloc::vec::Vec;

use smol_str::SmolStr;
use thin_vec::ThinVec;

use crate::Map;

/// A JSON value. Numbers are 64-bit integers where they fit and floats elsewhere, as in
/// upstream's unstructured objects.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(SmolStr),
    Array(ThinVec<Value>),
    Object(Map),
}

static NULL: Value = Value::Null;

impl Value {
    /// An empty object.
    pub fn object() -> Self {
        Value::Object(Map::new())
    }

    /// An array of values.
    pub fn array(items: impl IntoIterator<Item = Value>) -> Self {
        Value::Array(items.into_iter().collect())
    }

    /// Whether the value is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Whether the value is null, `""`, `[]`, `{}`, 0 or false: what Go's `omitempty` drops.
    pub fn is_empty(&self) -> bool {
        match self {
            Value::Null => true,
            Value::Bool(b) => !b,
            Value::Int(n) => *n == 0,
            Value::Float(n) => *n == 0.0,
            Value::Str(s) => s.is_empty(),
            Value::Array(a) => a.is_empty(),
            Value::Object(m) => m.is_empty(),
        }
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }

    /// The string, or `""` for anything else.
    pub fn str(&self) -> &str {
        self.as_str().unwrap_or("")
    }

    /// The string as a cheap copy, or `""` for anything else.
    pub fn smol(&self) -> SmolStr {
        match self {
            Value::Str(s) => s.clone(),
            _ => SmolStr::default(),
        }
    }

    /// The integer, if it is one; a float without fraction counts.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(*n),
            Value::Float(f) if *f as i64 as f64 == *f => Some(*f as i64),
            _ => None,
        }
    }

    /// The integer, or `default` for anything else.
    pub fn int_or(&self, default: i64) -> i64 {
        self.as_i64().unwrap_or(default)
    }

    /// The number as a float.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(n) => Some(*n as f64),
            Value::Float(f) => Some(*f),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// The boolean; anything else is false.
    pub fn bool(&self) -> bool {
        self.as_bool().unwrap_or(false)
    }

    /// The items of an array; anything else has none.
    pub fn items(&self) -> &[Value] {
        match self {
            Value::Array(a) => a,
            _ => &[],
        }
    }

    /// The array, if it is one.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(a) => Some(a),
            _ => None,
        }
    }

    /// The array to change, if it is one.
    pub fn as_array_mut(&mut self) -> Option<&mut ThinVec<Value>> {
        match self {
            Value::Array(a) => Some(a),
            _ => None,
        }
    }

    /// The fields, if it is an object.
    pub fn as_object(&self) -> Option<&Map> {
        match self {
            Value::Object(m) => Some(m),
            _ => None,
        }
    }

    /// The fields to change, if it is an object.
    pub fn as_object_mut(&mut self) -> Option<&mut Map> {
        match self {
            Value::Object(m) => Some(m),
            _ => None,
        }
    }

    /// The fields of an object in order; anything else has none.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = (&str, &Value)> {
        self.as_object().into_iter().flat_map(Map::iter)
    }

    /// A field of an object; null counts as set. `None` for anything but an object.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_object().and_then(|m| m.get(key))
    }

    /// A field to change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.as_object_mut().and_then(|m| m.get_mut(key))
    }

    /// The value at a path of field names with dots between; null where there is none. For keys
    /// that hold dots (labels, annotations) use [`Value::get`].
    pub fn at(&self, path: &str) -> &Value {
        self.find(path).unwrap_or(&NULL)
    }

    /// The value at a path of field names with dots between.
    pub fn find(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(self, |value, key| value.get(key))
    }

    /// The value at a path, to change.
    pub fn find_mut(&mut self, path: &str) -> Option<&mut Value> {
        path.split('.').try_fold(self, |value, key| value.get_mut(key))
    }

    /// The value at a path, made on the way: what is not an object becomes one.
    pub fn entry(&mut self, path: &str) -> &mut Value {
        path.split('.').fold(self, |value, key| value.make_object().entry(key))
    }

    /// Sets the value at a path of field names with dots between, making objects on the way.
    pub fn set(&mut self, path: &str, value: impl Into<Value>) {
        *self.entry(path) = value.into();
    }

    /// Removes the value at a path; gives what was there.
    pub fn remove(&mut self, path: &str) -> Option<Value> {
        match path.rsplit_once('.') {
            Some((parent, key)) => self.find_mut(parent)?.as_object_mut()?.remove(key),
            None => self.as_object_mut()?.remove(path),
        }
    }

    /// The fields; what is not an object becomes an empty one first.
    pub fn make_object(&mut self) -> &mut Map {
        if !matches!(self, Value::Object(_)) {
            *self = Value::object();
        }
        match self {
            Value::Object(map) => map,
            _ => unreachable!("made an object above"),
        }
    }

    /// The items; what is not an array becomes an empty one first.
    pub fn make_array(&mut self) -> &mut ThinVec<Value> {
        if !matches!(self, Value::Array(_)) {
            *self = Value::Array(ThinVec::new());
        }
        match self {
            Value::Array(items) => items,
            _ => unreachable!("made an array above"),
        }
    }

    /// Takes the value and leaves null.
    pub fn take(&mut self) -> Value {
        core::mem::take(self)
    }

    /// The JSON type's name as error texts use it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Int(_) => "integer",
            Value::Float(_) => "number",
            Value::Str(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        }
    }
}

impl From<&Value> for Value {
    fn from(v: &Value) -> Self {
        v.clone()
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Value::Str(s.into())
    }
}

impl From<String> for Value {
    fn from(s: String) -> Self {
        Value::Str(s.into())
    }
}

impl From<&String> for Value {
    fn from(s: &String) -> Self {
        Value::Str(s.as_str().into())
    }
}

impl From<SmolStr> for Value {
    fn from(s: SmolStr) -> Self {
        Value::Str(s)
    }
}

impl From<&SmolStr> for Value {
    fn from(s: &SmolStr) -> Self {
        Value::Str(s.clone())
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Value::Bool(b)
    }
}

impl From<f64> for Value {
    fn from(n: f64) -> Self {
        Value::Float(n)
    }
}

macro_rules! from_int {
    ($($t:ty)*) => { $(impl From<$t> for Value {
        fn from(n: $t) -> Self {
            Value::Int(i64::from(n))
        }
    })* };
}
from_int!(i64 i32 u32 u16 u8);

impl From<usize> for Value {
    fn from(n: usize) -> Self {
        Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl From<Map> for Value {
    fn from(m: Map) -> Self {
        Value::Object(m)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Value::array(items.into_iter().map(Into::into))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(v: Option<T>) -> Self {
        v.map_or(Value::Null, Into::into)
    }
}

impl<K: Into<SmolStr>, V: Into<Value>> FromIterator<(K, V)> for Value {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(fields: I) -> Self {
        Value::Object(fields.into_iter().map(|(k, v)| (k, v.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn a_node_is_24_bytes() {
        assert_eq!(core::mem::size_of::<Value>(), 24);
    }

    #[test]
    fn paths_read_write_and_remove() {
        let mut v = value!({ "a": { "b": 1 }, "c": null });
        assert_eq!(v.at("a.b").as_i64(), Some(1));
        assert!(
            v.at("a.x.y").is_null() && v.find("c") == Some(&Value::Null) && v.find("d").is_none()
        );
        v.set("a.x.y", "z");
        assert_eq!(v.remove("a.x"), Some(value!({ "y": "z" })));
        assert_eq!(v.remove("a.x"), None);
        assert_eq!(v, value!({ "a": { "b": 1 }, "c": null }));
    }
}
