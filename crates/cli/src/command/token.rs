//! `timonier token`: what another machine needs to join.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;
use timonier_client::{Client, WriteOptions};
use timonier_meta::Time;
use timonier_meta::gvk::resources::SECRETS;
use timonier_object::value;

use crate::access;
use crate::args::ClusterArgs;
use crate::cluster::ClusterConfig;
use crate::join::JoinToken;

#[derive(Args, Clone)]
pub struct TokenArgs {
    /// How many hours the token is good for; any number of machines may join with it
    #[arg(long, value_name = "HOURS", default_value_t = 24,
          value_parser = clap::value_parser!(u32).range(1..=8760))]
    pub hours: u32,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Makes a bootstrap token and prints the command that joins with it.
pub fn run(args: &TokenArgs) -> Result<()> {
    let paths = args.cluster.paths();
    let Some(config) = ClusterConfig::load(&paths)? else {
        bail!("there is no cluster in {}", paths.data.display());
    };
    if config.joined.is_some() {
        bail!(
            "tokens are made on the machine that runs the control plane ({})",
            config.server_url()
        );
    }
    if config.node_ip.is_loopback() {
        bail!("this cluster was made on a host without a network: no other machine can reach it");
    }
    let token = JoinToken::new(&paths)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock")?.as_secs() as i64;
    let end = Time::from_unix(now + i64::from(args.hours) * 3600);
    let secret = value!({
        "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": { "name": (format!("bootstrap-token-{}", token.id)), "namespace": "kube-system" },
        "stringData": { "token-id": (&token.id), "token-secret": (&token.secret),
            "expiration": (end.rfc3339()), "usage-bootstrap-authentication": "true",
            "description": "Made by `timonier token` for nodes that join." } });
    access::block_on(async {
        let client = access::admin(&paths, &config)?;
        let options = WriteOptions { field_manager: "timonier".into(), ..WriteOptions::default() };
        client.create(&SECRETS, "kube-system", "", "", secret, &options).await?;
        Ok(())
    })?;
    println!(
        "timonier agent --server https://{}:{} --token {token}",
        config.node_ip, config.api_port
    );
    Ok(())
}
