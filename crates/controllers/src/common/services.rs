//! From a Service to the endpoints behind it.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::{NODES, PODS, SERVICES};
use timonier_meta::{ObjectKey, Selector, Time};
use timonier_object::{Value, value};
use timonier_reconcile::{Change, World};

use super::pods;

/// When the last change that the endpoints tell of took place.
pub const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// The label on endpoints of a Service without an address of its own.
pub const HEADLESS: &str = "service.kubernetes.io/headless";

/// The selector of a Service; `None` where its endpoints are somebody else's business.
pub fn selector(service: &Value) -> Option<Selector> {
    if service.at("spec.type").str() == "ExternalName" {
        return None;
    }
    let pairs = service.at("spec.selector").as_object()?;
    if pairs.is_empty() {
        return None;
    }
    Some(Selector::of_pairs(pairs.iter().map(|(k, v)| (k, v.str()))))
}

/// The Services that a change of a pod or node touches.
pub fn concerned(change: &Change, world: &World) -> Vec<ObjectKey> {
    if change.is(&NODES) {
        let zone = |o: &Option<Arc<Value>>| o.as_ref().map(|n| zone_of(n).to_string());
        if zone(&change.old) == zone(&change.new) {
            return Vec::new();
        }
        let pods = world.table(&PODS).on_node(&change.key.name);
        return pods.flat_map(|p| selecting(p, world)).collect();
    }
    change.states().flat_map(|pod| selecting(pod, world)).collect()
}

fn selecting(pod: &Value, world: &World) -> Vec<ObjectKey> {
    let services = world.table(&SERVICES).in_namespace(pod.namespace());
    let matching = services.filter(|s| selector(s).is_some_and(|s| s.matches(|k| pod.label(k))));
    matching.map(|s| s.key()).collect()
}

/// The pods that a Service selects and that have an address, those being deleted included.
pub fn pods_of(service: &Value, selector: &Selector, world: &World) -> Vec<Arc<Value>> {
    let all = world.table(&PODS).in_namespace(service.namespace());
    all.filter(|p| selector.matches(|k| p.label(k)))
        .filter(|p| !pods::is_terminal(p) && !addresses(p).is_empty())
        .filter(|p| {
            let node = p.at("spec.nodeName").str();
            node.is_empty() || world.get(&NODES, &ObjectKey::new("", node)).is_some()
        })
        .cloned()
        .collect()
}

/// A pod's addresses.
pub fn addresses(pod: &Value) -> Vec<&str> {
    let all: Vec<&str> = pod.at("status.podIPs").items().iter().map(|a| a.at("ip").str()).collect();
    match pod.at("status.podIP").str() {
        first if all.is_empty() && !first.is_empty() => alloc::vec![first],
        _ => all,
    }
}

/// A pod's address of a family (`IPv4` or `IPv6`).
pub fn address<'a>(pod: &'a Value, family: &str) -> Option<&'a str> {
    addresses(pod).into_iter().find(|a| a.contains(':') == (family == "IPv6"))
}

/// The families of a Service's endpoints.
pub fn families(service: &Value) -> Vec<String> {
    let stated = service.at("spec.ipFamilies").items();
    if !stated.is_empty() {
        return stated.iter().map(|f| f.str().to_string()).collect();
    }
    let v6 = service.at("spec.clusterIP").str().contains(':');
    alloc::vec![if v6 { "IPv6" } else { "IPv4" }.to_string()]
}

/// Whether the Service has no address of its own.
pub fn is_headless(service: &Value) -> bool {
    service.at("spec.clusterIP").str() == "None"
}

/// The ports of a Service as they are on a pod; what the pod does not have is left out.
pub fn ports(service: &Value, pod: &Value) -> Vec<Value> {
    let mut out = Vec::new();
    for port in service.at("spec.ports").items() {
        let Some(number) = find_port(port, pod) else { continue };
        let mut entry = value!({
            "name": (port.at("name").str()), "port": number, "protocol": (protocol(port)),
        });
        if let Some(app) = port.find("appProtocol") {
            entry.set("appProtocol", app);
        }
        out.push(entry);
    }
    out
}

fn find_port(port: &Value, pod: &Value) -> Option<i64> {
    let target = port.at("targetPort");
    let name = match target.as_str() {
        None => {
            return Some(target.as_i64().filter(|n| *n != 0).unwrap_or(port.at("port").int_or(0)));
        }
        Some(name) => name,
    };
    let sidecars = pod.at("spec.initContainers").items().iter();
    let sidecars = sidecars.filter(|c| c.at("restartPolicy").str() == "Always");
    let containers = pod.at("spec.containers").items().iter().chain(sidecars);
    containers
        .flat_map(|c| c.at("ports").items())
        .find(|p| p.at("name").str() == name && protocol(p) == protocol(port))
        .and_then(|p| p.at("containerPort").as_i64())
}

fn protocol(port: &Value) -> &str {
    match port.at("protocol").str() {
        "" => "TCP",
        protocol => protocol,
    }
}

/// The name under which DNS knows the pod within the Service.
pub fn hostname<'a>(pod: &'a Value, service: &Value) -> Option<&'a str> {
    let name = pod.at("spec.hostname").str();
    let ours = !name.is_empty() && pod.at("spec.subdomain").str() == service.name();
    ours.then_some(name)
}

/// A reference to a pod.
pub fn target(pod: &Value) -> Value {
    value!({ "kind": "Pod", "namespace": (pod.namespace()), "name": (pod.name()), "uid": (pod.uid()) })
}

/// The zone of a node; empty for none.
pub fn zone_of(node: &Value) -> &str {
    node.label("topology.kubernetes.io/zone").unwrap_or("")
}

/// The latest change of a pod's readiness or of the Service, as [`TRIGGER_TIME`] tells it.
pub fn trigger_time(service: &Value, pods: &[Arc<Value>]) -> Option<String> {
    let changes = pods.iter().filter_map(|p| p.condition("Ready")?.time("lastTransitionTime"));
    let latest: Option<Time> = changes.chain(service.created()).max();
    latest.map(|t| t.rfc3339())
}

/// The labels of a Service that its endpoints carry too.
pub fn labels(service: &Value, ours: &[&str]) -> Value {
    let all = service.at("metadata.labels").entries();
    all.filter(|(k, _)| !ours.contains(k)).map(|(k, v)| (k, v.clone())).collect()
}
