//! Strategic merge patch: lists merge by key where the schema says so.
//!
//! The behaviour is upstream's `k8s.io/apimachinery/pkg/util/strategicpatch`, directives included:
//! `$patch: delete|replace`, `$retainKeys`, `$setElementOrder/<list>`,
//! `$deleteFromPrimitiveList/<list>`.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_object::{Map, Ordered, Value};

use crate::{MergeSchema, PatchError};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ELEMENT_ORDER: &str = "$setElementOrder/";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";

/// The object with the patch merged in as the schema of its kind demands. Fields unknown to the
/// schema merge as maps and replace as lists.
pub fn apply_strategic<S: MergeSchema>(
    schema: S,
    object: &Value,
    patch: &Value,
) -> Result<Value, PatchError> {
    let Value::Object(fields) = patch else {
        return Err(malformed("a strategic merge patch must be an object"));
    };
    let Value::Object(original) = object else {
        return Err(malformed("a strategic merge patch applies to objects only"));
    };
    merge_map(original.clone(), fields.clone(), Some(&schema)).map(Value::Object)
}

fn malformed(why: impl Into<String>) -> PatchError {
    PatchError::Malformed(why.into())
}

fn bad_directive(directive: &Value) -> PatchError {
    malformed(format!("unknown patch type: {directive}"))
}

fn merge_map<S: MergeSchema>(
    mut original: Map,
    mut patch: Map,
    schema: Option<&S>,
) -> Result<Map, PatchError> {
    if let Some(directive) = patch.remove(DIRECTIVE) {
        return match directive.str() {
            "replace" => Ok(patch),
            "delete" => Ok(Map::new()),
            _ => Err(bad_directive(&directive)),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    set_element_orders(&mut original, &mut patch, schema)?;
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_PRIMITIVES) {
            delete_primitives(&mut original, list, &value)?;
        } else if value.is_null() {
            original.remove(&key);
        } else {
            let field = schema.and_then(|s| s.field(&key));
            merge_field(&mut original, key, value, field)?;
        }
    }
    Ok(original)
}

fn merge_field<S: MergeSchema>(
    original: &mut Map,
    key: SmolStr,
    patch: Value,
    schema: Option<S>,
) -> Result<(), PatchError> {
    let merged = match (original.get_mut(&key).map(Value::take), patch) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            let replace = schema.as_ref().is_some_and(|s| s.strategy("replace"));
            if replace {
                drop_directives(Value::Object(new))?
            } else {
                Value::Object(merge_map(old, new, schema.as_ref())?)
            }
        }
        (Some(Value::Array(old)), Value::Array(new)) => match schema.as_ref() {
            Some(s) if s.strategy("merge") => {
                let order: Vec<Value> = old.iter().cloned().collect();
                Value::array(merge_list(
                    old.into_iter().collect(),
                    new.into_iter().collect(),
                    &order,
                    s,
                )?)
            }
            _ => drop_directives(Value::Array(new))?,
        },
        (_, new) => drop_directives(new)?,
    };
    original.insert(key, merged);
    Ok(())
}

/// Values taken over as they are must not carry directives, nor the nulls that mean "remove".
fn drop_directives(value: Value) -> Result<Value, PatchError> {
    match value {
        Value::Object(mut map) => {
            match map.remove(DIRECTIVE) {
                None => {}
                Some(d) if d.str() == "replace" => return Ok(Value::Object(map)),
                Some(d) if d.str() == "delete" => return Ok(Value::object()),
                Some(d) => return Err(bad_directive(&d)),
            }
            let mut out = Map::new();
            for (key, value) in map {
                let directive = key == RETAIN_KEYS
                    || key.starts_with(ELEMENT_ORDER)
                    || key.starts_with(DELETE_PRIMITIVES);
                if !directive && !value.is_null() {
                    out.insert(key, drop_directives(value)?);
                }
            }
            Ok(Value::Object(out))
        }
        Value::Array(items) => {
            let mut out = Vec::new();
            for item in items {
                match item.get(DIRECTIVE).map(Value::str) {
                    Some("delete" | "replace") => {}
                    Some(_) => return Err(bad_directive(item.at(DIRECTIVE))),
                    None => out.push(drop_directives(item)?),
                }
            }
            Ok(Value::array(out))
        }
        other => Ok(other),
    }
}

/// `$retainKeys`: what the original has beyond the listed fields goes.
fn retain_keys(original: &mut Map, patch: &mut Map) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let keys: BTreeSet<&str> = keys
        .as_array()
        .and_then(|items| items.iter().map(Value::as_str).collect())
        .ok_or_else(|| malformed("the value of $retainKeys must be a list of strings"))?;
    for key in patch.keys() {
        let plain = key.split_once('/').filter(|_| key.starts_with('$')).map_or(key, |(_, k)| k);
        if !keys.contains(plain) {
            return Err(malformed("patch does not contain the field listed in $retainKeys"));
        }
    }
    original.retain(|key, _| keys.contains(key));
    Ok(())
}

