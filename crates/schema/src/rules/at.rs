//! A value and the path at which it stands: what every rule reads and complains about.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;

use timonier_meta::field_path::quote;
use timonier_meta::{FieldError, FieldPath};
use timonier_object::Value;

/// What rules found so far.
pub type Errors = Vec<FieldError>;

static NULL: Value = Value::Null;

/// A value of an object, null where it is absent, and its path.
#[derive(Clone, Debug)]
pub struct At<'a> {
    pub value: &'a Value,
    pub path: FieldPath,
}

impl<'a> At<'a> {
    /// A value at a path of its own.
    pub fn new(value: &'a Value, path: &str) -> Self {
        At { value, path: FieldPath::new(path) }
    }

    /// The top of an object.
    pub fn top(object: &'a Value) -> Self {
        At::new(object, "")
    }

    /// A field below; `name` may be a path with dots.
    pub fn get(&self, name: &str) -> At<'a> {
        At { value: self.value.at(name), path: self.path.child(name) }
    }

    /// The same value under another field name: where upstream's paths differ from its fields.
    pub fn named(&self, path: FieldPath) -> At<'a> {
        At { value: self.value, path }
    }

    /// The entry of a map.
    pub fn entry(&self, key: &str) -> At<'a> {
        At { value: self.value.get(key).unwrap_or(&NULL), path: self.path.key(key) }
    }

    /// The items of an array.
    pub fn items(&self) -> impl Iterator<Item = At<'a>> + use<'a, '_> {
        let path = &self.path;
        self.value.items().iter().enumerate().map(|(i, value)| At { value, path: path.index(i) })
    }

    /// The entries of a map with their keys; their paths are `map[key]`.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, At<'a>)> + use<'a, '_> {
        let path = &self.path;
        self.value.entries().map(|(key, value)| (key, At { value, path: path.key(key) }))
    }

    /// Whether the field is there: a Go pointer, slice or map that is not nil.
    pub fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// Whether the field has its type's zero value or no items.
    pub fn is_empty(&self) -> bool {
        self.value.is_empty()
    }

    /// The string; empty where there is none.
    pub fn str(&self) -> &'a str {
        self.value.str()
    }

    /// The integer; 0 where there is none.
    pub fn int(&self) -> i64 {
        self.value.int_or(0)
    }

    /// The boolean; false where there is none.
    pub fn bool(&self) -> bool {
        self.value.bool()
    }

    /// Number of items or entries.
    pub fn len(&self) -> usize {
        match self.value {
            Value::Array(items) => items.len(),
            Value::Object(map) => map.len(),
            _ => 0,
        }
    }

    /// The field must be set.
    pub fn required(&self, e: &mut Errors, why: impl Into<String>) {
        e.push(FieldError::required(&self.path, why));
    }

    /// The field must not be set or changed.
    pub fn forbidden(&self, e: &mut Errors, why: impl Into<String>) {
        e.push(FieldError::forbidden(&self.path, why));
    }

    /// The value is wrong; it is printed as JSON.
    pub fn invalid(&self, e: &mut Errors, why: impl Into<String>) {
        e.push(FieldError::invalid(&self.path, show(self.value), why));
    }

    /// The string is wrong; an absent one is printed as an empty one.
    pub fn bad_str(&self, e: &mut Errors, why: impl Into<String>) {
        e.push(FieldError::invalid_str(&self.path, self.str(), why));
    }

    /// The integer is wrong; an absent one is printed as 0.
    pub fn bad_int(&self, e: &mut Errors, why: impl Into<String>) {
        e.push(FieldError::invalid(&self.path, self.int(), why));
    }

    /// Something else is wrong here, printed as given.
    pub fn bad(&self, e: &mut Errors, printed: impl Display, why: impl Into<String>) {
        e.push(FieldError::invalid(&self.path, printed, why));
    }

    /// The string is wrong for each of the reasons.
    pub fn each(&self, e: &mut Errors, whys: Vec<String>) {
        for why in whys {
            self.bad_str(e, why);
        }
    }

    /// The value was there before.
    pub fn duplicate(&self, e: &mut Errors) {
        e.push(FieldError::duplicate(&self.path, show(self.value)));
    }

    /// A second string where only one may be.
    pub fn bad_duplicate(&self, e: &mut Errors, text: &str) {
        e.push(FieldError::duplicate_str(&self.path, text));
    }

    /// The value names nothing.
    pub fn not_found(&self, e: &mut Errors) {
        e.push(FieldError::not_found(&self.path, self.str()));
    }

    /// The string is not one of `values`.
    pub fn unsupported(&self, e: &mut Errors, values: &[&str]) {
        e.push(FieldError::not_supported(&self.path, self.str(), values));
    }

    /// The list or map has more than `max` items.
    pub fn too_many(&self, e: &mut Errors, max: usize) {
        e.push(FieldError::too_many(&self.path, self.len(), max));
    }

    /// The value is longer than `max`.
    pub fn too_long(&self, e: &mut Errors, max: usize) {
        e.push(FieldError::too_long(&self.path, max));
    }

    /// Demands one of `values` (in the order in which they are printed). Gives whether it is.
    pub fn one_of(&self, e: &mut Errors, values: &[&str]) -> bool {
        let known = values.contains(&self.str());
        if !known {
            self.unsupported(e, values);
        }
        known
    }

    /// Demands a string, and then one of `values`.
    pub fn required_one_of(&self, e: &mut Errors, values: &[&str]) {
        if self.str().is_empty() {
            self.required(e, "");
        } else {
            self.one_of(e, values);
        }
    }

    /// Demands a string that is not empty. Gives whether it is.
    pub fn demand(&self, e: &mut Errors) -> bool {
        if self.str().is_empty() {
            self.required(e, "");
        }
        !self.str().is_empty()
    }

    /// Demands an integer of at least 0, where one is set.
    pub fn non_negative(&self, e: &mut Errors) {
        if self.int() < 0 {
            self.bad_int(e, NEGATIVE);
        }
    }

    /// Demands an integer above 0.
    pub fn positive(&self, e: &mut Errors) {
        if self.int() <= 0 {
            self.bad_int(e, NOT_POSITIVE);
        }
    }

    /// Demands an integer within bounds.
    pub fn within(&self, e: &mut Errors, low: i64, high: i64) {
        if !(low..=high).contains(&self.int()) {
            self.bad_int(e, alloc::format!("must be between {low} and {high}, inclusive"));
        }
    }
}

