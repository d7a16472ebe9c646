//! Sends pods away that take more of the disk than they may. Only pods with a limit are measured,
//! one after the other and beside everything else.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use timonier_meta::SmolStr;
use timonier_pod::eviction::{Usage, is_bounded, judge};
use timonier_pod::observed::State;
use timonier_runtime::DiskUsage;
use tokio::time::Instant;

use crate::pod_table::PodEntry;
use crate::shared::Shared;
use crate::volumes;
use crate::worker::Message;
use crate::worker::volumes::blocking;

/// The time between two looks (upstream's).
const PERIOD: Duration = Duration::from_secs(10);
/// Measuring takes at most one part of so many of the time.
const SHARE: u32 = 10;

/// Runs for ever.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut pause = PERIOD;
    loop {
        tokio::time::sleep(pause).await;
        let began = Instant::now();
        for pod in shared.table.list() {
            look(&shared, &pod).await;
        }
        pause = PERIOD.max(began.elapsed() * SHARE);
    }
}

async fn look(shared: &Arc<Shared>, entry: &PodEntry) {
    let running = entry.containers.values().any(|c| c.state == State::Running);
    let Some(sandbox) = entry.sandbox.as_deref().filter(|_| running && is_bounded(&entry.pod))
    else {
        return;
    };
    let usage = measure(shared, entry).await;
    if let Some(why) = judge(&entry.pod, &usage) {
        tracing::info!(pod = %entry.pod.key(), why = why.trim_end(), "evicting a pod");
        shared.tell(sandbox, Message::Evict(why));
    }
}

async fn measure(shared: &Arc<Shared>, entry: &PodEntry) -> Usage {
    let dir = shared.config.pod_dir(&entry.uid);
    let volumes = volumes::on_disk(&entry.pod, &dir, &shared.facts);
    let mut layers = Vec::new();
    for (name, c) in entry.containers.iter().filter(|(_, c)| c.state == State::Running) {
        // One that ends meanwhile takes nothing more.
        let Ok(stats) = shared.runtime.container_stats(&c.id).await else { continue };
        let logs = c.log_path.parent().map(PathBuf::from).unwrap_or_default();
        layers.push((SmolStr::from(name.as_str()), stats.writable_bytes, logs));
    }
    let bytes = |dir: &PathBuf| DiskUsage::below(dir).bytes;
    blocking(move || Usage {
        volumes: volumes.iter().map(|(name, dir)| (name.clone(), bytes(dir))).collect(),
        containers: layers
            .iter()
            .map(|(name, layer, logs)| (name.clone(), layer.saturating_add(bytes(logs))))
            .collect(),
        other: ["containers", "etc"].iter().map(|part| bytes(&dir.join(part))).sum(),
    })
    .await
}
