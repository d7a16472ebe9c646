//! Waiting for a revision that a client has heard of and this server may not have reached.

use std::time::Duration;

use timonier_meta::{ApiError, Cause, Reason};

use crate::call::Call;

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
