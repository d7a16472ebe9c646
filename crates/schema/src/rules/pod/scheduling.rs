//! Where a pod may run: tolerations, affinity, spreading, gates.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;

use timonier_meta::names;
use timonier_object::Value;

use super::super::at::{At, Errors};
use super::super::common::{check, label_selector};

/// Checks tolerations.
pub fn tolerations(e: &mut Errors, at: &At<'_>) {
    for item in at.items() {
        let (key, operator) = (item.get("key"), item.get("operator"));
        let (value, effect) = (item.get("value"), item.get("effect"));
        if !key.is_empty() {
            check(e, &key, names::qualified_name);
        } else if operator.str() != "Exists" {
            operator.bad_str(e, "operator must be Exists when `key` is empty, which means \"match all values and all keys\"");
        }
        if item.get("tolerationSeconds").is_set() && effect.str() != "NoExecute" {
            effect.bad_str(e, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match operator.str() {
            "" | "Equal" => {
                let wrong = names::label_value(value.str());
                if !wrong.is_empty() {
                    value.named(operator.path.clone()).bad_str(e, wrong.join(";"));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    let why = "value must be empty when `operator` is 'Exists'";
                    value.named(operator.path.clone()).bad_str(e, why);
                }
            }
            "Lt" | "Gt" => operator.unsupported(e, &["Equal", "Exists", "Lt", "Gt"]),
            _ => operator.unsupported(e, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            effect.one_of(e, &EFFECTS);
        }
    }
}

/// The effects of taints.
pub const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Checks `affinity`.
pub fn affinity(e: &mut Errors, at: &At<'_>) {
    let node = at.get("nodeAffinity");
    let required = node.get(REQUIRED);
    if required.is_set() {
        node_selector(e, &required);
    }
    for item in node.get(PREFERRED).items() {
        weight(e, &item);
        node_term(e, &item.get("preference"), false);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        for term in at.get(kind).get(REQUIRED).items() {
            pod_term(e, &term);
        }
        for item in at.get(kind).get(PREFERRED).items() {
            weight(e, &item);
            pod_term(e, &item.get("podAffinityTerm"));
        }
    }
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

fn weight(e: &mut Errors, item: &At<'_>) {
    let weight = item.get("weight");
    if !(1..=100).contains(&weight.int()) {
        weight.bad_int(e, "must be in the range 1-100");
    }
}

/// Checks a node selector.
pub fn node_selector(e: &mut Errors, at: &At<'_>) {
    let terms = at.get("nodeSelectorTerms");
    if terms.is_empty() {
        terms.required(e, "must have at least one node selector term");
    }
    for term in terms.items() {
        node_term(e, &term, true);
    }
}

/// Values of preferred terms are not checked.
fn node_term(e: &mut Errors, term: &At<'_>, values_too: bool) {
    for item in term.get("matchExpressions").items() {
        let values = item.get("values");
        match item.get("operator").str() {
            "In" | "NotIn" if values.is_empty() => {
                values.required(e, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                values.forbidden(e, why);
            }
            "Gt" | "Lt" if values.len() != 1 => {
                let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                values.required(e, why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            _ => item.get("operator").bad_str(e, "not a valid selector operator"),
        }
        check(e, &item.get("key"), names::qualified_name);
        for value in values.items().filter(|_| values_too) {
            check(e, &value, names::label_value);
        }
    }
    for item in term.get("matchFields").items() {
        let values = item.get("values");
        match item.get("operator").str() {
            "In" | "NotIn" => {
                if values.len() != 1 {
                    values.required(e, "must be only one value when `operator` is 'In' or 'NotIn' for node field selector");
                }
            }
            _ => item.get("operator").bad_str(e, "not a valid selector operator"),
        }
        if item.get("key").str() == "metadata.name" {
            for value in values.items() {
                check(e, &value, names::dns1123_subdomain);
            }
        } else {
            item.get("key").bad_str(e, "not a valid field selector key");
        }
    }
}

fn pod_term(e: &mut Errors, term: &At<'_>) {
    label_selector(e, &term.get("labelSelector"));
    label_selector(e, &term.get("namespaceSelector"));
    for namespace in term.get("namespaces").items() {
        check(e, &namespace.named(term.path.child("namespace")), names::dns1123_label);
    }
    label_keys(e, term);
    let key = term.get("topologyKey");
    if key.is_empty() {
        key.required(e, "can not be empty");
    }
    check(e, &key, names::qualified_name);
}

/// `matchLabelKeys` and `mismatchLabelKeys` of a term or a constraint.
fn label_keys(e: &mut Errors, term: &At<'_>) {
    let selector = term.get("labelSelector");
    for list in ["matchLabelKeys", "mismatchLabelKeys"] {
        let list = term.get(list);
        if !list.is_empty() && !selector.is_set() {
            list.forbidden(e, "must not be specified when labelSelector is not set");
            continue;
        }
        for key in list.items() {
            check(e, &key, names::qualified_name);
        }
    }
    let matched = term.get("matchLabelKeys");
    let mut keys: BTreeSet<&str> =
        selector.value.at("matchLabels").entries().map(|(key, _)| key).collect();
    let places: BTreeMap<&str, usize> =
        matched.value.items().iter().enumerate().map(|(i, k)| (k.str(), i)).collect();
    for item in selector.get("matchExpressions").items() {
        let key = item.get("key").str();
        if let (Some(i), true) = (places.get(key), keys.contains(key)) {
            let at = item.get("key").named(term.path.index(*i));
            at.bad_str(e, "exists in both matchLabelKeys and labelSelector");
        }
        keys.insert(key);
    }
    let mismatched = term.get("mismatchLabelKeys");
    let others: BTreeSet<&str> = mismatched.value.items().iter().map(Value::str).collect();
    for key in matched.items() {
        if others.contains(key.str()) {
            key.bad_str(e, "exists in both matchLabelKeys and mismatchLabelKeys");
        }
    }
}

/// Checks `topologySpreadConstraints`.
pub fn topology_spread(e: &mut Errors, at: &At<'_>) {
    let id = |item: &'_ Value| (item.at("topologyKey").smol(), item.at("whenUnsatisfiable").smol());
    // Of several for the same, all but the last are said to be there again.
    let last: BTreeMap<_, usize> =
        at.value.items().iter().enumerate().map(|(i, item)| (id(item), i)).collect();
    for (i, item) in at.items().enumerate() {
        item.get("maxSkew").positive(e);
        let (key, action) = (item.get("topologyKey"), item.get("whenUnsatisfiable"));
        if key.is_empty() {
            key.required(e, "can not be empty");
        }
        action.one_of(e, &["DoNotSchedule", "ScheduleAnyway"]);
        if last.get(&id(item.value)).is_some_and(|last| *last > i) {
            let at = item.get("{topologyKey, whenUnsatisfiable}");
            at.bad_duplicate(e, &format!("{{{}, {}}}", key.str(), action.str()));
        }
        let domains = item.get("minDomains");
        if domains.is_set() {
            domains.positive(e);
            if action.str() != "DoNotSchedule" {
                let why = format!(
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}",
                    action.str()
                );
                domains.bad_int(e, why);
            }
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let policy = item.get(policy);
            if policy.is_set() {
                policy.one_of(e, &["Honor", "Ignore"]);
            }
        }
        label_keys(e, &item);
        label_selector(e, &item.get("labelSelector"));
    }
}

/// Checks `schedulingGates` and `readinessGates`.
pub fn gates(e: &mut Errors, spec: &At<'_>) {
    for gate in spec.get("readinessGates").items() {
        check(e, &gate.get("conditionType"), names::qualified_name);
    }
    let mut seen = BTreeSet::new();
    for gate in spec.get("schedulingGates").items() {
        let name = gate.get("name").named(gate.path.clone());
        check(e, &name, names::qualified_name);
        if !seen.insert(name.str()) {
            name.bad_duplicate(e, name.str());
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use timonier_object::value;

    use super::*;

    #[test]
    fn tolerations_and_spread() {
        let spec = value!({
            "tolerations": [{ "operator": "Equal", "value": "x" }, { "key": "a", "effect": "Never" }],
            "topologySpreadConstraints": [{ "maxSkew": 0, "whenUnsatisfiable": "x" }]
        });
        let mut e = Errors::new();
        let at = At::new(&spec, "spec");
        tolerations(&mut e, &at.get("tolerations"));
        topology_spread(&mut e, &at.get("topologySpreadConstraints"));
        let texts: Vec<String> = e.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
                "spec.tolerations[1].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
                "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
                "spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty",
                "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"x\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\""
            ]
        );
    }
}
