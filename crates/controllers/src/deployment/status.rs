//! A Deployment's status: counts, and the conditions Available, Progressing, ReplicaFailure.

use alloc::format;

use timonier_meta::Duration;
use timonier_object::{Value, value};
use timonier_reconcile::Plan;

use super::sets::{Set, Sets};
use crate::common::conditions;

/// `progressDeadlineSeconds` with this value means none.
const NO_DEADLINE: i64 = i32::MAX as i64;
const AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// The condition of this type in the status as it is to become.
pub fn condition<'a>(sets: &'a Sets<'_>, kind: &str) -> Option<&'a Value> {
    conditions::find(sets.status.at("conditions"), kind)
}

/// States the condition `Progressing`, if the Deployment has a deadline.
pub fn progressing(sets: &mut Sets<'_>, status: &str, reason: &str, message: &str) {
    if deadline(sets).is_some() {
        set(sets, "Progressing", status, reason, message);
    }
}

/// The counts and `Available` alone: while paused, scaling or going away.
pub fn plain(sets: &mut Sets<'_>) -> Option<Plan> {
    calculate(sets);
    None
}

/// The counts and all conditions of a rollout under way.
pub fn rollout(sets: &mut Sets<'_>) -> Option<Plan> {
    calculate(sets);
    let Some(limit) = deadline(sets) else {
        conditions::remove(sets.status.entry("conditions"), "Progressing");
        replica_failure(sets);
        return None;
    };
    let current = condition(sets, "Progressing").cloned();
    let reason = current.as_ref().map_or("", |c| c.at("reason").str());
    let count = |f: &str| sets.status.at(f).int_or(0);
    let settled = count("replicas") == count("updatedReplicas") && reason == AVAILABLE;
    if !settled {
        let about = match sets.new_set() {
            Some(set) => format!("ReplicaSet {:?}", set.value.name()),
            None => format!("Deployment {:?}", sets.deployment.name()),
        };
        if is_complete(sets, &sets.status) {
            let message = format!("{about} has successfully progressed.");
            set(sets, "Progressing", "True", AVAILABLE, &message);
        } else if has_progressed(sets) {
            note_progress(sets, current.as_ref(), &format!("{about} is progressing."));
        } else if has_timed_out(sets, limit) {
            let message = format!("{about} has timed out progressing.");
            set(sets, "Progressing", "False", TIMED_OUT, &message);
        }
    }
    replica_failure(sets);
    requeue_stuck(sets, limit);
    None
}

/// Says that the Deployment is paused, or resumed, so that the deadline does not run meanwhile.
pub fn check_paused(sets: &mut Sets<'_>) {
    let reason = condition(sets, "Progressing").map_or("", |c| c.at("reason").str());
    if reason == TIMED_OUT {
        return;
    }
    let was = reason == PAUSED;
    match sets.is_paused() {
        true if !was => progressing(sets, "Unknown", PAUSED, "Deployment is paused"),
        false if was => {
            progressing(sets, "Unknown", "DeploymentResumed", "Deployment is resumed");
        }
        _ => {}
    }
}

/// Says why the new ReplicaSet could not be made by the last run.
pub fn create_failure(sets: &mut Sets<'_>) {
    let Some(failure) = sets.context.failure else { return };
    if failure.verb != "create" || failure.error.is_already_exists() {
        return;
    }
    let name = &failure.key.name;
    let message = format!("Failed to create new replica set {name:?}: {}", failure.error);
    progressing(sets, "False", "ReplicaSetCreateError", &message);
}

/// Whether everything is updated and available, by a status.
pub fn is_complete(sets: &Sets<'_>, status: &Value) -> bool {
    let count = |f: &str| status.at(f).int_or(0);
    let wanted = sets.wanted();
    count("updatedReplicas") == wanted
        && count("replicas") == wanted
        && count("availableReplicas") == wanted
        && count("observedGeneration") >= sets.deployment.generation()
}

fn deadline(sets: &Sets<'_>) -> Option<Duration> {
    let seconds = sets.deployment.at("spec.progressDeadlineSeconds").as_i64()?;
    (seconds != NO_DEADLINE).then(|| Duration::from_secs(seconds))
}

