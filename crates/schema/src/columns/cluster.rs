//! Nodes, namespaces, events, leases, roles and the rest of the cluster's own kinds.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::Time;
use timonier_object::Value;

use super::cells::{self, NONE};
use super::{Column, age, count, name, path, text, wide};

/// The columns after the name.
pub(super) fn columns(key: (&str, &str)) -> Option<Vec<Column>> {
    Some(match key {
        ("", "nodes") => vec![
            text("Status", |o, _| node_status(o).into()),
            text("Roles", |o, _| node_roles(o)),
            age(),
            path("Version", "status.nodeInfo.kubeletVersion"),
            wide(text("Internal-IP", |o, _| node_address(o, "InternalIP"))),
            wide(text("External-IP", |o, _| node_address(o, "ExternalIP"))),
            wide(text("OS-Image", |o, _| unknown(o, "status.nodeInfo.osImage"))),
            wide(text("Kernel-Version", |o, _| unknown(o, "status.nodeInfo.kernelVersion"))),
            wide(text("Container-Runtime", |o, _| {
                unknown(o, "status.nodeInfo.containerRuntimeVersion")
            })),
        ],
        ("", "namespaces") => vec![path("Status", "status.phase"), age()],
        ("", "serviceaccounts") => vec![age()],
        ("", "componentstatuses") => vec![],
        ("", "limitranges") => {
            vec![text("Created At", |o, _| o.at("metadata.creationTimestamp").clone())]
        }
        ("", "resourcequotas") => vec![
            text("Request", |o, _| quota(o, |k| !k.starts_with("limits."))),
            text("Limit", |o, _| quota(o, |k| k.starts_with("limits."))),
            age(),
        ],
        ("coordination.k8s.io", "leases") => vec![path("Holder", "spec.holderIdentity"), age()],
        ("scheduling.k8s.io", "priorityclasses") => vec![
            text("Value", |o, _| o.at("value").int_or(0).into()),
            text("Global-Default", |o, _| o.at("globalDefault").bool().into()),
            age(),
            text("PreemptionPolicy", |o, _| {
                o.at("preemptionPolicy").as_str().unwrap_or("PreemptLowerPriority").into()
            }),
        ],
        ("node.k8s.io", "runtimeclasses") => vec![path("Handler", "handler"), age()],
        ("policy", "poddisruptionbudgets") => vec![
            text("Min Available", |o, _| available(o, "spec.minAvailable")),
            text("Max Unavailable", |o, _| available(o, "spec.maxUnavailable")),
            count("Allowed Disruptions", |o, _| o.at("status.disruptionsAllowed").int_or(0).into()),
            age(),
        ],
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") => {
            vec![text("Created At", |o, _| o.at("metadata.creationTimestamp").clone())]
        }
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => vec![
            text("Role", |o, _| {
                let r = o.at("roleRef");
                format!("{}/{}", r.at("kind").str(), r.at("name").str()).into()
            }),
            age(),
            wide(text("Users", |o, _| subjects(o, "User"))),
            wide(text("Groups", |o, _| subjects(o, "Group"))),
            wide(text("ServiceAccounts", |o, _| subjects(o, "ServiceAccount"))),
        ],
        ("certificates.k8s.io", "certificatesigningrequests") => vec![
            age(),
            path("SignerName", "spec.signerName"),
            path("Requestor", "spec.username"),
            text("RequestedDuration", |o, _| match o.at("spec.expirationSeconds").as_i64() {
                Some(s) => cells::human_duration(timonier_meta::Duration::from_secs(s)).into(),
                None => NONE.into(),
            }),
            text("Condition", |o, _| csr_condition(o)),
        ],
        ("apiregistration.k8s.io", "apiservices") => vec![
            text("Service", |o, _| {
                let s = o.at("spec.service");
                if s.is_null() {
                    return "Local".into();
                }
                format!("{}/{}", s.at("namespace").str(), s.at("name").str()).into()
            }),
            text("Available", |o, _| {
                let Some(c) = o.condition("Available") else { return "Unknown".into() };
                match (c.at("status").str(), c.at("reason").str()) {
                    ("True", _) => "True".into(),
                    (status, reason) => format!("{status} ({reason})").into(),
                }
            }),
            age(),
        ],
        ("apiextensions.k8s.io", "customresourcedefinitions") => {
            vec![text("Created At", |o, _| o.at("metadata.creationTimestamp").clone())]
        }
        (
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations" | "validatingwebhookconfigurations",
        ) => {
            vec![count("Webhooks", |o, _| o.at("webhooks").items().len().into()), age()]
        }
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => vec![
            count("Validations", |o, _| o.at("spec.validations").items().len().into()),
            text("ParamKind", |o, _| {
                let p = o.at("spec.paramKind");
                if p.is_null() {
                    return "<unset>".into();
                }
                format!("{}/{}", p.at("apiVersion").str(), p.at("kind").str()).into()
            }),
            age(),
        ],
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings") => vec![
            path("PolicyName", "spec.policyName"),
            text("ParamRef", |o, _| {
                let p = o.at("spec.paramRef");
                match (p.at("namespace").str(), p.at("name").str()) {
                    ("", "") => "<unset>".into(),
                    ("", name) => format!("*/{name}").into(),
                    (namespace, name) => format!("{namespace}/{name}").into(),
                }
            }),
            age(),
        ],
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => vec![
            text("PriorityLevel", |o, _| o.at("spec.priorityLevelConfiguration.name").clone()),
            text("MatchingPrecedence", |o, _| o.at("spec.matchingPrecedence").int_or(0).into()),
            text("DistinguisherMethod", |o, _| {
                cells::str_or_none(o, "spec.distinguisherMethod.type")
            }),
            age(),
            text("MissingPL", |o, _| {
                o.condition("Dangling").map_or("?".into(), |c| c.at("status").clone())
            }),
        ],
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => vec![
            path("Type", "spec.type"),
            text("NominalConcurrencyShares", |o, _| {
                let shares = |f| o.at("spec").at(f).at("nominalConcurrencyShares").as_i64();
                shares("limited").or(shares("exempt")).map_or(NONE.into(), Value::from)
            }),
            text("Queues", |o, _| limited(o, "queues")),
            text("HandSize", |o, _| limited(o, "handSize")),
            text("QueueLengthLimit", |o, _| limited(o, "queueLengthLimit")),
            age(),
        ],
        _ => return None,
    })
}

