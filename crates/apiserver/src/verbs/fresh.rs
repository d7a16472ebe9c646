//! States that are new enough: a revision that a client has heard of and this server may not have
//! reached, and what other control planes on the same etcd have written.

use std::sync::Arc;
use std::time::Duration;

use timonier_meta::{ApiError, Cause, Reason};
use timonier_store::{Item, Snapshot};

use crate::call::Call;
use crate::write;

/// Upstream waits this long for its cache to become fresh.
const PATIENCE: Duration = Duration::from_secs(3);

/// Waits until the store has reached `revision`; 504 where it does not in time.
pub async fn wait(call: &Call<'_>, revision: u64) -> Result<(), ApiError> {
    let store = &call.server.store;
    if store.revision() >= revision {
        return Ok(());
    }
    match tokio::time::timeout(PATIENCE, store.wait_for(revision)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(ApiError::unavailable("the store is closed")),
        Err(_) => Err(too_large(revision, store.revision())),
    }
}

/// The newest state of the keys with a prefix, as reads without a resource version want it.
pub async fn newest(call: &Call<'_>, prefix: &str) -> Result<Snapshot, ApiError> {
    match tokio::time::timeout(PATIENCE, call.server.store.fresh(prefix)).await {
        Ok(done) => done.map_err(|error| write::error(call, "", error)),
        Err(_) => {
            let mut error = ApiError::unavailable("the store is behind its backend");
            error.retry_after_seconds = 1;
            Err(error)
        }
    }
}

/// An object to be changed: what is seen here will do, because a write that rests on something
/// old is refused; but what is not seen here may be there.
pub async fn find(call: &Call<'_>, name: &str) -> Result<Option<Arc<Item>>, ApiError> {
    let key = call.key(name);
    if let Some(item) = call.server.store.snapshot().get(&key) {
        return Ok(Some(item.clone()));
    }
    Ok(newest(call, &key).await?.get(&key).cloned())
}

/// Whether an object is still as it was read: a refusal that rests on something old is none.
pub async fn is_newest(call: &Call<'_>, item: &Item) -> Result<bool, ApiError> {
    let newest = newest(call, &item.key).await?;
    Ok(newest.get(&item.key).is_some_and(|now| now.mod_revision == item.mod_revision))
}

/// Upstream's `storage.NewTooLargeResourceVersionError`.
fn too_large(wanted: u64, current: u64) -> ApiError {
    let text = format!("Too large resource version: {wanted}, current: {current}");
    let mut error = ApiError::new(504, Reason::Timeout, format!("Timeout: {text}"));
    error.causes = vec![Cause {
        reason: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".into(),
        field: String::new(),
    }];
    error.retry_after_seconds = 1;
    error
}
