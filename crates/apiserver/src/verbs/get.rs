//! `get`: one object.

use timonier_meta::ApiError;

use crate::call::{Call, Object};
use crate::verbs::fresh;

/// Reads an object. A `resourceVersion` is the oldest state that will do.
pub async fn get(call: &Call<'_>, resource_version: Option<u64>) -> Result<Object, ApiError> {
    let name = call.info.path_name();
    if let Some(revision) = resource_version {
        fresh::wait(call, revision).await?;
    }
    let snapshot = call.server.store.snapshot();
    let item = snapshot.get(&call.key(name)).ok_or_else(|| call.not_found(name))?;
    call.object(item.clone()).await
}
