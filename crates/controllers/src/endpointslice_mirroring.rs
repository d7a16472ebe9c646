//! Mirrors Endpoints that somebody else writes, for Services without a selector, to
//! EndpointSlices (upstream `pkg/controller/endpointslicemirroring`).

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::{ENDPOINTS, ENDPOINTSLICES, SERVICES};
use timonier_meta::{GroupVersionResource, ObjectKey};
use timonier_object::{Value, json, value};
use timonier_reconcile::{Change, Context, Plan, Reconciler, World, Write};

use crate::common::pods::{controller_reference, name_prefix};
use crate::common::services::TRIGGER_TIME;
use crate::endpointslice::fill::fill;

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Addresses of one subset that are mirrored (upstream's `--mirroring-max-endpoints-per-subset`).
const MAX_PER_SUBSET: usize = 1000;

/// The mirroring controller. Its keys are Endpoints.
pub struct EndpointSliceMirroring;

impl Reconciler for EndpointSliceMirroring {
    fn name(&self) -> &'static str {
        "endpoint-slice-mirroring-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![ENDPOINTS, SERVICES, ENDPOINTSLICES]
    }

    fn concerns(&self, change: &Change, _: &World) -> Vec<ObjectKey> {
        if !change.is(&ENDPOINTSLICES) {
            return vec![change.key.clone()];
        }
        let ours = change.states().filter(|s| s.label(MANAGED_BY) == Some(MANAGER));
        ours.filter_map(|s| Some(ObjectKey::new(s.namespace(), s.label(SERVICE_NAME)?))).collect()
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        let mine: Vec<Arc<Value>> = world
            .table(&ENDPOINTSLICES)
            .in_namespace(&key.namespace)
            .filter(|s| s.label(SERVICE_NAME) == Some(&key.name))
            .filter(|s| s.label(MANAGED_BY) == Some(MANAGER) && !s.is_deleting())
            .cloned()
            .collect();
        let source = world.get(&ENDPOINTS, key).filter(|e| is_mirrored(e, key, world));
        let Some(source) = source else {
            let writes = mine.iter().map(|s| Write::delete(&ENDPOINTSLICES, s)).collect();
            return Plan { writes, ..Plan::default() };
        };
        Plan { writes: mirror(source, mine, context), ..Plan::default() }
    }
}

/// Endpoints of a Service that selects its pods are the endpoints controller's.
fn is_mirrored(endpoints: &Value, key: &ObjectKey, world: &World) -> bool {
    let service = world.get(&SERVICES, key).filter(|s| !s.is_deleting());
    service.is_some_and(|s| s.at("spec.selector").is_empty())
        && endpoints.label(SKIP) != Some("true")
        && endpoints.annotation(LEADER).is_none()
        && !endpoints.is_deleting()
}

/// The endpoints of one address type and set of ports.
struct Group {
    family: &'static str,
    ports: Vec<Value>,
    endpoints: Vec<Value>,
}

fn mirror(source: &Value, mut left: Vec<Arc<Value>>, context: &Context<'_>) -> Vec<Write> {
    let (mut writes, mut deletes) = (Vec::new(), Vec::new());
    let (labels, notes) = (labels(source), annotations(source));
    let mut made = 0;
    for (key, group) in groups(source) {
        let (same, others): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|s| group_key(s.at("addressType").str(), s.at("ports").items()) == key);
        left = others;
        let filled = fill(&same, group.endpoints);
        for (slice, endpoints) in same.iter().zip(filled.kept) {
            let Some(endpoints) = endpoints else {
                deletes.push(Write::delete(&ENDPOINTSLICES, slice));
                continue;
            };
            let mut changed = Value::clone(slice);
            changed.set("endpoints", Value::array(endpoints));
            changed.set("metadata.labels", &labels);
            match notes.is_empty() {
                true => drop(changed.remove("metadata.annotations")),
                false => changed.set("metadata.annotations", &notes),
            }
            if changed != **slice {
                writes.push(Write::update(&ENDPOINTSLICES, changed));
            }
        }
        for endpoints in filled.new {
            let prefix = name_prefix(source);
            let name = context.generate_name(&prefix, made);
            made += 1;
            let mut slice = value!({
                "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
                "metadata": { "name": name, "generateName": prefix,
                              "namespace": (source.namespace()), "labels": (&labels),
                              "ownerReferences": [(&controller_reference(source))] },
                "addressType": (group.family),
                "endpoints": (Value::array(endpoints)),
                "ports": (Value::array(group.ports.iter().cloned())),
            });
            if !notes.is_empty() {
                slice.set("metadata.annotations", &notes);
            }
            writes.push(Write::create(&ENDPOINTSLICES, slice));
        }
    }
    writes.extend(deletes);
    writes.extend(left.iter().map(|s| Write::delete(&ENDPOINTSLICES, s)));
    writes
}

