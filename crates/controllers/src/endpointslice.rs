//! EndpointSlice: the addresses behind each Service, in slices of at most 100
//! (upstream `pkg/controller/endpointslice` and `staging/.../endpointslice`).

pub(crate) mod fill;

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::{ENDPOINTSLICES, NODES, PODS, SERVICES};
use timonier_meta::{GroupVersionResource, ObjectKey};
use timonier_object::{Value, json, value};
use timonier_reconcile::{Change, Context, Plan, Reconciler, World, Write};

use crate::common::{pods, services};
use fill::fill;

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";

/// The controller of EndpointSlices. Its keys are Services.
pub struct EndpointSlices;

impl Reconciler for EndpointSlices {
    fn name(&self) -> &'static str {
        "endpoint-slice-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![SERVICES, PODS, NODES, ENDPOINTSLICES]
    }

    fn concerns(&self, change: &Change, world: &World) -> Vec<ObjectKey> {
        if change.is(&SERVICES) {
            return vec![change.key.clone()];
        }
        if !change.is(&ENDPOINTSLICES) {
            return services::concerned(change, world);
        }
        let ours = change.states().filter(|s| s.label(MANAGED_BY) == Some(MANAGER));
        ours.filter_map(|s| Some(ObjectKey::new(s.namespace(), s.label(SERVICE_NAME)?))).collect()
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        let Some(service) = world.get(&SERVICES, key).filter(|s| !s.is_deleting()) else {
            return Plan::nothing();
        };
        let Some(selector) = services::selector(service) else { return Plan::nothing() };
        let behind = services::pods_of(service, &selector, world);
        let trigger = services::trigger_time(service, &behind);
        let mine: Vec<Arc<Value>> = world
            .table(&ENDPOINTSLICES)
            .in_namespace(&key.namespace)
            .filter(|s| s.label(SERVICE_NAME) == Some(&key.name))
            .filter(|s| s.label(MANAGED_BY) == Some(MANAGER) && !s.is_deleting())
            .cloned()
            .collect();
        let families = services::families(service);
        let mut writer = Writer { service, trigger, context, made: 0, writes: Vec::new() };
        for family in &families {
            let slices: Vec<_> =
                mine.iter().filter(|s| s.at("addressType").str() == family).cloned().collect();
            writer.family(family, slices, groups(service, &behind, family, world));
        }
        let stale =
            mine.iter().filter(|s| !families.iter().any(|f| s.at("addressType").str() == f));
        let mut plan = Plan { writes: writer.writes, ..Plan::default() };
        plan.writes.extend(stale.map(|s| Write::delete(&ENDPOINTSLICES, s)));
        plan
    }
}

/// Endpoints that share their ports.
struct Group {
    ports: Vec<Value>,
    endpoints: Vec<Value>,
}

/// The endpoints by their ports, which differ where pods name theirs differently.
fn groups(
    service: &Value,
    behind: &[Arc<Value>],
    family: &str,
    world: &World,
) -> BTreeMap<String, Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for pod in behind {
        let Some(address) = services::address(pod, family) else { continue };
        let ports = services::ports(service, pod);
        let endpoint = endpoint(service, pod, address, world);
        let new = || Group { ports: ports.clone(), endpoints: Vec::new() };
        groups.entry(port_key(&ports)).or_insert_with(new).endpoints.push(endpoint);
    }
    groups
}

fn port_key(ports: &[Value]) -> String {
    let mut texts: Vec<String> = ports.iter().map(json::to_string).collect();
    texts.sort();
    texts.join(",")
}

fn endpoint(service: &Value, pod: &Value, address: &str, world: &World) -> Value {
    let (serving, terminating) = (pods::is_ready(pod), pod.is_deleting());
    let publish = service.at("spec.publishNotReadyAddresses").bool();
    let ready = publish || serving && !terminating;
    let mut out = value!({
        "addresses": [address],
        "conditions": { "ready": ready, "serving": serving, "terminating": terminating },
    });
    if let Some(name) = services::hostname(pod, service) {
        out.set("hostname", name);
    }
    out.set("targetRef", services::target(pod));
    let node = pod.at("spec.nodeName").str();
    if node.is_empty() {
        return out;
    }
    out.set("nodeName", node);
    let stored = world.get(&NODES, &ObjectKey::new("", node));
    let zone = stored.map_or("", |n| services::zone_of(n));
    if !zone.is_empty() {
        out.set("zone", zone);
    }
    if ready && let Some(hints) = hints(service, node, zone) {
        out.set("hints", hints);
    }
    out
}

