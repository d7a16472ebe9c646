//! Pods: how well they are served follows from their resources.

use std::collections::BTreeMap;

use timonier_meta::Quantity;
use timonier_object::{Value, value};

/// Writes the first status: quality of service, and the gate of the scheduler.
pub fn on_create(pod: &mut Value) {
    classify(pod);
    if !pod.at("spec.schedulingGates").is_empty() {
        pod.set(
            "status.conditions",
            value!([{
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates" }]),
        );
    }
}

/// Writes how well the pod is served.
pub fn classify(pod: &mut Value) {
    let class = quality(pod);
    pod.set("status.qosClass", class);
}

/// Upstream's `GetPodQOS`: guaranteed where every container's limits of processor and memory are
/// stated and equal to its requests, best effort where nothing is stated.
fn quality(pod: &Value) -> &'static str {
    let mut requests: BTreeMap<&str, i64> = BTreeMap::new();
    let mut limits: BTreeMap<&str, i64> = BTreeMap::new();
    let mut guaranteed = true;
    let lists = ["spec.containers", "spec.initContainers"];
    for container in lists.iter().flat_map(|list| pod.at(list).items()) {
        let resources = container.at("resources");
        let mut limited = 0;
        for name in ["cpu", "memory"] {
            let amount = |of: &str| {
                let text = resources.at(of).get(name).map(ToString::to_string)?;
                let quantity = Quantity::parse(text.trim_matches('"')).ok()?;
                (!quantity.is_zero()).then(|| quantity.milli_value())
            };
            let limit = amount("limits");
            // A limit without a request is a request too; defaulting says so later.
            if let Some(request) = amount("requests").or(limit) {
                add(&mut requests, name, request);
            }
            if let Some(limit) = limit {
                limited += 1;
                add(&mut limits, name, limit);
            }
        }
        guaranteed &= limited == 2;
    }
    if requests.is_empty() && limits.is_empty() {
        return "BestEffort";
    }
    if guaranteed && requests == limits { "Guaranteed" } else { "Burstable" }
}

/// Amounts are as large as their writers like.
fn add<'a>(to: &mut BTreeMap<&'a str, i64>, name: &'a str, amount: i64) {
    let sum = to.entry(name).or_default();
    *sum = sum.saturating_add(amount);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_follows_from_resources() {
        let of = |resources: Value| {
            quality(&value!({ "spec": { "containers": [{ "resources": (resources) }] } }))
        };
        assert_eq!(of(value!({})), "BestEffort");
        assert_eq!(of(value!({ "requests": { "cpu": "1" } })), "Burstable");
        assert_eq!(of(value!({ "limits": { "cpu": "1", "memory": "1Gi" } })), "Guaranteed");
        let less =
            value!({ "limits": { "cpu": "1", "memory": "1Gi" }, "requests": { "cpu": "500m" } });
        assert_eq!(of(less), "Burstable");
        assert_eq!(of(value!({ "limits": { "ephemeral-storage": "1Gi" } })), "BestEffort");
        let huge = value!({ "resources": { "limits": { "cpu": "9E", "memory": "9Ei" } } });
        let two = value!({ "spec": { "containers": [(huge.clone()), huge] } });
        assert_eq!(quality(&two), "Guaranteed");
    }
}
