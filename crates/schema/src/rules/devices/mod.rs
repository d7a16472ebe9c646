//! Dynamic resource allocation: claims and their templates, classes of devices, what drivers offer.
//!
//! Fields of features that upstream has switched off by default (taints and tolerations of devices,
//! shared counters, consumable capacity, conditions of binding, extended resources of classes) are
//! dropped before rules are asked, so that there are no rules for them here.

mod allocation;
mod requests;
mod slices;

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use timonier_meta::names;
use timonier_object::Value;

use super::at::{At, Errors, immutable};
use super::common::{annotations, labels};
use super::storage::driver_name;

pub use allocation::status;
pub use slices::slice;

/// The most requests of a claim, and results of its allocation.
const MAX_REQUESTS: usize = 32;
const MAX_CONSTRAINTS: usize = 32;
const MAX_CONFIGS: usize = 32;
const MAX_SELECTORS: usize = 32;
/// The longest selector, in bytes.
const MAX_EXPRESSION: usize = 10 * 1024;
/// The longest opaque parameters, in bytes.
const MAX_PARAMETERS: usize = 10 * 1024;
const MAX_POOL_NAME: usize = 253;
/// The longest name of an attribute without its domain.
const MAX_ID: usize = 32;

/// Checks a ResourceClaim. Its specification never changes.
pub fn claim(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let spec = At::top(new).get("spec");
    match old {
        Some(old) => immutable(e, &spec, &At::top(old).get("spec")),
        None => requests::claim_spec(e, &spec),
    }
}

/// Checks a ResourceClaimTemplate. Its specification never changes.
pub fn template(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let spec = At::top(new).get("spec");
    if let Some(old) = old {
        immutable(e, &spec, &At::top(old).get("spec"));
        return;
    }
    annotations(e, &spec.get("metadata.annotations"));
    labels(e, &spec.get("metadata.labels"));
    requests::claim_spec(e, &spec.get("spec"));
}

/// Checks a DeviceClass.
pub fn class(e: &mut Errors, new: &Value) {
    let spec = At::top(new).get("spec");
    requests::selectors(e, &spec.get("selectors"));
    slice_of(e, &spec.get("config"), MAX_CONFIGS, configuration);
}

/// Checks every item of a list that is not too long.
fn slice_of(e: &mut Errors, at: &At<'_>, max: usize, item: impl Fn(&mut Errors, &At<'_>)) {
    if at.len() > max {
        at.too_many(e, max);
        return;
    }
    at.items().for_each(|one| item(e, &one));
}

