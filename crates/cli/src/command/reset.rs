//! `timonier reset`: as `down`, and the data goes too.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use timonier_runtime::remove_tree;

use crate::args::ClusterArgs;
use crate::cluster::ClusterConfig;
use crate::command::down;
use crate::registry::Registry;

/// Stops the cluster and deletes its data directory.
pub fn run(args: &ClusterArgs) -> Result<()> {
    let paths = args.paths();
    let Some(config) = ClusterConfig::load(&paths)? else {
        println!("there is no cluster in {}", paths.data.display());
        return Ok(());
    };
    down::stop(&paths, &config)?;
    delete(&paths.data).with_context(|| format!("delete {}", paths.data.display()))?;
    Registry::host().lock()?.release(&config.name, &paths.data)?;
    println!("{} and its data are gone", config.title());
    Ok(())
}

/// Deletes the directory; of one that a disk is mounted on, only what is in it.
fn delete(data: &Path) -> io::Result<()> {
    match remove_tree(data) {
        Err(e)
            if e.kind() == io::ErrorKind::ResourceBusy && fs::read_dir(data)?.next().is_none() =>
        {
            Ok(())
        }
        other => other,
    }
}