fn groups(source: &Value) -> BTreeMap<String, Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for subset in source.at("subsets").items() {
        let ports: Vec<Value> = subset.at("ports").items().iter().map(port).collect();
        let list = |field: &str| subset.at(field).items().iter();
        let all = list("addresses")
            .map(|a| (a, true))
            .chain(list("notReadyAddresses").map(|a| (a, false)));
        for (address, ready) in all.take(MAX_PER_SUBSET) {
            let family = if address.at("ip").str().contains(':') { "IPv6" } else { "IPv4" };
            let new = || Group { family, ports: ports.clone(), endpoints: Vec::new() };
            let group = groups.entry(group_key(family, &ports)).or_insert_with(new);
            group.endpoints.push(endpoint(address, ready));
        }
    }
    groups
}

fn group_key(family: &str, ports: &[Value]) -> String {
    let mut texts: Vec<String> = ports.iter().map(json::to_string).collect();
    texts.sort();
    alloc::format!("{family} {}", texts.join(","))
}

fn port(port: &Value) -> Value {
    let protocol = match port.at("protocol").str() {
        "" => "TCP",
        protocol => protocol,
    };
    let mut out = value!({
        "name": (port.at("name").str()), "protocol": protocol, "port": (port.at("port")),
    });
    if let Some(app) = port.find("appProtocol") {
        out.set("appProtocol", app);
    }
    out
}

fn endpoint(address: &Value, ready: bool) -> Value {
    let mut out = value!({
        "addresses": [(address.at("ip"))], "conditions": { "ready": ready },
    });
    for field in ["hostname", "targetRef", "nodeName"] {
        if let Some(value) = address.find(field) {
            out.set(field, value);
        }
    }
    out
}

fn labels(source: &Value) -> Value {
    let mut labels = source.at("metadata.labels").clone();
    let map = labels.make_object();
    map.insert(SERVICE_NAME, source.name().into());
    map.insert(MANAGED_BY, MANAGER.into());
    labels
}

fn annotations(source: &Value) -> Value {
    let all = source.at("metadata.annotations").entries();
    all.filter(|(k, _)| ![TRIGGER_TIME, LAST_APPLIED].contains(k))
        .map(|(k, v)| (k, v.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{add, body, object, plan, short, world};

    fn service() -> Value {
        object(
            r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"ext","namespace":"ns"},
                "spec":{"ports":[{"port":80}]}}"#,
        )
    }

    fn endpoints() -> Value {
        object(
            r#"{"apiVersion":"v1","kind":"Endpoints",
                "metadata":{"name":"ext","namespace":"ns","uid":"uid-ext","labels":{"a":"b"}},
                "subsets":[{"addresses":[{"ip":"10.1.2.3"}],"notReadyAddresses":[{"ip":"fd00::1"}],
                            "ports":[{"name":"web","port":8080}]}]}"#,
        )
    }

    #[test]
    fn each_family_gets_a_slice_that_follows_its_source() {
        let mut world = world([service(), endpoints()]);
        let first = plan(&EndpointSliceMirroring, &world, "ext");
        assert_eq!(first.writes.len(), 2);
        let slice = body(&first, &ENDPOINTSLICES);
        assert_eq!(slice.at("addressType").str(), "IPv4");
        assert_eq!(slice.controller().unwrap().kind, "Endpoints");
        assert_eq!(
            slice.at("ports"),
            &value!([{ "name": "web", "protocol": "TCP", "port": 8080 }])
        );
        assert_eq!(
            slice.at("endpoints"),
            &value!([{ "addresses": ["10.1.2.3"], "conditions": { "ready": true } }])
        );
        for write in &first.writes {
            let timonier_reconcile::Operation::Create { object } = &write.operation else {
                panic!()
            };
            add(&mut world, object.clone());
        }
        assert_eq!(plan(&EndpointSliceMirroring, &world, "ext"), Plan::nothing());
        let mut fewer = endpoints();
        fewer.entry("subsets").make_array()[0].remove("notReadyAddresses");
        add(&mut world, fewer);
        let next = short(&plan(&EndpointSliceMirroring, &world, "ext"));
        assert_eq!(next.len(), 1);
        assert!(next[0].starts_with("delete endpointslices ext-"), "{next:?}");
    }

    #[test]
    fn what_others_look_after_is_not_mirrored() {
        let mut selecting = service();
        selecting.set("spec.selector", value!({ "a": "b" }));
        let mut skipped = endpoints();
        skipped.set("metadata.labels", value!({ SKIP: "true" }));
        for world in
            [world([selecting, endpoints()]), world([service(), skipped]), world([endpoints()])]
        {
            assert_eq!(plan(&EndpointSliceMirroring, &world, "ext"), Plan::nothing());
        }
    }
}
