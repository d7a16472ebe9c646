//! Resource quotas and limit ranges.

use alloc::collections::BTreeSet;
use alloc::format;

use timonier_meta::{Quantity, names};
use timonier_object::Value;

use super::at::{At, Errors, IMMUTABLE};
use super::common::{bad_quantity, quantity, show_str};
use super::pod::resources::{
    Owner, any_resource_name, is_huge, is_standard, may_overcommit, quantity_value, resource_name,
};

/// Checks a quota.
pub fn quota(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let spec = At::top(new).get("spec");
    amounts(e, &spec.get("hard"));
    scopes(e, &spec);
    scope_selector(e, &spec);
    let Some(old) = old else { return };
    let set = |value: &Value| -> BTreeSet<alloc::string::String> {
        value.items().iter().map(|s| s.str().into()).collect()
    };
    let scopes = spec.get("scopes");
    if set(scopes.value) != set(old.at("spec.scopes")) {
        scopes.invalid(e, IMMUTABLE);
    }
}

/// Checks a written status of a quota.
pub fn quota_status(e: &mut Errors, new: &Value) {
    let status = At::top(new).get("status");
    amounts(e, &status.get("hard"));
    amounts(e, &status.get("used"));
}

fn amounts(e: &mut Errors, at: &At<'_>) {
    for (name, amount) in at.entries() {
        any_resource_name(e, &amount, name);
        if !name.contains('/') && !is_quota_name(name) {
            amount.bad(e, show_str(name), "must be a standard resource for quota");
        }
        quantity_value(e, name, &amount);
    }
}

/// Resources without a domain that a quota can bound.
fn is_quota_name(name: &str) -> bool {
    is_standard(name) && name != "storage"
}

const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

/// Whether a scope says anything about a resource.
fn applies(scope: &str, resource: &str) -> bool {
    let compute = matches!(
        resource,
        "pods"
            | "cpu"
            | "memory"
            | "requests.cpu"
            | "requests.memory"
            | "limits.cpu"
            | "limits.memory"
    );
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => {
            matches!(resource, "persistentvolumeclaims" | "requests.storage")
        }
        _ => compute,
    }
}

fn scope(e: &mut Errors, at: &At<'_>, whole: &At<'_>, name: &str, hard: &At<'_>) {
    for (resource, _) in hard.entries() {
        if is_quota_name(resource) && !applies(name, resource) {
            let at = whole.named(at.path.clone());
            at.invalid(e, "unsupported scope applied to resource");
        }
    }
}

fn conflicts(e: &mut Errors, seen: &BTreeSet<&str>, at: &At<'_>, scopes: &At<'_>) {
    for (a, b) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if seen.contains(a) && seen.contains(b) {
            scopes.named(at.path.clone()).invalid(e, "conflicting scopes");
        }
    }
}

fn scopes(e: &mut Errors, spec: &At<'_>) {
    let (at, hard) = (spec.get("scopes"), spec.get("hard"));
    let mut seen = BTreeSet::new();
    for item in at.value.items() {
        if !SCOPES.contains(&item.str()) {
            at.invalid(e, "unsupported scope");
        }
        scope(e, &at, &at, item.str(), &hard);
        seen.insert(item.str());
    }
    conflicts(e, &seen, &at, &at);
}