/// Events begin with the time, not the name.
pub(super) fn event_columns() -> Vec<Column> {
    vec![
        text("Last Seen", last_seen),
        path("Type", "type"),
        path("Reason", "reason"),
        text("Object", |o, _| {
            let r = regarding(o);
            format!("{}/{}", r.at("kind").str().to_lowercase(), r.at("name").str()).into()
        }),
        wide(path_of_subobject()),
        wide(text("Source", |o, _| source(o))),
        text("Message", |o, _| either(o, "message", "note").str().trim().into()),
        wide(text("First Seen", |o, now| match first(o) {
            Value::Null => cells::since(o.at("eventTime"), now).into(),
            time => cells::since(time, now).into(),
        })),
        wide(text("Count", |o, _| events(o).into())),
        Column { priority: 1, ..name() },
    ]
}

fn path_of_subobject() -> Column {
    text("Subobject", |o, _| regarding(o).at("fieldPath").smol().into())
}

fn either<'a>(object: &'a Value, core: &str, events: &str) -> &'a Value {
    match object.at(core) {
        Value::Null => object.at(events),
        found => found,
    }
}

fn regarding(event: &Value) -> &Value {
    either(event, "involvedObject", "regarding")
}

fn first(event: &Value) -> &Value {
    either(event, "firstTimestamp", "deprecatedFirstTimestamp")
}

fn events(event: &Value) -> i64 {
    match event.at("series.count").as_i64() {
        Some(n) => n,
        None => either(event, "count", "deprecatedCount").int_or(1).max(1),
    }
}

fn last_seen(event: &Value, now: Time) -> Value {
    let first_seen = match first(event) {
        Value::Null => event.at("eventTime"),
        time => time,
    };
    let last = match event.at("series.lastObservedTime") {
        Value::Null => either(event, "lastTimestamp", "deprecatedLastTimestamp"),
        time => time,
    };
    let last = if last.is_null() { first_seen } else { last };
    match events(event) {
        n if n > 1 => {
            format!("{} (x{n} over {})", cells::since(last, now), cells::since(first_seen, now))
                .into()
        }
        _ => cells::since(last, now).into(),
    }
}

