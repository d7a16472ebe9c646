//! Carries out one task.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use timonier_meta::{ApiError, SmolStr};
use timonier_object::Value;
use timonier_reconcile as plan;
use timonier_reconcile::{Operation, Outcome, PatchKind, Reason, Task, TaskId, Write};

use crate::events::Recorder;
use crate::{Client, DeleteOptions, PatchType, Preconditions, Propagation, WriteOptions};

/// After this long without a reply the outcome counts as unknown.
const PATIENCE: Duration = Duration::from_secs(30);

/// Carries out the writes of a task up to the first that fails, and records its Events.
pub(super) async fn execute(
    client: Arc<dyn Client>,
    task: Task,
    recorder: Recorder,
    field_manager: SmolStr,
) -> (TaskId, Vec<Outcome>) {
    let options = WriteOptions { field_manager, ..WriteOptions::default() };
    let mut outcomes = Vec::new();
    let mut rest = task.writes.as_slice();
    // Upstream's slow start: 1, 2, 4… at once, so that what fails for all fails only once.
    let mut batch = 1;
    while !rest.is_empty() {
        let run = rest.iter().take_while(|w| same_run(&rest[0], w)).count();
        let (now, later) = rest.split_at(run.min(batch));
        let results = join_all(now.iter().map(|w| attempt(&*client, w, &options))).await;
        for (write, outcome) in now.iter().zip(&results) {
            report(write, outcome, &recorder);
        }
        let failed = results.iter().any(|o| !o.is_done());
        outcomes.extend(results);
        if failed {
            return (task.id, outcomes);
        }
        batch = if run > now.len() { batch * 2 } else { 1 };
        rest = later;
    }
    task.because.into_iter().for_each(|reason| recorder.record(reason));
    (task.id, outcomes)
}

/// Whether two writes may go together: creates or deletes of the same resource.
fn same_run(a: &Write, b: &Write) -> bool {
    let together = matches!(
        (&a.operation, &b.operation),
        (Operation::Create { .. }, Operation::Create { .. })
            | (Operation::Delete { .. }, Operation::Delete { .. })
    );
    std::ptr::eq(a, b) || together && a.resource == b.resource
}

async fn attempt(client: &dyn Client, write: &Write, options: &WriteOptions) -> Outcome {
    match tokio::time::timeout(PATIENCE, send(client, write, options)).await {
        Ok(Ok(object)) => Outcome::done(write, object.revision()),
        Ok(Err(error)) => Outcome::failed(write, error),
        Err(_) => Outcome::failed(write, ApiError::unavailable("the request timed out")),
    }
}

fn report(write: &Write, outcome: &Outcome, recorder: &Recorder) {
    match outcome {
        Outcome::Done { .. } | Outcome::Deleted { .. } => {
            if let Some(reason) = &write.event {
                recorder.record(reason.clone());
            }
        }
        Outcome::Refused(failure) | Outcome::Unknown(failure) => {
            tracing::debug!(write = ?write.key, error = %failure.error, "a write failed");
            if let Some(reason) = &write.failure {
                let message = format!("{}{}", reason.message, failure.error);
                recorder.record(Reason { message, ..reason.clone() });
            }
        }
    }
}

async fn send(
    client: &dyn Client,
    write: &Write,
    options: &WriteOptions,
) -> Result<Arc<Value>, ApiError> {
    let (resource, namespace, name) = (&write.resource, &write.key.namespace, &write.key.name);
    match &write.operation {
        Operation::Create { object } => {
            client.create(resource, namespace, "", "", object.clone(), options).await
        }
        Operation::Update { subresource, object } => {
            client.update(resource, namespace, name, subresource, object.clone(), options).await
        }
        Operation::Patch { subresource, kind, patch } => {
            let kind = match kind {
                PatchKind::Json => PatchType::Json,
                PatchKind::Merge => PatchType::Merge,
                PatchKind::Strategic => PatchType::Strategic,
            };
            let patch = patch.clone();
            client.patch(resource, namespace, name, subresource, kind, patch, options).await
        }
        Operation::Delete { preconditions, propagation, grace_period_seconds } => {
            let options = DeleteOptions {
                grace_period_seconds: *grace_period_seconds,
                propagation: propagation.map(|p| match p {
                    plan::Propagation::Orphan => Propagation::Orphan,
                    plan::Propagation::Background => Propagation::Background,
                    plan::Propagation::Foreground => Propagation::Foreground,
                }),
                preconditions: Preconditions {
                    uid: preconditions.uid.clone(),
                    resource_version: preconditions.resource_version.clone(),
                },
                dry_run: false,
            };
            client.delete(resource, namespace, name, &options).await
        }
    }
}
