//! One figure a file, in the order in which they are told.

mod at_once;
mod binary;
mod endpoint;
mod idle;
mod loaded;
mod one_by_one;
mod restart;
mod up;

use std::path::Path;

use anyhow::{Context, Result};

use crate::machine::{self, Machine};
use crate::{Bench, report};

/// What can be asked for by name.
pub const NAMES: &[&str] =
    &["up", "restart", "one-by-one", "at-once", "idle", "loaded", "binary", "endpoint"];

/// Measures and tells the figures of these names, all where there are none.
pub async fn measure(bench: &Bench, wanted: &[String], tsv: &Path) -> Result<()> {
    let mut machine = Machine::read(&bench.scratch)?;
    report::machine(&machine);
    let version = report::version(&bench.cluster.binary);
    for name in NAMES {
        if !wanted.is_empty() && !wanted.iter().any(|w| w == name) {
            continue;
        }
        machine.load = machine::load();
        let figures = match *name {
            "up" => up::measure(bench).await,
            "restart" => restart::measure(bench).await,
            "one-by-one" => one_by_one::measure(bench).await,
            "at-once" => at_once::measure(bench).await,
            "idle" => idle::measure(bench).await,
            "loaded" => loaded::measure(bench).await,
            "binary" => binary::measure(bench),
            _ => endpoint::measure(bench).await,
        }
        .with_context(|| format!("measure {name}"))?;
        figures.iter().for_each(report::print);
        report::append(tsv, &machine, &version, &figures)?;
    }
    println!("load {:.2} at the end; rows of all runs: {}", machine::load(), tsv.display());
    Ok(())
}
