//! `scale`: how many replicas, whatever the kind.

use timonier_client::PatchType;
use timonier_meta::{ApiError, FieldError, FieldPath, GroupVersionKind, Selector};
use timonier_object::{Value, label_selector, value};
use timonier_patch::apply::scale::Mapping;

use crate::call::{Call, Object};
use crate::managed;
use crate::query::WriteQuery;
use crate::strategy::{self, Part};
use crate::verbs::update::check_name;
use crate::verbs::{get, patch};
use crate::write::{self, Write};

/// The kind of the subresource.
pub const KIND: GroupVersionKind = GroupVersionKind::new_static("autoscaling", "v1", "Scale");

/// Reads the scale.
pub async fn get(call: &Call<'_>, resource_version: Option<u64>) -> Result<Object, ApiError> {
    let object = get::get(call, resource_version).await?;
    Ok(Object::made(scale_of(call, &object.peek(call))))
}

/// Sets the scale; a resource version in it is a precondition.
pub async fn update(call: &Call<'_>, mut scale: Value, dry_run: bool) -> Result<Object, ApiError> {
    strategy::check_kind(&KIND, &mut scale)?;
    check_name(&mut scale, call.info.path_name())?;
    modify(call, dry_run, false, |_| Ok(scale.clone())).await
}

/// Patches the scale.
pub async fn patch(
    call: &Call<'_>,
    kind: PatchType,
    patch: &Value,
    dry_run: bool,
) -> Result<Object, ApiError> {
    // A Scale has no lists, so that a strategic merge is a merge.
    let kind = if kind == PatchType::Strategic { PatchType::Merge } else { kind };
    modify(call, dry_run, false, |now| patch::apply(call, kind, now, patch)).await
}

/// Server-side apply of a scale. The object has to be there.
pub async fn apply(
    call: &Call<'_>,
    mut applied: Value,
    options: &WriteQuery,
) -> Result<Object, ApiError> {
    patch::check_applied(&KIND, &applied)?;
    check_name(&mut applied, call.info.path_name())?;
    strategy::set_namespace(call, &mut applied)?;
    modify(call, options.dry_run, true, |now| {
        let mut scale = managed::apply_scale(call, now, &applied, options.force)?;
        // Not the live object's: only what is applied is a precondition.
        scale.set("metadata.resourceVersion", applied.resource_version());
        Ok(scale)
    })
    .await
}

async fn modify(
    call: &Call<'_>,
    dry_run: bool,
    applied: bool,
    mut change: impl FnMut(&Value) -> Result<Value, ApiError> + Send,
) -> Result<Object, ApiError> {
    let name = call.info.path_name();
    let write = Write { name, subresource: "scale", part: Part::Main, dry_run, applied };
    let (paths, version) = (call.row.scale_paths(), call.row.gvk.group_version().to_string());
    let mapping = Mapping { replicas: &paths.replicas, api_version: &version };
    let changed = write::modify(call, write, |old| {
        let mut live = scale_of(call, old);
        if applied {
            live.set("metadata.managedFields", mapping.to_scale(old));
        }
        let scale = change(&live)?;
        let replicas = scale.at("spec.replicas").int_or(0);
        if replicas < 0 {
            let path = FieldPath::new("spec.replicas");
            let error = FieldError::invalid(&path, replicas, "must be greater than or equal to 0");
            return Err(ApiError::invalid(&KIND, name, &[error]));
        }
        let mut new = old.clone();
        new.set(&paths.replicas, replicas);
        new.set("metadata.resourceVersion", scale.resource_version());
        new.set("metadata.uid", scale.uid());
        if applied {
            new.set("metadata.managedFields", mapping.to_object(old, &scale));
        }
        Ok(new)
    })
    .await?;
    Ok(Object::made(scale_of(call, &changed.peek(call))))
}

/// The scale of an object.
pub fn scale_of(call: &Call<'_>, object: &Value) -> Value {
    let mut metadata = Value::object();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.at("metadata").get(field) {
            metadata.set(field, value.clone());
        }
    }
    let paths = call.row.scale_paths();
    let replicas = object.at(&paths.replicas).int_or(0);
    let mut spec = Value::object();
    if replicas != 0 {
        spec.set("replicas", replicas);
    }
    let mut status = value!({ "replicas": (object.at(&paths.status).int_or(0)) });
    let selector = object.at(&paths.selector);
    let selector = if call.row.is_custom() {
        Selector::parse(selector.str()).unwrap_or_else(|_| Selector::nothing())
    } else if call.row.gvr.resource == "replicationcontrollers" {
        Selector::of_pairs(selector.entries().map(|(k, v)| (k, v.str())))
    } else {
        label_selector(selector).unwrap_or_else(|_| Selector::nothing())
    };
    let text = selector.to_string();
    if !text.is_empty() {
        status.set("selector", text);
    }
    value!({ "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": (metadata),
        "spec": (spec), "status": (status) })
}
