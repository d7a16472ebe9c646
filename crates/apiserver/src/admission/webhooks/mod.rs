//! Admission webhooks: servers that are asked before something is written.
//! Upstream's plug-ins `MutatingAdmissionWebhook` and `ValidatingAdmissionWebhook`.

pub mod ask;
mod connect;
mod mutating;
mod validating;

use timonier_meta::{ApiError, GroupVersionKind};
use timonier_object::Value;

use super::Request;
use crate::call::Call;
use crate::subresources::scale;
use ask::About;

pub use connect::connect;

/// Lets the mutating hooks change the object.
pub async fn mutate(request: &Request<'_>, object: &mut Value) -> Result<(), ApiError> {
    let about = About::of(request);
    if request.subresource != "scale" {
        return mutating::mutate(&about, request.old, object).await;
    }
    let old = request.old.map(|old| scale::scale_of(request.call, old));
    let mut scale = scale::scale_of(request.call, object);
    mutating::mutate(&about, old.as_ref(), &mut scale).await?;
    object.set("spec.replicas", scale.at("spec.replicas").int_or(0));
    Ok(())
}

/// Asks the policies and the validating hooks. `object` is the new state, `None` in a delete.
pub async fn validate(request: &Request<'_>, object: Option<&Value>) -> Result<(), ApiError> {
    let about = About::of(request);
    if request.subresource != "scale" {
        return validating::validate(&about, request.old, object).await;
    }
    let scale = |of: Option<&Value>| of.map(|of| scale::scale_of(request.call, of));
    validating::validate(&about, scale(request.old).as_ref(), scale(object).as_ref()).await
}

/// Both, for the body of a subresource that is created: a binding, an eviction, a token request.
pub async fn body(
    call: &Call<'_>,
    kind: &GroupVersionKind,
    body: &mut Value,
    dry_run: bool,
) -> Result<(), ApiError> {
    let subresource = call.info.subresource.as_str();
    let about = About { call, operation: "CREATE", subresource, kind, dry_run };
    mutating::mutate(&about, None, body).await?;
    validating::validate(&about, None, Some(body)).await
}
