//! The cluster's context in the user's kubeconfigs: where it was put, and out of them again.
//!
//! The data directory remembers the files, because the one who takes the cluster down may have
//! another `$KUBECONFIG` or home than the one who brought it up.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cluster::{ClusterConfig, Paths};
use crate::files;
use crate::kubeconfig::{self, Access};

/// Puts the context into the user's kubeconfig. Returns what the user should know about it, if
/// anything: a problem with this file is no reason to fail, the cluster has its own.
pub fn add(paths: &Paths, access: &Access<'_>) -> Result<Option<String>> {
    let Some(user) = user_path(paths) else { return Ok(None) };
    // Noted first: a note too many costs nothing, a missing one leaves the context behind.
    note(paths, &user)?;
    Ok(match kubeconfig::merge(&user, access) {
        Ok(true) => None,
        Ok(false) => Some(format!(
            "{} has another cluster named {}: it stays as it is; use the kubeconfig {}",
            user.display(),
            access.name,
            paths.kubeconfig().display()
        )),
        Err(error) => Some(format!("the context was not added to {}: {error:#}", user.display())),
    })
}

/// Takes the context out of every file into which it was put.
pub fn remove(paths: &Paths, config: &ClusterConfig) -> Result<()> {
    let Ok(ca) = fs::read_to_string(paths.pki().join("ca.crt")) else { return Ok(()) };
    let mut files = noted(paths);
    files.extend(user_path(paths));
    files.sort();
    files.dedup();
    for file in files {
        kubeconfig::remove(&file, &config.name, &ca)?;
    }
    match fs::remove_file(list(paths)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("delete {}", list(paths).display()))
        }
        _ => Ok(()),
    }
}

/// The user's kubeconfig: the first file of `$KUBECONFIG`, else `~/.kube/config`. The cluster's own
/// file is nobody's; who names it in `$KUBECONFIG` gets the context in `~/.kube/config`.
pub fn user_path(paths: &Paths) -> Option<PathBuf> {
    if let Some(list) = std::env::var_os("KUBECONFIG") {
        let first = std::env::split_paths(&list).find(|p| !p.as_os_str().is_empty());
        if let Some(first) = first.filter(|p| !same(p, &paths.kubeconfig())) {
            return std::path::absolute(first).ok();
        }
    }
    std::env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config"))
}

fn same(a: &Path, b: &Path) -> bool {
    a == b || fs::canonicalize(a).is_ok_and(|a| fs::canonicalize(b).is_ok_and(|b| a == b))
}

fn list(paths: &Paths) -> PathBuf {
    paths.data.join("contexts.json")
}

fn noted(paths: &Paths) -> Vec<PathBuf> {
    let bytes = fs::read(list(paths)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn note(paths: &Paths, file: &Path) -> Result<()> {
    let mut files = noted(paths);
    if files.iter().any(|f| f == file) {
        return Ok(());
    }
    files.push(file.to_owned());
    files::write_private(&list(paths), &serde_json::to_vec(&files)?)
}
