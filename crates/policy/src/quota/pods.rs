//! What pods use of quotas.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::{Duration, Quantity, Time};
use timonier_object::Value;

use super::{Amounts, amount};

/// What every container has to state where it is bounded.
const STATED: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// Whether pods use what is called `name`.
pub fn uses(name: &str) -> bool {
    let plain = |n: &str| matches!(n, "cpu" | "memory" | "ephemeral-storage");
    plain(name)
        || name.starts_with("hugepages-")
        || name.strip_prefix("limits.").is_some_and(plain)
        || name
            .strip_prefix("requests.")
            .is_some_and(|n| plain(n) || n.starts_with("hugepages-") || is_extended(n))
}

fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

/// Adds what a pod uses. One that has ended, or should be gone for long, uses nothing.
pub fn usage(pod: &Value, now: Time, all: &mut Amounts) {
    if matches!(pod.at("status.phase").str(), "Succeeded" | "Failed") {
        return;
    }
    let grace = pod.at("metadata.deletionGracePeriodSeconds").int_or(0).clamp(0, 1 << 31);
    if pod.deleted().is_some_and(|at| at + Duration::from_secs(grace) < now) {
        return;
    }
    all.insert("pods".into(), Quantity::units(1));
    of_lists(&total(pod, "requests"), &total(pod, "limits"), all);
}

fn of_lists(requests: &Amounts, limits: &Amounts, all: &mut Amounts) {
    for (name, n) in requests {
        let plain = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage")
            || name.starts_with("hugepages-");
        if plain {
            all.insert(name.clone(), *n);
        }
        if plain || is_extended(name) {
            all.insert(format!("requests.{name}").into(), *n);
        }
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(n) = limits.get(name) {
            all.insert(format!("limits.{name}").into(), *n);
        }
    }
}

/// What a pod asks for (`requests`) or is bounded to (`limits`): its containers and sidecars
/// together, or the largest init container; a statement of the pod itself comes first.
pub fn total(pod: &Value, list: &str) -> Amounts {
    let spec = pod.at("spec");
    let of = |container: &Value| super::amounts(container.at("resources").at(list));
    let mut main = Amounts::new();
    spec.at("containers").items().iter().for_each(|c| add(&mut main, &of(c)));
    let (mut sidecars, mut most) = (Amounts::new(), Amounts::new());
    for container in spec.at("initContainers").items() {
        let mut here = sidecars.clone();
        add(&mut here, &of(container));
        if container.at("restartPolicy").str() == "Always" {
            add(&mut main, &of(container));
            sidecars = here.clone();
        }
        raise(&mut most, &here);
    }
    raise(&mut main, &most);
    for (name, n) in spec.at("resources").at(list).entries() {
        if let Some(n) = amount(n) {
            main.insert(name.into(), n);
        }
    }
    let overhead = super::amounts(spec.at("overhead"));
    if list == "requests" {
        add(&mut main, &overhead);
    } else {
        let bounded = overhead.iter().filter(|(name, _)| main.contains_key(*name));
        let bounded: Amounts = bounded.map(|(name, n)| (name.clone(), *n)).collect();
        add(&mut main, &bounded);
    }
    main
}

fn add(to: &mut Amounts, more: &Amounts) {
    for (name, n) in more {
        let sum = to.get(name).map_or(*n, |before| *before + *n);
        to.insert(name.clone(), sum);
    }
}

fn raise(to: &mut Amounts, other: &Amounts) {
    for (name, n) in other {
        if to.get(name).is_none_or(|before| before < n) {
            to.insert(name.clone(), *n);
        }
    }
}

/// Demands of every container what is bounded, unless the pod states it itself.
pub fn states_what_is_bounded(pod: &Value, bounded: &[&str]) -> Result<(), String> {
    if !pod.at("spec.resources").is_empty() {
        return Ok(());
    }
    let required: Vec<&str> = bounded.iter().filter(|n| STATED.contains(n)).copied().collect();
    let mut missing: BTreeMap<&str, BTreeSet<SmolStr>> = BTreeMap::new();
    let lists = ["containers", "initContainers"];
    for container in lists.iter().flat_map(|l| pod.at("spec").at(l).items()) {
        let mut stated = Amounts::new();
        let list = |name: &str| super::amounts(container.at("resources").at(name));
        of_lists(&list("requests"), &list("limits"), &mut stated);
        for name in required.iter().filter(|n| !stated.contains_key(**n)) {
            missing.entry(name).or_default().insert(container.at("name").smol());
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = missing
        .into_iter()
        .map(|(name, of)| {
            let of: Vec<SmolStr> = of.into_iter().collect();
            format!("{name} for: {}", of.join(","))
        })
        .collect();
    Err(format!("must specify {}", texts.join("; ")))
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use timonier_object::value;

    use super::*;

    #[test]
    fn init_containers_count_where_they_ask_for_more() {
        let ask = |cpu: &str| value!({ "requests": { "cpu": cpu } });
        let pod = value!({ "spec": {
            "containers": [{ "resources": (ask("1")) }],
            "initContainers": [
                { "restartPolicy": "Always", "resources": (ask("500m")) },
                { "resources": (ask("2")) }],
            "overhead": { "cpu": "100m" } } });
        assert_eq!(total(&pod, "requests")["cpu"].to_string(), "2600m");
        assert!(total(&pod, "limits").is_empty());
    }
}
