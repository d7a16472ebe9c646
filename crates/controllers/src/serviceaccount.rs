//! ServiceAccount: every namespace has one named `default`
//! (upstream `pkg/controller/serviceaccount`).

use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::{NAMESPACES, SERVICEACCOUNTS};
use timonier_meta::{GroupVersionResource, ObjectKey};
use timonier_object::value;
use timonier_reconcile::{Change, Context, Plan, Reconciler, World, Write};

/// The name of the account that pods use when they name none.
const DEFAULT: &str = "default";

/// Makes the default ServiceAccount of each namespace.
pub struct DefaultServiceAccounts;

impl Reconciler for DefaultServiceAccounts {
    fn name(&self) -> &'static str {
        "serviceaccount-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![NAMESPACES, SERVICEACCOUNTS]
    }

    fn concerns(&self, change: &Change, _: &World) -> Vec<ObjectKey> {
        if change.is(&NAMESPACES) {
            return vec![change.key.clone()];
        }
        let gone = change.new.is_none() && change.key.name == DEFAULT;
        gone.then(|| ObjectKey::new("", change.key.namespace.clone())).into_iter().collect()
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, _: &Context<'_>) -> Plan {
        let account = ObjectKey::new(key.name.clone(), DEFAULT);
        let live = world
            .get(&NAMESPACES, key)
            .is_some_and(|n| !n.is_deleting() && n.at("status.phase").str() != "Terminating");
        if !live || world.get(&SERVICEACCOUNTS, &account).is_some() {
            return Plan::nothing();
        }
        Plan::write(Write::create(
            &SERVICEACCOUNTS,
            value!({ "kind": "ServiceAccount", "apiVersion": "v1",
                     "metadata": { "name": DEFAULT, "namespace": (&key.name) } }),
        ))
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::Value;

    use super::*;
    use crate::common::testing::{plan_key, short, world};

    #[test]
    fn each_live_namespace_gets_one() {
        let key = ObjectKey::new("", "ns");
        let mut ns =
            value!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "ns" } });
        let make = |objects: &[&Value]| world(objects.iter().copied().cloned());
        let plan = plan_key(&DefaultServiceAccounts, &make(&[&ns]), &key);
        assert_eq!(short(&plan), ["create serviceaccounts default"]);
        let account = value!({ "apiVersion": "v1", "kind": "ServiceAccount",
                               "metadata": { "name": "default", "namespace": "ns" } });
        let plan = plan_key(&DefaultServiceAccounts, &make(&[&ns, &account]), &key);
        assert_eq!(plan, Plan::nothing());
        ns.set("metadata.deletionTimestamp", "2026-01-01T00:00:00Z");
        assert_eq!(plan_key(&DefaultServiceAccounts, &make(&[&ns]), &key), Plan::nothing());
    }
}