fn calculate(sets: &mut Sets<'_>) {
    let sum = |field: &str| sets.all.iter().map(|s| s.status(field)).sum::<i64>();
    let (available, terminating) = (sum("availableReplicas"), sum("terminatingReplicas"));
    let updated = sets.new_set().map_or(0, |s| s.status("replicas"));
    let mut status = Value::object();
    status.set("observedGeneration", sets.deployment.generation());
    let counts = [
        ("replicas", sum("replicas")),
        ("updatedReplicas", updated),
        ("readyReplicas", sum("readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", (sets.total() - available).max(0)),
    ];
    for (field, n) in counts.into_iter().filter(|(_, n)| *n != 0) {
        status.set(field, n);
    }
    status.set("terminatingReplicas", terminating);
    if let Some(list) = sets.status.find("conditions") {
        status.set("conditions", list);
    }
    if let Some(count) = sets.status.find("collisionCount") {
        status.set("collisionCount", count);
    }
    sets.status = status;
    if available >= sets.wanted() - sets.max_unavailable() {
        let text = "Deployment has minimum availability.";
        set(sets, "Available", "True", "MinimumReplicasAvailable", text);
    } else {
        let text = "Deployment does not have minimum availability.";
        set(sets, "Available", "False", "MinimumReplicasUnavailable", text);
    }
}

/// Sets a condition unless status and reason are the same already.
fn set(sets: &mut Sets<'_>, kind: &str, status: &str, reason: &str, message: &str) {
    let now = sets.context.now.rfc3339();
    let old = condition(sets, kind);
    let same_status = old.filter(|c| c.at("status").str() == status);
    if same_status.is_some_and(|c| c.at("reason").str() == reason) {
        return;
    }
    let since = same_status.map_or(now.as_str(), |c| c.at("lastTransitionTime").str());
    let new = value!({
        "type": kind, "status": status, "lastUpdateTime": (now.as_str()),
        "lastTransitionTime": since, "reason": reason, "message": message,
    });
    replace(sets.status.entry("conditions"), kind, new);
}

/// As upstream does, a changed condition goes to the end of the list.
fn replace(list: &mut Value, kind: &str, new: Value) {
    conditions::remove(list, kind);
    conditions::put(list, kind, new);
}

/// Every step renews the condition, for the deadline runs from its last update.
fn note_progress(sets: &mut Sets<'_>, current: Option<&Value>, message: &str) {
    let now = sets.context.now.rfc3339();
    let since = current
        .filter(|c| c.at("status").str() == "True")
        .map_or(now.as_str(), |c| c.at("lastTransitionTime").str());
    let new = value!({
        "type": "Progressing", "status": "True", "lastUpdateTime": (now.as_str()),
        "lastTransitionTime": since, "reason": "ReplicaSetUpdated", "message": message,
    });
    replace(sets.status.entry("conditions"), "Progressing", new);
}

fn has_progressed(sets: &Sets<'_>) -> bool {
    let new = |f: &str| sets.status.at(f).int_or(0);
    let old = |f: &str| sets.deployment.at("status").at(f).int_or(0);
    new("updatedReplicas") > old("updatedReplicas")
        || new("replicas") - new("updatedReplicas") < old("replicas") - old("updatedReplicas")
        || new("readyReplicas") > old("readyReplicas")
        || new("availableReplicas") > old("availableReplicas")
}

fn has_timed_out(sets: &Sets<'_>, limit: Duration) -> bool {
    let Some(current) = condition(sets, "Progressing") else { return false };
    match current.at("reason").str() {
        AVAILABLE => false,
        TIMED_OUT => true,
        _ => current.time("lastUpdateTime").is_some_and(|t| t + limit < sets.context.now),
    }
}

/// `ReplicaFailure` is that of a ReplicaSet, of the new one first.
fn replica_failure(sets: &mut Sets<'_>) {
    let of = |set: &Set| set.value.condition("ReplicaFailure").cloned();
    let found = sets.new_set().and_then(of).or_else(|| sets.all.iter().find_map(of));
    match found {
        Some(c) => {
            let text = |f: &str| c.at(f).smol();
            let (status, reason, message) = (text("status"), text("reason"), text("message"));
            set(sets, "ReplicaFailure", &status, &reason, &message);
        }
        None => {
            conditions::remove(sets.status.entry("conditions"), "ReplicaFailure");
        }
    }
}

/// A rollout that is stuck has to be looked at when its deadline passes.
fn requeue_stuck(sets: &mut Sets<'_>, limit: Duration) {
    let Some(current) = condition(sets, "Progressing") else { return };
    if is_complete(sets, &sets.status) || current.at("reason").str() == TIMED_OUT {
        return;
    }
    let Some(updated) = current.time("lastUpdateTime") else { return };
    let second = Duration::from_secs(1);
    sets.requeue_at = Some((updated + limit + second).max(sets.context.now + second));
}
