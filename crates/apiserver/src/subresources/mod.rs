//! Subresources that are more than a part of the object: one file each.

pub mod approval;
pub mod binding;
pub mod ephemeral_containers;
pub mod eviction;
pub mod finalize;
pub mod resize;
pub mod scale;
pub mod token;

use timonier_meta::ApiError;
use timonier_object::{Value, value};

/// 400 where the body of a subresource names another object than the URL.
fn check_name(name: &str, body: &Value) -> Result<(), ApiError> {
    if body.name() == name {
        return Ok(());
    }
    let kind = body.kind();
    Err(ApiError::bad_request(format!("name in URL does not match name in {kind} object")))
}

/// The `Status` that says that it worked.
pub fn success(code: u16) -> Value {
    value!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code })
}
