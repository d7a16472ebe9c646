//! Values at run time. Data of objects is borrowed, never converted: an element becomes a value
//! when an expression reaches it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_object::Value;

use crate::error::EvalError;
use crate::libraries::Opaque;
use crate::types::{ListKind, ListType, ObjectType, Type};

/// Lists joined to joined lists more deeply are copied.
const MAX_JOINS: u16 = 300;

/// Longer joined lists are refused as too costly: no object has as many items.
const MAX_JOINED: usize = 1_000_000;

/// A value of an expression. `'a` is the lifetime of the objects that expressions read.
#[derive(Clone, Debug)]
pub enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Str(SmolStr),
    Bytes(Arc<[u8]>),
    List(List<'a>),
    Map(Map<'a>),
    /// Nanoseconds since 1970 in UTC, from year 1 to 9999.
    Timestamp(i128),
    /// Nanoseconds.
    Duration(i64),
    /// The name of a type.
    Type(SmolStr),
    Optional(Option<Arc<Val<'a>>>),
    /// A value of a library: a quantity, a URL.
    Opaque(Opaque<'a>),
    /// Stands for a value that could not be worked out; reading it is the error. For variables
    /// that are made of other expressions.
    Failed(Arc<EvalError>),
}

/// A list.
#[derive(Clone, Debug)]
pub enum List<'a> {
    Data(&'a [Value], Option<&'a ListType>),
    Built(Arc<Vec<Val<'a>>>),
    /// Two lists after each other: `+` copies nothing.
    Joined(Arc<Joined<'a>>),
}

/// Two lists after each other.
#[derive(Clone, Debug)]
pub struct Joined<'a> {
    left: List<'a>,
    right: List<'a>,
    len: usize,
    depth: u16,
}

/// A map or an object.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    Data(&'a timonier_object::Map, Shape<'a>),
    Built(Arc<BTreeMap<Key, Val<'a>>>),
}

/// What is known of a map's values.
#[derive(Clone, Copy, Debug)]
pub enum Shape<'a> {
    Unknown,
    Values(&'a Type),
    Object(&'a ObjectType),
}

/// A key of a map.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Key {
    Bool(bool),
    /// Of `int` and `uint` alike: equal numbers are equal keys.
    Int(i128),
    Str(SmolStr),
}

impl<'a> Val<'a> {
    /// A value of an object whose type nobody knows.
    pub fn data(value: &'a Value) -> Self {
        match value {
            Value::Null => Val::Null,
            Value::Bool(b) => Val::Bool(*b),
            Value::Int(n) => Val::Int(*n),
            Value::Float(n) => Val::Double(*n),
            Value::Str(s) => Val::Str(s.clone()),
            Value::Array(items) => Val::List(List::Data(items, None)),
            Value::Object(fields) => Val::Map(Map::Data(fields, Shape::Unknown)),
        }
    }

    /// A value of an object whose type a schema gives: numbers, times and bytes are what the type
    /// says.
    pub fn typed(value: &'a Value, ty: &'a Type) -> Self {
        match (value, ty) {
            (Value::Int(n), Type::Double) => Val::Double(*n as f64),
            (Value::Float(n), Type::Int) if *n as i64 as f64 == *n => Val::Int(*n as i64),
            (Value::Str(s), Type::Timestamp) => {
                let day = || crate::time::parse_timestamp(&alloc::format!("{s}T00:00:00Z"));
                let time = crate::time::parse_timestamp(s).or_else(day);
                time.map_or(Val::Str(s.clone()), Val::Timestamp)
            }
            (Value::Str(s), Type::Duration) => {
                crate::time::parse_duration(s).map_or(Val::Str(s.clone()), Val::Duration)
            }
            (Value::Str(s), Type::Bytes) => {
                base64(s).map_or(Val::Str(s.clone()), |b| Val::Bytes(Arc::from(b)))
            }
            (Value::Array(items), Type::List(list)) => Val::List(List::Data(items, Some(list))),
            (Value::Object(fields), Type::Object(object)) => {
                Val::Map(Map::Data(fields, Shape::Object(object)))
            }
            (Value::Object(fields), Type::Map(map)) => {
                Val::Map(Map::Data(fields, Shape::Values(&map.1)))
            }
            (value, _) => Val::data(value),
        }
    }

    /// A list of values.
    pub fn list(items: Vec<Val<'a>>) -> Self {
        Val::List(List::Built(Arc::new(items)))
    }

    /// A map with string keys.
    pub fn map<K: Into<SmolStr>>(entries: impl IntoIterator<Item = (K, Val<'a>)>) -> Self {
        let entries = entries.into_iter().map(|(k, v)| (Key::Str(k.into()), v));
        Val::Map(Map::Built(Arc::new(entries.collect())))
    }

    /// A value that may be missing.
    pub fn optional(value: Option<Val<'a>>) -> Self {
        Val::Optional(value.map(Arc::new))
    }

    /// A string.
    pub fn string(text: impl Into<SmolStr>) -> Self {
        Val::Str(text.into())
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Val::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Val::Str(s) => Some(s),
            _ => None,
        }
    }

    /// The name of the type, as `type(x)` gives it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Val::Null => "null_type",
            Val::Bool(_) => "bool",
            Val::Int(_) => "int",
            Val::Uint(_) => "uint",
            Val::Double(_) => "double",
            Val::Str(_) => "string",
            Val::Bytes(_) => "bytes",
            Val::List(_) => "list",
            Val::Map(_) => "map",
            Val::Timestamp(_) => "google.protobuf.Timestamp",
            Val::Duration(_) => "google.protobuf.Duration",
            Val::Type(_) => "type",
            Val::Optional(_) => "optional_type",
            Val::Opaque(opaque) => opaque.type_name(),
            Val::Failed(_) => "error",
        }
    }

    /// Whether made lists, maps and optional values stand in each other more than `limit` deep. Who
    /// gives one evaluation's value to the next bounds that: comparing and dropping recurse.
    pub fn is_deeper_than(&self, limit: usize) -> bool {
        let below = |v: &Val<'a>| v.is_deeper_than(limit - 1);
        match self {
            Val::List(List::Data(..)) | Val::Map(Map::Data(..)) => false,
            Val::List(_) | Val::Map(_) | Val::Optional(Some(_)) if limit == 0 => true,
            Val::List(list) => list.iter().any(|v| below(&v)),
            Val::Map(Map::Built(entries)) => entries.values().any(below),
            Val::Optional(Some(inner)) => below(inner),
            _ => false,
        }
    }

    /// Whether the value is its type's zero, for `optional.ofNonZeroValue`.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Val::Null => true,
            Val::Bool(b) => !b,
            Val::Int(n) => *n == 0,
            Val::Uint(n) => *n == 0,
            Val::Double(n) => *n == 0.0,
            Val::Str(s) => s.is_empty(),
            Val::Bytes(b) => b.is_empty(),
            Val::List(list) => list.is_empty(),
            Val::Map(map) => map.is_empty(),
            Val::Timestamp(t) => *t == crate::time::FIRST,
            Val::Duration(d) => *d == 0,
            Val::Optional(inner) => inner.is_none(),
            Val::Type(_) | Val::Opaque(_) | Val::Failed(_) => false,
        }
    }

    /// The size as costs count it: characters, bytes, items; 1 for everything else.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Val::Str(s) if s.is_ascii() => s.len() as u64,
            Val::Str(s) => s.chars().count() as u64,
            Val::Bytes(b) => b.len() as u64,
            Val::List(list) => list.len() as u64,
            Val::Map(map) => map.len() as u64,
            _ => 1,
        }
    }
}

