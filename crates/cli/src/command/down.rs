//! `timonier down`: the server ends, then everything of the cluster leaves the host.

use anyhow::Result;

use crate::args::ClusterArgs;
use crate::cluster::{ClusterConfig, Paths};
use crate::{contexts, lock, teardown};

/// Stops the cluster. Its data stays, so that the next `up` resumes the same workloads.
pub fn run(args: &ClusterArgs) -> Result<()> {
    let paths = args.paths();
    let Some(config) = ClusterConfig::load(&paths)? else {
        println!("there is no cluster in {}", paths.data.display());
        return Ok(());
    };
    stop(&paths, &config)?;
    println!("{} is down; its data stays in {}", config.title(), paths.data.display());
    Ok(())
}

/// Stops the server and removes what the cluster has on the host.
pub fn stop(paths: &Paths, config: &ClusterConfig) -> Result<()> {
    if let Some(running) = lock::running(&paths.lock())? {
        running.stop(&paths.lock())?;
    }
    teardown::run(paths, config)?;
    if config.joined.is_none() {
        contexts::remove(paths, config)?;
    }
    Ok(())
}
