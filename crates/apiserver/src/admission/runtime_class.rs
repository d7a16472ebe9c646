//! A pod's runtime class decides its overhead and where it may run. Upstream's plug-in
//! `RuntimeClass`.

use timonier_meta::ApiError;
use timonier_meta::gvk::resources;
use timonier_object::Value;

use super::{Operation, Request};

/// Fills in overhead, node selector and tolerations of the class.
pub fn mutate(request: &Request<'_>, pod: &mut Value) -> Result<(), ApiError> {
    if request.operation != Operation::Create || !request.is("", "pods") {
        return Ok(());
    }
    let name = pod.at("spec.runtimeClassName").smol();
    if name.is_empty() {
        if !pod.at("spec.overhead").is_empty() {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            return Err(request.forbidden(pod, why));
        }
        return Ok(());
    }
    let class =
        request.call.server.peek(&resources::RUNTIMECLASSES, "", &name).ok_or_else(|| {
            request.forbidden(pod, &format!("pod rejected: RuntimeClass {name:?} not found"))
        })?;
    let overhead = class.at("overhead.podFixed");
    let stated = pod.at("spec.overhead");
    if !stated.is_empty() && stated != overhead {
        let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
        return Err(request.forbidden(pod, why));
    }
    if !overhead.is_empty() {
        pod.set("spec.overhead", overhead);
    }
    for (key, value) in class.at("scheduling.nodeSelector").entries() {
        let conflict = pod.at("spec.nodeSelector").get(key).is_some_and(|own| own != value);
        if conflict {
            let why = format!(
                "pod rejected: conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                value.str(),
                pod.at("spec.nodeSelector").get(key).map_or("", Value::str)
            );
            return Err(request.forbidden(pod, &why));
        }
        pod.entry("spec.nodeSelector").make_object().insert(key, value.clone());
    }
    for toleration in class.at("scheduling.tolerations").items() {
        if !pod.at("spec.tolerations").items().contains(toleration) {
            pod.entry("spec.tolerations").make_array().push(toleration.clone());
        }
    }
    Ok(())
}
