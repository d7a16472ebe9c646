//! Scaling outside of a rollout's steps, and the clean-up of old ReplicaSets.

use alloc::vec::Vec;
use core::cmp::Reverse;

use timonier_meta::gvk::resources::REPLICASETS;
use timonier_reconcile::{Plan, Write};

use super::annotations::{self, DESIRED_REPLICAS, MAX_REPLICAS, ROLLBACK_TO};
use super::sets::{Set, Sets};
use super::status;

/// Whether the wanted number has changed since the ReplicaSets were last scaled.
pub fn is_scaling(sets: &Sets<'_>) -> bool {
    sets.all
        .iter()
        .filter(|s| s.replicas() > 0)
        .filter_map(|s| annotations::number(&s.value, DESIRED_REPLICAS))
        .any(|desired| desired != sets.wanted())
}

/// Scales without rolling out: while paused, and when the wanted number changes.
pub fn sync(sets: &mut Sets<'_>) -> Option<Plan> {
    if let Some(plan) = sets.sync_new(false) {
        return Some(plan);
    }
    scale(sets);
    if sets.is_paused() && sets.deployment.annotation(ROLLBACK_TO).is_none() {
        clean_up(sets);
    }
    status::plain(sets)
}

fn scale(sets: &mut Sets<'_>) {
    let wanted = sets.wanted();
    if let Some(only) = active_or_latest(sets) {
        if sets.all[only].replicas() != wanted {
            sets.scale(only, wanted);
        }
        return;
    }
    if sets.new_set().is_some_and(|s| is_saturated(s, wanted)) {
        for i in sets.old() {
            if sets.all[i].replicas() > 0 {
                sets.scale(i, 0);
            }
        }
        return;
    }
    if sets.deployment.at("spec.strategy.type").str() != "Recreate" {
        proportionally(sets);
    }
}

/// The only ReplicaSet with replicas; the new one, or else the newest, where none has any.
fn active_or_latest(sets: &Sets<'_>) -> Option<usize> {
    let active: Vec<usize> = (0..sets.all.len()).filter(|i| sets.all[*i].replicas() > 0).collect();
    match active.as_slice() {
        [] => sets.new.or_else(|| sets.old().last().copied()),
        [one] => Some(*one),
        _ => None,
    }
}

fn is_saturated(set: &Set, wanted: i64) -> bool {
    set.replicas() == wanted
        && annotations::number(&set.value, DESIRED_REPLICAS) == Some(wanted)
        && set.status("availableReplicas") == wanted
}

/// Spreads the difference over the ReplicaSets by their size, the rest to the largest.
fn proportionally(sets: &mut Sets<'_>) {
    let allowed = if sets.wanted() > 0 { sets.wanted() + sets.max_surge() } else { 0 };
    let to_add = allowed - sets.total();
    let mut order: Vec<usize> =
        (0..sets.all.len()).filter(|i| sets.all[*i].replicas() > 0).collect();
    // `all` is in order of age: among equals the newer one grows, the older one shrinks.
    if to_add > 0 {
        order.sort_by_key(|i| (Reverse(sets.all[*i].replicas()), Reverse(*i)));
    } else {
        order.sort_by_key(|i| (Reverse(sets.all[*i].replicas()), *i));
    }
    let mut added = 0;
    let mut sizes: Vec<(usize, i64)> = Vec::new();
    for i in order {
        let share = if to_add == added { 0 } else { share(sets, i, to_add - added) };
        added += share;
        sizes.push((i, sets.all[i].replicas() + share));
    }
    if let Some((_, first)) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    for (i, size) in sizes {
        sets.scale(i, size);
    }
}

/// The part of a difference that falls to a ReplicaSet; no more than what is left of it.
fn share(sets: &Sets<'_>, index: usize, left: i64) -> i64 {
    let set = &sets.all[index];
    let size = set.replicas();
    if sets.wanted() == 0 {
        return (-size).max(left);
    }
    let before = annotations::number(&set.value, MAX_REPLICAS)
        .filter(|n| *n > 0)
        .unwrap_or_else(|| sets.deployment.at("status.replicas").int_or(0));
    if before == 0 {
        return 0;
    }
    let scaled = size * (sets.wanted() + sets.max_surge());
    let fraction = (2 * scaled + before).div_euclid(2 * before) - size;
    if left > 0 { fraction.min(left) } else { fraction.max(left) }
}

/// Deletes the oldest ReplicaSets without pods beyond `revisionHistoryLimit`.
pub fn clean_up(sets: &mut Sets<'_>) {
    let Some(limit) = sets.deployment.at("spec.revisionHistoryLimit").as_i64() else { return };
    if limit == i64::from(i32::MAX) {
        return;
    }
    let mut old: Vec<&Set> = sets.old().into_iter().map(|i| &sets.all[i]).collect();
    old.retain(|s| !s.value.is_deleting());
    let surplus = usize::try_from(old.len() as i64 - limit).unwrap_or(0);
    old.sort_by_key(|s| annotations::revision(&s.value));
    let unused = |s: &&Set| {
        let observed = s.value.at("status.observedGeneration").int_or(0);
        s.status("replicas") == 0 && s.replicas() == 0 && s.value.generation() <= observed
    };
    let deletes: Vec<Write> = old
        .into_iter()
        .take(surplus)
        .filter(unused)
        .map(|s| Write::delete(&REPLICASETS, &s.value))
        .collect();
    sets.deletes.extend(deletes);
}
