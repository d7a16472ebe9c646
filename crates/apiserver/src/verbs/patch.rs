//! `patch`: change an object, or its status, by a description of the change.

use timonier_client::PatchType;
use timonier_meta::{ApiError, GroupVersionKind, Reason};
use timonier_object::Value;
use timonier_patch::{PatchError, apply_json_patch, apply_merge_patch, apply_strategic};

use crate::call::{Call, Object};
use crate::http::body::unsupported;
use crate::query::{FieldValidation, WriteQuery};
use crate::strategy::{self, Part};
use crate::verbs::update::check_name;
use crate::verbs::{create, fresh};
use crate::write::{self, Write};
use crate::{decode, managed};

/// Applies a patch to the object that the URL names.
pub async fn patch(
    call: &Call<'_>,
    kind: PatchType,
    patch: &Value,
    part: Part,
    options: &WriteQuery,
) -> Result<Object, ApiError> {
    let name = call.info.path_name();
    let subresource = call.info.subresource.as_str();
    let write = Write { name, subresource, part, dry_run: options.dry_run, applied: false };
    write::modify(call, write, |old| {
        let patched = apply(call, kind, old, patch)?;
        finish(call, patched, name, options)
    })
    .await
}

/// Server-side apply: merges the applied object into the one that the URL names, or creates it.
/// Gives whether it was created.
pub async fn apply_object(
    call: &Call<'_>,
    mut applied: Value,
    part: Part,
    options: &WriteQuery,
) -> Result<(bool, Object), ApiError> {
    let name = call.info.path_name();
    check_applied(&call.row.gvk, &applied)?;
    check_name(&mut applied, name)?;
    strategy::set_namespace(call, &mut applied)?;
    let subresource = call.info.subresource.as_str();
    let write = Write { name, subresource, part, dry_run: options.dry_run, applied: true };
    // The schema was asked when the object was applied; what is left has its types.
    let settled = WriteQuery { field_validation: FieldValidation::Ignore, ..options.clone() };
    for _ in 0..ATTEMPTS {
        let exists = fresh::find(call, name).await?.is_some();
        let done = if exists || part != Part::Main {
            let changed = write::modify(call, write, |old| {
                let mut new = managed::apply(call, part, old, &applied, options.force)?;
                // Not the live object's: only what is applied is a precondition.
                new.set("metadata.resourceVersion", applied.resource_version());
                finish(call, new, name, &settled)
            });
            changed.await.map(|object| (false, object))
        } else {
            absent(call, name, &applied)?;
            let new = managed::apply(call, part, &Value::Null, &applied, options.force)?;
            let new = finish(call, new, name, &settled)?;
            create::create_applied(call, new, options.dry_run).await.map(|object| (true, object))
        };
        match done {
            // Somebody created or deleted it in between.
            Err(e) if exists && e.is_not_found() && part == Part::Main => {}
            Err(e) if !exists && e.is_already_exists() => {}
            done => return done,
        }
    }
    Err(ApiError::modified(&call.resource(), name))
}

const ATTEMPTS: usize = 10;

/// Refuses what is of another kind or says itself who manages what.
pub fn check_applied(gvk: &GroupVersionKind, applied: &Value) -> Result<(), ApiError> {
    let same =
        applied.kind() == gvk.kind && applied.api_version() == gvk.group_version().to_string();
    if !same {
        let stated = format!("{}, Kind={}", applied.api_version(), applied.kind());
        return Err(ApiError::bad_request(format!("invalid object type: {stated}")));
    }
    if !applied.at("metadata.managedFields").is_null() {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    Ok(())
}

/// What names a certain object must find it.
fn absent(call: &Call<'_>, name: &str, applied: &Value) -> Result<(), ApiError> {
    let why = match (applied.uid(), applied.resource_version()) {
        ("", "") => return Ok(()),
        ("", _) => return Err(call.not_found(name)),
        (uid, _) => format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        ),
    };
    Err(ApiError::conflict(&call.resource(), name, &why))
}

/// The patched object, checked like one that a client has written.
fn finish(
    call: &Call<'_>,
    patched: Value,
    name: &str,
    options: &WriteQuery,
) -> Result<Value, ApiError> {
    let mut new = decode::accept(call, patched, Vec::new(), options.field_validation)?;
    strategy::check_type(call, &mut new)?;
    check_name(&mut new, name)?;
    strategy::set_namespace(call, &mut new)?;
    Ok(new)
}

/// What the patch makes of the object.
pub fn apply(
    call: &Call<'_>,
    kind: PatchType,
    old: &Value,
    patch: &Value,
) -> Result<Value, ApiError> {
    let applied = match kind {
        PatchType::Json => apply_json_patch(old, patch),
        PatchType::Merge => match patch {
            Value::Object(_) => Ok(apply_merge_patch(old, patch)),
            other => Err(PatchError::Malformed(format!(
                "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                other.type_name()
            ))),
        },
        PatchType::Strategic if call.row.is_custom() => return Err(unsupported(WITHOUT_STRATEGIC)),
        PatchType::Strategic => apply_strategic(call.row.schema(), old, patch),
        PatchType::Apply => return Err(apply_unsupported()),
    };
    applied.map_err(|e| match e {
        PatchError::Malformed(why) => ApiError::bad_request(why),
        PatchError::TooLarge(why) => ApiError::too_large(&why),
        PatchError::DoesNotApply(_) => ApiError::new(
            422,
            Reason::Invalid,
            "the server rejected our request due to an error in our request",
        ),
    })
}

const WITHOUT_STRATEGIC: &str =
    "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

/// What kinds of patches are taken.
pub const ACCEPTED: &str = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";

/// What subresources take that are no parts of an object.
const WITHOUT_APPLY: &str = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json";

/// Server-side apply is for objects, their status and their scale.
pub fn apply_unsupported() -> ApiError {
    unsupported(WITHOUT_APPLY)
}

/// The kind of a patch by its content type.
pub fn kind(content_type: &str) -> Result<PatchType, ApiError> {
    match content_type {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchType::Strategic),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        _ => Err(unsupported(ACCEPTED)),
    }
}
