//! ResourceSlices: what a driver offers, and where.

use alloc::format;
use alloc::vec::Vec;

use timonier_meta::names;
use timonier_object::{Value, value};

use super::{MAX_ID, name_of, pool_name, qualified_name, set_of, shown_key};
use crate::rules::at::{At, Errors, NOT_POSITIVE, immutable};
use crate::rules::common::check;
use crate::rules::pod::node_selector;
use crate::rules::storage::driver_name;

const MAX_DEVICES: usize = 128;
const MAX_ATTRIBUTES: usize = 32;
/// The longest value of an attribute, in bytes.
const MAX_VALUE: usize = 64;
const MAX_DOMAIN: usize = 63;

/// Checks a ResourceSlice.
pub fn slice(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let spec = At::top(new).get("spec");
    let pool = spec.get("pool");
    driver_name(e, &spec.get("driver"));
    pool_name(e, &pool.get("name"));
    if pool.get("resourceSliceCount").int() <= 0 {
        pool.get("resourceSliceCount").bad_int(e, NOT_POSITIVE);
    }
    if pool.get("generation").int() < 0 {
        pool.get("generation").bad_int(e, "must be greater than or equal to zero");
    }
    if let Some(old) = old {
        let old = At::top(old).get("spec");
        for field in ["pool.name", "driver", "nodeName"] {
            immutable(e, &spec.get(field), &old.get(field));
        }
    }
    place(e, &spec);
    set_of(e, &spec.get("devices"), MAX_DEVICES, name_of, device);
}

/// Where the devices are.
fn place(e: &mut Errors, spec: &At<'_>) {
    let mut set: Vec<&str> = Vec::new();
    let name = spec.get("nodeName");
    if !name.is_empty() {
        set.push("`nodeName`");
        check(e, &name, names::dns1123_subdomain);
    } else if name.is_set() {
        name.bad_str(e, "must be either unset or set to a non-empty string");
    }
    let selector = spec.get("nodeSelector");
    if selector.is_set() {
        set.push("`nodeSelector`");
        node_selector(e, &selector);
        let terms = selector.get("nodeSelectorTerms");
        if terms.len() != 1 {
            terms.invalid(e, "must have exactly one node selector term");
        }
    }
    let all = spec.get("allNodes");
    if all.bool() {
        set.push("`allNodes`");
    } else if all.is_set() {
        all.invalid(e, "must be either unset or set to true");
    }
    let one = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match set.len() {
        0 => spec.required(e, one),
        1 => {}
        _ => {
            let shown = format!("\"{{{}}}\"", set.join(", "));
            spec.bad(e, shown, format!("{one}, but multiple fields are set"));
        }
    }
}

fn device(e: &mut Errors, at: &At<'_>) {
    check(e, &at.get("name"), names::dns1123_label);
    let (attributes, capacity) = (at.get("attributes"), at.get("capacity"));
    let together = attributes.len() + capacity.len();
    if together > MAX_ATTRIBUTES {
        let why = format!(
            "the total number of attributes and capacities must not exceed {MAX_ATTRIBUTES}"
        );
        at.bad(e, together, why);
    }
    for (key, entry) in attributes.value.entries() {
        let at = keyed(&attributes, key, entry);
        qualified_name(e, &at, key);
        attribute(e, &at);
    }
    for (key, entry) in capacity.value.entries() {
        qualified_name(e, &keyed(&capacity, key, entry), key);
    }
}

fn keyed<'a>(map: &At<'a>, key: &str, value: &'a Value) -> At<'a> {
    At { value, path: map.path.key(&shown_key(key, MAX_DOMAIN + 1 + MAX_ID)) }
}

fn attribute(e: &mut Errors, at: &At<'_>) {
    let (text, version) = (at.get("string"), at.get("version"));
    if text.str().len() > MAX_VALUE {
        text.too_long(e, MAX_VALUE);
    }
    if version.is_set() {
        if !is_semver(version.str()) {
            version.bad_str(e, "must be a string compatible with semver.org spec 2.0.0");
        }
        if version.str().len() > MAX_VALUE {
            version.too_long(e, MAX_VALUE);
        }
    }
    let (int, flag) = (at.get("int"), at.get("bool"));
    let set = [&int, &flag, &text, &version].iter().filter(|at| at.is_set()).count();
    let why = "exactly one value must be specified";
    match set {
        0 => at.bad(e, "\"\"", why),
        1 => {}
        _ => {
            let shown = value!({ "IntValue": (int.value.clone()), "BoolValue": (flag.value.clone()),
                "StringValue": (text.value.clone()), "VersionValue": (version.value.clone()) });
            at.bad(e, shown, why);
        }
    }
}

