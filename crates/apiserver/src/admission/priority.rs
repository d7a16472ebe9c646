//! A pod's priority comes from its class. Upstream's plug-in `Priority`.

use std::sync::Arc;

use timonier_meta::ApiError;
use timonier_meta::gvk::resources;
use timonier_object::Value;

use super::{Operation, Request};

/// Fills in the priority of a pod.
pub fn mutate(request: &Request<'_>, pod: &mut Value) -> Result<(), ApiError> {
    if !request.is("", "pods") {
        return Ok(());
    }
    match (request.operation, request.old) {
        (Operation::Create, _) => set(request, pod),
        (Operation::Update, Some(old)) => {
            for field in ["spec.priority", "spec.preemptionPolicy"] {
                if pod.at(field).is_null() && !old.at(field).is_null() {
                    pod.set(field, old.at(field));
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn set(request: &Request<'_>, pod: &mut Value) -> Result<(), ApiError> {
    let name = pod.at("spec.priorityClassName").smol();
    let class = if name.is_empty() {
        default_class(request)
    } else {
        let found = request.call.server.peek(&resources::PRIORITYCLASSES, "", &name);
        Some(found.ok_or_else(|| {
            request.forbidden(pod, &format!("no PriorityClass with name {name} was found"))
        })?)
    };
    let (priority, policy) = match &class {
        Some(class) => (class.at("value").int_or(0), class.at("preemptionPolicy").smol()),
        None => (0, "".into()),
    };
    let policy = if policy.is_empty() { "PreemptLowerPriority".into() } else { policy };
    if let Some(given) = pod.at("spec.priority").as_i64().filter(|p| *p != priority) {
        return Err(request.forbidden(pod, &format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
        )));
    }
    if let Some(given) = pod.at("spec.preemptionPolicy").as_str().filter(|p| **p != *policy) {
        return Err(request.forbidden(pod, &format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        )));
    }
    if let Some(class) = class.filter(|_| name.is_empty()) {
        pod.set("spec.priorityClassName", class.name());
    }
    pod.set("spec.priority", priority);
    pod.set("spec.preemptionPolicy", policy);
    Ok(())
}

/// The global default; of several the one with the lowest value.
fn default_class(request: &Request<'_>) -> Option<Arc<Value>> {
    let classes = request.call.server.peek_all(&resources::PRIORITYCLASSES, "");
    let defaults = classes.into_iter().filter(|c| c.at("globalDefault").bool());
    defaults.min_by_key(|c| c.at("value").int_or(0))
}

/// There is one default class at most.
pub fn validate(request: &Request<'_>, class: &Value) -> Result<(), ApiError> {
    if !request.is("scheduling.k8s.io", "priorityclasses") || !class.at("globalDefault").bool() {
        return Ok(());
    }
    match default_class(request) {
        Some(other) if other.name() != class.name() => Err(request.forbidden(
            class,
            &format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                other.name()
            ),
        )),
        _ => Ok(()),
    }
}
