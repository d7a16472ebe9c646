//! Approves the certificate requests of kubelets (upstream
//! `pkg/controller/certificates/approver`): the first client certificate of a node that joins
//! with a bootstrap token, later ones of the node itself, and, other than upstream, serving
//! certificates for what is the node's own.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use timonier_meta::gvk::resources::{CERTIFICATESIGNINGREQUESTS, NODES};
use timonier_meta::{Cidr, GroupVersionResource, ObjectKey, Time};
use timonier_object::{Value, value};
use timonier_reconcile::{Change, Context, Plan, Reconciler, World, Write};

use crate::certificates::{
    Certifier, Facts, KUBELET_CLIENT, KUBELET_SERVING, check, has, node_of, usages,
};
use crate::common::conditions;

/// The group of whoever holds a bootstrap token.
const BOOTSTRAPPERS: &str = "system:bootstrappers";
const NODES_GROUP: &str = "system:nodes";

/// The controller that approves.
pub struct CsrApproving {
    pub certifier: Arc<dyn Certifier>,
    pub reserved: Reserved,
}

/// What no node may serve as, because clients that trust the cluster's authority would take it
/// for something else: all of the cluster's certificates have that one authority.
#[derive(Clone, Debug, Default)]
pub struct Reserved {
    /// The names in the API server's certificate.
    pub names: Vec<String>,
    /// The addresses in it.
    pub addresses: Vec<IpAddr>,
    /// The ranges of Services' and pods' addresses.
    pub ranges: Vec<String>,
    /// The domain of the cluster's DNS.
    pub domain: String,
}

impl Reserved {
    /// Whether it is the API server's name, or one that may be a Service's or a pod's: a webhook
    /// is called as `NAME.NAMESPACE.svc`.
    fn name(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let below = |domain: &str| {
            let rest = name.strip_suffix(domain).filter(|_| !domain.is_empty());
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.names.iter().any(|n| n.eq_ignore_ascii_case(&name))
            || ["svc", "localhost", &self.domain].into_iter().any(below)
    }

    fn address(&self, address: &IpAddr) -> bool {
        let address = address.to_canonical();
        let within = |range: &String| Cidr::parse(range).is_some_and(|r| r.contains(address));
        address.is_loopback()
            || address.is_unspecified()
            || self.addresses.contains(&address)
            || self.ranges.iter().any(within)
    }
}

impl Reconciler for CsrApproving {
    fn name(&self) -> &'static str {
        "certificatesigningrequest-approving-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![CERTIFICATESIGNINGREQUESTS, NODES]
    }

    fn concerns(&self, change: &Change, _: &World) -> Vec<ObjectKey> {
        let csr = change.is(&CERTIFICATESIGNINGREQUESTS) && change.new.is_some();
        if csr { vec![change.key.clone()] } else { Vec::new() }
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        let Some(request) = world.get(&CERTIFICATESIGNINGREQUESTS, key) else {
            return Plan::nothing();
        };
        if ["Approved", "Denied", "Failed"].iter().any(|kind| has(request, kind)) {
            return Plan::nothing();
        }
        match self.message(request, world) {
            Some(message) => approve(request, message, context.now),
            // An administrator decides.
            None => Plan::nothing(),
        }
    }
}

impl CsrApproving {
    /// Why the request is approved; `None` where it is not this controller's to approve.
    fn message(&self, request: &Value, world: &World) -> Option<&'static str> {
        let signer = request.at("spec.signerName").str();
        if ![KUBELET_CLIENT, KUBELET_SERVING].contains(&signer) {
            return None;
        }
        let facts = self.certifier.read(request.at("spec.request").str()).ok()?;
        check(signer, &facts, &usages(request)).ok()?;
        let name = node_of(&facts).ok()?;
        let in_group =
            |group: &str| request.at("spec.groups").items().iter().any(|g| g.str() == group);
        let itself =
            in_group(NODES_GROUP) && request.at("spec.username").str() == facts.common_name;
        match signer {
            KUBELET_CLIENT if itself => Some("Auto approving self kubelet client certificate."),
            KUBELET_CLIENT if in_group(BOOTSTRAPPERS) => {
                Some("Auto approving kubelet client certificate of a bootstrap token's holder.")
            }
            KUBELET_SERVING if itself && self.is_own(name, &facts, world) => {
                Some("Auto approving kubelet serving certificate for the node's own addresses.")
            }
            _ => None,
        }
    }

    /// Whether what the node wants to serve as is not another's. A node that is not there has
    /// nothing of its own.
    fn is_own(&self, node: &str, facts: &Facts, world: &World) -> bool {
        let fine = |address: &IpAddr| {
            let others = world.table(&NODES).iter().filter(|n| n.name() != node);
            !self.reserved.address(address)
                && !others.flat_map(|n| addresses(n)).any(|a| a == address.to_canonical())
        };
        world.get(&NODES, &ObjectKey::new("", node)).is_some()
            && !self.reserved.name(node)
            && facts.dns_names.iter().all(|n| n == node)
            && facts.addresses.iter().all(fine)
    }
}

