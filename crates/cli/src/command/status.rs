//! `timonier status`: how the cluster is.

use anyhow::{Result, bail};
use timonier_client::{Client, ListOptions};
use timonier_meta::Selector;
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
        let start = if config.joined.is_some() { "agent" } else { "up" };
        bail!("{} is down; `timonier {start}` starts it", config.title());
    };
    println!("cluster:    {}", config.name);
    println!("process:    {}", running.pid);
    println!("API server: {}", config.server_url());
    println!("data:       {}", paths.data.display());
    access::block_on(async {
        // A node knows itself and its pods only.
        let (client, own_node, own_pods) = match &config.joined {
            None => (access::admin(&paths, &config)?, Selector::default(), Selector::default()),
            Some(_) => {
                let own = |field| Selector::of_pairs([(field, config.node_name.as_str())]);
                (access::node(&paths, &config)?, own("metadata.name"), own("spec.nodeName"))
            }
        };
        let of = |field_selector| ListOptions { field_selector, ..ListOptions::default() };
        for node in client.list(&NODES, "", &of(own_node)).await?.items {
            let ready = if node.condition_is_true("Ready") { "Ready" } else { "NotReady" };
            println!("node:       {} {ready}", node.name());
        }
        let pods = client.list(&PODS, "", &of(own_pods)).await?.items;
        let up = pods.iter().filter(|p| p.at("status.phase").str() == "Running").count();
        println!("pods:       {up} of {} running", pods.len());
        Ok(())
    })
}
