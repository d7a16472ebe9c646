//! What the schema says of objects: the seam to `timonier-schema`.

use bytes::Bytes;
use timonier_meta::Time;
use timonier_object::Value;
use timonier_schema::{ResourceRow, defaults, protobuf};

use crate::call::Call;

/// Fills in what the writer left out.
pub fn default(row: &ResourceRow, object: &mut Value, now: Time) {
    defaults::default_object(row, object, now);
}

/// Reads a protobuf body.
pub fn protobuf(call: &Call<'_>, bytes: &Bytes) -> Result<Value, String> {
    protobuf::decode(&call.catalogue, bytes)
}
