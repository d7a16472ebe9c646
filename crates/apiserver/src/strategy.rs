//! What the server itself writes into objects: upstream's `BeforeCreate` and `BeforeUpdate`.

use timonier_meta::{ApiError, Reason};
use timonier_object::{Map, Value, value};
use timonier_schema::InitialStatus;

use crate::call::Call;

/// Fills in what only the server may say of a new object, and drops what only it may.
pub fn prepare_create(call: &Call<'_>, object: &mut Value) -> Result<(), ApiError> {
    check_type(call, object)?;
    if !object.resource_version().is_empty() {
        return Err(ApiError::new(
            500,
            Reason::Unknown,
            "resourceVersion should not be set on objects to be created",
        ));
    }
    set_namespace(call, object)?;
    let now = call.server.env.now();
    let metadata = object.entry("metadata").make_object();
    for field in SERVERS_OWN {
        metadata.remove(field);
    }
    let name = metadata.get("name").map_or("", Value::str);
    let base = metadata.get("generateName").map(Value::smol).unwrap_or_default();
    if name.is_empty() && !base.is_empty() {
        let name = timonier_meta::names::generate(&base, call.server.env.random());
        metadata.insert("name", name.into());
    }
    metadata.insert("uid", call.server.env.uid().into());
    metadata.insert("creationTimestamp", now.rfc3339().into());
    if call.row.strategy.generation {
        metadata.insert("generation", 1i64.into());
    }
    match call.row.strategy.initial_status {
        InitialStatus::Keep => {}
        // Upstream's registry of custom resources takes the status out; of a built-in kind its
        // zero value stays.
        InitialStatus::Drop if call.row.is_custom() => {
            if let Some(object) = object.as_object_mut() {
                object.remove("status");
            }
        }
        InitialStatus::Drop => {
            if object.get("status").is_some() {
                object.set("status", Value::object());
            }
        }
        InitialStatus::Phase(phase) => object.set("status", value!({ "phase": phase })),
    }
    Ok(())
}

/// Metadata that a client's text of a new object does not decide.
const SERVERS_OWN: [&str; 9] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
    "managedFields",
    "clusterName",
];

/// Fills in type and namespace from the URL and refuses what differs from it.
pub fn check_type(call: &Call<'_>, object: &mut Value) -> Result<(), ApiError> {
    let gvk = &call.row.gvk;
    check_kind(gvk, object)
}

/// As [`check_type`], for a kind that is not the row's (a subresource's).
pub fn check_kind(
    gvk: &timonier_meta::GroupVersionKind,
    object: &mut Value,
) -> Result<(), ApiError> {
    let wanted = gvk.group_version().to_string();
    let stated = object.api_version().to_string();
    if !stated.is_empty() && stated != wanted {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({stated}) does not match the expected API version ({wanted})"
        )));
    }
    let kind = object.kind();
    if !kind.is_empty() && kind != gvk.kind {
        return Err(ApiError::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {}: converting ({wanted}.{kind}) to ({wanted}.{}): unknown conversion",
            gvk.version, gvk.kind, gvk.kind
        )));
    }
    let map = object.make_object();
    map.insert_first("apiVersion", wanted.into());
    map.insert_first("kind", gvk.kind.clone().into());
    Ok(())
}

/// Fills in the request's namespace; 400 where the object says another.
pub fn set_namespace(call: &Call<'_>, object: &mut Value) -> Result<(), ApiError> {
    let wanted = call.namespace();
    let stated = object.namespace();
    if stated.is_empty() {
        if wanted.is_empty() && call.row.namespaced {
            return Err(ApiError::bad_request("an empty namespace may not be set during creation"));
        }
        if !wanted.is_empty() {
            object.set("metadata.namespace", wanted);
        }
        return Ok(());
    }
    if call.row.namespaced && stated != wanted {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// Which half of an object a write may change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Everything but the status, where that is a subresource.
    Main,
    /// The status and metadata.
    Status,
    /// The writer (a subresource of the server's own) knows what it does. It counts no generation: a
    /// bound pod keeps its first.
    Whole,
}

/// Carries over what a writer of `part` may not change, and counts the generation. Gives what the
/// writer says of the managers of fields.
pub fn prepare_update(call: &Call<'_>, part: Part, new: &mut Value, old: &Value) -> Option<Value> {
    let before = old.at("metadata");
    let metadata = new.entry("metadata").make_object();
    let sent = metadata.remove("managedFields");
    metadata.remove("selfLink");
    for field in CARRIED {
        if metadata.get(field).is_none_or(Value::is_null) {
            carry(metadata, before, field);
        }
    }
    carry(metadata, before, "generation");
    carry(metadata, before, "resourceVersion");
    match part {
        Part::Main if call.row.has_status() => keep(new, old, "status"),
        Part::Main | Part::Whole => {}
        Part::Status => keep_all_but_status(call, new, old),
    }
    if call.row.strategy.generation && part == Part::Main && spec_differs(call, new, old) {
        new.set("metadata.generation", old.generation() + 1);
    }
    sent
}

const CARRIED: [&str; 7] = [
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "generateName",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

fn carry(metadata: &mut Map, before: &Value, field: &str) {
    match before.get(field) {
        Some(value) => {
            metadata.insert(field, value.clone());
        }
        None => {
            metadata.remove(field);
        }
    }
}

fn keep(new: &mut Value, old: &Value, field: &str) {
    match old.find(field) {
        Some(value) => new.set(field, value.clone()),
        None => {
            new.remove(field);
        }
    }
}

/// A status write changes status and, as upstream's strategies, labels and annotations.
fn keep_all_but_status(call: &Call<'_>, new: &mut Value, old: &Value) {
    let status = new.get("status").cloned();
    let metadata = new.at("metadata").clone();
    *new = old.clone();
    match status {
        Some(status) => new.set("status", status),
        None => {
            new.remove("status");
        }
    }
    new.set("metadata", metadata);
    let resource = call.row.gvr.resource.as_str();
    if resource == "deployments" {
        keep(new, old, "metadata.labels");
    }
    if resource == "pods" {
        // Old kubelets wrote owner references back in a broken form.
        keep(new, old, "metadata.ownerReferences");
    }
    if call.row.is_custom() {
        new.set("metadata", old.at("metadata").clone());
    }
}

/// Whether anything but metadata and status differs; the status of a custom resource without a
/// subresource for it is a field like others.
fn spec_differs(call: &Call<'_>, new: &Value, old: &Value) -> bool {
    let custom = call.row.is_custom();
    let apart = call.row.has_status() || !custom;
    let rest = |v: &Value| -> Value {
        v.entries()
            .filter(|(k, _)| !matches!(*k, "metadata" | "apiVersion" | "kind"))
            .filter(|(k, _)| *k != "status" || !apart)
            .map(|(k, v)| (k, v.clone()))
            .collect()
    };
    match (new.get("spec"), old.get("spec")) {
        (Some(a), Some(b)) if !custom => a != b,
        _ => rest(new) != rest(old),
    }
}
