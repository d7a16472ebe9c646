//! Merge patch, RFC 7386.

use timonier_object::Value;

/// The object with the patch merged in: null removes a field, an object merges, anything else
/// replaces.
pub fn apply_merge_patch(object: &Value, patch: &Value) -> Value {
    let mut result = object.clone();
    merge(&mut result, patch);
    result
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    let map = target.make_object();
    for (key, value) in fields.iter() {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    /// The examples of RFC 7386, appendix A.
    #[test]
    fn rfc_examples() {
        for (object, patch, result) in [
            (value!({ "a": "b" }), value!({ "a": "c" }), value!({ "a": "c" })),
            (value!({ "a": "b" }), value!({ "b": "c" }), value!({ "a": "b", "b": "c" })),
            (value!({ "a": "b" }), value!({ "a": null }), value!({})),
            (value!({ "a": ["b"] }), value!({ "a": "c" }), value!({ "a": "c" })),
            (value!({ "a": "c" }), value!({ "a": ["b"] }), value!({ "a": ["b"] })),
            (
                value!({ "a": { "b": "c" } }),
                value!({ "a": { "b": "d", "c": null } }),
                value!({ "a": { "b": "d" } }),
            ),
            (value!(["a", "b"]), value!(["c"]), value!(["c"])),
            (value!({ "a": "foo" }), value!(null), value!(null)),
            (value!({ "e": null }), value!({ "a": 1 }), value!({ "e": null, "a": 1 })),
            (value!([1]), value!({ "a": "b", "c": null }), value!({ "a": "b" })),
            (value!({}), value!({ "a": { "bb": { "ccc": null } } }), value!({ "a": { "bb": {} } })),
        ] {
            assert_eq!(apply_merge_patch(&object, &patch), result, "{object} + {patch}");
        }
    }
}
