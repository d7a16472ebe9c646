//! `patch`: change an object, or its status, by a description of the change.

use timonier_client::PatchType;
use timonier_meta::{ApiError, Reason};
use timonier_object::Value;
use timonier_patch::{PatchError, apply_json_patch, apply_merge_patch, apply_strategic};

use crate::call::{Call, Object};
use crate::decode;
use crate::http::body::unsupported;
use crate::query::WriteQuery;
use crate::strategy::{self, Part};
use crate::verbs::update::check_name;
use crate::write::{self, Write};

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
    let write = Write { name, subresource, part, dry_run: options.dry_run };
    write::modify(call, write, |old| {
        let patched = apply(call, kind, old, patch)?;
        finish(call, patched, name, options)
    })
    .await
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

const WITHOUT_STRATEGIC: &str = "application/json-patch+json, application/merge-patch+json";

/// What kinds of patches are taken.
pub const ACCEPTED: &str = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json";

/// Server-side apply is not there yet; clients fall back to client-side apply.
pub fn apply_unsupported() -> ApiError {
    unsupported(ACCEPTED)
}

/// The kind of a patch by its content type.
pub fn kind(content_type: &str) -> Result<PatchType, ApiError> {
    match content_type {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchType::Strategic),
        "application/apply-patch+yaml" => Err(apply_unsupported()),
        _ => Err(unsupported(ACCEPTED)),
    }
}
