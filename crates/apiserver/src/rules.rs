//! The one place where the hand-written rules of each kind are asked.

use timonier_meta::FieldError;
use timonier_object::Value;
use timonier_schema::ResourceRow;

/// What is wrong with a new object of this kind, beyond structure and metadata.
pub fn validate_create(_row: &ResourceRow, _new: &Value) -> Vec<FieldError> {
    Vec::new()
}

/// What is wrong with a changed object of this kind, beyond structure and metadata; `subresource`
/// is what was written.
pub fn validate_update(
    _row: &ResourceRow,
    _subresource: &str,
    _new: &Value,
    _old: &Value,
) -> Vec<FieldError> {
    Vec::new()
}
