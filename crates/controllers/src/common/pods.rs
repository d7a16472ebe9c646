//! What controllers ask about pods, and how they make them.

use alloc::format;
use alloc::string::String;

use timonier_meta::gvk::resources::PODS;
use timonier_meta::{Duration, Time, names};
use timonier_object::{OwnerReference, Value, value};
use timonier_reconcile::{Context, Reason, Write};

/// Whether the pod has run to its end.
pub fn is_terminal(pod: &Value) -> bool {
    matches!(pod.at("status.phase").str(), "Succeeded" | "Failed")
}

/// Whether the pod runs, or is to run, and is not being deleted.
pub fn is_active(pod: &Value) -> bool {
    !is_terminal(pod) && !pod.is_deleting()
}

/// Whether the pod is being deleted and has not ended yet.
pub fn is_terminating(pod: &Value) -> bool {
    !is_terminal(pod) && pod.is_deleting()
}

/// Whether the pod's `Ready` condition is true.
pub fn is_ready(pod: &Value) -> bool {
    pod.condition_is_true("Ready")
}

/// Since when the pod is ready; `None` while it is not.
pub fn ready_since(pod: &Value) -> Option<Time> {
    let ready = pod.condition("Ready").filter(|c| c.at("status").str() == "True")?;
    ready.time("lastTransitionTime")
}

/// When a ready pod becomes available, having been ready for so many seconds; `None` for a pod
/// that is not ready.
pub fn available_from(pod: &Value, min_ready_seconds: i64) -> Option<Time> {
    if !is_ready(pod) {
        return None;
    }
    if min_ready_seconds <= 0 {
        return Some(Time::default());
    }
    Some(ready_since(pod)? + Duration::from_secs(min_ready_seconds))
}

/// Whether the pod is ready for long enough.
pub fn is_available(pod: &Value, min_ready_seconds: i64, now: Time) -> bool {
    available_from(pod, min_ready_seconds).is_some_and(|at| at <= now)
}

/// A reference to the controller that owns what it makes.
pub fn controller_reference(owner: &Value) -> OwnerReference {
    OwnerReference {
        api_version: owner.api_version().into(),
        kind: owner.kind().into(),
        name: owner.name().into(),
        uid: owner.uid().into(),
        controller: true,
        block_owner_deletion: true,
    }
}

/// A pod made from `template` for `owner`, without a name.
pub fn from_template(template: &Value, owner: &Value) -> Value {
    let mut metadata = value!({ "namespace": (owner.namespace()) });
    for field in ["labels", "annotations", "finalizers"] {
        let value = template.at("metadata").at(field);
        if !value.is_empty() {
            metadata.set(field, value);
        }
    }
    metadata.set("ownerReferences", value!([(&controller_reference(owner))]));
    value!({ "kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": (template.at("spec")) })
}

/// The prefix for the names of an owner's pods: its name and a dash, or without the dash where
/// that would not be a prefix of a name.
pub fn name_prefix(owner: &Value) -> String {
    let prefix = format!("{}-", owner.name());
    // A trailing dash is cut as upstream masks it before its check.
    if names::dns1123_subdomain(owner.name()).is_empty() { prefix } else { owner.name().into() }
}

/// Creates `pod` under the `n`th generated name of this run, with upstream's Events.
pub fn create(pod: Value, prefix: &str, owner: &Value, context: &Context<'_>, n: u64) -> Write {
    let name = context.generate_name(prefix, n);
    create_named(pod, prefix, &name, owner)
}

/// Creates `pod` under this name, with upstream's Events. The prefix is kept as `generateName`.
pub fn create_named(mut pod: Value, prefix: &str, name: &str, owner: &Value) -> Write {
    let metadata = pod.entry("metadata").make_object();
    metadata.insert_first("generateName", prefix.into());
    metadata.insert_first("name", name.into());
    Write::create(&PODS, pod)
        .event(Reason::normal(owner, "SuccessfulCreate", format!("Created pod: {name}")))
        .on_failure(Reason::warning(owner, "FailedCreate", "Error creating: "))
}

/// Deletes `pod`, with upstream's Events about its owner.
pub fn delete(pod: &Value, owner: &Value) -> Write {
    Write::delete(&PODS, pod)
        .event(Reason::normal(owner, "SuccessfulDelete", format!("Deleted pod: {}", pod.name())))
        .on_failure(Reason::warning(owner, "FailedDelete", "Error deleting: "))
}
