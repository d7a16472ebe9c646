//! `binding`: a scheduler gives a pod its node.

use timonier_meta::{ApiError, FieldError, FieldPath, GroupVersionKind};
use timonier_object::{Value, value};

use crate::admission::pod_topology_labels;
use crate::call::{Call, Object};
use crate::strategy::Part;
use crate::write::{self, Write};

/// The kind of the body.
pub const KIND: GroupVersionKind = GroupVersionKind::new_static("", "v1", "Binding");

/// Binds the pod `name` to the target of `binding`, which admission has seen.
pub async fn create(
    call: &Call<'_>,
    name: &str,
    binding: &Value,
    dry_run: bool,
) -> Result<Object, ApiError> {
    super::check_name(name, binding)?;
    check(name, binding)?;
    let node = binding.at("target.name").smol();
    let now = call.server.env.now();
    let write = Write { name, subresource: "binding", part: Part::Whole, dry_run, applied: false };
    write::modify_unasked(call, write, |pod| {
        let refuse = |why: String| Err(ApiError::conflict(&call.resource(), name, &why));
        let uid = binding.at("metadata.uid").str();
        if !uid.is_empty() && uid != pod.uid() {
            return refuse(format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                pod.uid()
            ));
        }
        if pod.is_deleting() {
            return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
        }
        let present = pod.at("spec.nodeName").str();
        if !present.is_empty() {
            return refuse(format!("pod {name} is already assigned to node {present:?}"));
        }
        if !pod.at("spec.schedulingGates").is_empty() {
            return refuse(format!("pod {name} has non-empty .spec.schedulingGates"));
        }
        let mut new = pod.clone();
        new.set("spec.nodeName", &node);
        pod_topology_labels::on_node(call, &mut new);
        for (k, v) in binding.at("metadata.annotations").entries() {
            new.entry("metadata.annotations").make_object().insert(k, v.clone());
        }
        set_scheduled(&mut new, &now.rfc3339());
        Ok(new)
    })
    .await?;
    Ok(Object::made(super::success(201)))
}

fn check(name: &str, binding: &Value) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    let path = FieldPath::new("target");
    let kind = binding.at("target.kind").str();
    if !matches!(kind, "" | "Node") {
        errors.push(FieldError::not_supported(&path.child("kind"), kind, &["Node", "<empty>"]));
    }
    if binding.at("target.name").str().is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(&KIND, name, &errors)) }
}

/// Sets the condition `PodScheduled`, keeping the others.
fn set_scheduled(pod: &mut Value, now: &str) {
    let conditions = pod.entry("status.conditions").make_array();
    let scheduled = |c: &&mut Value| c.at("type").str() == "PodScheduled";
    let fresh = value!({ "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now });
    match conditions.iter_mut().find(scheduled) {
        Some(condition) if condition.at("status").str() == "True" => {}
        Some(condition) => *condition = fresh,
        None => conditions.push(fresh),
    }
}
