//! `get`: one object.

use timonier_meta::ApiError;

use crate::call::{Call, Object};
use crate::verbs::fresh;

/// Reads an object. A `resourceVersion` is the oldest state that will do;
/// without one it is the newest.
pub async fn get(call: &Call<'_>, resource_version: Option<u64>) -> Result<Object, ApiError> {
    let name = call.info.path_name();
    let key = call.key(name);
    let snapshot = match resource_version {
        Some(revision) => {
            fresh::wait(call, revision).await?;
            call.server.store.snapshot()
        }
        None => fresh::newest(call, &key).await?,
    };
    let item = snapshot.get(&key).ok_or_else(|| call.not_found(name))?;
    call.object(item.clone()).await
}
