//! Finalizers that controllers put on and take off.

use alloc::vec::Vec;

use timonier_meta::{GroupResource, GroupVersionResource};
use timonier_object::{Value, value};
use timonier_reconcile::{PatchKind, Plan, World, Write};

/// Whether the object has the finalizer.
pub fn has(object: &Value, finalizer: &str) -> bool {
    object.finalizers().any(|f| f == finalizer)
}

/// Takes a finalizer off the state that was looked at.
pub fn drop_one(resource: &GroupVersionResource, object: &Value, finalizer: &str) -> Write {
    let rest = object.finalizers().filter(|f| *f != finalizer).map(Value::from).collect();
    set(resource, object, rest)
}

/// The resources that have not yet been observed up to the object's revision. Before they are, what
/// uses a deleted object may only be late to be seen.
pub fn behind(
    world: &World,
    object: &Value,
    resources: &[GroupVersionResource],
) -> Vec<(GroupResource, u64)> {
    let revision = object.revision();
    let late = |r: &&GroupVersionResource| world.table(r).synced().is_none_or(|s| s < revision);
    resources.iter().filter(late).map(|r| (r.group_resource(), revision)).collect()
}

/// Keeps an object with a finalizer until `is_used` says no: the finalizer is put on objects that
/// have none, and taken off a deleted one that nothing uses (upstream
/// `pkg/controller/volume/protection_util`).
pub fn protect(
    resource: &GroupVersionResource,
    object: &Value,
    finalizer: &str,
    is_used: impl FnOnce() -> bool,
) -> Plan {
    match (object.is_deleting(), has(object, finalizer)) {
        (true, true) if !is_used() => Plan::write(drop_one(resource, object, finalizer)),
        (false, false) => {
            let mut all: Vec<Value> = object.finalizers().map(Value::from).collect();
            all.push(finalizer.into());
            Plan::write(set(resource, object, all))
        }
        _ => Plan::nothing(),
    }
}

fn set(resource: &GroupVersionResource, object: &Value, finalizers: Vec<Value>) -> Write {
    let version = object.resource_version();
    let patch = value!({ "metadata": { "resourceVersion": version, "finalizers": finalizers } });
    Write::patch(resource, object, PatchKind::Merge, patch)
}
