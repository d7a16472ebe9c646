//! What the schema says of objects: the seam to `timonier-schema`.

use bytes::Bytes;
use timonier_meta::{FieldError, Time};
use timonier_object::Value;
use timonier_schema::{ResourceRow, defaults, protobuf};

use crate::call::Call;

/// Fills in what the writer left out.
pub fn default(row: &ResourceRow, object: &mut Value, now: Time) {
    defaults::default_object(row, object, now);
}

/// What is wrong with an object's structure; `old` is what it replaces.
pub fn validate(_row: &ResourceRow, _new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    Vec::new()
}

/// Reads a protobuf body.
pub fn protobuf(call: &Call<'_>, bytes: &Bytes) -> Result<Value, String> {
    protobuf::decode(&call.catalogue, bytes)
}
