//! Adoption and release: which objects belong to a controller (upstream's
//! `ControllerRefManager`).

use alloc::sync::Arc;
use alloc::vec::Vec;

use timonier_meta::{GroupVersionResource, Selector};
use timonier_object::{Value, value};
use timonier_reconcile::{PatchKind, World, Write};

use super::pods;

/// What a controller owns, and the writes that make it so.
pub struct Claimed {
    pub objects: Vec<Arc<Value>>,
    pub writes: Vec<Write>,
}

/// The objects of `resource` that `owner` controls by its selector. What it controls and does not
/// match is released; what matches and has no controller is adopted, if `may_adopt` says so.
pub fn claim(
    world: &World,
    resource: &GroupVersionResource,
    owner: &Value,
    selector: &Selector,
    may_adopt: impl Fn(&Value) -> bool,
) -> Claimed {
    let table = world.table(resource);
    let matches = |o: &Value| selector.matches(|k| o.label(k));
    let mut claimed = Claimed { objects: Vec::new(), writes: Vec::new() };
    for object in table.controlled_by(owner.uid()) {
        if object.namespace() != owner.namespace() {
            continue;
        }
        if matches(object) {
            claimed.objects.push(object.clone());
        } else if !owner.is_deleting() {
            claimed.writes.push(release(resource, object, owner));
        }
    }
    if owner.is_deleting() || selector.is_everything() {
        return claimed;
    }
    for object in table.orphans_in(owner.namespace()) {
        if matches(object) && !object.is_deleting() && may_adopt(object) {
            claimed.objects.push(object.clone());
            claimed.writes.push(adopt(resource, object, owner));
        }
    }
    claimed
}

/// Makes `owner` the controller of `object`.
pub fn adopt(resource: &GroupVersionResource, object: &Value, owner: &Value) -> Write {
    let reference = pods::controller_reference(owner);
    let patch = value!({ "metadata": { "ownerReferences": [(&reference)] } });
    Write::patch(resource, object, PatchKind::Strategic, patch)
}

/// Takes `owner` out of the owners of `object`.
pub fn release(resource: &GroupVersionResource, object: &Value, owner: &Value) -> Write {
    let patch = value!({ "metadata": { "ownerReferences": [
        { "$patch": "delete", "uid": (owner.uid()) },
    ] } });
    Write::patch(resource, object, PatchKind::Strategic, patch)
}
