//! The scopes of a quota: which objects it is about.

use timonier_meta::GroupResource;
use timonier_object::Value;

/// Whether an object is in all scopes of a quota.
pub fn all_match(quota: &Value, of: &GroupResource, object: &Value) -> bool {
    let spec = quota.at("spec");
    let mut plain = spec.at("scopes").items().iter().map(Value::str);
    plain.all(|scope| matches(scope, "Exists", &Value::Null, of, object))
        && spec.at("scopeSelector.matchExpressions").items().iter().all(|e| {
            matches(e.at("scopeName").str(), e.at("operator").str(), e.at("values"), of, object)
        })
}

fn matches(
    scope: &str,
    operator: &str,
    values: &Value,
    of: &GroupResource,
    object: &Value,
) -> bool {
    let class = match (of.group.as_str(), of.resource.as_str(), scope) {
        ("", "pods", "PriorityClass") => object.at("spec.priorityClassName").str(),
        ("", "persistentvolumeclaims", "VolumeAttributesClass") => {
            object.at("spec.volumeAttributesClassName").str()
        }
        ("", "pods", _) => return has(object, scope),
        _ => return false,
    };
    let listed = values.items().iter().any(|v| v.str() == class);
    match operator {
        "In" => listed,
        "NotIn" => !listed,
        "DoesNotExist" => class.is_empty(),
        _ => !class.is_empty(),
    }
}

fn has(pod: &Value, scope: &str) -> bool {
    let limited = pod.at("spec.activeDeadlineSeconds").as_i64().is_some_and(|n| n >= 0);
    match scope {
        "Terminating" => limited,
        "NotTerminating" => !limited,
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "CrossNamespacePodAffinity" => reaches_other_namespaces(pod),
        _ => false,
    }
}

fn is_best_effort(pod: &Value) -> bool {
    let lists = ["containers", "initContainers"];
    let states = |of: &Value| {
        ["cpu", "memory"].iter().any(|name| {
            let stated = |list: &str| {
                of.at("resources")
                    .at(list)
                    .get(name)
                    .and_then(super::amount)
                    .is_some_and(|n| !n.is_zero())
            };
            stated("requests") || stated("limits")
        })
    };
    let spec = pod.at("spec");
    !states(spec) && !lists.iter().flat_map(|l| spec.at(l).items()).any(states)
}

fn reaches_other_namespaces(pod: &Value) -> bool {
    let names =
        |term: &Value| !term.at("namespaces").is_empty() || !term.at("namespaceSelector").is_null();
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let affinity = pod.at("spec.affinity").at(kind);
        let required = affinity.at("requiredDuringSchedulingIgnoredDuringExecution").items();
        let preferred = affinity.at("preferredDuringSchedulingIgnoredDuringExecution").items();
        required.iter().any(names) || preferred.iter().any(|t| names(t.at("podAffinityTerm")))
    })
}

#[cfg(test)]
mod tests {
    use timonier_meta::gvk::resources::{CONFIGMAPS, PODS};
    use timonier_object::value;

    use super::*;

    #[test]
    fn scopes_pick_pods() {
        let quota = |scopes: Value| value!({ "spec": { "scopes": scopes } });
        let pod = value!({ "spec": { "activeDeadlineSeconds": 5, "containers": [{}] } });
        let of = PODS.group_resource();
        assert!(all_match(&quota(value!(["Terminating", "BestEffort"])), &of, &pod));
        assert!(!all_match(&quota(value!(["Terminating", "NotBestEffort"])), &of, &pod));
        assert!(!all_match(&quota(value!(["Terminating"])), &CONFIGMAPS.group_resource(), &pod));
        let class = |operator: &str| {
            value!({ "spec": { "scopeSelector": { "matchExpressions": [
                { "scopeName": "PriorityClass", "operator": operator, "values": ["high"] }] } } })
        };
        let high = value!({ "spec": { "priorityClassName": "high" } });
        assert!(all_match(&class("In"), &of, &high) && !all_match(&class("In"), &of, &pod));
        assert!(all_match(&class("NotIn"), &of, &pod) && all_match(&class("Exists"), &of, &high));
    }
}
