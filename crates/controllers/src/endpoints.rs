//! Endpoints: the addresses behind each Service in the old form
//! (upstream `pkg/controller/endpoint`).

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::{ENDPOINTS, NODES, PODS, SERVICES};
use timonier_meta::{GroupVersionResource, ObjectKey};
use timonier_object::{Value, json, value};
use timonier_reconcile::{Change, Context, Plan, Reason, Reconciler, World, Write};

use crate::common::{pods, services};

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// The most addresses of one object.
const MAX_ADDRESSES: usize = 1000;

/// The controller of Endpoints.
pub struct Endpoints;

impl Reconciler for Endpoints {
    fn name(&self) -> &'static str {
        "endpoint-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![SERVICES, PODS, NODES, ENDPOINTS]
    }

    fn concerns(&self, change: &Change, world: &World) -> Vec<ObjectKey> {
        if change.is(&SERVICES) || change.is(&ENDPOINTS) {
            return vec![change.key.clone()];
        }
        services::concerned(change, world)
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, _: &Context<'_>) -> Plan {
        let stored = world.get(&ENDPOINTS, key);
        let Some(service) = world.get(&SERVICES, key).filter(|s| !s.is_deleting()) else {
            let ours = stored.filter(|e| e.label(MANAGED_BY) == Some(MANAGER));
            return ours.map_or_else(Plan::nothing, |e| Plan::write(Write::delete(&ENDPOINTS, e)));
        };
        let Some(selector) = services::selector(service) else { return Plan::nothing() };
        let behind = services::pods_of(service, &selector, world);
        let (subsets, cut) = subsets(service, &behind);
        write(service, stored, subsets, cut, services::trigger_time(service, &behind))
    }
}

fn write(
    service: &Value,
    stored: Option<&Arc<Value>>,
    subsets: Value,
    cut: bool,
    trigger: Option<String>,
) -> Plan {
    let mut labels = services::labels(service, &[MANAGED_BY, services::HEADLESS]);
    let map = labels.make_object();
    map.insert(MANAGED_BY, MANAGER.into());
    if services::is_headless(service) {
        map.insert(services::HEADLESS, "".into());
    }
    let mut object = match stored {
        Some(stored) => Value::clone(stored),
        None => value!({ "kind": "Endpoints", "apiVersion": "v1",
            "metadata": { "name": (service.name()), "namespace": (service.namespace()) } }),
    };
    let was_cut = object.annotation(OVER_CAPACITY).is_some();
    let same = stored.is_some_and(|s| {
        s.at("subsets").items() == subsets.items()
            && s.at("metadata.labels") == &labels
            && was_cut == cut
    });
    if same {
        return Plan::nothing();
    }
    object.set("metadata.labels", labels);
    let notes = object.entry("metadata.annotations").make_object();
    if let Some(time) = trigger {
        notes.insert(services::TRIGGER_TIME, time.into());
    }
    match cut {
        true => notes.insert(OVER_CAPACITY, "truncated".into()),
        false => notes.remove(OVER_CAPACITY),
    };
    match subsets.items().is_empty() {
        true => object.remove("subsets"),
        false => object.make_object().insert("subsets", subsets),
    };
    Plan::write(match stored {
        Some(_) => Write::update(&ENDPOINTS, object).on_failure(Reason::warning(
            service,
            "FailedToUpdateEndpoint",
            alloc::format!(
                "Failed to update endpoint {}/{}: ",
                service.namespace(),
                service.name()
            ),
        )),
        None => Write::create(&ENDPOINTS, object).on_failure(Reason::warning(
            service,
            "FailedToCreateEndpoint",
            alloc::format!(
                "Failed to create endpoint for service {}/{}: ",
                service.namespace(),
                service.name()
            ),
        )),
    })
}

/// Addresses that serve the same ports.
#[derive(Default)]
struct Subset {
    ports: Vec<Value>,
    ready: Vec<Value>,
    unready: Vec<Value>,
}

