//! The one place where the hand-written rules of each kind are asked.

use timonier_meta::FieldError;
use timonier_object::Value;
use timonier_schema::{ResourceRow, rules};

/// What is wrong with a new object of this kind, beyond structure and metadata.
pub fn validate_create(row: &ResourceRow, new: &Value) -> Vec<FieldError> {
    rules::validate_create(row, new)
}

/// What is wrong with a changed object of this kind, beyond structure and metadata; `subresource`
/// is what was written, empty for the object itself.
pub fn validate_update(
    row: &ResourceRow,
    subresource: &str,
    new: &Value,
    old: &Value,
) -> Vec<FieldError> {
    rules::validate_update(row, subresource, new, old)
}
