//! One step of a rollout.

use timonier_meta::gvk::resources::PODS;
use timonier_reconcile::{Plan, World};

use super::scale::clean_up;
use super::sets::{Set, Sets};
use super::status;
use crate::common::pods;

/// Replaces pods gradually: up within the surge, down within the unavailability.
pub fn rolling(sets: &mut Sets<'_>) -> Option<Plan> {
    if let Some(plan) = sets.sync_new(true) {
        return Some(plan);
    }
    let new = sets.new?;
    let created = sets.all[new].value.uid().is_empty();
    let scaled = created || scale_new(sets, new) || scale_old(sets, new);
    if !scaled && status::is_complete(sets, sets.deployment.at("status")) {
        clean_up(sets);
    }
    status::rollout(sets)
}

/// Deletes all old pods before the first new one is made.
pub fn recreate(sets: &mut Sets<'_>, world: &World) -> Option<Plan> {
    if let Some(plan) = sets.sync_new(false) {
        return Some(plan);
    }
    let mut scaled = false;
    for i in sets.old() {
        if sets.all[i].replicas() > 0 {
            scaled |= sets.scale(i, 0);
        }
    }
    if scaled || old_pods_run(sets, world) {
        return status::rollout(sets);
    }
    if let Some(plan) = sets.sync_new(true) {
        return Some(plan);
    }
    if let Some(new) = sets.new {
        sets.scale(new, sets.wanted());
    }
    if status::is_complete(sets, sets.deployment.at("status")) {
        clean_up(sets);
    }
    status::rollout(sets)
}

/// How many replicas the new ReplicaSet may have now.
pub fn new_replicas(sets: &Sets<'_>) -> i64 {
    let (wanted, surge) = (sets.wanted(), sets.max_surge());
    let now = sets.new_set().map_or(0, |s| s.replicas());
    if sets.deployment.at("spec.strategy.type").str() == "Recreate" {
        return wanted;
    }
    let room = wanted + surge - sets.total();
    if room <= 0 { now } else { now + room.min(wanted - now) }
}

fn scale_new(sets: &mut Sets<'_>, new: usize) -> bool {
    let (now, wanted) = (sets.all[new].replicas(), sets.wanted());
    if now == wanted {
        return false;
    }
    let next = if now > wanted { wanted } else { new_replicas(sets) };
    sets.scale(new, next)
}

fn scale_old(sets: &mut Sets<'_>, new: usize) -> bool {
    let old = sets.old();
    if old.iter().all(|i| sets.all[*i].replicas() == 0) {
        return false;
    }
    let min_available = sets.wanted() - sets.max_unavailable();
    let new_set = &sets.all[new];
    let new_unavailable = new_set.replicas() - new_set.status("availableReplicas");
    let most = sets.total() - min_available - new_unavailable;
    if most <= 0 {
        return false;
    }
    let cleaned = drop_unhealthy(sets, &old, most);
    let scaled = drop_available(sets, &old, min_available);
    cleaned || scaled
}

/// Pods of old ReplicaSets that do not serve go first: nobody misses them.
fn drop_unhealthy(sets: &mut Sets<'_>, old: &[usize], most: i64) -> bool {
    let mut dropped = 0;
    for &i in old {
        let (replicas, available) =
            (sets.all[i].replicas(), sets.all[i].status("availableReplicas"));
        let n = (most - dropped).min(replicas - available);
        if replicas > 0 && n > 0 {
            sets.scale(i, replicas - n);
            dropped += n;
        }
    }
    dropped > 0
}

/// Other than upstream, a pod that its ReplicaSet is about to delete counts as gone: the status of
/// a set that was just made smaller still has it, and two steps in a row would go too far.
fn drop_available(sets: &mut Sets<'_>, old: &[usize], min_available: i64) -> bool {
    let stays = |s: &Set| s.status("availableReplicas").min(s.replicas());
    let available: i64 = sets.all.iter().map(stays).sum();
    let mut left = available - min_available;
    let mut scaled = false;
    for &i in old {
        let replicas = sets.all[i].replicas();
        let n = left.min(replicas);
        if n > 0 {
            scaled |= sets.scale(i, replicas - n);
            left -= n;
        }
    }
    scaled
}

fn old_pods_run(sets: &Sets<'_>, world: &World) -> bool {
    let old = sets.old();
    let mut pods_of =
        old.iter().flat_map(|i| world.table(&PODS).controlled_by(sets.all[*i].value.uid()));
    pods_of.any(|p| !pods::is_terminal(p))
}
