//! An order of values, for sets and for keys of maps.

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::{Map, Value};

/// A value that compares with every other. What the order calls equal is what `==` calls equal.
#[derive(Clone, Copy, Debug)]
pub struct Ordered<'a>(pub &'a Value);

impl Ord for Ordered<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        order(self.0, other.0)
    }
}

impl PartialOrd for Ordered<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ordered<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered<'_> {}

fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        // There is no NaN in JSON, and 0 is -0.
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        (Value::Str(a), Value::Str(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let first = a.iter().zip(b).map(|(a, b)| order(a, b)).find(|o| o.is_ne());
            first.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => a.len().cmp(&b.len()).then_with(|| {
            let pairs = sorted(a).into_iter().zip(sorted(b));
            let orders = pairs.map(|((k, v), (l, w))| k.cmp(l).then_with(|| order(v, w)));
            orders.into_iter().find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
        }),
        _ => rank(a).cmp(&rank(b)),
    }
}

fn sorted(map: &Map) -> Vec<(&str, &Value)> {
    let mut all: Vec<(&str, &Value)> = map.iter().collect();
    all.sort_unstable_by_key(|(key, _)| *key);
    all
}

fn rank(v: &Value) -> u8 {
    match v {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) => 2,
        Value::Float(_) => 3,
        Value::Str(_) => 4,
        Value::Array(_) => 5,
        Value::Object(_) => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn equal_is_equal() {
        let all = value!([null, false, true, 1, 2, 1.5, "a", "b", [], [1], [1, 2], [2], {},
            { "a": 1, "b": 2 }, { "b": 2, "a": 1 }, { "a": 1, "b": 3 }, { "a": 1 }, { "a": null }]);
        for a in all.items() {
            for b in all.items() {
                assert_eq!(Ordered(a) == Ordered(b), a == b, "{a} {b}");
                assert_eq!(order(a, b), order(b, a).reverse(), "{a} {b}");
            }
        }
    }
}
