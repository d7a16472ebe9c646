//! `timonier reset`: as `down`, and the data goes too.

use std::fs;

use anyhow::{Context, Result};

use crate::args::ClusterArgs;
use crate::cluster::ClusterConfig;
use crate::command::down;

/// Stops the cluster and deletes its data directory.
pub fn run(args: &ClusterArgs) -> Result<()> {
    let paths = args.paths();
    let Some(config) = ClusterConfig::load(&paths)? else {
        println!("there is no cluster in {}", paths.data.display());
        return Ok(());
    };
    down::stop(&paths, &config)?;
    fs::remove_dir_all(&paths.data).with_context(|| format!("delete {}", paths.data.display()))?;
    println!("{} and its data are gone", config.title());
    Ok(())
}