fn delete_primitives(original: &mut Map, list: &str, gone: &Value) -> Result<(), PatchError> {
    let gone = gone.as_array().ok_or_else(|| {
        malformed(format!("the value of {DELETE_PRIMITIVES}{list} must be a list"))
    })?;
    if let Some(Value::Array(items)) = original.get_mut(list) {
        let gone: BTreeSet<Ordered<'_>> = gone.iter().map(Ordered).collect();
        items.retain(|item| !gone.contains(&Ordered(item)));
    }
    Ok(())
}

/// Handles every `$setElementOrder/<list>` of a patch: merges the list and puts it in that order.
fn set_element_orders<S: MergeSchema>(
    original: &mut Map,
    patch: &mut Map,
    schema: Option<&S>,
) -> Result<(), PatchError> {
    let lists: Vec<SmolStr> =
        patch.keys().filter_map(|k| k.strip_prefix(ELEMENT_ORDER)).map(SmolStr::from).collect();
    for list in lists {
        let order = patch.remove(&format!("{ELEMENT_ORDER}{list}")).unwrap_or_default();
        let order = order
            .as_array()
            .ok_or_else(|| malformed(format!("the value of {ELEMENT_ORDER}{list} must be a list")))?
            .to_vec();
        if let Some(gone) = patch.remove(&format!("{DELETE_PRIMITIVES}{list}")) {
            delete_primitives(original, &list, &gone)?;
        }
        if original.get(&list).is_none() && patch.get(&list).is_none() {
            continue;
        }
        let field = schema.and_then(|s| s.field(&list));
        let key = field.as_ref().map_or("", |f| f.merge_key()).to_owned();
        let items_of = |v: Option<Value>| match v {
            Some(Value::Array(items)) => Ok(items.into_iter().collect::<Vec<_>>()),
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(_) => Err(malformed(format!("{list} must be a list"))),
        };
        let new = items_of(patch.remove(&list))?;
        let old = items_of(original.remove(&list))?;
        check_order(&new, &order, &key)?;
        let merged = match field.as_ref() {
            Some(f) if f.strategy("merge") => merge_list(old.clone(), new, &old, f)?,
            _ if new.is_empty() => old.clone(),
            _ => new,
        };
        original.insert(list, Value::array(in_order(merged, &order, &old, &key)));
    }
    Ok(())
}

/// The patch's own items must stand in the order that it asks for.
fn check_order(items: &[Value], order: &[Value], key: &str) -> Result<(), PatchError> {
    let places = Places::of(order, key);
    let mut at = 0;
    for item in items.iter().filter(|i| i.get(DIRECTIVE).is_none()) {
        match places.from(at, item) {
            Some(found) => at = found + 1,
            None => {
                return Err(malformed(format!(
                    "The order in patch list:\n{}\n doesn't match {ELEMENT_ORDER} list:\n{}",
                    Value::array(items.iter().cloned()),
                    Value::array(order.iter().cloned()),
                )));
            }
        }
    }
    Ok(())
}

fn merge_list<S: MergeSchema>(
    old: Vec<Value>,
    patch: Vec<Value>,
    server_order: &[Value],
    schema: &S,
) -> Result<Vec<Value>, PatchError> {
    let key = schema.merge_key();
    if key.is_empty() {
        let mut seen = BTreeSet::new();
        let all = old.iter().chain(&patch).filter(|item| seen.insert(Ordered(item)));
        let merged = all.cloned().collect();
        return Ok(in_order(merged, &patch, server_order, ""));
    }
    let mut merged = old;
    let mut plain = Vec::new();
    let mut gone = BTreeSet::new();
    let mut replace = false;
    for item in &patch {
        match item.get(DIRECTIVE) {
            None => plain.push(item.clone()),
            Some(d) if d.str() == "delete" => {
                gone.insert(Ordered(item.get(key).ok_or_else(|| no_key(key, item))?));
            }
            Some(d) if d.str() == "replace" => replace = true,
            Some(d) => return Err(bad_directive(d)),
        }
    }
    if replace {
        return Ok(plain);
    }
    merged.retain(|m| m.get(key).is_none_or(|value| !gone.contains(&Ordered(value))));
    let element = schema.element();
    let targets = targets(&merged, &plain, key)?;
    for (item, at) in plain.iter().zip(targets) {
        let Value::Object(fields) = item else { continue };
        match merged.get_mut(at).map(Value::take) {
            Some(Value::Object(old)) => {
                merged[at] = Value::Object(merge_map(old, fields.clone(), element.as_ref())?);
            }
            Some(_) => {
                return Err(malformed(format!("an item of a list merged by {key} is no object")));
            }
            None => merged.push(drop_directives(item.clone())?),
        }
    }
    Ok(in_order(merged, &plain, server_order, key))
}

