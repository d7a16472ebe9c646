//! JSON patch, RFC 6902.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use timonier_object::Value;

use crate::PatchError;

/// Most operations of one patch; upstream's `maxJSONPatchOperations`.
pub const MAX_OPERATIONS: usize = 10_000;

/// Most bytes of JSON that `copy` may add in one patch, so that a short patch cannot grow an object
/// without bound; upstream's `JSONPatchMaxCopyBytes`.
pub const MAX_COPIED: usize = 3 * 1024 * 1024;

/// The deepest nesting that a patch may leave behind, in levels below the object: what the decoder
/// reads back, and what functions that call themselves for each level stand.
pub const MAX_DEPTH: usize = 100;

/// The object after every operation of the patch, in order; an error if one does not apply.
pub fn apply_json_patch(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    let operations = patch.as_array().ok_or_else(|| {
        PatchError::Malformed("a JSON patch must be an array of operations".into())
    })?;
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let mut result = object.clone();
    let mut copied = 0;
    for operation in operations {
        apply(&mut result, operation, &mut copied)?;
    }
    Ok(result)
}

fn apply(doc: &mut Value, operation: &Value, copied: &mut usize) -> Result<(), PatchError> {
    let name = operation.at("op").str();
    let path = pointer(operation, "path")?;
    let fail =
        |why: String| PatchError::DoesNotApply(format!("{name} operation does not apply: {why}"));
    let value = || {
        operation.get("value").cloned().ok_or_else(|| {
            PatchError::Malformed(format!("{name} operation without a value: {operation}"))
        })
    };
    match name {
        "add" => add(doc, &path, value()?).map_err(fail),
        "replace" => {
            let (place, value) = (find(doc, &path).map_err(fail)?, value()?);
            check_depth(&path, &value).map_err(fail)?;
            *place = value;
            Ok(())
        }
        "remove" => remove(doc, &path).map(drop).map_err(fail),
        "test" => {
            let expected = operation.at("value");
            let found = get(doc, &path);
            match found {
                Some(found) if found == expected => Ok(()),
                None if expected.is_null() => Ok(()),
                _ => Err(PatchError::DoesNotApply(format!(
                    "testing value {} failed: test failed",
                    operation.at("path").str()
                ))),
            }
        }
        "copy" => {
            let from = pointer(operation, "from")?;
            let value = get(doc, &from).cloned().ok_or_else(|| fail(missing(&from)))?;
            *copied += size(&value);
            if *copied > MAX_COPIED {
                return Err(PatchError::DoesNotApply(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED}"
                )));
            }
            add(doc, &path, value).map_err(fail)
        }
        "move" => {
            let from = pointer(operation, "from")?;
            if path.len() > from.len() && path[..from.len()] == from[..] {
                return Err(fail("a value cannot be moved into itself".into()));
            }
            let value = remove(doc, &from).map_err(fail)?;
            add(doc, &path, value).map_err(fail)
        }
        _ => Err(PatchError::Malformed(format!("Unexpected kind: {name}"))),
    }
}

/// The tokens of a JSON pointer (RFC 6901) in a field of the operation.
fn pointer(operation: &Value, field: &str) -> Result<Vec<String>, PatchError> {
    let text = operation.at(field).as_str().ok_or_else(|| {
        PatchError::Malformed(format!("operation without \"{field}\": {operation}"))
    })?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let rest = text.strip_prefix('/').ok_or_else(|| {
        PatchError::DoesNotApply(format!("{field} {text:?} is not a JSON pointer"))
    })?;
    Ok(rest.split('/').map(|t| t.replace("~1", "/").replace("~0", "~")).collect())
}

fn missing(path: &[String]) -> String {
    format!("doc is missing path: \"/{}\": missing value", path.join("/"))
}

fn index(token: &str, len: usize) -> Option<usize> {
    if token.len() > 1 && token.starts_with('0') || !token.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    token.parse().ok().filter(|i| *i < len)
}

fn get<'a>(doc: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(doc, |at, token| match at {
        Value::Object(map) => map.get(token),
        Value::Array(items) => items.get(index(token, items.len())?),
        _ => None,
    })
}

fn find<'a>(doc: &'a mut Value, path: &[String]) -> Result<&'a mut Value, String> {
    path.iter()
        .try_fold(doc, |at, token| match at {
            Value::Object(map) => map.get_mut(token),
            Value::Array(items) => {
                let i = index(token, items.len())?;
                items.get_mut(i)
            }
            _ => None,
        })
        .ok_or_else(|| missing(path))
}

fn add(doc: &mut Value, path: &[String], value: Value) -> Result<(), String> {
    check_depth(path, &value)?;
    let Some((last, parent)) = path.split_last() else {
        *doc = value;
        return Ok(());
    };
    match find(doc, parent).map_err(|_| missing(path))? {
        Value::Object(map) => {
            map.insert(last.as_str(), value);
            Ok(())
        }
        Value::Array(items) => {
            let at = if last == "-" { Some(items.len()) } else { index(last, items.len() + 1) };
            let at = at.ok_or_else(|| format!("Unable to access invalid index: {last}"))?;
            items.insert(at, value);
            Ok(())
        }
        _ => Err(missing(path)),
    }
}

