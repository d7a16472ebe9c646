//! Nodes.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use timonier_meta::names;
use timonier_object::{Ordered, Value};

use super::at::{At, Errors, show};
use super::common::{NOT_A_CIDR, check, cidr, is_dual};
use super::pod::{EFFECTS, resources::quantity_value};

/// Checks a node. Writes of its status follow the same rules.
pub fn node(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let top = At::top(new);
    for list in ["capacity", "allocatable"] {
        let at = top.get("status").get(list);
        for (name, amount) in at.entries() {
            quantity_value(e, name, &amount.named(at.path.child(name)));
        }
    }
    match old {
        None => {
            taints(e, &top.get("spec.taints").named("metadata.taints".into()));
            pod_ranges(e, &top.get("spec.podCIDRs"));
        }
        Some(old) => update(e, &top, old),
    }
}

fn pod_ranges(e: &mut Errors, at: &At<'_>) {
    for range in at.items() {
        if cidr(range.str()).is_none() {
            range.bad_str(e, NOT_A_CIDR);
        }
    }
    let all: Vec<&str> = at.value.items().iter().map(Value::str).collect();
    if all.len() > 1 && !is_dual(&all) {
        at.invalid(e, "may specify no more than one CIDR for each IP family");
    }
}

fn update(e: &mut Errors, top: &At<'_>, old: &Value) {
    let mut seen = BTreeSet::new();
    for address in top.get("status.addresses").items() {
        if !seen.insert(Ordered(address.value)) {
            let printed = timonier_object::value!({
                "Type": (address.value.at("type").clone()),
                "Address": (address.value.at("address").clone())
            });
            e.push(timonier_meta::FieldError::duplicate(&address.path, show(&printed)));
        }
    }
    let ranges = top.get("spec.podCIDRs");
    let before = old.at("spec.podCIDRs");
    if !before.is_empty() {
        let why = "node updates may not change podCIDR except from \"\" to valid";
        if before.items().len() == ranges.len() {
            for _ in before.items().iter().zip(ranges.value.items()).filter(|(a, b)| a != b) {
                ranges.forbidden(e, why);
            }
        } else {
            ranges.forbidden(e, why);
        }
    }
    let provider = top.get("spec.providerID");
    let had = old.at("spec.providerID").str();
    if !had.is_empty() && provider.str() != had {
        let why = "node updates may not change providerID except from \"\" to valid";
        provider.forbidden(e, why);
    }
    taints(e, &top.get("spec.taints").named("metadata.taints".into()));
    if top.value.at("spec.externalID").str() != old.at("spec.externalID").str() {
        top.get("spec.externalID").forbidden(e, "may not be updated");
    }
}

fn taints(e: &mut Errors, at: &At<'_>) {
    let mut seen = BTreeSet::new();
    for taint in at.items() {
        let (key, value, effect) = (taint.get("key"), taint.get("value"), taint.get("effect"));
        check(e, &key, names::qualified_name);
        let wrong = names::label_value(value.str());
        if !wrong.is_empty() {
            value.bad_str(e, wrong.join(";"));
        }
        if effect.demand(e) {
            effect.one_of(e, &EFFECTS);
        }
        if !seen.insert((effect.str(), key.str())) {
            let printed = timonier_object::value!({
                "Key": (key.str()), "Value": (value.str()), "Effect": (effect.str()),
                "TimeAdded": (taint.value.at("timeAdded").clone())
            });
            let mut error = timonier_meta::FieldError::duplicate(&taint.path, show(&printed));
            error.detail = "taints must be unique by key and effect pair".into();
            e.push(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn taints_are_unique_and_ranges_stay() {
        let old = value!({ "spec": { "podCIDRs": ["10.244.0.0/24"] } });
        let new = value!({ "spec": { "podCIDRs": ["10.244.1.0/24"], "taints": [
            { "key": "a", "effect": "NoSchedule" }, { "key": "a", "effect": "NoSchedule" }] } });
        let mut e = Errors::new();
        node(&mut e, &new, Some(&old));
        assert_eq!(e.len(), 2, "{e:?}");
        assert_eq!(e[1].path.as_str(), "metadata.taints[1]");
    }
}
