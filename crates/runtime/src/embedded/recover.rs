//! Finding the pods of an earlier daemon.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::join_all;

use super::client::Client;
use super::sandboxes::{self, Saved};
use super::state::{Sandbox, unknown_exit};
use super::{Shared, blocking, containers};
use crate::api::*;
use crate::files::{self, ExitRecord};
use crate::shim::protocol::{Answer, Call, Known, VERSION};

/// Reads every pod's directory and connects to its shim. What cannot be read is removed: it was
/// never handed out, or a power loss tore it.
pub async fn all(shared: &Arc<Shared>) -> Result<()> {
    let dir = shared.config.state_dir.clone();
    let dirs = blocking("list pods", move || {
        let entries = fs::read_dir(&dir)?.flatten();
        Ok(entries.map(|e| e.path()).filter(|p| p.is_dir()).collect::<Vec<PathBuf>>())
    })
    .await?;
    join_all(dirs.iter().map(|dir| one(shared, dir))).await;
    Ok(())
}

async fn one(shared: &Arc<Shared>, dir: &Path) {
    let path = dir.to_path_buf();
    let Ok((saved, mut statuses)) = blocking("read a pod", move || read(&path)).await else {
        let path = dir.to_path_buf();
        let _ = blocking("remove a torn pod", move || sandboxes::remove_dir(&path)).await;
        return;
    };
    let id = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let alive = greet(shared, &id, dir).await;
    let (client, pid, known) = match alive {
        Some((client, pid, known)) => (Some(client), Some(pid), known),
        None => {
            sandboxes::sweep(shared, dir, &saved.config.cgroup_parent).await;
            (None, None, BTreeMap::new())
        }
    };
    let state = if client.is_some() { SandboxState::Ready } else { SandboxState::NotReady };
    for status in &mut statuses {
        settle(status, known.get(&status.id), client.is_some());
        status.sandbox.clone_from(&id);
        shared.state.insert_container(status.clone());
    }
    let created_at = saved.created_at;
    let status = SandboxStatus { id, config: saved.config, state, created_at, pid };
    shared.state.insert_sandbox(Sandbox { dir: dir.to_path_buf(), status, client });
}

type Alive = (Arc<Client>, i32, BTreeMap<String, Known>);

async fn greet(shared: &Arc<Shared>, id: &str, dir: &Path) -> Option<Alive> {
    let client = Client::connect(shared, id, dir).ok()?;
    match client.call(Call::Hello { version: VERSION }, &[]).await {
        Ok((Answer::Hello { pid, containers, .. }, _)) => {
            let known = containers.into_iter().map(|k| (k.container.clone(), k)).collect();
            Some((client, pid, known))
        }
        _ => None,
    }
}

/// A pod and its containers as they are on disk.
fn read(dir: &Path) -> std::io::Result<(Saved, Vec<ContainerStatus>)> {
    let saved: Saved = files::read_json(&dir.join(sandboxes::CONFIG))?;
    let mut statuses = Vec::new();
    for entry in fs::read_dir(dir.join("containers"))?.flatten() {
        let dir = entry.path();
        let Ok(saved) = files::read_json::<containers::Saved>(&dir.join(containers::CONFIG)) else {
            let _ = fs::remove_dir_all(&dir);
            continue;
        };
        let state = match files::read_json::<ExitRecord>(&dir.join(files::EXIT)) {
            Ok(ExitRecord { started_at, exit }) => ContainerState::Exited { started_at, exit },
            Err(_) => ContainerState::Created,
        };
        statuses.push(ContainerStatus {
            id: entry.file_name().to_string_lossy().into_owned(),
            sandbox: String::new(),
            config: saved.config,
            state,
            created_at: saved.created_at,
        });
    }
    Ok((saved, statuses))
}

/// The exit record on disk wins; then the shim's word; without a shim nobody knows.
fn settle(status: &mut ContainerStatus, known: Option<&Known>, alive: bool) {
    if matches!(status.state, ContainerState::Exited { .. }) {
        return;
    }
    status.state = match known {
        Some(Known { exit: Some(exit), started_at, .. }) => {
            ContainerState::Exited { started_at: *started_at, exit: exit.clone() }
        }
        Some(Known { pid: Some(pid), started_at: Some(at), .. }) => {
            ContainerState::Running { pid: *pid, started_at: *at }
        }
        // A start that was under way is finished by the shim, which then tells.
        _ if alive => ContainerState::Created,
        _ => {
            let exit = unknown_exit("the pod's shim is gone");
            ContainerState::Exited { started_at: None, exit }
        }
    };
}
