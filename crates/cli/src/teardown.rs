//! Everything of a cluster off the host: containers, network, cgroups, mounts.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use timonier_runtime::{Cgroups, EmbeddedRuntime, Runtime, SandboxStatus};
use tokio::task::JoinSet;

use crate::builds::Builds;
use crate::cluster::{ClusterConfig, Paths};
use crate::{access, host, namespaces};

/// How long containers may take to end by themselves.
const GRACE: Duration = Duration::from_secs(5);

/// Stops every container and removes what is on the host by the cluster's names. Needs no server,
/// and is no error where nothing is there. What fails keeps nothing else from going.
pub fn run(paths: &Paths, config: &ClusterConfig) -> Result<()> {
    namespaces::enter_kept_network(paths)?;
    access::block_on(async {
        let mut failures = Failures::default();
        containers(paths, config, &mut failures).await;
        let network = timonier_network::teardown_all(&host::network(paths, config)).await;
        failures.note("remove the network", network);
        failures.note("release the network namespace", namespaces::release_network(paths));
        failures.note("unmount volumes", unmount_below(paths));
        failures.note("remove the cgroups", remove_cgroups(paths, config));
        failures.result()
    })
}

/// What could not be done.
#[derive(Default)]
struct Failures(Vec<String>);

impl Failures {
    /// Notes an outcome; gives its value.
    fn note<T>(&mut self, what: &str, outcome: Result<T, impl Into<anyhow::Error>>) -> Option<T> {
        let error = match outcome {
            Ok(value) => return Some(value),
            Err(error) => error.into(),
        };
        self.0.push(format!("{what}: {error:#}"));
        None
    }

    fn result(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { bail!(self.0.join("\n")) }
    }
}

fn remove_cgroups(paths: &Paths, config: &ClusterConfig) -> Result<()> {
    let cgroups = Cgroups::detect().context("find cgroups")?;
    let builds = Builds::of(paths).sweep(&cgroups).context("those of builds");
    cgroups.remove(&host::cgroup(config))?;
    builds
}

async fn containers(paths: &Paths, config: &ClusterConfig, failures: &mut Failures) {
    let opened = EmbeddedRuntime::open(host::runtime(paths, config)).await;
    let Some(runtime) = failures.note("find the containers", opened) else { return };
    let listed = runtime.list_sandboxes().await;
    let mut stops = JoinSet::new();
    for pod in failures.note("list the pods", listed).unwrap_or_default() {
        stops.spawn(stop(runtime.clone(), pod));
    }
    while let Some(result) = stops.join_next().await {
        if let Some(stopped) = failures.note("stop a pod", result) {
            failures.note("stop a pod", stopped);
        }
    }
}

/// Removing a pod kills what its own time was not enough for.
async fn stop(runtime: EmbeddedRuntime, pod: SandboxStatus) -> Result<()> {
    let what = || format!("{}/{}", pod.config.namespace, pod.config.name);
    let containers = runtime.list_containers(Some(&pod.id)).await.with_context(what)?;
    let stops = containers.iter().map(|c| runtime.stop_container(&c.id, GRACE));
    let stopped = futures::future::join_all(stops).await;
    runtime.remove_sandbox(&pod.id).await.with_context(what)?;
    for result in stopped {
        result.with_context(what)?;
    }
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
    let mut failures = Failures::default();
    for point in points {
        let unmounted = rustix::mount::unmount(&point, rustix::mount::UnmountFlags::DETACH);
        failures.note(&point, unmounted);
    }
    failures.result()
}

/// The kernel writes blanks and backslashes in mountinfo as octal.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_collected() {
        let mut failures = Failures::default();
        assert_eq!(failures.note("one", Ok::<_, anyhow::Error>(1)), Some(1));
        let failed = || Err::<(), _>(std::io::Error::other("no"));
        failures.note("two", failed().context("deep"));
        failures.note("three", failed());
        assert_eq!(failures.result().unwrap_err().to_string(), "two: deep: no\nthree: no");
        assert!(Failures::default().result().is_ok());
    }
}
