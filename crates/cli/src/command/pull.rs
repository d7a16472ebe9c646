//! `timonier pull`: an image from a registry.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use timonier_oci::{Auth, DockerConfig, ImageStore, PullOptions, Reference, RegistryOptions};

use crate::access;
use crate::args::ClusterArgs;

#[derive(Args, Clone)]
pub struct PullArgs {
    /// Such as nginx:1.29 or registry.example:5000/team/app:v1
    pub image: String,
    #[command(flatten)]
    pub registry: RegistryArgs,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// How to talk to the registry.
#[derive(Args, Clone)]
pub struct RegistryArgs {
    /// Speak plain HTTP to the registry (loopback addresses need no option)
    #[arg(long)]
    pub plain_http: bool,
    /// A further certificate authority to trust, PEM
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

impl RegistryArgs {
    /// The options, with the credentials of `~/.docker/config.json` for the image's registry.
    pub fn options(&self, image: &str) -> Result<RegistryOptions> {
        let reference = Reference::parse(image)?;
        Ok(RegistryOptions {
            auth: credentials(&reference)?,
            plain_http: self.plain_http,
            insecure: Vec::new(),
            ca_file: self.ca_file.clone(),
        })
    }
}

fn credentials(reference: &Reference) -> Result<Option<Auth>> {
    let Some(home) = std::env::var_os("HOME") else { return Ok(None) };
    let path = PathBuf::from(home).join(".docker/config.json");
    let Ok(bytes) = std::fs::read(&path) else { return Ok(None) };
    Ok(DockerConfig::parse(&bytes)?.lookup(reference).cloned())
}

/// Pulls the image into the store of the cluster.
pub fn run(args: &PullArgs) -> Result<()> {
    let store = ImageStore::open(args.cluster.paths().images())?;
    let options =
        PullOptions { registry: args.registry.options(&args.image)?, ..PullOptions::default() };
    let image = access::block_on(async { Ok(store.pull(&args.image, &options).await?) })?;
    println!("{} {}", args.image, image.id);
    Ok(())
}
