//! Classes of volume attributes that are deleted stay as long as a claim or a volume has them
//! (upstream `pkg/controller/volume/vacprotection`).

use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::{PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES};
use timonier_meta::{GroupVersionResource, ObjectKey};
use timonier_object::Value;
use timonier_reconcile::{Change, Context, Plan, Reconciler, World};

use crate::common::finalizers;

const FINALIZER: &str = "kubernetes.io/vac-protection";
/// The classes.
pub const CLASSES: GroupVersionResource =
    GroupVersionResource::new_static("storage.k8s.io", "v1", "volumeattributesclasses");

/// Where claims and volumes name a class.
const NAMED: [&str; 3] = [
    "spec.volumeAttributesClassName",
    "status.currentVolumeAttributesClassName",
    "status.modifyVolumeStatus.targetVolumeAttributesClassName",
];

/// The controller of the finalizer of classes.
pub struct VacProtection;

impl Reconciler for VacProtection {
    fn name(&self) -> &'static str {
        "volumeattributesclass-protection-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![CLASSES, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES]
    }

    fn concerns(&self, change: &Change, _: &World) -> Vec<ObjectKey> {
        if change.is(&CLASSES) {
            return if change.new.is_some() { vec![change.key.clone()] } else { Vec::new() };
        }
        // A class may be free only where somebody named it before.
        let before = change.old.iter();
        let named = before.flat_map(|object| NAMED.iter().map(|path| object.at(path).str()));
        named.filter(|name| !name.is_empty()).map(|name| ObjectKey::new("", name)).collect()
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, _: &Context<'_>) -> Plan {
        let Some(class) = world.get(&CLASSES, key) else { return Plan::nothing() };
        let wait = finalizers::behind(world, class, &[PERSISTENTVOLUMES, PERSISTENTVOLUMECLAIMS]);
        if !wait.is_empty() {
            return Plan { wait, ..Plan::default() };
        }
        let names = |object: &Value| NAMED.iter().any(|path| object.at(path).str() == class.name());
        let is_used = || {
            let mut volumes = world.table(&PERSISTENTVOLUMES).iter();
            let mut claims = world.table(&PERSISTENTVOLUMECLAIMS).iter();
            volumes.any(|v| names(v)) || claims.any(|c| names(c))
        };
        finalizers::protect(&CLASSES, class, FINALIZER, is_used)
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;
    use crate::common::testing::{plan_key, short, world};

    #[test]
    fn a_class_waits_for_its_claims() {
        let class = value!({ "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass",
            "metadata": { "name": "gold", "finalizers": [FINALIZER], "deletionTimestamp": "2026-01-01T00:00:00Z" } });
        let claim = value!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": { "name": "c", "namespace": "ns" }, "status": { "currentVolumeAttributesClassName": "gold" } });
        let of = |objects: Vec<Value>| {
            short(&plan_key(&VacProtection, &world(objects), &ObjectKey::new("", "gold"))).len()
        };
        assert_eq!(of(vec![class.clone(), claim]), 0);
        assert_eq!(of(vec![class]), 1);
    }
}
