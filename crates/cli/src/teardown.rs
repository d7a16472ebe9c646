//! Everything of a cluster off the host: containers, network, cgroups, mounts.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use timonier_runtime::{Cgroups, EmbeddedRuntime, Runtime, SandboxStatus};
use tokio::task::JoinSet;

use crate::builds::Builds;
use crate::cluster::{ClusterConfig, Paths};
use crate::{access, host, namespaces};

/// How long containers may take to end by themselves.
const GRACE: Duration = Duration::from_secs(5);

/// Stops every container and removes what is on the host by the cluster's names. Needs no server,
/// and is no error where nothing is there.
pub fn run(paths: &Paths, config: &ClusterConfig) -> Result<()> {
    namespaces::enter_kept_network(paths)?;
    access::block_on(async {
        containers(paths, config).await.context("stop the containers")?;
        timonier_network::teardown_all(&host::network(paths, config))
            .await
            .context("remove the network")?;
        namespaces::release_network(paths)?;
        unmount_below(paths).context("unmount volumes")?;
        let cgroups = Cgroups::detect().context("find cgroups")?;
        Builds::of(paths).sweep(&cgroups).context("remove the cgroups of builds")?;
        cgroups.remove(&host::cgroup(config)).context("remove the cgroups")
    })
}

async fn containers(paths: &Paths, config: &ClusterConfig) -> Result<()> {
    let runtime = EmbeddedRuntime::open(host::runtime(paths, config)).await?;
    let mut stops = JoinSet::new();
    for pod in runtime.list_sandboxes().await? {
        stops.spawn(stop(runtime.clone(), pod));
    }
    while let Some(result) = stops.join_next().await {
        result??;
    }
    Ok(())
}

async fn stop(runtime: EmbeddedRuntime, pod: SandboxStatus) -> Result<()> {
    let containers = runtime.list_containers(Some(&pod.id)).await?;
    let stops = containers.iter().map(|c| runtime.stop_container(&c.id, GRACE));
    for result in futures::future::join_all(stops).await {
        result?;
    }
    runtime.remove_sandbox(&pod.id).await?;
    Ok(())
}

/// Volumes are mounted below the data directory; the deepest go first.
fn unmount_below(paths: &Paths) -> Result<()> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    // Where pods and the node have theirs. A disk that the user mounted elsewhere is not ours.
    let own = [paths.run(), paths.pods()];
    let mut points: Vec<String> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape)
        .filter(|point| own.iter().any(|dir| Path::new(point).starts_with(dir)))
        .collect();
    points.sort_by_key(|p| std::cmp::Reverse(p.len()));
    for point in points {
        rustix::mount::unmount(&point, rustix::mount::UnmountFlags::DETACH)
            .with_context(|| format!("unmount {point}"))?;
    }
    Ok(())
}

/// The kernel writes blanks and backslashes in mountinfo as octal.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}
