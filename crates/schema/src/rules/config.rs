//! ConfigMaps, Secrets, Namespaces, Leases, priority and runtime classes, budgets: small kinds.

use alloc::collections::BTreeSet;
use alloc::format;

use timonier_meta::names;
use timonier_object::{Value, json};

use super::at::{At, Errors, immutable};
use super::common::{
    at_most_all, check, conditions, int_or_percent, label_selector, labels, show_str,
};
use super::pod::{resources, tolerations};

/// The most bytes of a Secret's or ConfigMap's values together.
const MAX_SIZE: usize = 1024 * 1024;

/// Checks a ConfigMap.
pub fn config_map(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let top = At::top(new);
    if let Some(old) = old {
        sealed(e, &top, old, &["data", "binaryData"]);
    }
    let binary = top.get("binaryData");
    let mut size = 0;
    for (key, value) in top.get("data").entries() {
        bad_key(e, &value, key);
        if binary.value.get(key).is_some() {
            value.bad(e, show_str(key), "duplicate of key present in binaryData");
        }
        size += value.str().len();
    }
    for (key, value) in binary.entries() {
        bad_key(e, &value, key);
        size += decoded_len(value.str());
    }
    if size > MAX_SIZE {
        // Upstream's path of no field prints so.
        top.named("[]".into()).too_long(e, MAX_SIZE);
    }
}

fn bad_key(e: &mut Errors, at: &At<'_>, key: &str) {
    for why in names::config_map_key(key) {
        at.bad(e, show_str(key), why);
    }
}

/// The length of what base64 stands for.
fn decoded_len(text: &str) -> usize {
    text.trim_end_matches('=').len() * 3 / 4
}

/// An immutable object's values do not change, nor does it become mutable again.
fn sealed(e: &mut Errors, top: &At<'_>, old: &Value, fields: &[&str]) {
    if !old.at("immutable").bool() {
        return;
    }
    let why = "field is immutable when `immutable` is set";
    if !top.get("immutable").bool() {
        top.get("immutable").forbidden(e, why);
    }
    for field in fields {
        if !super::at::same(top.value.at(field), old.at(field)) {
            top.get(field).forbidden(e, why);
        }
    }
}

/// Checks a Secret.
pub fn secret(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let top = At::top(new);
    let (data, kind) = (top.get("data"), top.get("type"));
    if let Some(old) = old {
        if kind.str() != old.at("type").str() {
            kind.bad_str(e, super::at::IMMUTABLE);
        }
        sealed(e, &top, old, &["data"]);
    }
    let mut size = 0;
    for (key, value) in data.entries() {
        bad_key(e, &value, key);
        size += decoded_len(value.str());
    }
    if size > MAX_SIZE {
        data.too_long(e, MAX_SIZE);
    }
    let missing = |key: &str| data.value.get(key).is_none();
    match kind.str() {
        "kubernetes.io/service-account-token" => {
            let name = top.get("metadata.annotations").entry("kubernetes.io/service-account.name");
            name.demand(e);
        }
        "kubernetes.io/dockercfg" => docker_config(e, &data.entry(".dockercfg")),
        "kubernetes.io/dockerconfigjson" => docker_config(e, &data.entry(".dockerconfigjson")),
        "kubernetes.io/basic-auth" if missing("username") && missing("password") => {
            data.entry("username").required(e, "");
            data.entry("password").required(e, "");
        }
        "kubernetes.io/ssh-auth" => {
            data.entry("ssh-privatekey").demand(e);
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"] {
                if missing(key) {
                    data.entry(key).required(e, "");
                }
            }
        }
        _ => {}
    }
}

