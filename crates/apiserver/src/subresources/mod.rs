//! Subresources that are more than a part of the object: one file each.

pub mod approval;
pub mod binding;
pub mod ephemeral_containers;
pub mod eviction;
pub mod finalize;
pub mod resize;
pub mod scale;
pub mod token;

use timonier_object::{Value, value};

/// The `Status` that says that it worked.
pub fn success(code: u16) -> Value {
    value!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code })
}