/// Where each item of the patch goes: the place of the item with its key, or behind the others.
fn targets(merged: &[Value], plain: &[Value], key: &str) -> Result<Vec<usize>, PatchError> {
    let mut places = BTreeMap::new();
    for (at, item) in merged.iter().enumerate() {
        if let Some(value) = item.get(key) {
            places.entry(Ordered(value)).or_insert(at);
        }
    }
    let mut end = merged.len();
    let mut targets = Vec::new();
    for item in plain {
        let Value::Object(fields) = item else {
            return Err(malformed(format!(
                "an item of a list merged by {key} must be an object: {item}"
            )));
        };
        let value = fields.get(key).ok_or_else(|| no_key(key, item))?;
        let at = *places.entry(Ordered(value)).or_insert(end);
        end += usize::from(at == end);
        targets.push(at);
    }
    Ok(targets)
}

fn no_key(key: &str, item: &Value) -> PatchError {
    malformed(format!("map: {item} does not contain declared merge key: {key}"))
}

/// Where the items of a list stand: by merge key, or by value where there is none.
struct Places<'a> {
    key: &'a str,
    of: BTreeMap<Ordered<'a>, Vec<usize>>,
}

impl<'a> Places<'a> {
    fn of(list: &'a [Value], key: &'a str) -> Self {
        let mut places = Places { key, of: BTreeMap::new() };
        for (at, item) in list.iter().enumerate() {
            if let Some(id) = places.id(item) {
                places.of.entry(id).or_default().push(at);
            }
        }
        places
    }

    fn id<'b>(&self, item: &'b Value) -> Option<Ordered<'b>> {
        if self.key.is_empty() { Some(Ordered(item)) } else { item.get(self.key).map(Ordered) }
    }

    /// The first place.
    fn first(&self, item: &Value) -> Option<usize> {
        self.from(0, item)
    }

    /// The first place that is not before `start`.
    fn from(&self, start: usize, item: &Value) -> Option<usize> {
        let all = self.of.get(&self.id(item)?)?;
        all.get(all.partition_point(|at| *at < start)).copied()
    }
}

