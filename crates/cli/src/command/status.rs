//! `timonier status`: how the cluster is.

use anyhow::{Result, bail};
use timonier_client::{Client, ListOptions};
use timonier_meta::gvk::resources::{NODES, PODS};

use crate::args::ClusterArgs;
use crate::cluster::ClusterConfig;
use crate::{access, lock};

/// Prints whether the cluster runs, and its nodes and pods. Fails if it does not run or does not
/// answer, so that a script can ask.
pub fn run(args: &ClusterArgs) -> Result<()> {
    let paths = args.paths();
    let Some(config) = ClusterConfig::load(&paths)? else {
        bail!("there is no cluster in {}", paths.data.display());
    };
    let Some(running) = lock::running(&paths.lock())? else {
        bail!("the cluster {} is down; `timonier up` starts it", config.name);
    };
    println!("cluster:    {}", config.name);
    println!("process:    {}", running.pid);
    println!("API server: {}", config.server_url());
    println!("data:       {}", paths.data.display());
    access::block_on(async {
        let client = access::admin(&paths, &config)?;
        for node in client.list(&NODES, "", &ListOptions::default()).await?.items {
            let ready = if node.condition_is_true("Ready") { "Ready" } else { "NotReady" };
            println!("node:       {} {ready}", node.name());
        }
        let pods = client.list(&PODS, "", &ListOptions::default()).await?.items;
        let up = pods.iter().filter(|p| p.at("status.phase").str() == "Running").count();
        println!("pods:       {up} of {} running", pods.len());
        Ok(())
    })
}