/// Addresses by the ports that they serve, and whether some were left out for their number.
fn subsets(service: &Value, behind: &[Arc<Value>]) -> (Value, bool) {
    let publish = service.at("spec.publishNotReadyAddresses").bool();
    let family = services::families(service).into_iter().next().unwrap_or_default();
    let mut groups: BTreeMap<String, Subset> = BTreeMap::new();
    let usable = behind.iter().filter(|p| publish || !p.is_deleting());
    let mut found: Vec<(&str, &Arc<Value>)> =
        usable.filter_map(|p| Some((services::address(p, &family)?, p))).collect();
    // Where not all fit, those that are ready stay.
    found.sort_by_key(|(address, p)| (!(publish || pods::is_ready(p)), address.to_string()));
    let cut = found.len() > MAX_ADDRESSES;
    found.truncate(MAX_ADDRESSES);
    found.sort_by_key(|(address, p)| (address.to_string(), p.key()));
    for (address, pod) in found {
        let mut ports = services::ports(service, pod);
        if ports.is_empty() && !service.at("spec.ports").items().is_empty() {
            continue;
        }
        for port in ports.iter_mut().filter(|p| p.at("name").is_empty()) {
            port.remove("name");
        }
        ports.sort_by_key(json::to_string);
        let key = json::to_string(&Value::array(ports.iter().cloned()));
        let entry = groups.entry(key).or_insert_with(|| Subset { ports, ..Subset::default() });
        let ready = publish || pods::is_ready(pod);
        let list = if ready { &mut entry.ready } else { &mut entry.unready };
        list.push(address_entry(service, pod, address));
    }
    let list = groups.into_values().map(|Subset { ports, ready, unready }| {
        let mut subset = Value::object();
        for (field, items) in
            [("addresses", ready), ("notReadyAddresses", unready), ("ports", ports)]
        {
            if !items.is_empty() {
                subset.set(field, Value::array(items));
            }
        }
        subset
    });
    (Value::array(list), cut)
}

fn address_entry(service: &Value, pod: &Value, address: &str) -> Value {
    let mut entry = value!({ "ip": address });
    if let Some(name) = services::hostname(pod, service) {
        entry.set("hostname", name);
    }
    let node = pod.at("spec.nodeName").str();
    if !node.is_empty() {
        entry.set("nodeName", node);
    }
    entry.set("targetRef", services::target(pod));
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{body, object, plan, pod, short, world};

    fn service() -> Value {
        object(
            r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"ns"},
                "spec":{"selector":{"app":"web"},"clusterIP":"None","ipFamilies":["IPv4"],
                        "ports":[{"port":80,"protocol":"TCP"}]}}"#,
        )
    }

    fn node() -> Value {
        object(r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}}"#)
    }

    #[test]
    fn ready_and_unready_addresses_are_told_apart() {
        let owner = service();
        let mut second = pod("b", &owner, value!({ "app": "web" }), false);
        second.set("status.podIPs", value!([{ "ip": "10.244.0.6" }]));
        let first = pod("a", &owner, value!({ "app": "web" }), true);
        let plan = plan(&Endpoints, &world([owner, node(), first, second]), "web");
        let made = body(&plan, &ENDPOINTS);
        assert_eq!(made.label(services::HEADLESS), Some(""));
        assert_eq!(made.label(MANAGED_BY), Some(MANAGER));
        let subset = &made.at("subsets").items()[0];
        assert_eq!(subset.at("addresses").items()[0].at("ip").str(), "10.244.0.5");
        assert_eq!(subset.at("notReadyAddresses").items()[0].at("targetRef.name").str(), "b");
        assert_eq!(subset.at("ports"), &value!([{ "port": 80, "protocol": "TCP" }]));
    }

    #[test]
    fn they_go_with_their_service() {
        let made = body(&plan(&Endpoints, &world([service(), node()]), "web"), &ENDPOINTS).clone();
        assert!(made.find("subsets").is_none());
        let settled = world([service(), node(), made.clone()]);
        assert_eq!(plan(&Endpoints, &settled, "web"), Plan::nothing());
        assert_eq!(short(&plan(&Endpoints, &world([made]), "web")), ["delete endpoints web"]);
    }
}
