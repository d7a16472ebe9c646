//! A StatefulSet's status.

use timonier_meta::gvk::resources::STATEFULSETS;
use timonier_object::{Value, value};
use timonier_reconcile::Write;

use super::Step;
use crate::common::pods;
use crate::common::revisions::HASH_LABEL;

/// The write of the status as it is, if it has changed.
pub fn write(step: &Step<'_>) -> Option<Write> {
    let set = step.set;
    let (current, update) = (step.current.name(), step.update.name());
    let live = || step.pods.values().filter(|p| !pods::is_terminal(p));
    let count = |f: &dyn Fn(&Value) -> bool| live().filter(|p| f(p)).count();
    let of = |p: &Value, revision: &str| !p.is_deleting() && p.label(HASH_LABEL) == Some(revision);
    let replicas = count(&|_| true);
    let ready = count(&|p| pods::is_ready(p));
    let available = count(&|p| pods::is_available(p, step.min_ready(), step.context.now));
    let updated = count(&|p| of(p, update));
    let mut currents = count(&|p| of(p, current));
    let wanted = usize::try_from(set.at("spec.replicas").int_or(1)).unwrap_or(0);
    // A finished update becomes what the set comes from.
    let rolling = set.at("spec.updateStrategy.type").str() != "OnDelete";
    let done = rolling && updated == replicas && ready == replicas && replicas == wanted;
    let revision = if done { update } else { current };
    if done {
        currents = updated;
    }
    let mut status = value!({
        "observedGeneration": (set.generation()), "replicas": replicas,
        "currentRevision": revision, "updateRevision": update,
        "collisionCount": (set.at("status.collisionCount").int_or(0)),
        "availableReplicas": available,
    });
    let counts =
        [("readyReplicas", ready), ("currentReplicas", currents), ("updatedReplicas", updated)];
    for (field, n) in counts.into_iter().filter(|(_, n)| *n != 0) {
        status.set(field, n);
    }
    if let Some(conditions) = set.find("status.conditions") {
        status.set("conditions", conditions);
    }
    if set.at("status") == &status {
        return None;
    }
    let mut changed = set.clone();
    changed.set("status", status);
    Some(Write::update_status(&STATEFULSETS, changed))
}
