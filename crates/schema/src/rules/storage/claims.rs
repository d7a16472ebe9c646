//! Persistent volume claims.

use alloc::format;

use timonier_meta::{FieldError, names};
use timonier_object::Value;

use super::super::at::{At, Errors, IMMUTABLE, NOT_POSITIVE, immutable, same};
use super::super::common::{annotations, bad_quantity, check, label_selector, labels, quantity};
use super::super::pod::diff::unified;
use super::sources::modes;

const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// Checks a new claim.
pub fn create(e: &mut Errors, claim: &Value) {
    spec(e, &At::top(claim).get("spec"));
}

/// Checks the template of a claim in a pod's volume.
pub fn claim_template(e: &mut Errors, at: &At<'_>) {
    if !at.is_set() {
        at.required(e, "");
        return;
    }
    annotations(e, &at.get("metadata.annotations"));
    labels(e, &at.get("metadata.labels"));
    spec(e, &at.get("spec"));
}

/// Checks the specification of a claim.
pub fn spec(e: &mut Errors, at: &At<'_>) {
    let access = at.get("accessModes");
    if access.is_empty() {
        access.required(e, "at least 1 access mode is required");
    }
    label_selector(e, &at.get("selector"));
    modes(e, &access);
    let storage = at.get("resources.requests.storage");
    let storage = storage.named(at.path.child("resources").key("storage"));
    if !storage.is_set() {
        storage.required(e, "");
    } else if quantity(storage.value).is_negative() || quantity(storage.value).is_zero() {
        bad_quantity(e, &storage, NOT_POSITIVE);
    }
    for class in ["storageClassName", "volumeMode", "volumeAttributesClassName"] {
        let class = at.get(class);
        if class.path.as_str().ends_with("volumeMode") {
            if class.is_set() {
                class.one_of(e, &["Block", "Filesystem"]);
            }
            data_sources(e, at);
        } else if !class.is_empty() {
            check(e, &class, names::dns1123_subdomain);
        }
    }
}

fn data_sources(e: &mut Errors, at: &At<'_>) {
    let (source, reference) = (at.get("dataSource"), at.get("dataSourceRef"));
    for one in [&source, &reference] {
        if !one.is_set() {
            continue;
        }
        let (kind, group) = (one.get("kind"), one.get("apiGroup"));
        one.get("name").demand(e);
        kind.demand(e);
        if group.is_empty() {
            if kind.str() != "PersistentVolumeClaim" {
                let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
                kind.named(one.path.clone()).bad_str(e, why);
            }
        } else {
            check(e, &group, names::dns1123_subdomain);
        }
        let namespace = one.get("namespace");
        if !namespace.is_empty() {
            check(e, &namespace, names::dns1123_label);
        }
    }
    if !source.is_set() || !reference.is_set() {
        return;
    }
    let matching = ["apiGroup", "kind", "name"]
        .iter()
        .all(|field| source.value.at(field) == reference.value.at(field));
    // Upstream prints an internal type's (empty) fields here.
    if !reference.get("namespace").is_empty() {
        at.bad(e, "{}", "may not be specified when dataSourceRef.namespace is specified");
    } else if !matching {
        at.bad(e, "{}", "must match dataSourceRef");
    }
}

/// Checks a changed claim: once made, a claim may only grow.
pub fn update(e: &mut Errors, new: &Value, old: &Value) {
    create(e, new);
    let (top, before) = (At::top(new), At::top(old));
    let (mut now, mut was) = (new.at("spec").clone(), old.at("spec").clone());
    if old.at("spec.volumeName").is_empty() {
        put(&mut was, "volumeName", new.at("spec.volumeName"));
    }
    class_changes(e, new, old, &mut now, &mut was);
    if new.at("status.phase").str() == "Bound" {
        put(&mut now, "resources.requests.storage", old.at("spec.resources.requests.storage"));
        put(&mut now, "volumeAttributesClassName", was.at("volumeAttributesClassName"));
    }
    if !same(&now, &was) {
        let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        top.get("spec").forbidden(e, format!("{why}\n{}", unified(&was, &now)));
    }
    let size = top.get("spec.resources.requests.storage");
    let had = before.get("spec.resources.requests.storage");
    if quantity(size.value) < quantity(had.value)
        && quantity(size.value) <= quantity(old.at("status.capacity.storage"))
    {
        size.forbidden(e, "field can not be less than status.capacity");
    }
    let mode = top.get("spec.volumeMode").named("volumeMode".into());
    immutable(e, &mode, &before.get("spec.volumeMode"));
    let class = top.get("spec.volumeAttributesClassName");
    let current = old.at("status.currentVolumeAttributesClassName");
    if class.value != old.at("spec.volumeAttributesClassName") && !current.is_null() {
        let what = if !class.is_set() { "nil" } else { "empty string" };
        if class.is_empty() {
            class.forbidden(
                e,
                format!(
                    "update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil"
                ),
            );
        }
    }
}

