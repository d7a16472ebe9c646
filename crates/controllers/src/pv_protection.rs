//! Volumes that are deleted stay as long as they are bound (upstream
//! `pkg/controller/volume/pvprotection`).

use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::PERSISTENTVOLUMES;
use timonier_meta::{GroupVersionResource, ObjectKey};
use timonier_reconcile::{Change, Context, Plan, Reconciler, World};

use crate::common::finalizers;

const FINALIZER: &str = "kubernetes.io/pv-protection";

/// The controller of the finalizer of volumes.
pub struct PvProtection;

impl Reconciler for PvProtection {
    fn name(&self) -> &'static str {
        "persistentvolume-protection-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![PERSISTENTVOLUMES]
    }

    fn concerns(&self, change: &Change, _: &World) -> Vec<ObjectKey> {
        if change.new.is_some() { vec![change.key.clone()] } else { Vec::new() }
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, _: &Context<'_>) -> Plan {
        let Some(volume) = world.get(&PERSISTENTVOLUMES, key) else { return Plan::nothing() };
        let is_bound = || volume.at("status.phase").str() == "Bound";
        finalizers::protect(&PERSISTENTVOLUMES, volume, FINALIZER, is_bound)
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::{Value, value};

    use super::*;
    use crate::common::testing::{plan_key, short, world};

    #[test]
    fn a_bound_volume_stays() {
        let of = |phase: &str| {
            let volume = value!({ "apiVersion": "v1", "kind": "PersistentVolume",
                "metadata": { "name": "v", "finalizers": [FINALIZER], "deletionTimestamp": "2026-01-01T00:00:00Z" },
                "status": { "phase": phase } });
            let world = world([volume, Value::clone(&other())]);
            short(&plan_key(&PvProtection, &world, &ObjectKey::new("", "v"))).len()
        };
        assert_eq!((of("Bound"), of("Released")), (0, 1));
    }

    fn other() -> Value {
        value!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "w" } })
    }

    #[test]
    fn a_volume_of_old_is_protected() {
        let plan = plan_key(&PvProtection, &world([other()]), &ObjectKey::new("", "w"));
        assert_eq!(short(&plan), ["patch persistentvolumes w"]);
    }
}
