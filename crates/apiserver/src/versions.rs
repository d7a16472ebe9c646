//! Between the version of a request and the version that is stored.

use timonier_object::Value;
use timonier_schema::convert;

use crate::call::Call;

/// The object in the request's version.
pub fn from_storage(call: &Call<'_>, mut object: Value) -> Value {
    if !call.stored_as_is() {
        convert::from_storage(&call.row, &mut object);
    }
    object
}

/// The object in the version that is stored.
pub fn to_storage(call: &Call<'_>, mut object: Value) -> Value {
    if !call.stored_as_is() {
        convert::to_storage(&call.row, &mut object);
    }
    object
}