/// As [`slice_of`], and no two items have the same key.
fn set_of(
    e: &mut Errors,
    at: &At<'_>,
    max: usize,
    key: impl Fn(&Value) -> String,
    item: impl Fn(&mut Errors, &At<'_>),
) {
    slice_of(e, at, max, item);
    if at.len() > max {
        return;
    }
    let mut seen = BTreeSet::new();
    for one in at.items() {
        let key = key(one.value);
        if seen.contains(&key) {
            one.bad_duplicate(e, &key);
        }
        seen.insert(key);
    }
}

fn name_of(item: &Value) -> String {
    item.at("name").str().into()
}

fn text_of(item: &Value) -> String {
    item.str().into()
}

/// The names of requests, with those of their alternatives.
struct Names<'a>(Vec<(&'a str, Vec<&'a str>)>);

impl<'a> Names<'a> {
    fn of(claim_spec: &'a Value) -> Self {
        let name = |v: &'a Value| v.at("name").str();
        let of =
            |r: &'a Value| (name(r), r.at("firstAvailable").items().iter().map(name).collect());
        Names(claim_spec.at("devices.requests").items().iter().map(of).collect())
    }

    fn has(&self, text: &str) -> bool {
        let (request, alternative) = match text.split_once('/') {
            Some((request, rest)) => (request, Some(rest)),
            None => (text, None),
        };
        // Of several requests with one name upstream knows the last.
        let found = self.0.iter().rev().find(|(name, _)| *name == request);
        found.is_some_and(|(_, below)| alternative.is_none_or(|name| below.contains(&name)))
    }
}

const NO_REQUEST: &str = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/// Checks a reference to a request or to an alternative of one.
fn request_reference(e: &mut Errors, at: &At<'_>, names: &Names<'_>) {
    let segments: Vec<&str> = at.str().split('/').collect();
    if segments.len() > 2 {
        at.bad_str(e, NO_REQUEST);
        return;
    }
    for segment in segments {
        for why in names::dns1123_label(segment) {
            at.bad(e, super::common::show_str(segment), why);
        }
    }
    if !names.has(at.str()) {
        at.bad_str(e, NO_REQUEST);
    }
}

/// Checks references to requests, each once.
fn request_references(e: &mut Errors, at: &At<'_>, names: &Names<'_>) {
    set_of(e, at, MAX_REQUESTS, text_of, |e, one| request_reference(e, one, names));
}

/// Checks what only a driver understands.
fn configuration(e: &mut Errors, at: &At<'_>) {
    let opaque = at.get("opaque");
    if !opaque.is_set() {
        opaque.required(e, "");
        return;
    }
    driver_name(e, &opaque.get("driver"));
    raw_object(e, &opaque.get("parameters"), MAX_PARAMETERS);
}

/// Demands an object of whatever content.
fn raw_object(e: &mut Errors, at: &At<'_>, max: usize) {
    if !at.is_set() {
        at.required(e, "");
    } else if at.value.to_string().len() > max {
        at.too_long(e, max);
    } else if at.value.as_object().is_none() {
        at.bad(e, "\"<value omitted>\"", "must be a valid JSON object");
    }
}

/// Demands the name of a pool: subdomains with slashes between.
fn pool_name(e: &mut Errors, at: &At<'_>) {
    if !at.demand(e) {
        return;
    }
    if at.str().len() > MAX_POOL_NAME {
        at.too_long(e, MAX_POOL_NAME);
    }
    for part in at.str().split('/') {
        for why in names::dns1123_subdomain(part) {
            at.bad(e, super::common::show_str(part), why);
        }
    }
}

/// Checks an attribute's name, with or without its domain. More than one slash is right to
/// upstream too.
fn qualified_name(e: &mut Errors, at: &At<'_>, name: &str) {
    let of = |text: &str| Value::from(text);
    let parts: Vec<&str> = name.split('/').collect();
    let id = match parts.as_slice() {
        [id] => id,
        [domain, id] => {
            if domain.is_empty() {
                at.bad(e, "\"\"", "the domain must not be empty");
            } else {
                driver_name(e, &At { value: &of(domain), path: at.path.clone() });
            }
            if id.is_empty() {
                at.bad(e, "\"\"", "the name must not be empty");
                return;
            }
            id
        }
        _ => return,
    };
    if id.len() > MAX_ID {
        at.too_long(e, MAX_ID);
    }
    let mut bytes = id.bytes();
    let first = bytes.next().is_some_and(|c| c.is_ascii_alphabetic() || c == b'_');
    if !first || !bytes.all(|c| c.is_ascii_alphanumeric() || c == b'_') {
        at.bad(e, super::common::show_str(id), NOT_AN_IDENTIFIER);
    }
}

const NOT_AN_IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";

/// A key of a map as paths show it: long ones without their middle.
fn shown_key(key: &str, max: usize) -> String {
    let max = max.max(16);
    if key.len() <= max {
        return key.into();
    }
    let rest = max - 3;
    let (mut head, mut tail) = (rest.div_ceil(2), key.len() - rest / 2);
    while !key.is_char_boundary(head) {
        head -= 1;
    }
    while !key.is_char_boundary(tail) {
        tail += 1;
    }
    format!("{}...{}", &key[..head], &key[tail..])
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    pub fn texts(rule: impl Fn(&mut Errors)) -> Vec<String> {
        let mut e = Errors::new();
        rule(&mut e);
        e.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn specifications_stay() {
        let of = |class: &str| {
            value!({ "spec": { "devices": { "requests": [{ "name": "a", "exactly": {
                "deviceClassName": class, "allocationMode": "ExactCount", "count": 1 } }] } } })
        };
        assert_eq!(texts(|e| claim(e, &of("c"), None)), [""; 0]);
        assert_eq!(texts(|e| claim(e, &of("c"), Some(&of("c")))), [""; 0]);
        let found = texts(|e| claim(e, &of("d"), Some(&of("c"))));
        assert!(found[0].starts_with("spec: Invalid value:"), "{found:?}");
        assert!(found[0].ends_with("field is immutable"), "{found:?}");
        let t = value!({ "spec": { "metadata": { "labels": { "a": "b c" } }, "spec": (of("").at("spec").clone()) } });
        let found = texts(|e| template(e, &t, None));
        assert!(found[0].starts_with("spec.metadata.labels: Invalid value: \"b c\""), "{found:?}");
        assert_eq!(
            found[1],
            "spec.spec.devices.requests[0].exactly.deviceClassName: Required value"
        );
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn classes() {
        let good = value!({ "spec": { "selectors": [{ "cel": { "expression": "device.driver == 'a'" } }],
            "config": [{ "opaque": { "driver": "a.b", "parameters": { "x": 1 } } }] } });
        assert_eq!(texts(|e| class(e, &good)), [""; 0]);
        let bad = value!({ "spec": { "selectors": [{}, { "cel": { "expression": "1" } }],
            "config": [{}, { "opaque": { "driver": "", "parameters": [1] } }] } });
        assert_eq!(
            texts(|e| class(e, &bad)),
            [
                "spec.selectors[0].cel: Required value",
                "spec.selectors[1].cel.expression: Invalid value: \"1\": must evaluate to bool or the unknown type, not int",
                "spec.config[0].opaque: Required value",
                "spec.config[1].opaque.driver: Required value",
                "spec.config[1].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object",
            ]
        );
    }

    #[test]
    fn keys_are_shown_short() {
        assert_eq!(shown_key("abc", 4), "abc");
        assert_eq!(shown_key("0123456789abcdefghij", 16), "0123456...efghij");
    }
}
