//! Limit ranges: what a container gets that states nothing, and what it may state (upstream
//! `plugin/pkg/admission/limitranger`).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use timonier_meta::Quantity;
use timonier_object::Value;

use crate::quota::{Amounts, amount, amounts, pod_total};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Fills in what the containers of a pod leave open, and notes what was filled in.
pub fn fill_in(range: &Value, pod: &mut Value) {
    let (mut limits, mut requests) = (Value::object(), Value::object());
    let of_containers =
        range.at("spec.limits").items().iter().filter(|l| l.at("type").str() == "Container");
    for limit in of_containers {
        for (from, to) in [("default", &mut limits), ("defaultRequest", &mut requests)] {
            for (name, n) in limit.at(from).entries() {
                to.make_object().insert(name, n.clone());
            }
        }
    }
    let mut notes = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        let path = format!("spec.{list}");
        let Some(containers) = pod.find_mut(&path).and_then(Value::as_array_mut) else { continue };
        for container in containers {
            for (field, all, word) in
                [("requests", &requests, "request"), ("limits", &limits, "limit")]
            {
                let set = merge(container, field, all);
                if !set.is_empty() {
                    let name = container.at("name").str();
                    notes.push(format!("{} {word} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let text = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod.entry("metadata.annotations").make_object().insert(ANNOTATION, text.into());
    }
}

/// Adds the entries that a container's list does not have; gives their names in order.
fn merge(container: &mut Value, field: &str, all: &Value) -> Vec<String> {
    let mut set = Vec::new();
    for (name, n) in all.entries() {
        if container.at("resources").at(field).get(name).is_none() {
            let list = container.entry("resources").make_object().entry(field).make_object();
            list.insert(name, n.clone());
            set.push(name.into());
        }
    }
    set.sort();
    set
}

/// What is wrong with a pod, as upstream says it; empty where nothing is.
pub fn check_pod(range: &Value, pod: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    for limit in range.at("spec.limits").items() {
        match limit.at("type").str() {
            "Container" => {
                for list in ["containers", "initContainers"] {
                    for container in pod.at("spec").at(list).items() {
                        let of = |field: &str| amounts(container.at("resources").at(field));
                        check(limit, "Container", &of("requests"), &of("limits"), &mut errors);
                    }
                }
            }
            "Pod" => {
                let (requests, limits) = (pod_total(pod, "requests"), pod_total(pod, "limits"));
                check(limit, "Pod", &requests, &limits, &mut errors);
            }
            _ => {}
        }
    }
    errors
}

/// What is wrong with a claim.
pub fn check_claim(range: &Value, claim: &Value) -> Vec<String> {
    const KIND: &str = "PersistentVolumeClaim";
    let mut errors = Vec::new();
    let requests = amounts(claim.at("spec.resources.requests"));
    for limit in range.at("spec.limits").items().iter().filter(|l| l.at("type").str() == KIND) {
        for (name, least) in bounds(limit, "min") {
            errors.extend(minimum(name, KIND, least, requests.get(name), None));
        }
        for (name, most) in bounds(limit, "max") {
            let head = format!("maximum {name} usage per {KIND} is {most}");
            match requests.get(name) {
                None => errors.push(format!("{head}.  No request is specified")),
                Some(n) if *n > most => errors.push(format!("{head}, but request is {n}")),
                Some(_) => {}
            }
        }
    }
    errors
}

/// Several errors as upstream joins them.
pub fn aggregate(mut errors: Vec<String>) -> String {
    match errors.len() {
        1 => errors.remove(0),
        _ => format!("[{}]", errors.join(", ")),
    }
}

fn bounds<'a>(limit: &'a Value, list: &str) -> impl Iterator<Item = (&'a str, Quantity)> {
    limit.at(list).entries().filter_map(|(name, n)| Some((name, amount(n)?)))
}

fn check(limit: &Value, kind: &str, requests: &Amounts, limits: &Amounts, out: &mut Vec<String>) {
    for (name, least) in bounds(limit, "min") {
        out.extend(minimum(name, kind, least, requests.get(name), limits.get(name)));
    }
    for (name, most) in bounds(limit, "max") {
        out.extend(maximum(name, kind, most, requests.get(name), limits.get(name)));
    }
    for (name, most) in bounds(limit, "maxLimitRequestRatio") {
        out.extend(ratio(name, kind, most, requests.get(name), limits.get(name)));
    }
}

fn minimum(
    name: &str,
    kind: &str,
    least: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let head = format!("minimum {name} usage per {kind} is {least}");
    match (request, limit) {
        (None, _) => Some(format!("{head}.  No request is specified")),
        (Some(n), _) if *n < least => Some(format!("{head}, but request is {n}")),
        (_, Some(n)) if *n < least => Some(format!("{head}, but limit is {n}")),
        _ => None,
    }
}

fn maximum(
    name: &str,
    kind: &str,
    most: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let head = format!("maximum {name} usage per {kind} is {most}");
    match (request, limit) {
        (_, None) => Some(format!("{head}.  No limit is specified")),
        (_, Some(n)) if *n > most => Some(format!("{head}, but limit is {n}")),
        (Some(n), _) if *n > most => Some(format!("{head}, but request is {n}")),
        _ => None,
    }
}

fn ratio(
    name: &str,
    kind: &str,
    most: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let head = format!("{name} max limit to request ratio per {kind} is {most}");
    let Some(request) = request.filter(|n| !n.is_zero()) else {
        return Some(format!("{head}, but no request is specified or request is 0"));
    };
    let Some(limit) = limit.filter(|n| !n.is_zero()) else {
        return Some(format!("{head}, but no limit is specified or limit is 0"));
    };
    let found = limit.as_f64() / request.as_f64();
    (found > most.as_f64()).then(|| format!("{head}, but provided ratio is {found:.6}"))
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    fn range() -> Value {
        value!({ "spec": { "limits": [{ "type": "Container",
            "min": { "cpu": "50m" }, "max": { "cpu": "500m", "memory": "500Mi" },
            "default": { "cpu": "500m", "memory": "500Mi" },
            "defaultRequest": { "cpu": "100m", "memory": "200Mi" } }] } })
    }

    #[test]
    fn what_is_left_open_is_filled_in() {
        let mut pod = value!({ "metadata": { "name": "p" }, "spec": { "containers": [
            { "name": "a" },
            { "name": "b", "resources": { "requests": { "cpu": "300m" } } }] } });
        fill_in(&range(), &mut pod);
        let containers = pod.at("spec.containers").items();
        assert_eq!(
            containers[1].at("resources"),
            &value!({ "requests": { "cpu": "300m", "memory": "200Mi" },
                      "limits": { "cpu": "500m", "memory": "500Mi" } })
        );
        assert_eq!(
            pod.annotation(ANNOTATION),
            Some(
                "LimitRanger plugin set: cpu, memory request for container a; cpu, memory limit for container a; memory request for container b; cpu, memory limit for container b"
            )
        );
        assert!(check_pod(&range(), &pod).is_empty());
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let pod = value!({ "spec": { "containers": [{ "name": "a", "resources": {
            "requests": { "cpu": "10m" }, "limits": { "cpu": "600m" } } }] } });
        assert_eq!(
            check_pod(&range(), &pod),
            [
                "minimum cpu usage per Container is 50m, but request is 10m",
                "maximum cpu usage per Container is 500m, but limit is 600m",
                "maximum memory usage per Container is 500Mi.  No limit is specified"
            ]
        );
        let of_pod = value!({ "spec": { "limits": [
            { "type": "Pod", "maxLimitRequestRatio": { "cpu": "4" } }] } });
        assert_eq!(
            check_pod(&of_pod, &pod),
            ["cpu max limit to request ratio per Pod is 4, but provided ratio is 60.000000"]
        );
        let claims = value!({ "spec": { "limits": [
            { "type": "PersistentVolumeClaim", "max": { "storage": "1Gi" } }] } });
        let claim = value!({ "spec": { "resources": { "requests": { "storage": "2Gi" } } } });
        assert_eq!(
            check_claim(&claims, &claim),
            ["maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi"]
        );
    }
}