fn addresses(node: &Value) -> impl Iterator<Item = IpAddr> {
    node.at("status.addresses").items().iter().filter_map(|a| a.at("address").str().parse().ok())
}

fn approve(request: &Value, message: &str, now: Time) -> Plan {
    let mut approved = request.clone();
    let condition = value!({ "type": "Approved", "status": "True", "reason": "AutoApproved",
        "message": message, "lastUpdateTime": (now.rfc3339()),
        "lastTransitionTime": (now.rfc3339()) });
    conditions::put(approved.entry("status.conditions"), "Approved", condition);
    let resource = &CERTIFICATESIGNINGREQUESTS;
    Plan::write(Write::update_subresource(resource, "approval", approved))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::testing::Plain;
    use crate::common::testing::{plan_key, world};

    fn approves(request: &str, signer: &str, usage: &str, user: (&str, &str)) -> bool {
        let csr = value!({ "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest", "metadata": { "name": "c" },
            "spec": { "request": request, "signerName": signer, "username": (user.0),
                "groups": [(user.1)], "usages": ["digital signature", usage] } });
        let node = |name: &str, address: &str| {
            value!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name },
                "status": { "addresses": [{ "type": "InternalIP", "address": address }] } })
        };
        let reserved = Reserved {
            names: vec!["kubernetes".into(), "kubernetes.default".into(), "head".into()],
            addresses: vec!["192.0.2.100".parse().unwrap()],
            ranges: vec!["10.96.0.0/16".into(), "10.244.0.0/16".into()],
            domain: "cluster.local".into(),
        };
        let controller = CsrApproving { certifier: Arc::new(Plain), reserved };
        // Whoever can join can have a Node of any name.
        let itself = user.0.trim_start_matches("system:node:");
        let world = world([csr, node("b", "192.0.2.1"), node(itself, "")]);
        plan_key(&controller, &world, &ObjectKey::new("", "c")) != Plan::nothing()
    }

    #[test]
    fn who_gets_a_client_certificate() {
        let (client, node) = ("client auth", "system:node:a|system:nodes||");
        let joining = ("system:bootstrap:abcdef", BOOTSTRAPPERS);
        assert!(approves(node, KUBELET_CLIENT, client, joining));
        assert!(approves(node, KUBELET_CLIENT, client, ("system:node:a", NODES_GROUP)));
        assert!(!approves(node, KUBELET_CLIENT, client, ("system:node:b", NODES_GROUP)));
        assert!(!approves(node, KUBELET_CLIENT, client, ("system:node:a", "x")));
        assert!(!approves(node, KUBELET_CLIENT, "server auth", joining));
        assert!(!approves("x|system:masters||", KUBELET_CLIENT, client, joining));
        assert!(!approves(node, crate::certificates::CLIENT, client, joining));
    }

    #[test]
    fn a_node_serves_as_itself_only() {
        let of = |names: &str| {
            let request = alloc::format!("system:node:a|system:nodes|{names}");
            let itself = ("system:node:a", NODES_GROUP);
            approves(&request, KUBELET_SERVING, "server auth", itself)
        };
        assert!(of("a|192.0.2.2"));
        for wrong in [
            "b|192.0.2.2",
            "a|192.0.2.1",
            "a|::ffff:192.0.2.1",
            "a|192.0.2.100",
            "a|10.96.0.1",
            "a|::ffff:10.96.0.1",
            "a|10.244.3.3",
            "a|127.0.0.1",
            "a,kubernetes|",
        ] {
            assert!(!of(wrong), "{wrong}");
        }
        let joining = ("system:bootstrap:abcdef", BOOTSTRAPPERS);
        let request = "system:node:a|system:nodes|a|";
        assert!(!approves(request, KUBELET_SERVING, "server auth", joining));
    }

    #[test]
    fn no_node_serves_as_the_api_server_or_a_service() {
        let named = |name: &str| {
            let user = alloc::format!("system:node:{name}");
            let request = alloc::format!("{user}|system:nodes|{name}|");
            approves(&request, KUBELET_SERVING, "server auth", (&user, NODES_GROUP))
        };
        for fine in ["a", "worker.example.com", "mysvc", "svc.example.com"] {
            assert!(named(fine), "{fine}");
        }
        for wrong in [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "Kubernetes.Default.SVC",
            "kubernetes.default.svc.",
            "kubernetes.default.svc.cluster.local",
            "hook.shop.svc",
            "10-244-0-3.shop.pod.cluster.local",
            "localhost",
            "head",
        ] {
            assert!(!named(wrong), "{wrong}");
        }
    }
}
