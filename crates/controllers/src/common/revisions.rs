//! ControllerRevisions: the history of a DaemonSet or StatefulSet.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::CONTROLLERREVISIONS;
use timonier_object::{Value, value};
use timonier_reconcile::{World, Write};

use super::hash::{self, template_hash};
use super::pods::controller_reference;

/// The label with the hash of the revision, on revisions and pods.
pub const HASH_LABEL: &str = "controller-revision-hash";

/// The history of an owner, in order of revision.
pub struct History {
    pub old: Vec<Arc<Value>>,
    /// The revision of the present template: stored, or to be created by `writes`.
    pub current: Value,
    pub writes: Vec<Write>,
    /// The name is taken by another's revision: the owner's collision count must grow first.
    pub collision: bool,
}

/// Finds the revision of the owner's present template among `stored`, or makes it.
pub fn history(owner: &Value, stored: Vec<Arc<Value>>, world: &World) -> History {
    let data = snapshot(owner);
    let (mut same, mut old): (Vec<_>, Vec<_>) =
        stored.into_iter().partition(|r| hash::same(r.at("data"), &data));
    let order = |r: &Arc<Value>| (r.at("revision").int_or(0), r.created(), r.key());
    old.sort_by_key(order);
    same.sort_by_key(order);
    let next = old.last().map_or(0, |r| r.at("revision").int_or(0)) + 1;
    let mut writes = Vec::new();
    let Some(found) = same.pop() else {
        let current = make(owner, data, next);
        let collision = world.get(&CONTROLLERREVISIONS, &current.key()).is_some();
        if !collision {
            writes.push(Write::create(&CONTROLLERREVISIONS, current.clone()));
        }
        return History { old, current, writes, collision };
    };
    let mut current = Value::clone(&found);
    if current.at("revision").int_or(0) < next {
        current.set("revision", next);
        writes.push(Write::update(&CONTROLLERREVISIONS, current.clone()));
    }
    // Two revisions of one template: the younger one stands, the others are history.
    old.extend(same);
    History { old, current, writes, collision: false }
}

/// The hash that a revision's pods carry.
pub fn hash_of(revision: &Value) -> &str {
    revision.label(HASH_LABEL).unwrap_or("")
}

/// Deletes the oldest revisions beyond the limit that `live` does not hold.
pub fn surplus(old: &[Arc<Value>], limit: i64, live: impl Fn(&Value) -> bool) -> Vec<Write> {
    let unused: Vec<_> = old.iter().filter(|r| !live(r)).collect();
    let n = usize::try_from(unused.len() as i64 - limit).unwrap_or(0);
    unused.into_iter().take(n).map(|r| Write::delete(&CONTROLLERREVISIONS, r)).collect()
}

/// The template of a revision.
pub fn template(revision: &Value) -> Value {
    let mut template = revision.at("data.spec.template").clone();
    template.make_object().remove("$patch");
    template
}

/// What a revision keeps of its owner. Clients compare it byte for byte with what they make of the
/// owner themselves (`kubectl rollout undo`), and Go writes the fields of a map in order of name.
fn snapshot(owner: &Value) -> Value {
    let mut template = owner.at("spec.template").clone();
    template.make_object().insert("$patch", "replace".into());
    sort_fields(&mut template);
    value!({ "spec": { "template": template } })
}

fn sort_fields(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.sort_keys();
            map.iter_mut().for_each(|(_, field)| sort_fields(field));
        }
        Value::Array(items) => items.iter_mut().for_each(sort_fields),
        _ => {}
    }
}

fn make(owner: &Value, data: Value, revision: i64) -> Value {
    let collisions = owner.at("status.collisionCount").as_i64();
    let hash = template_hash(owner.at("spec.template"), collisions);
    let name: String = format!("{}-{hash}", owner.name());
    let mut labels = owner.at("spec.template.metadata.labels").clone();
    labels.make_object().insert(HASH_LABEL, hash.into());
    let mut made = value!({
        "kind": "ControllerRevision", "apiVersion": "apps/v1",
        "metadata": { "name": name, "namespace": (owner.namespace()), "labels": labels,
                      "ownerReferences": [(&controller_reference(owner))] },
        "data": data, "revision": revision,
    });
    let annotations = owner.at("metadata.annotations");
    if !annotations.is_empty() {
        made.set("metadata.annotations", annotations);
    }
    made
}
