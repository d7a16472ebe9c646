//! What is done now and then: logs are rotated, images collected.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use timonier_meta::Duration as Span;
use timonier_oci::{Digest, GcLimits};
use timonier_pod::observed::State;
use tokio::sync::Notify;

use crate::config::ImageGc;
use crate::machine::Disk;
use crate::shared::Shared;
use crate::worker::volumes::blocking;

const LOG_PERIOD: Duration = Duration::from_secs(10);
const IMAGE_PERIOD: Duration = Duration::from_secs(300);
/// Images younger than this stay (upstream's).
const MIN_AGE: Span = Span::from_secs(120);

/// Runs for ever.
pub(crate) async fn run(shared: Arc<Shared>, images_changed: Arc<Notify>) {
    let mut logs = tokio::time::interval(LOG_PERIOD);
    let mut images = tokio::time::interval(IMAGE_PERIOD);
    for tick in [&mut logs, &mut images] {
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick is at once.
        tick.tick().await;
    }
    loop {
        tokio::select! {
            _ = logs.tick() => rotate_logs(&shared).await,
            _ = images.tick() => {
                if let Err(error) = collect_images(&shared, &images_changed).await {
                    tracing::warn!(%error, "collecting images");
                }
            }
        }
    }
}

async fn rotate_logs(shared: &Arc<Shared>) {
    let (max, files, now) =
        (shared.config.log_max_bytes, shared.config.log_max_files, shared.now());
    let logs: Vec<_> = shared
        .table
        .list()
        .into_iter()
        .flat_map(|pod| pod.containers.into_values())
        .filter(|c| c.state == State::Running)
        .map(|c| (c.id, c.log_path))
        .collect();
    let rotated = blocking(move || {
        let large = |(_, log): &(String, PathBuf)| crate::logs::rotate(log, max, files, now);
        logs.into_iter().filter(large).map(|(id, _)| id).collect::<Vec<String>>()
    })
    .await;
    for id in rotated {
        if let Err(error) = shared.runtime.reopen_log(&id).await {
            tracing::warn!(%error, id, "opening a log anew");
        }
    }
}

/// Removes images where the disk is too full.
async fn collect_images(shared: &Arc<Shared>, images_changed: &Notify) -> timonier_oci::Result<()> {
    let Some(disk) = Disk::of(&shared.images.dir()) else { return Ok(()) };
    let ImageGc { start, stop } = shared.config.image_gc;
    if disk.lacks(start.percent, start.bytes) == 0 {
        return Ok(());
    }
    let limits = GcLimits {
        now: shared.now(),
        bytes_to_free: disk.lacks(stop.percent, stop.bytes),
        min_age: MIN_AGE,
        ..GcLimits::default()
    };
    // No container may come to use an image in between.
    let alone = shared.collecting.write().await;
    let report = shared.images.gc(needed(shared).await?, limits).await?;
    drop(alone);
    tracing::info!(deleted = report.deleted.len(), freed = report.freed, "images collected");
    if !report.deleted.is_empty() {
        images_changed.notify_one();
    }
    Ok(())
}

/// The images that stay: those that containers were made from, running or not, and those that
/// were built or imported here, because no registry gives them back. An image of ours whose name
/// went to another goes (the collector sees to that).
async fn needed(shared: &Arc<Shared>) -> timonier_oci::Result<BTreeSet<Digest>> {
    let names: BTreeSet<String> =
        shared.images_in_use.lock().expect("no panic holds it").values().cloned().collect();
    let images = shared.images.list().await?;
    let used = images.into_iter().filter(|i| {
        names.contains(i.id.as_str())
            || i.repo_digests.iter().any(|d| names.contains(d))
            || (i.repo_digests.is_empty() && !i.repo_tags.is_empty())
    });
    Ok(used.map(|i| i.id).collect())
}
