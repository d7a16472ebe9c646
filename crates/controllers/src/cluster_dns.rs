//! The Service of the cluster's DNS, `kube-dns`, and where it is answered: on every node, by the
//! node itself, at the cluster's DNS address and at the first address of the node's pod range.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::{ENDPOINTSLICES, NAMESPACES, NODES, SERVICES};
use timonier_meta::{Cidr, GroupVersionResource, ObjectKey};
use timonier_object::{Value, value};
use timonier_reconcile::{Change, Context, Plan, Reconciler, World, Write};

const NAMESPACE: &str = "kube-system";
/// The name by which upstream's tools look for it.
const NAME: &str = "kube-dns";
const MANAGER: &str = "cluster-dns-controller.timonier";
/// Endpoints of one slice, at most (the API's limit).
const MOST: usize = 1000;

/// The controller of the DNS's Service and of its EndpointSlice.
pub struct ClusterDns {
    /// The cluster's DNS address; nothing is made where it is empty.
    pub address: String,
}

impl Reconciler for ClusterDns {
    fn name(&self) -> &'static str {
        "cluster-dns-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![NAMESPACES, NODES, SERVICES, ENDPOINTSLICES]
    }

    fn concerns(&self, change: &Change, _: &World) -> Vec<ObjectKey> {
        let ours = ObjectKey::new(NAMESPACE, NAME);
        let concerns = if change.is(&NAMESPACES) {
            change.key.name == NAMESPACE
        } else if change.is(&NODES) {
            change.old.as_deref().map(endpoint) != change.new.as_deref().map(endpoint)
        } else {
            change.key == ours
        };
        if concerns { vec![ours] } else { Vec::new() }
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, _: &Context<'_>) -> Plan {
        let namespace = world.get(&NAMESPACES, &ObjectKey::new("", NAMESPACE));
        if self.address.is_empty() || namespace.is_none_or(|n| n.is_deleting()) {
            return Plan::nothing();
        }
        let Some(service) = world.get(&SERVICES, key) else {
            return Plan::write(Write::create(&SERVICES, self.service()));
        };
        // Whoever gave it a selector has taken it over.
        if service.is_deleting() || !service.at("spec.selector").is_empty() {
            return Plan::nothing();
        }
        let wanted = slice(world, service);
        match world.get(&ENDPOINTSLICES, key) {
            None => Plan::write(Write::create(&ENDPOINTSLICES, wanted)),
            Some(found)
                if found.label("endpointslice.kubernetes.io/managed-by") != Some(MANAGER) =>
            {
                Plan::nothing()
            }
            Some(found) if ["endpoints", "ports"].iter().all(|f| found.at(f) == wanted.at(f)) => {
                Plan::nothing()
            }
            Some(found) => {
                let mut changed = Value::clone(found);
                for field in ["endpoints", "ports"] {
                    changed.set(field, wanted.at(field).clone());
                }
                Plan::write(Write::update(&ENDPOINTSLICES, changed))
            }
        }
    }
}

impl ClusterDns {
    fn service(&self) -> Value {
        value!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": NAME, "namespace": NAMESPACE,
                "labels": { "k8s-app": NAME, "kubernetes.io/cluster-service": "true" } },
            "spec": { "type": "ClusterIP", "clusterIP": (&self.address),
                "ports": [
                    { "name": "dns", "protocol": "UDP", "port": 53, "targetPort": 53 },
                    { "name": "dns-tcp", "protocol": "TCP", "port": 53, "targetPort": 53 } ] } })
    }
}

fn slice(world: &World, service: &Value) -> Value {
    let endpoints: Vec<Value> =
        world.table(&NODES).iter().filter_map(|n| endpoint(n)).take(MOST).collect();
    value!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "name": NAME, "namespace": NAMESPACE,
            "labels": { "kubernetes.io/service-name": NAME, "k8s-app": NAME,
                        "endpointslice.kubernetes.io/managed-by": MANAGER },
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Service", "name": NAME,
                "uid": (service.uid()), "controller": true, "blockOwnerDeletion": true }] },
        "addressType": "IPv4",
        "endpoints": (Value::array(endpoints)),
        "ports": [{ "name": "dns", "protocol": "UDP", "port": 53 },
                  { "name": "dns-tcp", "protocol": "TCP", "port": 53 }] })
}

/// Where a node answers; `None` as long as it has no pod range.
fn endpoint(node: &Value) -> Option<Value> {
    let range = Cidr::parse(node.at("spec.podCIDR").str()).filter(Cidr::is_ipv4)?;
    let ready = node.condition_is_true("Ready");
    Some(value!({ "addresses": [(range.nth(1)?.to_string())], "nodeName": (node.name()),
        "conditions": { "ready": ready, "serving": ready, "terminating": false } }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{body, plan_key, short, world};

    fn node(name: &str, range: &str, ready: &str) -> Value {
        value!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name },
                 "spec": { "podCIDR": range },
                 "status": { "conditions": [{ "type": "Ready", "status": ready }] } })
    }

    #[test]
    fn the_service_is_there_and_its_endpoints_are_true() {
        let key = ObjectKey::new(NAMESPACE, NAME);
        let dns = ClusterDns { address: "10.96.0.10".into() };
        let namespace = value!({ "apiVersion": "v1", "kind": "Namespace",
                                 "metadata": { "name": NAMESPACE } });
        let mut things = vec![namespace, node("a", "10.244.0.0/24", "True"), node("b", "", "True")];
        let plan = plan_key(&dns, &world(things.clone()), &key);
        let service = body(&plan, &SERVICES).clone();
        assert_eq!(service.at("spec.clusterIP").str(), "10.96.0.10");
        things.push(service);
        let plan = plan_key(&dns, &world(things.clone()), &key);
        let slice = body(&plan, &ENDPOINTSLICES).clone();
        assert_eq!(slice.at("endpoints").items().len(), 1);
        assert_eq!(slice.at("endpoints").items()[0].at("addresses"), &value!(["10.244.0.1"]));
        things.push(slice);
        assert_eq!(plan_key(&dns, &world(things.clone()), &key), Plan::nothing());
        things[1] = node("a", "10.244.0.0/24", "Unknown");
        let plan = plan_key(&dns, &world(things.clone()), &key);
        assert_eq!(short(&plan), ["update endpointslices kube-dns"]);
        let endpoint = &body(&plan, &ENDPOINTSLICES).at("endpoints").items()[0];
        assert!(!endpoint.at("conditions.ready").bool());
        things[3].set("spec.selector", value!({ "own": "dns" }));
        assert_eq!(plan_key(&dns, &world(things), &key), Plan::nothing());
    }
}