/// The merged items: those that the patch orders in its order, the others in the server's, the two
/// woven together so that the server's relative order holds where both are known to it.
fn in_order(merged: Vec<Value>, order: &[Value], server_order: &[Value], key: &str) -> Vec<Value> {
    struct Ranked {
        asked: Option<usize>,
        server: Option<usize>,
        item: Value,
    }
    let (asked, server) = (Places::of(order, key), Places::of(server_order, key));
    let rank =
        |item: Value| Ranked { asked: asked.first(&item), server: server.first(&item), item };
    let (mut ordered, mut others): (Vec<Ranked>, Vec<Ranked>) =
        merged.into_iter().map(rank).partition(|ranked| ranked.asked.is_some());
    ordered.sort_by_key(|ranked| ranked.asked);
    others.sort_by_key(|ranked| ranked.server.unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(ordered.len() + others.len());
    let (mut ordered, mut others) = (ordered.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let from_others = match (others.peek(), ordered.peek()) {
            (Some(o), Some(p)) => matches!((o.server, p.server), (Some(a), Some(b)) if a < b),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return out,
        };
        let next = if from_others { others.next() } else { ordered.next() };
        out.extend(next.map(|ranked| ranked.item));
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    /// A schema for tests: containers merge by name, their ports by containerPort, finalizers as a
    /// set, strategy retains keys.
    #[derive(Clone, Copy)]
    struct Test(&'static str);

    impl MergeSchema for Test {
        fn field(&self, name: &str) -> Option<Self> {
            Some(match name {
                "containers" => Test("containers"),
                "ports" => Test("ports"),
                "finalizers" => Test("finalizers"),
                _ => Test(""),
            })
        }
        fn element(&self) -> Option<Self> {
            Some(Test(""))
        }
        fn strategy(&self, name: &str) -> bool {
            name == "merge" && !self.0.is_empty()
        }
        fn merge_key(&self) -> &str {
            match self.0 {
                "containers" => "name",
                "ports" => "containerPort",
                _ => "",
            }
        }
    }

    fn apply(object: Value, patch: Value) -> Value {
        apply_strategic(Test(""), &object, &patch).unwrap()
    }

    #[test]
    fn lists_merge_by_key() {
        let object = value!({ "containers": [{ "name": "a", "image": "x" }, { "name": "b", "ports": [{ "containerPort": 80 }] }] });
        let patch = value!({ "containers": [{ "name": "b", "ports": [{ "containerPort": 81 }] }, { "name": "c" }] });
        assert_eq!(
            apply(object, patch),
            value!({ "containers": [
                { "name": "a", "image": "x" },
                { "name": "b", "ports": [{ "containerPort": 81 }, { "containerPort": 80 }] },
                { "name": "c" } ] })
        );
    }

    #[test]
    fn directives() {
        let object = value!({ "containers": [{ "name": "a" }, { "name": "b" }], "finalizers": ["x", "y"], "m": { "a": 1, "b": 2 }, "l": [1] });
        let patch = value!({
            "containers": [{ "name": "a", "$patch": "delete" }],
            "$deleteFromPrimitiveList/finalizers": ["x"],
            "m": { "$retainKeys": ["c"], "c": 3 },
            "l": [2],
        });
        assert_eq!(
            apply(object, patch),
            value!({ "containers": [{ "name": "b" }], "finalizers": ["y"], "m": { "c": 3 }, "l": [2] })
        );
        let replaced =
            apply(value!({ "m": { "a": 1 } }), value!({ "m": { "$patch": "replace", "b": 1 } }));
        assert_eq!(replaced, value!({ "m": { "b": 1 } }));
        let replaced = apply(
            value!({ "containers": [{ "name": "a" }] }),
            value!({ "containers": [{ "$patch": "replace" }, { "name": "z" }] }),
        );
        assert_eq!(replaced, value!({ "containers": [{ "name": "z" }] }));
        let gone =
            apply(value!({ "m": { "a": 1 }, "n": 1 }), value!({ "m": null, "o": { "p": null } }));
        assert_eq!(gone, value!({ "n": 1, "o": {} }));
    }

    #[test]
    fn element_order_is_kept() {
        let names = |v: &Value| -> Vec<String> {
            v.at("containers").items().iter().map(|c| c.at("name").str().to_owned()).collect()
        };
        let object =
            value!({ "containers": [{ "name": "a" }, { "name": "server" }, { "name": "b" }] });
        let patch = value!({
            "$setElementOrder/containers": [{ "name": "b" }, { "name": "n" }, { "name": "a" }],
            "containers": [{ "name": "n", "image": "y" }],
        });
        assert_eq!(names(&apply(object.clone(), patch)), ["server", "b", "n", "a"]);
        let wrong = value!({
            "$setElementOrder/containers": [{ "name": "a" }],
            "containers": [{ "name": "n" }],
        });
        assert!(apply_strategic(Test(""), &object, &wrong).is_err());
        let primitives = apply(
            value!({ "finalizers": ["1", "2", "3"] }),
            value!({ "$setElementOrder/finalizers": ["3", "4", "1"], "finalizers": ["4"], "$deleteFromPrimitiveList/finalizers": ["2"] }),
        );
        assert_eq!(primitives, value!({ "finalizers": ["3", "4", "1"] }));
    }

    /// With work that grows with the square of the items this takes minutes.
    #[test]
    fn very_many_items_are_no_work() {
        let n = 30_000;
        let texts = |from: usize| -> Value {
            Value::array((from..from + n).map(|i| Value::from(format!("a{i}"))))
        };
        let named = |from: usize, extra: &str| -> Value {
            Value::array((from..from + n).map(|i| value!({ "name": i, extra: 1 })))
        };
        let object = value!({ "finalizers": (texts(0)), "containers": (named(0, "x")) });
        let patch = value!({ "finalizers": (texts(n / 2)), "containers": (named(n / 2, "y")) });
        let patched = apply(object, patch);
        let count = |field: &str| patched.at(field).items().len();
        assert_eq!((count("finalizers"), count("containers")), (n + n / 2, n + n / 2));
        let gone = value!({
            "$deleteFromPrimitiveList/finalizers": (texts(0)),
            "$setElementOrder/containers": (named(n / 2, "z")),
            "containers": (named(n / 2, "z")),
        });
        let patched = apply(patched, gone);
        assert_eq!(patched.at("finalizers").items().len(), n / 2);
        let first = &patched.at("containers").items()[n / 2];
        assert_eq!(*first, value!({ "name": (n / 2), "x": 1, "y": 1, "z": 1 }));
    }

    #[test]
    fn bad_patches_are_refused() {
        let object = value!({ "containers": [{ "name": "a" }], "m": {} });
        for bad in [
            value!([]),
            value!({ "$patch": "x" }),
            value!({ "containers": [{ "image": "x" }] }),
            value!({ "containers": ["x"] }),
            value!({ "containers": [{ "$patch": "delete" }] }),
            value!({ "m": { "$retainKeys": "x" } }),
            value!({ "m": { "$retainKeys": ["a"], "b": 1 } }),
            value!({ "$setElementOrder/containers": 1 }),
            value!({ "$deleteFromPrimitiveList/x": 1 }),
        ] {
            assert!(
                matches!(apply_strategic(Test(""), &object, &bad), Err(PatchError::Malformed(_))),
                "{bad}"
            );
        }
    }
}