impl<'a> List<'a> {
    /// The number of items.
    pub fn len(&self) -> usize {
        match self {
            List::Data(items, _) => items.len(),
            List::Built(items) => items.len(),
            List::Joined(both) => both.len,
        }
    }

    /// Whether there are no items.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The item at an index.
    pub fn get(&self, index: usize) -> Option<Val<'a>> {
        match self {
            List::Data(items, ty) => Some(item(items.get(index)?, *ty)),
            List::Built(items) => items.get(index).cloned(),
            List::Joined(both) => match index.checked_sub(both.left.len()) {
                None => both.left.get(index),
                Some(rest) => both.right.get(rest),
            },
        }
    }

    /// The items of both, one list after the other. Joins of joins end at a depth; past it the
    /// items are copied.
    pub(crate) fn join(left: &List<'a>, right: &List<'a>) -> Result<List<'a>, EvalError> {
        let len = left.len().saturating_add(right.len());
        if len > MAX_JOINED {
            return Err(EvalError::CostLimit);
        }
        let depth = 1 + left.depth().max(right.depth());
        if depth <= MAX_JOINS {
            let joined = Joined { left: left.clone(), right: right.clone(), len, depth };
            return Ok(List::Joined(Arc::new(joined)));
        }
        Ok(List::Built(Arc::new(left.iter().chain(right.iter()).collect())))
    }

    fn depth(&self) -> u16 {
        match self {
            List::Joined(both) => both.depth,
            _ => 0,
        }
    }

    /// The items in order.
    pub fn iter(&self) -> impl Iterator<Item = Val<'a>> + '_ {
        (0..self.len()).filter_map(|i| self.get(i))
    }

    /// The type that a schema gives.
    pub(crate) fn kind(&self) -> Option<&'a ListKind> {
        match self {
            List::Data(_, ty) => ty.map(|t| &t.kind),
            List::Built(_) => None,
            List::Joined(both) => both.left.kind(),
        }
    }
}

