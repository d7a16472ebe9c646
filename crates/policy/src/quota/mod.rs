//! Resource quotas: what an object uses, whether a quota concerns it, whether there is room
//! (upstream `apiserver/pkg/quota/v1` and `pkg/quota/v1/evaluator/core`).

mod pods;
mod scopes;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::{GroupResource, Quantity, Time};
use timonier_object::Value;

pub use pods::total as pod_total;

/// Amounts by the name of what is bounded.
pub type Amounts = BTreeMap<SmolStr, Quantity>;

/// The resources of the core group that a quota may name without `count/`.
const COUNTED: [&str; 7] = [
    "pods",
    "services",
    "configmaps",
    "secrets",
    "persistentvolumeclaims",
    "replicationcontrollers",
    "resourcequotas",
];
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";

/// The resource whose objects use what is called `name`; `None` where nobody counts it.
pub fn counted_by(name: &str) -> Option<GroupResource> {
    let of = |group: &str, resource: &str| {
        Some(GroupResource { group: group.into(), resource: resource.into() })
    };
    if let Some(counted) = name.strip_prefix("count/") {
        let (resource, group) = counted.split_once('.').unwrap_or((counted, ""));
        return of(group, resource);
    }
    if COUNTED.contains(&name) {
        return of("", name);
    }
    match name {
        "services.nodeports" | "services.loadbalancers" => of("", "services"),
        "requests.storage" => of("", "persistentvolumeclaims"),
        _ if name.contains(OF_CLASS) => of("", "persistentvolumeclaims"),
        _ if pods::uses(name) => of("", "pods"),
        _ => None,
    }
}

/// What an object uses, of everything that a quota could bound.
pub fn usage(of: &GroupResource, object: &Value, now: Time) -> Amounts {
    let mut all = Amounts::new();
    all.insert(format!("count/{of}").into(), Quantity::units(1));
    if !of.group.is_empty() {
        return all;
    }
    let one = Quantity::units(1);
    match of.resource.as_str() {
        "pods" => pods::usage(object, now, &mut all),
        "services" => services(object, &mut all),
        "persistentvolumeclaims" => claims(object, &mut all),
        other if COUNTED.contains(&other) => drop(all.insert(other.into(), one)),
        _ => {}
    }
    all
}

fn services(service: &Value, all: &mut Amounts) {
    let spec = service.at("spec");
    let ports = spec.at("ports").items();
    let stated = ports.iter().filter(|p| p.at("nodePort").int_or(0) != 0).count();
    let kind = spec.at("type").str();
    let node_ports = match kind {
        "NodePort" => ports.len(),
        "LoadBalancer" if spec.at("allocateLoadBalancerNodePorts").as_bool() == Some(false) => {
            stated
        }
        "LoadBalancer" => ports.len(),
        _ => 0,
    };
    let balancers = i64::from(kind == "LoadBalancer");
    all.insert("services".into(), Quantity::units(1));
    all.insert("services.nodeports".into(), Quantity::units(node_ports as i64));
    all.insert("services.loadbalancers".into(), Quantity::units(balancers));
}

fn claims(claim: &Value, all: &mut Amounts) {
    let annotated = claim.annotation("volume.beta.kubernetes.io/storage-class");
    let class = annotated.unwrap_or(claim.at("spec.storageClassName").str());
    let storage = amount(claim.at("spec.resources.requests.storage"));
    let mut put = |name: &str, amount: Quantity| {
        all.insert(name.into(), amount);
        if !class.is_empty() {
            all.insert(format!("{class}{OF_CLASS}{name}").into(), amount);
        }
    };
    put("persistentvolumeclaims", Quantity::units(1));
    if let Some(storage) = storage {
        put("requests.storage", storage);
    }
}

/// Whether a quota bounds anything that objects of this resource use, and the object is in its
/// scopes. The status says what is bounded.
pub fn concerns(quota: &Value, of: &GroupResource, object: &Value) -> bool {
    let bounds = |name: &str| counted_by(name).is_some_and(|counted| counted == *of);
    quota.at("status.hard").entries().any(|(name, _)| bounds(name))
        && scopes::all_match(quota, of, object)
}

/// Whether an object is in the scopes of a quota.
pub fn in_scope(quota: &Value, of: &GroupResource, object: &Value) -> bool {
    scopes::all_match(quota, of, object)
}

/// What `more` leaves of a quota: its next `status.used`, or upstream's text of why there is no
/// room. `before` is what the object's old state used.
pub fn charge(
    quota: &Value,
    of: &GroupResource,
    object: &Value,
    more: &Amounts,
    before: &Amounts,
) -> Result<Option<Value>, String> {
    let hard = amounts(quota.at("status.hard"));
    let used = amounts(quota.at("status.used"));
    if *of == timonier_meta::gvk::resources::PODS.group_resource() {
        let bounded: Vec<&str> = hard.keys().map(SmolStr::as_str).collect();
        pods::states_what_is_bounded(object, &bounded)
            .map_err(|why| format!("failed quota: {}: {why}", quota.name()))?;
    }
    let mut next = used.clone();
    let mut requested = Amounts::new();
    for (name, amount) in more.iter().filter(|(name, _)| hard.contains_key(*name)) {
        let Some(now) = used.get(name) else {
            let names: Vec<&str> = more.keys().map(SmolStr::as_str).collect();
            let names: Vec<&str> = names.into_iter().filter(|n| hard.contains_key(*n)).collect();
            return Err(format!(
                "status unknown for quota: {}, resources: {}",
                quota.name(),
                names.join(",")
            ));
        };
        let change = *amount - before.get(name).copied().unwrap_or_default();
        if !change.is_zero() {
            next.insert(name.clone(), *now + change);
            requested.insert(name.clone(), change);
        }
    }
    let exceeds = |name: &SmolStr| !requested[name].is_negative() && next[name] > hard[name];
    let exceeded: Vec<SmolStr> = requested.keys().filter(|n| exceeds(n)).cloned().collect();
    if !exceeded.is_empty() {
        return Err(format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            quota.name(),
            show(&requested, &exceeded),
            show(&used, &exceeded),
            show(&hard, &exceeded)
        ));
    }
    if requested.is_empty() {
        return Ok(None);
    }
    Ok(Some(to_value(&next)))
}