/// From where an endpoint shall be used first. A node is known also where there are no zones.
fn hints(service: &Value, node: &str, zone: &str) -> Option<Value> {
    let mut hints = Value::object();
    match service.at("spec.trafficDistribution").str() {
        "PreferSameNode" => hints.set("forNodes", value!([{ "name": node }])),
        "PreferClose" | "PreferSameZone" => {}
        _ => return None,
    }
    if !zone.is_empty() {
        hints.set("forZones", value!([{ "name": zone }]));
    }
    (!hints.is_empty()).then_some(hints)
}

struct Writer<'a> {
    service: &'a Value,
    trigger: Option<String>,
    context: &'a Context<'a>,
    made: u64,
    writes: Vec<Write>,
}

impl Writer<'_> {
    fn family(
        &mut self,
        family: &str,
        slices: Vec<Arc<Value>>,
        mut groups: BTreeMap<String, Group>,
    ) {
        if groups.is_empty() {
            // A slice without endpoints says that there are none.
            groups.insert(String::new(), Group { ports: Vec::new(), endpoints: Vec::new() });
        }
        let mut deletes = Vec::new();
        let mut left = slices;
        for (key, group) in groups {
            let (same, others): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|s| port_key(s.at("ports").items()) == key);
            left = others;
            let filled = fill(&same, group.endpoints);
            for (slice, endpoints) in same.iter().zip(filled.kept) {
                match endpoints {
                    None => deletes.push(Write::delete(&ENDPOINTSLICES, slice)),
                    Some(endpoints) => self.update(slice, endpoints),
                }
            }
            for endpoints in filled.new {
                self.create(family, &group.ports, endpoints);
            }
        }
        deletes.extend(left.iter().map(|s| Write::delete(&ENDPOINTSLICES, s)));
        self.writes.extend(deletes);
    }

    fn labels(&self) -> Value {
        let ours = [SERVICE_NAME, MANAGED_BY, services::HEADLESS];
        let mut labels = services::labels(self.service, &ours);
        let map = labels.make_object();
        map.insert(SERVICE_NAME, self.service.name().into());
        map.insert(MANAGED_BY, MANAGER.into());
        if services::is_headless(self.service) {
            map.insert(services::HEADLESS, "".into());
        }
        labels
    }

    fn create(&mut self, family: &str, ports: &[Value], endpoints: Vec<Value>) {
        let prefix = pods::name_prefix(self.service);
        let name = self.context.generate_name(&prefix, self.made);
        self.made += 1;
        let owner = pods::controller_reference(self.service);
        let mut slice = value!({
            "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
            "metadata": { "name": name, "generateName": prefix,
                          "namespace": (self.service.namespace()), "labels": (self.labels()),
                          "ownerReferences": [(&owner)] },
            "addressType": family,
            "endpoints": (Value::array(endpoints)),
            "ports": (Value::array(ports.iter().cloned())),
        });
        self.trigger_time(&mut slice);
        self.writes.push(Write::create(&ENDPOINTSLICES, slice));
    }

    fn update(&mut self, slice: &Value, endpoints: Vec<Value>) {
        let (endpoints, labels) = (Value::array(endpoints), self.labels());
        let mut changed = slice.clone();
        let same = slice.at("endpoints").items() == endpoints.items();
        if same && slice.at("metadata.labels") == &labels {
            return;
        }
        changed.set("endpoints", endpoints);
        changed.set("metadata.labels", labels);
        self.trigger_time(&mut changed);
        self.writes.push(Write::update(&ENDPOINTSLICES, changed));
    }

    fn trigger_time(&self, slice: &mut Value) {
        if let Some(time) = &self.trigger {
            let notes = slice.entry("metadata.annotations").make_object();
            notes.insert(services::TRIGGER_TIME, time.to_string().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::common::testing::{add, body, object, plan, short, world};

    fn service() -> Value {
        object(
            r#"{"apiVersion":"v1","kind":"Service",
                "metadata":{"name":"web","namespace":"ns","uid":"uid-svc","labels":{"team":"a"}},
                "spec":{"selector":{"app":"web"},"clusterIP":"10.96.0.7","ipFamilies":["IPv4"],
                        "ports":[{"name":"http","port":80,"targetPort":"web","protocol":"TCP"}]}}"#,
        )
    }

    fn node() -> Value {
        object(
            r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1",
                "labels":{"topology.kubernetes.io/zone":"z"}}}"#,
        )
    }

    fn pod(n: usize, ready: bool) -> Value {
        let mut pod = crate::common::testing::pod(
            &format!("p{n:03}"),
            &service(),
            value!({ "app": "web" }),
            ready,
        );
        pod.set("status.podIPs", value!([{ "ip": (format!("10.244.0.{n}")) }]));
        let ports = value!([{ "name": "web", "containerPort": 8080 }]);
        pod.entry("spec.containers").make_array()[0].set("ports", ports);
        pod
    }

    fn apply(world: &mut World, plan: &Plan) {
        for write in &plan.writes {
            match &write.operation {
                timonier_reconcile::Operation::Delete { .. } => {
                    let last = world.get(&write.resource, &write.key).unwrap().clone();
                    world.remove(
                        &write.resource.group_resource(),
                        &last,
                        crate::common::testing::now(),
                    );
                }
                timonier_reconcile::Operation::Create { object }
                | timonier_reconcile::Operation::Update { object, .. } => {
                    add(world, object.clone())
                }
                timonier_reconcile::Operation::Patch { .. } => panic!("no patches here"),
            }
        }
    }

    #[test]
    fn a_slice_tells_addresses_ports_and_conditions() {
        let mut going = pod(3, true);
        going.set("metadata.deletionTimestamp", "2026-01-01T00:00:00Z");
        let world = world([service(), node(), pod(1, true), pod(2, false), going]);
        let plan = plan(&EndpointSlices, &world, "web");
        let slice = body(&plan, &ENDPOINTSLICES);
        assert_eq!(
            slice.at("metadata.labels"),
            &value!({ "team": "a", SERVICE_NAME: "web", MANAGED_BY: MANAGER })
        );
        assert_eq!(
            slice.at("ports"),
            &value!([{ "name": "http", "port": 8080, "protocol": "TCP" }])
        );
        let conditions: Vec<_> = slice
            .at("endpoints")
            .items()
            .iter()
            .map(|e| {
                let c = |f: &str| e.at("conditions").at(f).bool();
                (c("ready"), c("serving"), c("terminating"))
            })
            .collect();
        assert_eq!(conditions, [(true, true, false), (false, false, false), (false, true, true)]);
        let first = &slice.at("endpoints").items()[0];
        assert_eq!(first.at("zone").str(), "z");
        assert_eq!(first.at("targetRef.name").str(), "p001");
        assert_eq!(slice.annotation(services::TRIGGER_TIME), Some("2026-01-01T00:00:10Z"));
    }

    #[test]
    fn a_service_without_pods_has_an_empty_slice() {
        let mut world = world([service(), node()]);
        let first = plan(&EndpointSlices, &world, "web");
        let slice = body(&first, &ENDPOINTSLICES);
        assert!(slice.at("endpoints").items().is_empty() && slice.at("ports").items().is_empty());
        apply(&mut world, &first);
        assert_eq!(plan(&EndpointSlices, &world, "web"), Plan::nothing());
        add(&mut world, pod(1, true));
        let context = Context::at(crate::common::testing::now(), 8);
        let second = EndpointSlices.reconcile(&service().key(), &world, &context);
        assert_eq!(second.writes.len(), 2, "{:?}", short(&second));
        apply(&mut world, &second);
        assert_eq!(world.table(&ENDPOINTSLICES).len(), 1);
    }

    #[test]
    fn endpoints_tell_from_where_they_shall_be_used() {
        let hints = |wish: &str, zoned: bool| {
            let mut service = service();
            service.set("spec.trafficDistribution", wish);
            let mut node = node();
            if !zoned {
                node.remove("metadata.labels");
            }
            let world = world([service, node, pod(1, true)]);
            let plan = plan(&EndpointSlices, &world, "web");
            body(&plan, &ENDPOINTSLICES).at("endpoints").items()[0].at("hints").clone()
        };
        let (zone, node) = (value!([{ "name": "z" }]), value!([{ "name": "n1" }]));
        let both = value!({ "forNodes": (&node), "forZones": (&zone) });
        assert_eq!(hints("PreferSameNode", true), both);
        assert_eq!(hints("PreferSameNode", false), value!({ "forNodes": node }));
        assert_eq!(hints("PreferClose", true), value!({ "forZones": zone }));
        assert_eq!(hints("PreferClose", false), Value::Null);
        assert_eq!(hints("", true), Value::Null);
    }

    #[test]
    fn slices_hold_a_hundred_and_change_little() {
        let mut world = world([service(), node()]);
        for n in 0..250 {
            add(&mut world, pod(n, true));
        }
        let first = plan(&EndpointSlices, &world, "web");
        assert_eq!(first.writes.len(), 3);
        apply(&mut world, &first);
        assert_eq!(plan(&EndpointSlices, &world, "web"), Plan::nothing());
        add(&mut world, pod(5, false));
        assert_eq!(plan(&EndpointSlices, &world, "web").writes.len(), 1);
        add(&mut world, pod(251, true));
        let more = plan(&EndpointSlices, &world, "web");
        apply(&mut world, &more);
        let mut sizes: Vec<_> =
            world.table(&ENDPOINTSLICES).iter().map(|s| s.at("endpoints").items().len()).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [51, 100, 100]);
    }

    #[test]
    fn services_without_selector_are_left_alone() {
        let mut service = service();
        service.remove("spec.selector");
        assert_eq!(plan(&EndpointSlices, &world([service]), "web"), Plan::nothing());
    }
}
