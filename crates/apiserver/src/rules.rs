//! The one place where the hand-written rules of each kind are asked.

use timonier_meta::FieldError;
use timonier_object::Value;
use timonier_schema::rules;

use crate::call::Call;
use crate::particulars::devices;

/// What is wrong with a new object of this kind, beyond structure and metadata.
pub fn validate_create(call: &Call<'_>, new: &Value) -> Vec<FieldError> {
    let mut errors = devices::check_admin(call, new, None);
    errors.extend(rules::validate_create(&call.row, new));
    errors
}

/// What is wrong with a changed object of this kind, beyond structure and metadata; `subresource`
/// is what was written, empty for the object itself.
pub fn validate_update(
    call: &Call<'_>,
    subresource: &str,
    new: &Value,
    old: &Value,
) -> Vec<FieldError> {
    let mut errors = devices::check_admin(call, new, Some(old));
    errors.extend(rules::validate_update(&call.row, subresource, new, old));
    errors
}
