//! A DaemonSet's status.

use timonier_meta::gvk::resources::DAEMONSETS;
use timonier_object::{Value, value};
use timonier_reconcile::Write;

use super::nodes::fits;
use super::{Step, status_write};
use crate::common::pods;

/// The write of the status as it is, if it has changed.
pub fn write(step: &Step<'_>) -> Option<Write> {
    let (mut desired, mut current, mut misplaced) = (0, 0, 0);
    let (mut ready, mut available, mut updated) = (0, 0, 0);
    for node in &step.nodes {
        let mut here: alloc::vec::Vec<_> =
            step.pods_on(node.name()).iter().filter(|p| pods::is_active(p)).collect();
        if !fits(step.set, node).run {
            misplaced += i64::from(!here.is_empty());
            continue;
        }
        desired += 1;
        here.sort_by_key(|p| (p.created(), p.key()));
        let Some(first) = here.first() else { continue };
        current += 1;
        ready += i64::from(pods::is_ready(first));
        available += i64::from(pods::is_available(first, step.min_ready(), step.context.now));
        updated += i64::from(here.iter().any(|p| step.is_updated(p)));
    }
    let mut status = value!({
        "currentNumberScheduled": current, "numberMisscheduled": misplaced,
        "desiredNumberScheduled": desired, "numberReady": ready,
        "observedGeneration": (step.set.generation()),
    });
    let counts = [
        ("updatedNumberScheduled", updated),
        ("numberAvailable", available),
        ("numberUnavailable", desired - available),
    ];
    for (field, n) in counts.into_iter().filter(|(_, n)| *n != 0) {
        status.set(field, n);
    }
    for kept in ["collisionCount", "conditions"] {
        if let Some(value) = step.set.at("status").get(kept) {
            status.set(kept, value);
        }
    }
    status_write(step.set, status)
}

/// Another's revision has the name that the hash gives: the next hash will differ.
pub fn count_collision(set: &Value) -> Write {
    let mut changed = set.clone();
    changed.set("status.collisionCount", set.at("status.collisionCount").int_or(0) + 1);
    Write::update_status(&DAEMONSETS, changed)
}