/// What a quota's `status.used` is after giving back.
pub fn give_back(quota: &Value, of: &Amounts, before: &Amounts) -> Value {
    let mut used = amounts(quota.at("status.used"));
    for (name, amount) in of {
        if let Some(now) = used.get_mut(name) {
            let next = *now - (*amount - before.get(name).copied().unwrap_or_default());
            *now = if next.is_negative() { Quantity::default() } else { next };
        }
    }
    to_value(&used)
}

/// Reads a list of amounts; what is none is left out.
pub fn amounts(list: &Value) -> Amounts {
    list.entries().filter_map(|(name, v)| Some((name.into(), amount(v)?))).collect()
}

/// Writes a list of amounts.
pub fn to_value(amounts: &Amounts) -> Value {
    amounts.iter().map(|(name, n)| (name.clone(), n.to_string())).collect()
}

/// Reads an amount.
pub fn amount(value: &Value) -> Option<Quantity> {
    match value {
        Value::Int(n) => Some(Quantity::units(*n)),
        other => Quantity::parse(other.as_str()?).ok(),
    }
}

fn show(amounts: &Amounts, names: &[SmolStr]) -> String {
    let all: Vec<String> = names
        .iter()
        .map(|n| format!("{n}={}", amounts.get(n).copied().unwrap_or_default()))
        .collect();
    all.join(",")
}

#[cfg(test)]
mod tests {
    use timonier_meta::gvk::resources::{PODS, SERVICES};
    use timonier_object::value;

    use super::*;

    fn quota(hard: Value, used: Value) -> Value {
        value!({ "metadata": { "name": "q" }, "status": { "hard": hard, "used": used } })
    }

    fn charged(quota: &Value, pod: &Value) -> Result<Option<Value>, String> {
        let of = PODS.group_resource();
        charge(quota, &of, pod, &usage(&of, pod, Time(0)), &Amounts::new())
    }

    #[test]
    fn room_is_taken_until_there_is_none() {
        let pod = value!({ "spec": { "containers": [{ "name": "c", "resources": {
            "requests": { "cpu": "250m", "memory": "64Mi" } } }] } });
        let hard = value!({ "pods": "2", "requests.cpu": "1", "requests.memory": "128Mi" });
        let start = quota(
            hard.clone(),
            value!({ "pods": "0", "requests.cpu": "0", "requests.memory": "0" }),
        );
        let once = charged(&start, &pod).unwrap().unwrap();
        assert_eq!(
            once,
            value!({ "pods": "1", "requests.cpu": "250m", "requests.memory": "64Mi" })
        );
        let twice = charged(&quota(hard.clone(), once), &pod).unwrap().unwrap();
        let full = quota(hard, twice.clone());
        assert_eq!(
            charged(&full, &pod).unwrap_err(),
            "exceeded quota: q, requested: pods=1,requests.memory=64Mi, used: pods=2,requests.memory=128Mi, limited: pods=2,requests.memory=128Mi"
        );
        let of = PODS.group_resource();
        let back = give_back(&full, &usage(&of, &pod, Time(0)), &Amounts::new());
        assert_eq!(back.at("pods").str(), "1");
    }

    #[test]
    fn what_is_bounded_must_be_stated_and_known() {
        let pod = value!({ "spec": { "containers": [{ "name": "c" }, { "name": "b" }] } });
        let bounded = quota(
            value!({ "requests.cpu": "1", "limits.memory": "1" }),
            value!({ "requests.cpu": "0", "limits.memory": "0" }),
        );
        assert_eq!(
            charged(&bounded, &pod).unwrap_err(),
            "failed quota: q: must specify limits.memory for: b,c; requests.cpu for: b,c"
        );
        let unknown = quota(value!({ "pods": "1" }), value!({}));
        assert_eq!(
            charged(&unknown, &pod).unwrap_err(),
            "status unknown for quota: q, resources: pods"
        );
    }

    #[test]
    fn services_count_by_their_type() {
        let of = SERVICES.group_resource();
        let service = value!({ "spec": { "type": "LoadBalancer", "ports": [{}, {}] } });
        let all = usage(&of, &service, Time(0));
        let show = |name: &str| all[name].to_string();
        assert_eq!(show("services"), "1");
        assert_eq!(show("services.nodeports"), "2");
        assert_eq!(show("services.loadbalancers"), "1");
        assert_eq!(show("count/services"), "1");
    }

    #[test]
    fn names_say_who_counts() {
        let by = |name: &str| counted_by(name).map(|r| r.to_string());
        assert_eq!(by("count/deployments.apps").as_deref(), Some("deployments.apps"));
        assert_eq!(by("requests.nvidia.com/gpu").as_deref(), Some("pods"));
        assert_eq!(
            by("gold.storageclass.storage.k8s.io/requests.storage").as_deref(),
            Some("persistentvolumeclaims")
        );
        assert_eq!(by("wishes"), None);
    }
}