fn docker_config(e: &mut Errors, at: &At<'_>) {
    if !at.is_set() {
        at.required(e, "");
        return;
    }
    let bytes = crate::base64::decode(at.str()).unwrap_or_default();
    let why = match json::decode(&bytes) {
        Ok(value) if value.as_object().is_some() || value.is_null() => return,
        Ok(_) => "json: cannot unmarshal into Go value of type map[string]interface {}",
        Err(_) if bytes.is_empty() => "unexpected end of JSON input",
        Err(_) => "invalid character in JSON input",
    };
    at.bad(e, "\"<secret contents redacted>\"", why);
}

/// Checks a new namespace, and writes of its finalizers.
pub fn namespace(e: &mut Errors, new: &Value) {
    let at = At::top(new).get("spec.finalizers");
    for finalizer in at.items() {
        let finalizer = finalizer.named(at.path.clone());
        finalizer.each(e, names::qualified_name(finalizer.str()));
        let known = matches!(finalizer.str(), "kubernetes" | "orphan" | "foregroundDeletion");
        if !finalizer.str().contains('/') && !known {
            finalizer
                .bad_str(e, "name is neither a standard finalizer name nor is it fully qualified");
        }
    }
}

/// Checks a written status of a namespace.
pub fn namespace_status(e: &mut Errors, new: &Value) {
    let top = At::top(new);
    let phase = top.get("status.phase").named("status.Phase".into());
    match (new.is_deleting(), phase.str()) {
        (false, "Active") | (true, "Terminating") => {}
        (false, _) => phase.bad_str(e, "may only be 'Active' if `deletionTimestamp` is empty"),
        (true, _) => {
            phase.bad_str(e, "may only be 'Terminating' if `deletionTimestamp` is not empty");
        }
    }
}

/// Checks a lease.
pub fn lease(e: &mut Errors, new: &Value) {
    let spec = At::top(new).get("spec");
    let (duration, strategy) = (spec.get("leaseDurationSeconds"), spec.get("strategy"));
    if duration.is_set() && duration.int() <= 0 {
        duration.bad_int(e, "must be greater than 0");
    }
    spec.get("leaseTransitions").non_negative(e);
    let holder = spec.get("preferredHolder");
    if !holder.is_empty() && strategy.is_empty() {
        holder.forbidden(e, "may only be specified if `strategy` is defined");
    }
}

/// Checks a priority class.
pub fn priority_class(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let top = At::top(new);
    let (value, preemption) = (top.get("value"), top.get("preemptionPolicy"));
    if let Some(old) = old {
        if value.int() != old.at("value").int_or(0) {
            value.forbidden(e, "may not be changed in an update.");
        }
        immutable(e, &preemption, &At::top(old).get("preemptionPolicy"));
        return;
    }
    let name = top.get("metadata.name");
    if name.str().starts_with("system-") {
        if let Some(why) =
            not_of_the_system(name.str(), value.int(), top.get("globalDefault").bool())
        {
            name.forbidden(e, format!("priority class names with 'system-' prefix are reserved for system use only. error: {why}"));
        }
    } else if value.int() > 1_000_000_000 {
        value.forbidden(e, "maximum allowed value of a user defined priority is 1000000000");
    }
    if preemption.is_set() {
        preemption.required_one_of(e, &["PreemptLowerPriority", "Never"]);
    }
}

fn not_of_the_system(name: &str, value: i64, default: bool) -> Option<alloc::string::String> {
    let expected = match name {
        "system-node-critical" => 2_000_001_000,
        "system-cluster-critical" => 2_000_000_000,
        _ => return Some(format!("{name} is not a known system priority class")),
    };
    if value != expected {
        Some(format!("value of {name} PriorityClass must be {expected}"))
    } else if default {
        Some(format!("globalDefault of {name} PriorityClass must be false"))
    } else {
        None
    }
}

