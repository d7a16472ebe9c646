//! Requests, limits and claims of containers and pods.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use timonier_meta::names;

use super::super::at::{At, Errors};
use super::super::common::{bad_quantity, check, non_negative_quantity, quantity, show_str};

/// Whose resources are checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Container,
    Pod,
}

/// Checks `resources`: names, amounts, requests within limits, claims.
pub fn resources(e: &mut Errors, at: &At<'_>, owner: Owner, claims: &BTreeSet<&str>) {
    let (limits, requests) = (at.get("limits"), at.get("requests"));
    let (mut compute, mut huge) = (false, false);
    for (name, amount) in limits.entries() {
        one(e, name, &amount, owner);
        compute |= matches!(name, "cpu" | "memory");
        huge |= is_huge(name);
    }
    for (name, amount) in requests.entries() {
        one(e, name, &amount, owner);
        compute |= matches!(name, "cpu" | "memory");
        huge |= is_huge(name);
        let limit = limits.entry(name);
        let asked = quantity(amount.value);
        let exact = !may_overcommit(name);
        if limit.is_set() {
            let most = quantity(limit.value);
            let amount = amount.named(requests.path.clone());
            if exact && asked != most {
                bad_quantity(e, &amount, format!("must be equal to {name} limit of {most}"));
            } else if asked > most {
                let why = format!("must be less than or equal to {name} limit of {most}");
                bad_quantity(e, &amount, why);
            }
        } else if exact {
            limits.required(e, "Limit must be set for non overcommitable resources");
        }
    }
    if huge && !compute {
        at.forbidden(e, "HugePages require cpu or memory");
    }
    claim_names(e, &at.get("claims"), claims);
}

fn one(e: &mut Errors, name: &str, amount: &At<'_>, owner: Owner) {
    resource_name(e, amount, name, owner);
    quantity_value(e, name, amount);
    if is_huge(name) && !is_multiple(name, amount) {
        let shown = quantity(amount.value);
        bad_quantity(e, amount, format!("{shown} is not positive integer multiple of {name}"));
    }
}

/// Demands an amount of at least 0, whole where the resource is counted.
pub fn quantity_value(e: &mut Errors, name: &str, amount: &At<'_>) {
    non_negative_quantity(e, amount);
    if (COUNTED.contains(&name) || is_extended(name))
        && quantity(amount.value).milli_value() % 1000 != 0
    {
        bad_quantity(e, amount, "must be an integer");
    }
}

const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Resource names without a domain that upstream knows.
const STANDARD: [&str; 20] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];

/// Demands a resource's name: qualified, and known where it has no domain. Gives whether it is.
pub fn any_resource_name(e: &mut Errors, at: &At<'_>, name: &str) -> bool {
    let before = e.len();
    for why in names::qualified_name(name) {
        at.bad(e, show_str(name), why);
    }
    if e.len() == before && !name.contains('/') && !is_standard(name) {
        let why = "must be a standard resource type or fully qualified";
        at.bad(e, show_str(name), why);
    }
    e.len() == before
}

/// Whether upstream knows the resource without a domain.
pub fn is_standard(name: &str) -> bool {
    STANDARD.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
}

/// Demands the name of a resource that containers (or pods) can ask for.
pub fn resource_name(e: &mut Errors, at: &At<'_>, name: &str, owner: Owner) {
    let shown = show_str(name);
    let known = any_resource_name(e, at, name);
    if owner == Owner::Pod {
        if known && !matches!(name, "cpu" | "memory") && !is_huge(name) {
            e.push(timonier_meta::FieldError::not_supported(
                &at.path,
                name,
                &["cpu", "hugepages-", "memory"],
            ));
        }
        return;
    }
    let container = matches!(name, "cpu" | "memory" | "ephemeral-storage") || is_huge(name);
    if !name.contains('/') {
        if !container {
            at.bad(e, shown, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        at.bad(e, shown, "doesn't follow extended resource name standard");
    }
}

/// Whether the name is of a page size.
pub fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether the resource is one that nodes advertise by themselves.
pub fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether more may be allowed than is asked for.
pub fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge(name)
}

fn is_multiple(name: &str, amount: &At<'_>) -> bool {
    let page = name.strip_prefix("hugepages-").and_then(|s| timonier_meta::Quantity::parse(s).ok());
    let page = page.map_or(0, |page| page.value());
    page > 0 && quantity(amount.value).value() % page == 0
}

/// An error about a claim names at most so many that there are.
const MAX_NAMES: usize = 64;

fn claim_names(e: &mut Errors, at: &At<'_>, known: &BTreeSet<&str>) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for claim in at.items() {
        let name = claim.get("name").str();
        let request = claim.get("request");
        if name.is_empty() {
            claim.required(e, "");
            continue;
        }
        let mut key = String::from(name);
        if seen.contains(name) {
            claim.bad_duplicate(e, name);
        } else {
            if !request.is_empty() {
                check(e, &request, names::dns1123_label);
                key = format!("{name}/{}", request.str());
            }
            let prefix = format!("{name}/");
            let mut parts = seen.range(prefix.clone()..);
            let part_of = parts.next().is_some_and(|key| key.starts_with(&prefix));
            let whole_again = request.is_empty() && part_of;
            if seen.contains(&key) || whole_again {
                claim.bad_duplicate(e, &key);
            }
            seen.insert(key);
        }
        if !known.contains(name) {
            let mut detail = String::from("must be one of the names in pod.spec.resourceClaims");
            if known.is_empty() {
                detail.push_str(" which is empty");
            } else {
                let mut names: Vec<&str> = known.iter().copied().take(MAX_NAMES).collect();
                if known.len() > MAX_NAMES {
                    names.push("...");
                }
                detail.push_str(&format!(": {}", names.join(", ")));
            }
            let mut error = timonier_meta::FieldError::not_found(&claim.path, name);
            error.detail = detail;
            e.push(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use timonier_object::value;

    use super::*;

    #[test]
    fn requests_stay_within_limits() {
        let v = value!({ "limits": { "cpu": "1", "nvidia.com/gpu": "2" },
            "requests": { "cpu": "1500m", "nvidia.com/gpu": "1", "memory": "-1", "foo": "1" } });
        let mut e = Errors::new();
        resources(&mut e, &At::new(&v, "r"), Owner::Container, &BTreeSet::new());
        let texts: Vec<String> = e.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "r.requests: Invalid value: \"1500m\": must be less than or equal to cpu limit of 1",
                "r.requests: Invalid value: \"1\": must be equal to nvidia.com/gpu limit of 2",
                "r.requests[memory]: Invalid value: \"-1\": must be greater than or equal to 0",
                "r.requests[foo]: Invalid value: \"foo\": must be a standard resource type or fully qualified",
                "r.requests[foo]: Invalid value: \"foo\": must be a standard resource for containers"
            ]
        );
    }
}