/// Whether the text is a version by semver.org 2.0.0.
fn is_semver(text: &str) -> bool {
    let (rest, build) = match text.split_once('+') {
        Some((rest, build)) => (rest, Some(build)),
        None => (text, None),
    };
    let (core, pre) = match rest.split_once('-') {
        Some((core, pre)) => (core, Some(pre)),
        None => (rest, None),
    };
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|c| c.is_ascii_digit());
    let number = |s: &str| digits(s) && (s == "0" || !s.starts_with('0'));
    let word = |s: &str| !s.is_empty() && s.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    let numbers: Vec<&str> = core.split('.').collect();
    numbers.len() == 3
        && numbers.into_iter().all(number)
        && pre.is_none_or(|pre| pre.split('.').all(|s| word(s) && (!digits(s) || number(s))))
        && build.is_none_or(|build| build.split('.').all(word))
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use super::*;

    fn texts(new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut e = Errors::new();
        slice(&mut e, new, old);
        e.iter().map(ToString::to_string).collect()
    }

    fn good() -> Value {
        value!({ "spec": { "driver": "d.example", "nodeName": "n",
            "pool": { "name": "n", "generation": 1, "resourceSliceCount": 1 },
            "devices": [{ "name": "x", "attributes": { "a": { "string": "s" }, "d.example/v": { "version": "1.2.3-rc.1+b" } },
                "capacity": { "memory": { "value": "1Gi" } } }] } })
    }

    #[test]
    fn slices() {
        assert_eq!(texts(&good(), Some(&good())), [""; 0]);
        let mut moved = good();
        moved.set("spec.nodeName", "m");
        moved.set("spec.pool.name", "m");
        moved.set("spec.driver", "e.example");
        assert_eq!(
            texts(&moved, Some(&good())),
            [
                "spec.pool.name: Invalid value: \"m\": field is immutable",
                "spec.driver: Invalid value: \"e.example\": field is immutable",
                "spec.nodeName: Invalid value: \"m\": field is immutable",
            ]
        );
        let bad = value!({ "spec": { "driver": "d", "nodeName": "", "allNodes": true,
            "nodeSelector": { "nodeSelectorTerms": [] },
            "pool": { "name": "n", "generation": (-1), "resourceSliceCount": 0 },
            "devices": [{ "name": "x", "attributes": { "a": {}, "b": { "int": 1, "bool": true },
                "c": { "version": "1.02.3" }, "/e": { "int": 1 }, "d/": { "int": 1 }, "1": { "int": 1 } } }, { "name": "x" }] } });
        let found = texts(&bad, None);
        let prefixes = [
            "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
            "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
            "spec.nodeName: Invalid value: \"\": must be either unset or set to a non-empty string",
            "spec.nodeSelector.nodeSelectorTerms: Required value: must have at least one node selector term",
            "spec.nodeSelector.nodeSelectorTerms: Invalid value: []: must have exactly one node selector term",
            "spec: Invalid value: \"{`nodeSelector`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set",
            "spec.devices[0].attributes[a]: Invalid value: \"\": exactly one value must be specified",
            "spec.devices[0].attributes[b]: Invalid value: {\"IntValue\":1,\"BoolValue\":true,\"StringValue\":null,\"VersionValue\":null}: exactly one value",
            "spec.devices[0].attributes[c].version: Invalid value: \"1.02.3\": must be a string compatible with semver.org spec 2.0.0",
            "spec.devices[0].attributes[/e]: Invalid value: \"\": the domain must not be empty",
            "spec.devices[0].attributes[d/]: Invalid value: \"\": the name must not be empty",
            "spec.devices[0].attributes[1]: Invalid value: \"1\": a valid C identifier",
            "spec.devices[1]: Duplicate value: \"x\"",
        ];
        assert_eq!(found.len(), prefixes.len(), "{found:#?}");
        for (text, prefix) in found.iter().zip(prefixes) {
            assert!(text.starts_with(prefix), "{text}\n{prefix}");
        }
    }

    #[test]
    fn versions() {
        for good in ["0.0.0", "1.2.3-0a.x-y+001", "1.2.3+a.b"] {
            assert!(is_semver(good), "{good}");
        }
        for bad in ["", "1.2", "1.2.3.4", "01.2.3", "1.2.3-01", "1.2.3-", "1.2.3+", "v1.2.3"] {
            assert!(!is_semver(bad), "{bad}");
        }
    }
}