fn remove(doc: &mut Value, path: &[String]) -> Result<Value, String> {
    let Some((last, parent)) = path.split_last() else {
        return Ok(doc.take());
    };
    let removed = match find(doc, parent).map_err(|_| missing(path))? {
        Value::Object(map) => map.remove(last),
        Value::Array(items) => index(last, items.len()).map(|i| items.remove(i)),
        _ => None,
    };
    removed.ok_or_else(|| format!("Unable to remove nonexistent key: {}: missing value", last))
}

/// About the bytes of the value's JSON: never less than a character for each value, and all text.
fn size(value: &Value) -> usize {
    2 + value.as_str().map_or(0, str::len)
        + value.items().iter().map(size).sum::<usize>()
        + value.entries().map(|(name, v)| name.len() + 4 + size(v)).sum::<usize>()
}

fn check_depth(path: &[String], value: &Value) -> Result<(), String> {
    if path.len() + depth(value) > MAX_DEPTH {
        return Err(format!("the object would be nested deeper than {MAX_DEPTH} levels"));
    }
    Ok(())
}

/// The levels of lists and objects in a value; 0 for plain ones.
fn depth(value: &Value) -> usize {
    let inner = value.items().iter().chain(value.entries().map(|(_, v)| v)).map(depth).max();
    match value {
        Value::Array(_) | Value::Object(_) => 1 + inner.unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn operations_apply_in_order() {
        let object = value!({ "a": { "b": [1, 2] }, "c/d": "x" });
        let patch = value!([
            { "op": "test", "path": "/c~1d", "value": "x" },
            { "op": "add", "path": "/a/b/-", "value": 3 },
            { "op": "add", "path": "/a/b/0", "value": 0 },
            { "op": "replace", "path": "/a/b/1", "value": "one" },
            { "op": "remove", "path": "/c~1d" },
            { "op": "copy", "from": "/a/b", "path": "/e" },
            { "op": "move", "from": "/a/b/3", "path": "/f" },
        ]);
        assert_eq!(
            apply_json_patch(&object, &patch).unwrap(),
            value!({ "a": { "b": [0, "one", 2] }, "e": [0, "one", 2, 3], "f": 3 })
        );
    }

    #[test]
    fn what_does_not_apply_says_so() {
        let object = value!({ "a": [1] });
        for (patch, malformed) in [
            (value!([{ "op": "remove", "path": "/b" }]), false),
            (value!([{ "op": "replace", "path": "/b", "value": 1 }]), false),
            (value!([{ "op": "add", "path": "/b/c", "value": 1 }]), false),
            (value!([{ "op": "add", "path": "/a/2", "value": 1 }]), false),
            (value!([{ "op": "add", "path": "/a/01", "value": 1 }]), false),
            (value!([{ "op": "test", "path": "/a", "value": 1 }]), false),
            (value!([{ "op": "move", "from": "/a", "path": "/a/0" }]), false),
            (value!([{ "op": "x", "path": "/a" }]), true),
            (value!([{ "op": "add", "path": "/a" }]), true),
            (value!([{ "op": "add" }]), true),
            (value!({}), true),
        ] {
            let error = apply_json_patch(&object, &patch).unwrap_err();
            assert_eq!(matches!(error, PatchError::Malformed(_)), malformed, "{patch}: {error}");
        }
    }

    #[test]
    fn copies_cannot_explode() {
        let mut operations = alloc::vec![value!({ "op": "add", "path": "/x", "value": [1, 1] })];
        for _ in 0..200 {
            operations.push(value!({ "op": "copy", "from": "/x", "path": "/x/-" }));
        }
        let error = apply_json_patch(&value!({}), &Value::from(operations)).unwrap_err();
        assert!(
            alloc::string::ToString::to_string(&error)
                .contains("accumulated size increase of copy"),
            "{error}"
        );
    }

    #[test]
    fn a_long_text_counts_with_its_length() {
        let object = value!({ "env": [("x".repeat(900_000))] });
        let mut operations = Vec::new();
        for _ in 0..4 {
            operations.push(value!({ "op": "copy", "from": "/env/0", "path": "/env/-" }));
        }
        assert!(apply_json_patch(&object, &Value::from(operations[..3].to_vec())).is_ok());
        assert!(apply_json_patch(&object, &Value::from(operations)).is_err());
    }

    #[test]
    fn nesting_is_bounded() {
        // Each copy doubles the depth.
        let mut operations =
            alloc::vec![value!({ "op": "add", "path": "/x", "value": { "a": {} } })];
        for i in 0..16 {
            let path = format!("/x{}", "/a".repeat(1 << i));
            operations.push(value!({ "op": "copy", "from": "/x", "path": (path.clone()) }));
        }
        let error = apply_json_patch(&value!({}), &Value::from(operations)).unwrap_err();
        assert!(format!("{error}").contains("nested deeper"), "{error}");
        // A value that would be fine by itself, at a place that is too deep for it.
        let mut deep = value!({});
        for _ in 0..MAX_DEPTH - 2 {
            deep = value!({ "a": (deep) });
        }
        let put = |op: &str, path: &str| {
            let patch = value!([{ "op": (op), "path": (path), "value": (deep.clone()) }]);
            apply_json_patch(&value!({ "x": { "y": 1 } }), &patch)
        };
        assert!(put("add", "/x").is_ok());
        assert!(put("add", "/x/y").is_err());
        assert!(put("replace", "/x/y").is_err());
    }
}