/// Checks a runtime class.
pub fn runtime_class(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let top = At::top(new);
    let handler = top.get("handler");
    if let Some(old) = old {
        immutable(e, &handler, &At::top(old).get("handler"));
        return;
    }
    check(e, &handler, names::dns1123_label);
    let overhead = top.get("overhead");
    if overhead.is_set() {
        let list = timonier_object::value!({ "limits": (overhead.value.at("podFixed").clone()) });
        let at = At { value: &list, path: overhead.path.clone() };
        resources::resources(e, &at, resources::Owner::Container, &BTreeSet::new());
    }
    labels(e, &top.get("scheduling.nodeSelector"));
    let list = top.get("scheduling.tolerations");
    tolerations(e, &list);
    let keys = ["key", "operator", "value", "effect"];
    let same = |a: &Value, b: &Value| keys.iter().all(|key| a.at(key) == b.at(key));
    for (i, item) in list.items().enumerate() {
        if list.value.items()[..i].iter().any(|before| same(before, item.value)) {
            item.duplicate(e);
        }
    }
}

/// Checks a pod disruption budget.
pub fn budget(e: &mut Errors, new: &Value) {
    let spec = At::top(new).get("spec");
    let (least, most) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
    if least.is_set() && most.is_set() {
        let printed = timonier_object::value!({
            "MinAvailable": (least.value.clone()),
            "Selector": (spec.value.at("selector").clone()),
            "MaxUnavailable": (most.value.clone()),
            "UnhealthyPodEvictionPolicy": (spec.value.at("unhealthyPodEvictionPolicy").clone())
        });
        spec.bad(e, printed, "minAvailable and maxUnavailable cannot be both set");
    }
    for at in [least, most] {
        if at.is_set() {
            int_or_percent(e, &at);
            at_most_all(e, &at);
        }
    }
    label_selector(e, &spec.get("selector"));
    let policy = spec.get("unhealthyPodEvictionPolicy");
    if policy.is_set() {
        policy.one_of(e, &["AlwaysAllow", "IfHealthyBudget"]);
    }
}

/// Checks a written status of a budget.
pub fn budget_status(e: &mut Errors, new: &Value) {
    let status = At::top(new).get("status");
    conditions(e, &status.get("conditions"));
    for field in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        status.get(field).non_negative(e);
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use timonier_object::value;

    use super::*;

    fn texts(rule: impl Fn(&mut Errors)) -> Vec<String> {
        let mut e = Errors::new();
        rule(&mut e);
        e.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn keys_and_seals() {
        let old = value!({ "data": { "a": "1" }, "immutable": true });
        assert!(texts(|e| config_map(e, &old, Some(&old))).is_empty());
        let new = value!({ "data": { "a": "2", "b/c": "" } });
        let found = texts(|e| config_map(e, &new, Some(&old)));
        assert_eq!(
            found[..2],
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set"
            ]
        );
        assert!(found[2].starts_with("data[b/c]: Invalid value: \"b/c\": a valid config key"));
    }

    #[test]
    fn tolerations_of_a_class_are_unique() {
        let of = |seconds: i64| value!({ "key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds });
        let class = value!({ "handler": "h", "scheduling": { "tolerations": [(of(1)), (of(2)), { "key": "l", "operator": "Exists" }] } });
        let found = texts(|e| runtime_class(e, &class, None));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("scheduling.tolerations[1]: Duplicate value: {"), "{found:?}");
    }

    #[test]
    fn budgets_say_their_conditions_in_full() {
        let budget = value!({ "status": { "conditions": [{ "type": "DisruptionAllowed", "status": "True" }], "expectedPods": (-1) } });
        assert_eq!(
            texts(|e| budget_status(e, &budget)),
            [
                "status.conditions[0].lastTransitionTime: Required value",
                "status.conditions[0].reason: Required value",
                "status.expectedPods: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
    }

    #[test]
    fn typed_secrets_have_their_keys() {
        let s = value!({ "type": "kubernetes.io/tls", "data": { "tls.crt": "eA==" } });
        assert_eq!(texts(|e| secret(e, &s, None)), ["data[tls.key]: Required value"]);
    }
}
