//! The part of another server's OpenAPI v2 document that is about its group-version, in ours.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use timonier_object::{Value, value};

use crate::aggregation::Remote;

/// Adds the paths below the group-version and everything that they refer to. A definition of a
/// name that means something else here gets another name, as upstream's merger does.
pub(super) fn add(document: &mut Value, remote: &Remote, theirs: &Value) {
    let root = remote.path();
    let below = |path: &str| {
        path.strip_prefix(root.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let paths: Vec<(&str, &Value)> =
        theirs.at("paths").entries().filter(|(path, _)| below(path)).collect();
    let mut needed = BTreeSet::new();
    let mut open: Vec<&Value> = paths.iter().map(|(_, item)| *item).collect();
    while let Some(value) = open.pop() {
        references(value, &mut |name| {
            if let Some(found) = referred(theirs, name)
                && needed.insert(name.to_string())
            {
                open.push(found);
            }
        });
    }
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut added = Vec::new();
    for name in needed {
        let Some(definition) = referred(theirs, &name) else { continue };
        // What came in before, from another version of the same server, has its names here.
        let (free, new) = place(document, &name, &renamed(definition, &names));
        if new {
            added.push((free.clone(), definition));
        }
        names.insert(name, free);
    }
    for (name, definition) in added {
        if let Some((kind, name)) = split(&name) {
            let renamed = renamed(definition, &names);
            section(document, kind).make_object().insert(name, renamed);
        }
    }
    for (path, item) in paths {
        let item = renamed(item, &names);
        section(document, "paths").make_object().insert(path, item);
    }
}

fn section<'a>(document: &'a mut Value, name: &str) -> &'a mut Value {
    let entry = document.entry(name);
    entry.make_object();
    entry
}

/// `#/definitions/x` to `definitions` and `x`; there are shared parameters too.
fn split(reference: &str) -> Option<(&str, &str)> {
    let (kind, name) = reference.strip_prefix("#/")?.split_once('/')?;
    matches!(kind, "definitions" | "parameters").then_some((kind, name))
}

fn referred<'a>(document: &'a Value, reference: &str) -> Option<&'a Value> {
    let (kind, name) = split(reference)?;
    document.get(kind)?.get(name)
}

/// The name for a definition, and whether it is a new one.
fn place(document: &Value, reference: &str, definition: &Value) -> (String, bool) {
    let mut name = reference.to_string();
    for n in 2.. {
        match referred(document, &name) {
            None => return (name, true),
            Some(ours) if ours == definition => return (name, false),
            Some(_) => name = format!("{reference}_v{n}"),
        }
    }
    (name, true)
}

/// Tells every reference in a value.
fn references<'a>(value: &'a Value, tell: &mut impl FnMut(&'a str)) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map.iter() {
                match inner.as_str() {
                    Some(target) if key == "$ref" => tell(target),
                    _ => references(inner, tell),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, tell)),
        _ => {}
    }
}

/// The value with its references under their names here.
fn renamed(value: &Value, names: &BTreeMap<String, String>) -> Value {
    match value {
        Value::Object(map) => {
            let entry = |(key, inner): (&str, &Value)| {
                let target = inner.as_str().filter(|_| key == "$ref").and_then(|t| names.get(t));
                let inner =
                    target.map_or_else(|| renamed(inner, names), |t| Value::from(t.as_str()));
                (key.to_string(), inner)
            };
            map.iter().map(entry).collect()
        }
        Value::Array(items) => Value::array(items.iter().map(|item| renamed(item, names))),
        other => other.clone(),
    }
}

/// An index entry of a group-version's document that its own server has.
pub(super) fn index_entry(entry: &Value) -> Value {
    value!({ "serverRelativeURL": (entry.at("serverRelativeURL").str()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregation::tests::api_service;

    #[test]
    fn only_the_group_version_and_what_it_refers_to_come_in() {
        let remote = Remote::of(&api_service("v1", "a.b", 1)).unwrap();
        let mut ours = value!({ "paths": { "/apis": {} }, "definitions": {
            "Same": { "type": "string" }, "Meta": { "description": "ours" } } });
        let theirs = value!({
            "paths": {
                "/apis/a.b/v1/xs": { "get": { "schema": { "$ref": "#/definitions/X" },
                    "parameters": [{ "$ref": "#/parameters/p-1" }] } },
                "/apis/a.b/v10/xs": { "get": { "schema": { "$ref": "#/definitions/Y" } } },
                "/apis": { "get": {} } },
            "parameters": { "p-1": { "name": "p" } },
            "definitions": {
                "X": { "properties": { "metadata": { "$ref": "#/definitions/Meta" },
                    "same": { "$ref": "#/definitions/Same" }, "self": { "$ref": "#/definitions/X" },
                    "gone": { "$ref": "#/definitions/None" } } },
                "Y": {}, "Same": { "type": "string" }, "Meta": { "description": "theirs" } } });
        add(&mut ours, &remote, &theirs);
        let paths: Vec<&str> = ours.at("paths").entries().map(|(p, _)| p).collect();
        assert_eq!(paths, ["/apis", "/apis/a.b/v1/xs"]);
        assert_eq!(ours.at("paths").get("/apis").unwrap(), &Value::object());
        let names: Vec<&str> = ours.at("definitions").entries().map(|(n, _)| n).collect();
        assert_eq!(names, ["Same", "Meta", "Meta_v2", "X"]);
        assert_eq!(ours.at("definitions.Meta.description").str(), "ours");
        let refers = |field: &str| {
            let field = ours.at("definitions.X.properties").get(field).unwrap();
            field.get("$ref").unwrap().str().to_string()
        };
        assert_eq!(refers("metadata"), "#/definitions/Meta_v2");
        assert_eq!(refers("same"), "#/definitions/Same");
        assert!(ours.at("parameters").get("p-1").is_some());
        // Once more changes nothing.
        let once = ours.clone();
        add(&mut ours, &remote, &theirs);
        assert_eq!(ours, once);
    }
}
