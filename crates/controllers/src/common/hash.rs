//! The hash of a pod template, which names ReplicaSets and ControllerRevisions.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use timonier_meta::names;
use timonier_object::{Map, Value, json};

/// The hash of a pod template and a collision count, as a label's value. It depends on the
/// content alone: neither the order of fields nor empty fields count. (Upstream hashes a dump of
/// its Go struct; the value is opaque there and here.)
pub fn template_hash(template: &Value, collisions: Option<i64>) -> String {
    let mut hash = fnv1a(0x811c_9dc5, &json::encode(&canonical(template)));
    if let Some(n) = collisions {
        hash = fnv1a(hash, &(n as u32).to_le_bytes());
    }
    names::safe_encode(&format!("{hash}"))
}

/// Fields sorted; nulls and empty objects, arrays and strings left out.
pub fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let fields: BTreeMap<&str, Value> =
                map.iter().map(|(k, v)| (k, canonical(v))).filter(|(_, v)| !is_void(v)).collect();
            fields.into_iter().collect()
        }
        Value::Array(items) => Value::array(items.iter().map(canonical)),
        other => other.clone(),
    }
}

/// Whether two values have the same content, as [`canonical`] sees it.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let within = |a: &Map, b: &Map| {
                a.iter().all(|(k, v)| is_hollow(v) || b.get(k).is_some_and(|w| same(v, w)))
            };
            within(a, b) && b.iter().all(|(k, v)| is_hollow(v) || a.contains_key(k))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        _ => a == b || is_hollow(a) && is_hollow(b),
    }
}

/// Whether nothing of the value is left in its canonical form.
fn is_hollow(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.values().all(is_hollow),
        other => is_void(other),
    }
}

fn is_void(value: &Value) -> bool {
    !matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_)) && value.is_empty()
}

fn fnv1a(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |hash, b| (hash ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn only_the_content_counts() {
        let a = value!({ "spec": { "b": 1, "a": "x", "e": [], "n": null }, "metadata": {} });
        let b = value!({ "spec": { "a": "x", "b": 1 } });
        let c = value!({ "spec": { "a": "x", "b": 2 } });
        assert_eq!(template_hash(&a, None), template_hash(&b, None));
        assert_ne!(template_hash(&a, None), template_hash(&c, None));
        assert_ne!(template_hash(&a, None), template_hash(&a, Some(1)));
        assert_ne!(template_hash(&a, Some(2)), template_hash(&a, Some(1)));
        assert!(same(&a, &b) && same(&b, &a) && !same(&a, &c) && !same(&c, &a));
        assert!(!same(&a, &value!({})) && same(&value!({ "x": { "y": [] } }), &value!({})));
    }
}