fn item<'a>(value: &'a Value, ty: Option<&'a ListType>) -> Val<'a> {
    match ty {
        Some(list) => Val::typed(value, &list.item),
        None => Val::data(value),
    }
}

impl<'a> Map<'a> {
    /// The number of entries; of an object with known fields those that are set and known.
    pub fn len(&self) -> usize {
        match self {
            Map::Data(fields, Shape::Object(object)) => {
                fields.keys().filter(|k| object.by_key(k).is_some()).count()
            }
            Map::Data(fields, _) => fields.len(),
            Map::Built(entries) => entries.len(),
        }
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key.
    pub fn get(&self, key: &Key) -> Option<Val<'a>> {
        match (self, key) {
            (Map::Data(fields, shape), Key::Str(key)) => match shape {
                Shape::Unknown => fields.get(key).map(Val::data),
                Shape::Values(ty) => fields.get(key).map(|v| Val::typed(v, ty)),
                Shape::Object(object) => {
                    let field = object.field(key)?;
                    fields.get(&field.key).map(|v| Val::typed(v, &field.ty))
                }
            },
            (Map::Data(..), _) => None,
            (Map::Built(entries), key) => entries.get(key).cloned(),
        }
    }

    /// The value of a string key.
    pub fn field(&self, name: &SmolStr) -> Option<Val<'a>> {
        self.get(&Key::Str(name.clone()))
    }

    /// The entries; of an object in its own order, of others by key.
    pub fn iter(&self) -> impl Iterator<Item = (Key, Val<'a>)> + '_ {
        let keys: Vec<Key> = match self {
            Map::Data(fields, Shape::Object(object)) => {
                let known = fields.keys().filter_map(|k| object.by_key(k));
                known.map(|f| Key::Str(f.name.clone())).collect()
            }
            Map::Data(fields, _) => fields.keys().map(|k| Key::Str(k.into())).collect(),
            Map::Built(entries) => entries.keys().cloned().collect(),
        };
        keys.into_iter().filter_map(|key| {
            let value = self.get(&key)?;
            Some((key, value))
        })
    }
}

impl Key {
    /// The key that a value is; `None` for values that cannot be keys.
    pub fn of(value: &Val<'_>) -> Option<Key> {
        Some(match value {
            Val::Bool(b) => Key::Bool(*b),
            Val::Int(n) => Key::Int(i128::from(*n)),
            Val::Uint(n) => Key::Int(i128::from(*n)),
            Val::Double(n) if *n as i64 as f64 == *n => Key::Int(*n as i128),
            Val::Str(s) => Key::Str(s.clone()),
            _ => return None,
        })
    }

    /// The key as a value.
    pub fn to_val<'a>(&self) -> Val<'a> {
        match self {
            Key::Bool(b) => Val::Bool(*b),
            Key::Int(n) => match i64::try_from(*n) {
                Ok(n) => Val::Int(n),
                Err(_) => Val::Uint(u64::try_from(*n).unwrap_or(u64::MAX)),
            },
            Key::Str(s) => Val::Str(s.clone()),
        }
    }

    /// The key as text.
    pub fn text(&self) -> SmolStr {
        match self {
            Key::Bool(b) => SmolStr::new_static(if *b { "true" } else { "false" }),
            Key::Int(n) => alloc::format!("{n}").into(),
            Key::Str(s) => s.clone(),
        }
    }
}

/// Standard base64 with padding.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    let padding = text.iter().rev().take_while(|c| **c == b'=').count();
    if !text.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for c in &text[..text.len() - padding] {
        let digit = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(out)
}

/// The texts of a list of strings; `None` where an item is something else.
pub(crate) fn strings(list: &List<'_>) -> Option<Vec<SmolStr>> {
    let text = |v| match v {
        Val::Str(s) => Some(s),
        _ => None,
    };
    list.iter().map(text).collect()
}

impl From<bool> for Val<'_> {
    fn from(b: bool) -> Self {
        Val::Bool(b)
    }
}

impl From<i64> for Val<'_> {
    fn from(n: i64) -> Self {
        Val::Int(n)
    }
}

impl From<&str> for Val<'_> {
    fn from(s: &str) -> Self {
        Val::Str(s.into())
    }
}

impl From<String> for Val<'_> {
    fn from(s: String) -> Self {
        Val::Str(s.into())
    }
}

impl From<SmolStr> for Val<'_> {
    fn from(s: SmolStr) -> Self {
        Val::Str(s)
    }
}
