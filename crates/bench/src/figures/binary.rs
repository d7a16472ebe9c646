//! The size of the binary.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::Bench;
use crate::figure::{Aim, Figure, Samples, Unit};

pub fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let size = |path: &Path| {
        let bytes = std::fs::metadata(path).ok()?.len();
        Some(Samples::one(bytes as f64 / 1e6))
    };
    let seen = Samples::one(std::fs::metadata(&bench.cluster.binary)?.len() as f64 / 1e6);
    let kubectl = kubectl().as_deref().and_then(size);
    let figure = Figure::new("size of the binary", Unit::Megabytes, seen, Aim::P50(40.0));
    Ok(vec![figure.beside("kubectl alone", kubectl)])
}

/// `$TIMONIER_TOOLS/kubectl`, else the first in the search path.
fn kubectl() -> Option<PathBuf> {
    let tools = std::env::var_os("TIMONIER_TOOLS").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = tools.into_iter().chain(std::env::split_paths(&path));
    dirs.map(|dir| dir.join("kubectl")).find(|file| file.exists())
}
