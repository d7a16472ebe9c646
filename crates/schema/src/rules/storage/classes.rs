//! Storage classes, volume attribute classes, CSI drivers.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::ToString;
use alloc::vec::Vec;

use timonier_meta::names;
use timonier_object::Value;

use super::super::at::{At, Errors, immutable, same};
use super::super::common::{check, label_selector, non_negative_quantity, quantity, show_str};

/// Checks a storage class.
pub fn storage_class(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let top = At::top(new);
    let (reclaim, mode) = (top.get("reclaimPolicy"), top.get("volumeBindingMode"));
    if let Some(old) = old {
        let old = At::top(old);
        fixed(e, &top, &old, &["parameters", "provisioner", "reclaimPolicy"]);
        immutable(e, &mode, &old.get("volumeBindingMode"));
        return;
    }
    provisioner(e, &top.get("provisioner"));
    parameters(e, &top.get("parameters"), true);
    if !reclaim.is_empty() {
        reclaim.one_of(e, &["Delete", "Retain"]);
    }
    if mode.is_set() {
        mode.one_of(e, &["Immediate", "WaitForFirstConsumer"]);
    } else {
        mode.required(e, "");
    }
    topologies(e, &top.get("allowedTopologies"));
}

fn topologies(e: &mut Errors, at: &At<'_>) {
    type Term<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;
    let mut before: Vec<Term<'_>> = Vec::new();
    for term in at.items() {
        let mut keys = BTreeSet::new();
        let mut all = Term::new();
        for item in term.get("matchLabelExpressions").items() {
            let (key, values) = (item.get("key"), item.get("values"));
            if values.is_empty() {
                values.required(e, "");
            }
            let mut seen = BTreeSet::new();
            for value in values.items() {
                if !seen.insert(value.str()) {
                    value.bad_duplicate(e, value.str());
                }
            }
            check(e, &key, names::qualified_name);
            if !keys.insert(key.str()) {
                key.bad_duplicate(e, key.str());
            }
            all.insert(key.str(), seen);
        }
        // An empty term equals what upstream has in its list from the start.
        if all.is_empty() || before.contains(&all) {
            term.get("matchLabelExpressions").bad_duplicate(e, "");
        }
        before.push(all);
    }
}

fn fixed(e: &mut Errors, new: &At<'_>, old: &At<'_>, fields: &[&str]) {
    for field in fields {
        if !same(new.value.at(field), old.value.at(field)) {
            new.get(field).forbidden(e, alloc::format!("updates to {field} are forbidden."));
        }
    }
}

fn provisioner(e: &mut Errors, at: &At<'_>) {
    if at.demand(e) {
        let lower = at.str().to_lowercase();
        for why in names::qualified_name(&lower) {
            at.bad(e, show_str(&lower), why);
        }
    }
}

fn parameters(e: &mut Errors, at: &At<'_>, may_be_empty: bool) {
    if at.len() > 512 {
        at.too_long(e, 512);
        return;
    }
    let mut size = 0;
    for (key, value) in at.value.entries() {
        if key.is_empty() {
            at.bad(e, "\"\"", "field can not be empty.");
        }
        size += key.len() + value.str().len();
    }
    if size > 256 * 1024 {
        at.too_long(e, 256 * 1024);
    }
    if !may_be_empty && at.is_empty() {
        at.required(e, "must contain at least one key/value pair");
    }
}

/// Checks a volume attributes class.
pub fn attributes_class(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let top = At::top(new);
    if let Some(old) = old {
        fixed(e, &top, &At::top(old), &["driverName", "parameters"]);
    }
    provisioner(e, &top.get("driverName"));
    parameters(e, &top.get("parameters"), false);
}

/// Checks a CSI driver.
pub fn csi_driver(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let spec = At::top(new).get("spec");
    let attach = spec.get("attachRequired").named(spec.path.child("attachedRequired"));
    for at in [&attach, &spec.get("podInfoOnMount"), &spec.get("storageCapacity")] {
        if !at.is_set() {
            at.required(e, "");
        }
    }
    let group = spec.get("fsGroupPolicy");
    if group.is_set() {
        group.one_of(e, &["File", "None", "ReadWriteOnceWithFSType"]);
    }
    let mut seen = BTreeSet::new();
    for request in spec.get("tokenRequests").items() {
        let (audience, seconds) = (request.get("audience"), request.get("expirationSeconds"));
        if !seen.insert(audience.str()) {
            audience.bad_duplicate(e, audience.str());
            continue;
        }
        if seconds.is_set() && seconds.int() < 600 {
            seconds.bad_int(e, "may not specify a duration less than 10 minutes");
        }
        if seconds.int() > 1 << 32 {
            seconds.bad_int(e, "may not specify a duration larger than 2^32 seconds");
        }
    }
    let modes = spec.get("volumeLifecycleModes");
    for mode in modes.items() {
        mode.named(modes.path.clone()).one_of(e, &["Persistent", "Ephemeral"]);
    }
    if !spec.get("seLinuxMount").is_set() {
        spec.get("seLinuxMount").required(e, "");
    }
    let period = spec.get("nodeAllocatableUpdatePeriodSeconds");
    if period.is_set() && period.int() < 10 {
        period.bad_int(e, "must be greater than or equal to 10 seconds");
    }
    if let Some(old) = old {
        let old = At::top(old).get("spec");
        immutable(e, &attach, &old.get("attachRequired"));
        immutable(e, &modes, &old.get("volumeLifecycleModes"));
    }
}

/// Checks a report of a driver's capacity.
pub fn storage_capacity(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let top = At::top(new);
    if let Some(old) = old {
        let old = At::top(old);
        immutable(e, &top.get("nodeTopology"), &old.get("nodeTopology"));
        immutable(e, &top.get("storageClassName"), &old.get("storageClassName"));
        return;
    }
    label_selector(e, &top.get("nodeTopology"));
    check(e, &top.get("storageClassName"), names::dns1123_subdomain);
    non_negative_quantity(e, &top.get("capacity"));
    debug_assert!(!quantity(top.get("capacity").value).to_string().is_empty());
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn topologies_differ() {
        let term = value!({ "matchLabelExpressions": [{ "key": "zone", "values": ["a", "b"] }] });
        let turned = value!({ "matchLabelExpressions": [{ "key": "zone", "values": ["b", "a"] }] });
        let list = value!([term, turned, {}]);
        let mut e = Errors::new();
        topologies(&mut e, &At::new(&list, "allowedTopologies"));
        let texts: Vec<_> = e.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\"",
                "allowedTopologies[2].matchLabelExpressions: Duplicate value: \"\"",
            ]
        );
    }

    #[test]
    fn a_class_keeps_its_provisioner() {
        let of = |name: &str| value!({ "provisioner": name, "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate" });
        let mut e = Errors::new();
        storage_class(&mut e, &of("a.b/c"), None);
        assert!(e.is_empty(), "{e:?}");
        storage_class(&mut e, &of("d"), Some(&of("a.b/c")));
        assert_eq!(
            e[0].to_string(),
            "provisioner: Forbidden: updates to provisioner are forbidden."
        );
    }
}