/// A class may move from the old annotation to the field, and be set where there was none.
fn class_changes(e: &mut Errors, new: &Value, old: &Value, now: &mut Value, was: &mut Value) {
    let (noted, note) = (old.annotation(CLASS), new.annotation(CLASS));
    let (field, had) = (new.at("spec.storageClassName"), old.at("spec.storageClassName"));
    let moved = noted.is_some()
        && had.is_null()
        && field.as_str() == noted
        && (note.is_none() || note == noted);
    if moved {
        now.remove("storageClassName");
        was.remove("storageClassName");
        return;
    }
    if note.unwrap_or("") != noted.unwrap_or("") {
        let path = At::top(new).get("metadata.annotations").path.child(CLASS);
        let value = Value::from(note.unwrap_or(""));
        At { value: &value, path }.bad_str(e, IMMUTABLE);
    }
    if !field.is_null() && had.is_null() && (noted.is_none() || field.as_str() == noted) {
        now.remove("storageClassName");
    }
}

fn put(object: &mut Value, path: &str, value: &Value) {
    if value.is_null() {
        object.remove(path);
    } else {
        object.set(path, value.clone());
    }
}

/// Checks a written status.
pub fn update_status(e: &mut Errors, new: &Value) {
    let status = At::top(new).get("status");
    for list in ["capacity", "allocatedResources"] {
        for (_, amount) in status.get(list).entries() {
            let value = quantity(amount.value).value();
            if value < 0 {
                amount.bad(e, value, "must be a valid resource quantity");
            }
        }
    }
    let (statuses, amounts) =
        (status.get("allocatedResourceStatuses"), status.get("allocatedResources"));
    for (key, state) in statuses.value.entries() {
        resource_key(e, &statuses, key);
        if !RESIZES.contains(&state.str()) {
            e.push(FieldError::not_supported(&statuses.path, key, &RESIZES));
        }
    }
    amounts.value.entries().for_each(|(key, _)| resource_key(e, &amounts, key));
}

/// How far the growth of a claim is.
const RESIZES: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

/// Of the resources without a domain, or with Kubernetes' own, only `storage` can be meant.
fn resource_key(e: &mut Errors, at: &At<'_>, key: &str) {
    let wrong = names::qualified_name(key);
    for why in &wrong {
        at.bad(e, super::super::common::show_str(key), why.as_str());
    }
    let native = !key.contains('/') || key.contains("kubernetes.io/");
    if wrong.is_empty() && native && key != "storage" {
        e.push(FieldError::not_supported(&at.path, key, &["storage"]));
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use timonier_object::value;

    use super::*;

    fn claim(size: &str) -> Value {
        value!({ "spec": { "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
            "resources": { "requests": { "storage": size } } } })
    }

    #[test]
    fn size_and_modes() {
        let mut e = Errors::new();
        create(&mut e, &claim("1Gi"));
        assert!(e.is_empty(), "{e:?}");
        let mut bad = claim("0");
        bad.set("spec.accessModes", value!(["ReadWriteOncePod", "ReadOnlyMany", "x"]));
        create(&mut e, &bad);
        let texts: Vec<String> = e.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "spec.accessModes: Unsupported value: \"x\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"",
                "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
                "spec.resources[storage]: Invalid value: \"0\": must be greater than zero"
            ]
        );
    }

    #[test]
    fn only_a_bound_claim_grows() {
        let (mut old, mut new) = (claim("1Gi"), claim("2Gi"));
        let mut e = Errors::new();
        update(&mut e, &new, &old);
        assert!(e.len() == 1 && e[0].detail.starts_with("spec is immutable after"), "{e:?}");
        for claim in [&mut old, &mut new] {
            claim.set("status", value!({ "phase": "Bound", "capacity": { "storage": "1Gi" } }));
        }
        e.clear();
        update(&mut e, &new, &old);
        assert!(e.is_empty(), "{e:?}");
        update(&mut e, &claim("512Mi"), &old);
        assert!(e.iter().any(|e| e.detail.contains("less than status.capacity")));
    }
}