pub const NEGATIVE: &str = "must be greater than or equal to 0";
pub const NOT_POSITIVE: &str = "must be greater than zero";
pub const IMMUTABLE: &str = "field is immutable";

/// A value as an error prints it: strings as Go's `%q`, everything else as JSON.
pub fn show(value: &Value) -> String {
    match value {
        Value::Str(text) => quote(text),
        other => other.to_string(),
    }
}

/// A map as an error prints it: in the order of its keys.
pub fn show_map(value: &Value) -> String {
    let mut sorted = value.clone();
    if let Some(map) = sorted.as_object_mut() {
        map.sort_keys();
    }
    sorted.to_string()
}

/// Whether two values are the same to upstream's semantic comparison: what is absent equals what
/// is empty, quantities equal by amount.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.iter().all(|(key, value)| same(value, y.get(key).unwrap_or(&NULL)))
                && y.iter().all(|(key, value)| x.contains_key(key) || same(&NULL, value))
        }
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(a, b)| same(a, b))
        }
        (Value::Object(_) | Value::Array(_), Value::Null)
        | (Value::Null, Value::Object(_) | Value::Array(_)) => a.is_empty() && b.is_empty(),
        (Value::Str(s), Value::Null) | (Value::Null, Value::Str(s)) => s.is_empty(),
        (Value::Bool(flag), Value::Null) | (Value::Null, Value::Bool(flag)) => !flag,
        _ => a == b,
    }
}

/// Refuses a change of a field.
pub fn immutable(e: &mut Errors, new: &At<'_>, old: &At<'_>) {
    if !same(new.value, old.value) {
        new.invalid(e, IMMUTABLE);
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn absent_is_as_good_as_empty() {
        assert!(same(&value!({ "a": [], "b": "", "c": 1 }), &value!({ "c": 1, "d": {} })));
        assert!(!same(&value!({ "a": 0 }), &value!({ "a": 1 })));
        assert!(!same(&value!([1, 2]), &value!([2, 1])));
    }

    #[test]
    fn errors_carry_path_and_value() {
        let object = value!({ "a": [{ "b": "x" }], "n": (-1) });
        let mut e = Errors::new();
        let top = At::top(&object);
        for item in top.get("a").items() {
            item.get("b").one_of(&mut e, &["y", "z"]);
        }
        top.get("n").non_negative(&mut e);
        top.get("m").demand(&mut e);
        let texts: Vec<String> = e.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "a[0].b: Unsupported value: \"x\": supported values: \"y\", \"z\"",
                "n: Invalid value: -1: must be greater than or equal to 0",
                "m: Required value"
            ]
        );
    }
}
