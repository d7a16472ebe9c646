//! Changes of pods: upstream's `ValidatePodUpdate`, and its subresources' rules.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;

use timonier_object::Value;

use super::super::at::{At, Errors, same};
use super::diff::unified;
use super::{annotations, of_pod};

/// Checks a changed pod: almost nothing of its specification may change.
pub fn update(e: &mut Errors, new: &Value, old: &Value) {
    let (new, old) = (At::top(new), At::top(old));
    of_pod(e, &new);
    let (spec, before) = (new.get("spec"), old.get("spec"));
    annotations::update(
        e,
        &new.get("metadata.annotations"),
        &old.get("metadata.annotations"),
        &spec,
    );
    for list in ["containers", "initContainers"] {
        let at = spec.get(list);
        if at.len() != before.get(list).len() {
            at.forbidden(e, "pod updates may not add or remove containers");
            return;
        }
        for container in at.items() {
            container.get("image").demand(e);
            super::containers::image_space(e, &container);
        }
    }
    deadline(e, &spec.get("activeDeadlineSeconds"), &before.get("activeDeadlineSeconds"));
    only_added_tolerations(e, &spec.get("tolerations"), &before.get("tolerations"));
    only_removed_gates(e, &spec.get("schedulingGates"), &before.get("schedulingGates"));
    if same(spec.value, before.value) {
        return;
    }
    let allowed = with_allowed_changes_undone(e, &spec, &before);
    if !same(&allowed, before.value) {
        let why = format!("{FIXED}\n{}", unified(before.value, &allowed));
        spec.forbidden(e, why);
    }
}

const FIXED: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

fn deadline(e: &mut Errors, new: &At<'_>, old: &At<'_>) {
    if new.is_set() {
        if !(0..=i64::from(i32::MAX)).contains(&new.int()) {
            new.within(e, 0, i64::from(i32::MAX));
        } else if old.is_set() && old.int() < new.int() {
            new.bad_int(e, "must be less than or equal to previous value");
        }
    } else if old.is_set() {
        new.invalid(e, "must not update from a positive integer to nil value");
    }
}

fn only_added_tolerations(e: &mut Errors, new: &At<'_>, old: &At<'_>) {
    let bare = |toleration: &Value| {
        let mut bare = toleration.clone();
        bare.remove("tolerationSeconds");
        bare
    };
    for before in old.items() {
        let wanted = bare(before.value);
        if !new.items().any(|now| same(&bare(now.value), &wanted)) {
            new.forbidden(
                e,
                "existing toleration can not be modified except its tolerationSeconds",
            );
        }
    }
    super::scheduling::tolerations(e, new);
}

fn only_removed_gates(e: &mut Errors, new: &At<'_>, old: &At<'_>) {
    let before: BTreeSet<&str> = old.items().map(|g| g.get("name").str()).collect();
    for gate in new.items() {
        let name = gate.get("name");
        if !before.contains(name.str()) {
            let why =
                format!("only deletion is allowed, but found new scheduling gate '{}'", name.str());
            name.forbidden(e, why);
        }
    }
}

