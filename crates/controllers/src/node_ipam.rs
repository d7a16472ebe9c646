//! Gives every Node its part of the pod range (upstream `pkg/controller/nodeipam`).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::NODES;
use timonier_meta::{Cidr, GroupVersionResource, ObjectKey};
use timonier_object::{Value, value};
use timonier_reconcile::{Change, Context, PatchKind, Plan, Reason, Reconciler, World, Write};

/// The controller of `spec.podCIDR`. It has one key for all nodes, so that no two decisions can
/// give out the same range.
pub struct NodeIpam {
    /// The pod range of the cluster; nothing is given out where it is none.
    pub range: String,
    /// The mask of a node's part.
    pub mask: u8,
    /// Parts that belong to nodes whose objects may not be there: the control plane's own.
    pub reserved: Vec<String>,
}

impl Reconciler for NodeIpam {
    fn name(&self) -> &'static str {
        "node-ipam-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![NODES]
    }

    fn concerns(&self, change: &Change, _: &World) -> Vec<ObjectKey> {
        // A node that goes may free the range that another waits for.
        let concerns = change.new.as_ref().is_none_or(|node| waits(node));
        if concerns { vec![ObjectKey::new("", "")] } else { Vec::new() }
    }

    fn reconcile(&self, _: &ObjectKey, world: &World, _: &Context<'_>) -> Plan {
        let mut plan = Plan::nothing();
        let Some(all) = Cidr::parse(&self.range) else { return plan };
        let nodes = world.table(&NODES);
        let mut taken: Vec<Cidr> = self.reserved.iter().filter_map(|r| Cidr::parse(r)).collect();
        taken.extend(nodes.iter().flat_map(|n| ranges(n)));
        for node in nodes.iter().filter(|n| waits(n)) {
            let free = all.parts(self.mask).find(|part| !taken.iter().any(|t| t.overlaps(part)));
            let Some(free) = free else {
                let message = format!("Node {} status is now: CIDRNotAvailable", node.name());
                plan.because.push(Reason::normal(node, "CIDRNotAvailable", message));
                continue;
            };
            taken.push(free);
            let text = free.to_string();
            let patch = value!({ "spec": { "podCIDR": (&text), "podCIDRs": [(&text)] } });
            plan.writes.push(Write::patch(&NODES, node, PatchKind::Strategic, patch));
        }
        plan
    }
}

fn waits(node: &Value) -> bool {
    !node.is_deleting() && node.at("spec.podCIDR").str().is_empty()
}

fn ranges(node: &Value) -> impl Iterator<Item = Cidr> {
    let many = node.at("spec.podCIDRs").items().iter().map(Value::str);
    many.chain([node.at("spec.podCIDR").str()]).filter_map(Cidr::parse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{events, plan_key, short, world};

    fn ipam(range: &str) -> NodeIpam {
        NodeIpam { range: range.into(), mask: 24, reserved: vec!["10.244.0.0/24".into()] }
    }

    fn node(name: &str, range: &str) -> Value {
        value!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name },
                 "spec": { "podCIDR": range } })
    }

    fn given(plan: &Plan) -> Vec<String> {
        let patch = |w: &Write| match &w.operation {
            timonier_reconcile::Operation::Patch { patch, .. } => {
                format!("{} {}", w.key.name, patch.at("spec.podCIDR").str())
            }
            other => panic!("{other:?}"),
        };
        plan.writes.iter().map(patch).collect()
    }

    #[test]
    fn every_node_gets_a_range_that_no_other_has() {
        let key = ObjectKey::new("", "");
        let nodes = [node("a", ""), node("b", "10.244.1.0/24"), node("c", "")];
        let plan = plan_key(&ipam("10.244.0.0/16"), &world(nodes), &key);
        assert_eq!(given(&plan), ["a 10.244.2.0/24", "c 10.244.3.0/24"]);
        let plan = plan_key(&ipam(""), &world([node("a", "")]), &key);
        assert_eq!(plan, Plan::nothing());
    }

    #[test]
    fn a_full_range_is_told() {
        let key = ObjectKey::new("", "");
        let plan = plan_key(&ipam("10.244.0.0/24"), &world([node("a", "")]), &key);
        assert!(short(&plan).is_empty());
        assert_eq!(events(&plan), ["CIDRNotAvailable: Node a status is now: CIDRNotAvailable"]);
    }
}