fn source(event: &Value) -> Value {
    let source = either(event, "source", "deprecatedSource");
    let component = match source.at("component").str() {
        "" => either(event, "reportingComponent", "reportingController").str(),
        component => component,
    };
    match source.at("host").str() {
        "" => component.into(),
        host => format!("{component}, {host}").into(),
    }
}

fn node_status(node: &Value) -> String {
    let mut status = match node.condition("Ready") {
        None => "Unknown".to_string(),
        Some(c) if c.at("status").str() == "True" => "Ready".into(),
        Some(_) => "NotReady".into(),
    };
    if node.at("spec.unschedulable").bool() {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn node_roles(node: &Value) -> Value {
    let mut roles: Vec<&str> = node
        .at("metadata.labels")
        .entries()
        .filter_map(|(k, v)| match k.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => Some(role),
            _ if k == "kubernetes.io/role" && !v.str().is_empty() => Some(v.str()),
            _ => None,
        })
        .collect();
    roles.sort_unstable();
    roles.dedup();
    cells::or_none(roles.join(",")).into()
}

fn node_address(node: &Value, kind: &str) -> Value {
    node.at("status.addresses")
        .items()
        .iter()
        .find(|a| a.at("type").str() == kind)
        .map_or(NONE.into(), |a| a.at("address").clone())
}

fn unknown(object: &Value, path: &str) -> Value {
    match object.at(path).str() {
        "" => "<unknown>".into(),
        text => text.into(),
    }
}

fn available(budget: &Value, path: &str) -> Value {
    match budget.at(path) {
        Value::Null => "N/A".into(),
        Value::Str(s) => s.into(),
        other => other.to_string().into(),
    }
}

fn quota(quota: &Value, keep: fn(&str) -> bool) -> Value {
    let mut list: Vec<String> = quota
        .at("status.hard")
        .entries()
        .filter(|(k, _)| keep(k))
        .map(|(k, hard)| {
            let used = quota.at("status.used").get(k).map_or("0", Value::str);
            format!("{k}: {used}/{}", hard.str())
        })
        .collect();
    list.sort();
    list.join(", ").into()
}

fn subjects(binding: &Value, kind: &str) -> Value {
    let list: Vec<String> = binding
        .at("subjects")
        .items()
        .iter()
        .filter(|s| s.at("kind").str() == kind)
        .map(|s| match s.at("namespace").str() {
            "" => s.at("name").str().to_string(),
            namespace => format!("{namespace}/{}", s.at("name").str()),
        })
        .collect();
    list.join(", ").into()
}

fn csr_condition(request: &Value) -> Value {
    let has = |kind| request.condition(kind).is_some();
    let mut status: String = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .into();
    if has("Failed") {
        status.push_str(",Failed");
    }
    if !request.at("status.certificate").str().is_empty() {
        status.push_str(",Issued");
    }
    status.into()
}

fn limited(level: &Value, field: &str) -> Value {
    let queuing = level.at("spec.limited.limitResponse.queuing");
    queuing.at(field).as_i64().map_or(NONE.into(), Value::from)
}

#[cfg(test)]
mod tests {
    use timonier_meta::gvk::resources::{EVENTS, NODES};
    use timonier_object::value;

    use crate::columns::tests::row;

    #[test]
    fn nodes_and_events() {
        let node = value!({
            "metadata": { "name": "n", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": { "node-role.kubernetes.io/control-plane": "" } },
            "spec": { "unschedulable": true },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }], "nodeInfo": { "kubeletVersion": "v1.35.0" },
                "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }] },
        });
        assert_eq!(
            row(&NODES, &node),
            "n|Ready,SchedulingDisabled|control-plane|10m|v1.35.0|10.0.0.1|<none>|<unknown>|<unknown>|<unknown>"
        );
        let event = value!({
            "metadata": { "name": "e" }, "type": "Warning", "reason": "BackOff", "message": "x\n", "count": 3,
            "involvedObject": { "kind": "Pod", "name": "p", "fieldPath": "f" }, "source": { "component": "kubelet", "host": "n" },
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:09:50Z",
        });
        assert_eq!(
            row(&EVENTS, &event),
            "10s (x3 over 10m)|Warning|BackOff|pod/p|f|kubelet, n|x|10m|3|e"
        );
    }
}
