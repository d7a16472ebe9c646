//! The annotations with which a Deployment keeps its books on ReplicaSets.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use timonier_object::Value;

pub const REVISION: &str = "deployment.kubernetes.io/revision";
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
pub const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The most characters of [`REVISION_HISTORY`].
const MAX_HISTORY: usize = 2000;

/// The revision that an object's annotation states; 0 for none.
pub fn revision(object: &Value) -> i64 {
    object.annotation(REVISION).and_then(|r| r.parse().ok()).unwrap_or(0)
}

/// A number that an annotation states.
pub fn number(object: &Value, key: &str) -> Option<i64> {
    object.annotation(key)?.parse().ok()
}

/// Brings the annotations of the new ReplicaSet up to date: the Deployment's own, the revision,
/// and the history of revisions that it had. Gives whether any changed.
pub fn of_new_set(set: &mut Value, deployment: &Value, revision: i64) -> bool {
    let mut changed = copy(deployment, set);
    let text = set.annotation(REVISION).map(ToString::to_string);
    let old: i64 = match text.as_deref().map(str::parse) {
        None => 0,
        Some(Ok(old)) => old,
        Some(Err(_)) => return changed,
    };
    if old >= revision {
        return changed;
    }
    changed = true;
    put(set, REVISION, &revision.to_string());
    if let Some(old) = text {
        add_history(set, &old);
    }
    changed
}

/// States how many replicas are wanted, and how many at most. Gives whether any changed.
pub fn set_replicas(set: &mut Value, desired: i64, max: i64) -> bool {
    let first = put(set, DESIRED_REPLICAS, &desired.to_string());
    put(set, MAX_REPLICAS, &max.to_string()) || first
}

/// Whether [`set_replicas`] would change anything.
pub fn replicas_differ(set: &Value, desired: i64, max: i64) -> bool {
    number(set, DESIRED_REPLICAS) != Some(desired) || number(set, MAX_REPLICAS) != Some(max)
}

/// For a rollback: the ReplicaSet's annotations become the Deployment's.
pub fn from_set(deployment: &mut Value, set: &Value) {
    let mut all: Vec<(alloc::string::String, Value)> = Vec::new();
    for (k, v) in deployment.at("metadata.annotations").entries().filter(|(k, _)| is_own(k)) {
        all.push((k.into(), v.clone()));
    }
    for (k, v) in set.at("metadata.annotations").entries().filter(|(k, _)| !is_own(k)) {
        all.push((k.into(), v.clone()));
    }
    deployment.set("metadata.annotations", all.into_iter().collect::<Value>());
}

fn copy(deployment: &Value, set: &mut Value) -> bool {
    let mut changed = false;
    for (k, v) in deployment.at("metadata.annotations").entries().filter(|(k, _)| !is_own(k)) {
        changed |= put(set, k, v.str());
    }
    changed
}

/// Annotations that are not passed between a Deployment and its ReplicaSets.
fn is_own(key: &str) -> bool {
    [LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED_REPLICAS, MAX_REPLICAS, ROLLBACK_TO]
        .contains(&key)
}

fn put(object: &mut Value, key: &str, value: &str) -> bool {
    if object.annotation(key) == Some(value) {
        return false;
    }
    object.entry("metadata.annotations").make_object().insert(key, value.into());
    true
}

/// Appends a revision, dropping the oldest while the text is too long.
fn add_history(set: &mut Value, revision: &str) {
    let history = set.annotation(REVISION_HISTORY).unwrap_or("").to_string();
    let mut rest = history.as_str();
    while !rest.is_empty() && rest.len() + 1 + revision.len() > MAX_HISTORY {
        rest = rest.split_once(',').map_or("", |(_, rest)| rest);
    }
    let text = if rest.is_empty() { revision.to_string() } else { format!("{rest},{revision}") };
    put(set, REVISION_HISTORY, &text);
}