fn scope_selector(e: &mut Errors, spec: &At<'_>) {
    let (selector, hard) = (spec.get("scopeSelector"), spec.get("hard"));
    let at = selector.get("matchExpressions");
    let mut seen = BTreeSet::new();
    for item in at.items() {
        let field = |name: &str| item.get(name).named(at.path.child(name));
        let (name, operator, values) = (field("scopeName"), field("operator"), field("values"));
        if !SCOPES.contains(&name.str()) {
            name.bad_str(e, "unsupported scope");
        }
        scope(e, &at, &selector, name.str(), &hard);
        let plain = !matches!(name.str(), "PriorityClass" | "VolumeAttributesClass")
            && SCOPES.contains(&name.str());
        if plain && operator.str() != "Exists" {
            operator.bad_str(e, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity");
        }
        match operator.str() {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                values.required(e, why);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                values.invalid(e, why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => operator.bad_str(e, "not a valid selector operator"),
        }
        seen.insert(name.str());
    }
    conflicts(e, &seen, &at, &spec.get("scopes"));
}

/// Checks a limit range.
pub fn limit_range(e: &mut Errors, new: &Value) {
    let mut seen = BTreeSet::new();
    for limit in At::top(new).get("spec.limits").items() {
        let kind = limit.get("type");
        let before = e.len();
        kind.each(e, names::qualified_name(kind.str()));
        let known = matches!(kind.str(), "Pod" | "Container" | "PersistentVolumeClaim");
        if e.len() == before && !kind.str().contains('/') && !known {
            kind.bad_str(e, "must be a standard limit type or fully qualified");
        }
        if !seen.insert(kind.str()) {
            kind.bad_duplicate(e, kind.str());
        }
        one_limit(e, &limit, kind.str());
    }
}

const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

fn one_limit(e: &mut Errors, limit: &At<'_>, kind: &str) {
    let mut keys = BTreeSet::new();
    for list in LISTS {
        let at = limit.get(list);
        if kind == "Pod" && list.starts_with("default") {
            if !at.is_empty() {
                at.forbidden(e, "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        if kind == "PersistentVolumeClaim" && list == "maxLimitRequestRatio" {
            let storage = |list: &str| limit.get(list).entry("storage").is_set();
            if !storage("min") && !storage("max") {
                limit.get("limits").required(
                    e,
                    "either minimum or maximum storage value is required, but neither was provided",
                );
            }
        }
        for (name, amount) in at.entries() {
            keys.insert(name);
            if matches!(kind, "Pod" | "Container") {
                resource_name(e, &amount, name, Owner::Container);
            } else {
                any_resource_name(e, &amount, name);
            }
        }
    }
    for key in keys {
        order(e, limit, key, kind == "Pod");
    }
}

/// min ≤ default request ≤ default ≤ max, and a ratio that they leave room for.
fn order(e: &mut Errors, limit: &At<'_>, key: &str, pod: bool) {
    let of = |list: &str| {
        let at = limit.get(list).entry(key);
        at.is_set().then(|| (quantity(at.value), at))
    };
    let (min, max, ratio) = (of("min"), of("max"), of("maxLimitRequestRatio"));
    let default = of("default").filter(|_| !pod);
    let request = of("defaultRequest").filter(|_| !pod);
    let mut above = |low: &Option<(Quantity, At<'_>)>,
                     high: &Option<(Quantity, At<'_>)>,
                     list: &str,
                     shown_low: bool,
                     names: (&str, &str)| {
        let (Some((a, low)), Some((b, high))) = (low, high) else { return };
        if a > b {
            let why = format!("{} value {a} is greater than {} value {b}", names.0, names.1);
            let at = if shown_low { low } else { high };
            bad_quantity(e, &at.named(limit.get(list).path.key(key)), why);
        }
    };
    above(&min, &max, "min", true, ("min", "max"));
    above(&min, &request, "defaultRequest", false, ("min", "default request"));
    above(&request, &max, "defaultRequest", true, ("default request", "max"));
    above(&request, &default, "defaultRequest", true, ("default request", "default limit"));
    above(&min, &default, "default", true, ("min", "default"));
    above(&default, &max, "default", false, ("default", "max"));
    if let Some((n, at)) = &ratio {
        if *n < Quantity::units(1) {
            bad_quantity(e, at, format!("ratio {n} is less than 1"));
        }
        if let (Some((low, _)), Some((high, _))) = (&min, &max) {
            let most = high.as_f64() / low.as_f64();
            if n.as_f64() > most {
                bad_quantity(e, at, format!("ratio {n} is greater than max/min = {most:.6}"));
            }
        }
    }
    let exact = is_huge(key) || !may_overcommit(key);
    if let (true, Some((a, _)), Some((b, at))) = (exact, &default, &request)
        && a != b
    {
        let why = format!("default value {a} must equal to defaultRequest value {b} in {key}");
        bad_quantity(e, at, why);
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use timonier_object::value;

    use super::*;

    #[test]
    fn limits_are_in_order() {
        let range = value!({ "spec": { "limits": [{ "type": "Container",
            "min": { "cpu": "2" }, "max": { "cpu": "1" } }] } });
        let mut e = Errors::new();
        limit_range(&mut e, &range);
        let texts: Vec<String> = e.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"
            ]
        );
    }
}