/// The new specification with everything back that may change.
fn with_allowed_changes_undone(e: &mut Errors, new: &At<'_>, old: &At<'_>) -> Value {
    let mut spec = new.value.clone();
    for list in ["containers", "initContainers"] {
        let before = old.value.at(list).items();
        let now = spec.get_mut(list).and_then(Value::as_array_mut);
        for (now, before) in now.into_iter().flatten().zip(before) {
            put(now, "image", before.at("image"));
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        put(&mut spec, field, old.value.at(field));
    }
    let grace = "terminationGracePeriodSeconds";
    if old.get(grace).int() < 0 && new.get(grace).int() == 1 {
        put(&mut spec, grace, old.value.at(grace));
    }
    if !old.get("schedulingGates").is_empty() {
        gated(e, &mut spec, new, old);
    }
    spec
}

fn put(object: &mut Value, field: &str, value: &Value) {
    if value.is_null() {
        object.remove(field);
    } else {
        object.set(field, value.clone());
    }
}

/// A pod that waits at a gate may still narrow where it will run.
fn gated(e: &mut Errors, spec: &mut Value, new: &At<'_>, old: &At<'_>) {
    let (selector, before) = (new.get("nodeSelector"), old.get("nodeSelector"));
    if before.value.entries().any(|(key, value)| selector.value.get(key) != Some(value)) {
        selector.invalid(
            e,
            "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        );
    }
    put(spec, "nodeSelector", before.value);
    let path = "requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let (affinity, earlier) = (new.get("affinity.nodeAffinity"), old.get("affinity.nodeAffinity"));
    if same(affinity.value, earlier.value) {
        return;
    }
    let (terms, had) = (affinity.get(path), earlier.get(path));
    if !had.is_empty() && had.len() != terms.len() {
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        terms.invalid(e, why);
    } else {
        for (now, before) in terms.items().zip(had.items()) {
            if !only_adds(now.value, before.value) {
                now.invalid(e, "only additions are allowed (no mutations or deletions)");
            }
        }
    }
    if earlier.is_set() {
        spec.set("affinity.nodeAffinity", earlier.value.clone());
    } else {
        spec.remove("affinity.nodeAffinity");
    }
}

fn only_adds(new: &Value, old: &Value) -> bool {
    let lists = ["matchExpressions", "matchFields"];
    if lists.iter().all(|list| old.at(list).is_empty()) {
        return lists.iter().all(|list| new.at(list).is_empty());
    }
    lists.iter().all(|list| {
        let (now, before) = (new.at(list).items(), old.at(list).items());
        now.len() >= before.len() && now.iter().zip(before).all(|(a, b)| same(a, b))
    })
}

/// Checks a write of the `ephemeralcontainers` subresource: only additions.
pub fn ephemeral_containers(e: &mut Errors, new: &Value, old: &Value) {
    let (new, old) = (At::top(new), At::top(old));
    if old.value.annotation(annotations::MIRROR).is_some() {
        let why = "static pods do not support ephemeral containers";
        At::new(new.value, "[]").forbidden(e, why);
        return;
    }
    of_pod(e, &new);
    annotations::update(
        e,
        &new.get("metadata.annotations"),
        &old.get("metadata.annotations"),
        &new.get("spec"),
    );
    let at = new.get("spec.ephemeralContainers");
    let now: BTreeMap<&str, &Value> =
        at.value.items().iter().map(|c| (c.at("name").str(), c)).collect();
    for before in old.value.at("spec.ephemeralContainers").items() {
        let name = before.at("name").str();
        match now.get(name) {
            None => at.forbidden(
                e,
                format!("existing ephemeral containers {name:?} may not be removed\n"),
            ),
            Some(now) if !same(now, before) => at.forbidden(
                e,
                format!(
                    "existing ephemeral containers {name:?} may not be changed\n{}",
                    unified(before, now)
                ),
            ),
            Some(_) => {}
        }
    }
}

/// Checks a write of the `resize` subresource: only processor and memory of containers.
pub fn resize(e: &mut Errors, new: &Value, old: &Value) {
    let (new, old) = (At::top(new), At::top(old));
    for (wrong, why) in [
        (old.value.annotation(annotations::MIRROR).is_some(), "static pods cannot be resized"),
        (old.value.at("spec.os.name").str() == "windows", "windows pods cannot be resized"),
    ] {
        if wrong {
            At::new(new.value, "[]").forbidden(e, why);
            return;
        }
    }
    of_pod(e, &new);
    let (spec, before) = (new.get("spec"), old.get("spec"));
    let count = e.len();
    same_containers(e, &spec, &before);
    if e.len() > count {
        return;
    }
    let mut rest = spec.value.clone();
    for list in ["initContainers", "containers"] {
        let had = before.value.at(list).items();
        let now = rest.get_mut(list).and_then(Value::as_array_mut);
        for (now, had) in now.into_iter().flatten().zip(had) {
            let sidecar = now.at("restartPolicy").str() == "Always";
            if list == "containers" || sidecar {
                undo_resize(now, had);
            }
            if !same(now, had) {
                let why = match (list, sidecar) {
                    ("containers", _) => "only cpu and memory resources are mutable",
                    (_, true) => "only cpu and memory resources for sidecar containers are mutable",
                    (_, false) => "resources for non-sidecar init containers are immutable",
                };
                spec.forbidden(e, why);
            }
        }
    }
    if e.len() == count && !same(&rest, before.value) {
        spec.forbidden(e, "only cpu and memory resources are mutable");
    }
}

fn same_containers(e: &mut Errors, spec: &At<'_>, before: &At<'_>) {
    for list in ["containers", "initContainers"] {
        let (now, had) = (spec.get(list), before.get(list));
        if now.len() != had.len() {
            now.forbidden(e, format!("{list} may not be added or removed on resize"));
            continue;
        }
        for (now, had) in now.items().zip(had.items()) {
            if now.get("name").str() != had.get("name").str() {
                now.get("name")
                    .forbidden(e, format!("{list} may not be renamed or reordered on resize"));
            }
        }
    }
}

/// Gives a container's processor and memory back their old amounts.
fn undo_resize(now: &mut Value, had: &Value) {
    for list in ["resources.requests", "resources.limits"] {
        for name in ["cpu", "memory"] {
            let before = had.at(list).at(name);
            if before.is_null() {
                now.remove(&format!("{list}.{name}"));
            } else {
                now.set(&format!("{list}.{name}"), before.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use timonier_object::value;

    use super::*;

    fn pod() -> Value {
        value!({ "metadata": { "name": "p", "namespace": "d" }, "spec": {
            "containers": [{ "name": "c", "image": "i", "imagePullPolicy": "Always",
                "terminationMessagePolicy": "File", "resources": {} }],
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
            "terminationGracePeriodSeconds": 30, "securityContext": {} } })
    }

    fn texts(new: &Value, old: &Value) -> Vec<String> {
        let mut e = Errors::new();
        update(&mut e, new, old);
        e.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn images_and_deadlines_may_change() {
        let mut new = pod();
        new.set("spec.activeDeadlineSeconds", 5i64);
        new.set("spec.tolerations", value!([{ "operator": "Exists" }]));
        new.entry("spec.containers").make_array()[0].set("image", "j");
        assert!(texts(&new, &pod()).is_empty(), "{:?}", texts(&new, &pod()));
        assert_eq!(
            texts(&pod(), &new),
            [
                "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
                "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
            ]
        );
    }

    #[test]
    fn the_rest_may_not() {
        let mut new = pod();
        new.set("spec.terminationGracePeriodSeconds", 31i64);
        let found = texts(&new, &pod());
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with(
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
        ));
        assert!(found[0].contains("- \"terminationGracePeriodSeconds\": 30"), "{}", found[0]);
    }
}
