//! Sandboxes: one shim, one cgroup, one directory each.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::io::unix::AsyncFd;
use tokio::process::Command;

use super::client::Client;
use super::state::{Sandbox, unknown_exit};
use super::{Shared, blocking, new_id};
use crate::api::*;
use crate::error::Context;
use crate::files::{self, ExitRecord};
use crate::owned;
use crate::remove::remove_tree;
use crate::shim::protocol::{Answer, Call, ShimConfig, VERSION, patience};

/// How long a shim may take to set a pod up, and to end it.
const SETUP_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

pub const CONFIG: &str = "sandbox.json";

/// A sandbox on disk.
#[derive(Serialize, Deserialize)]
pub struct Saved {
    pub config: SandboxConfig,
    pub created_at: SystemTime,
}

pub async fn run(shared: &Arc<Shared>, config: SandboxConfig) -> Result<String> {
    check(&config)?;
    let id = new_id();
    let _making = shared.state.making(&config.cgroup_parent);
    let dir = shared.config.state_dir.join(&id);
    let saved = Saved { config, created_at: SystemTime::now() };
    match start(shared, &id, &dir, &saved).await {
        Ok(client) => {
            let status = SandboxStatus {
                id: id.clone(),
                config: saved.config,
                state: SandboxState::Ready,
                created_at: saved.created_at,
                pid: Some(client.1),
            };
            let sandbox = Sandbox { dir, status, client: Some(client.0) };
            shared.state.insert_sandbox(sandbox);
            Ok(id)
        }
        Err(error) => {
            let parent = &saved.config.cgroup_parent;
            let _ = clear(shared, &dir, parent, shared.state.is_last(&id, parent)).await;
            Err(error)
        }
    }
}

async fn start(
    shared: &Arc<Shared>,
    id: &str,
    dir: &Path,
    saved: &Saved,
) -> Result<(Arc<Client>, i32)> {
    let shim = ShimConfig {
        sandbox: saved.config.clone(),
        shim_cgroup: shared.config.shim_cgroup.clone(),
        patience_ms: patience(),
    };
    let text = serde_json::to_vec(saved).context(|| "write the sandbox".into())?;
    let (cgroups, config, dir) = (shared.cgroups.clone(), saved.config.clone(), dir.to_path_buf());
    let made = dir.clone();
    blocking("prepare the sandbox", move || {
        fs::create_dir_all(made.join("containers"))?;
        files::write_plain(&made.join(CONFIG), &text)?;
        files::write_plain(&made.join("shim.json"), &serde_json::to_vec(&shim)?)?;
        cgroups.create(&config.cgroup_parent)?;
        cgroups.apply(&config.cgroup_parent, &config.resources)
    })
    .await?;
    spawn_shim(shared, id, &dir).await?;
    let lost = |reason: String| Error::Shim { sandbox: id.to_string(), reason };
    let client = Client::connect(shared, id, &dir).map_err(|e| lost(e.to_string()))?;
    match client.call(Call::Hello { version: VERSION }, &[]).await {
        Ok((Answer::Hello { pid, .. }, _)) => Ok((client, pid)),
        Ok(_) => Err(lost("it answered something else".into())),
        Err(failure) => Err(failure.into_error()),
    }
}

/// Starts the shim and waits until it says that it is ready.
async fn spawn_shim(shared: &Arc<Shared>, id: &str, dir: &Path) -> Result<()> {
    let lost = |reason: String| Error::Shim { sandbox: id.to_string(), reason };
    let mut child = Command::new(shared.executable.path())
        .arg0("timonier-shim")
        .arg(crate::SHIM_COMMAND)
        .arg(dir)
        .current_dir("/")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| lost(format!("cannot be started: {e}")))?;
    let mut output = child.stdout.take();
    // Reaps it whenever it ends; it is not killed with this task.
    tokio::spawn(async move { child.wait().await });
    let mut text = String::new();
    let reading = async {
        match &mut output {
            Some(output) => output.read_to_string(&mut text).await,
            None => Ok(0),
        }
    };
    match tokio::time::timeout(SETUP_TIMEOUT, reading).await {
        Ok(Ok(_)) if text.starts_with("ready ") => {
            if let Some(pid) = text[6..].parse().ok().and_then(Pid::from_raw) {
                reap(pid);
            }
            Ok(())
        }
        Ok(_) if text.is_empty() => Err(lost("it died while starting".into())),
        Ok(_) => Err(lost(text)),
        Err(_) => Err(lost("it did not get ready in time".into())),
    }
}

/// The shim is a child of this process that `Command` does not know: its end must be collected.
fn reap(pid: Pid) {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    tokio::spawn(async move {
        // SAFETY: the descriptor is owned by the registration and never replaced.
        let Ok(pidfd) = (unsafe { AsyncFd::register(pidfd) }) else { return };
        if pidfd.readable().await.is_ok() {
            let _ = waitid(WaitId::PidFd(pidfd.get_ref().as_fd()), WaitIdOptions::EXITED);
        }
    });
}

/// Refuses what would act on the whole host.
fn check(config: &SandboxConfig) -> Result<()> {
    for name in config.sysctls.keys() {
        let name = name.replace('/', ".");
        let clean = !name.is_empty()
            && !name.split('.').any(str::is_empty)
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let network = name.starts_with("net.") && config.network != Network::Host;
        let ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."]
            .iter()
            .any(|p| name.starts_with(p));
        if !clean || !(network || ipc && !config.host_ipc) {
            return Err(Error::Invalid(format!("sysctl {name:?} is not namespaced in this pod")));
        }
    }
    if let PidMode::Target(_) = config.pid {
        return Err(Error::Invalid("a pod's PID namespace cannot target a container".into()));
    }
    Ok(())
}

pub async fn stop(shared: &Arc<Shared>, id: &str) -> Result<()> {
    let status = shared.state.sandbox(id)?;
    let Ok(client) = shared.state.client(id) else { return Ok(()) };
    let answer = tokio::time::timeout(STOP_TIMEOUT, client.call(Call::Stop, &[])).await;
    match answer {
        Ok(Ok(_)) => {
            if shared.state.sandbox_over(id) {
                shared.emit(Event::SandboxStopped { sandbox: id.into() });
            }
            Ok(())
        }
        // Either way the shim is of no use any more.
        Ok(Err(_)) => {
            lost(shared, id).await;
            Ok(())
        }
        Err(_) => {
            let path = status.config.cgroup_parent;
            Err(Error::WrongState(format!("processes in cgroup {path} do not end")))
        }
    }
}

pub async fn remove(shared: &Arc<Shared>, id: &str) -> Result<()> {
    let dir = match shared.state.dir(id) {
        Ok(dir) => dir,
        Err(_) => return Ok(()),
    };
    stop(shared, id).await?;
    let cgroup = shared.state.sandbox(id)?.config.cgroup_parent;
    let last = shared.state.is_last(id, &cgroup);
    clear(shared, &dir, &cgroup, last).await?;
    shared.state.remove_sandbox(id);
    Ok(())
}

/// Removes what a sandbox leaves on the host; the pod's cgroup only with the pod's last sandbox.
async fn clear(shared: &Arc<Shared>, dir: &Path, parent: &str, last: bool) -> Result<()> {
    let (cgroups, dir, parent) = (shared.cgroups.clone(), dir.to_path_buf(), parent.to_string());
    blocking("remove the sandbox", move || {
        for cgroup in owned::all(&dir, &parent) {
            cgroups.remove(&cgroup)?;
        }
        if last {
            cgroups.remove(&parent)?;
        }
        remove_dir(&dir)
    })
    .await
}

pub fn remove_dir(dir: &Path) -> io::Result<()> {
    let _ = rustix::mount::unmount(dir.join("shm"), rustix::mount::UnmountFlags::DETACH);
    remove_tree(dir)
}

/// The shim is gone. Its containers cannot be watched any more, so none may go on.
pub async fn lost(shared: &Arc<Shared>, id: &str) {
    let Ok(status) = shared.state.sandbox(id) else { return };
    if !shared.state.sandbox_over(id) {
        return;
    }
    let Ok(dir) = shared.state.dir(id) else { return };
    sweep(shared, &dir, &status.config.cgroup_parent).await;
    for container in shared.state.containers(Some(id)) {
        let path = files::container_dir(&dir, &container.id).join(files::EXIT);
        let record = end_of(&container.state, path).await;
        shared.container_exited(&container.id, record.started_at, record.exit);
    }
    shared.emit(Event::SandboxStopped { sandbox: id.into() });
}

/// Kills what is left of a sandbox without a shim.
pub async fn sweep(shared: &Arc<Shared>, dir: &Path, parent: &str) {
    let (cgroups, dir, parent) = (shared.cgroups.clone(), dir.to_path_buf(), parent.to_string());
    let _ = blocking("sweep the sandbox", move || {
        for cgroup in owned::all(&dir, &parent).iter().filter(|c| cgroups.exists(c)) {
            cgroups.kill(cgroup);
        }
        let _ = rustix::mount::unmount(dir.join("shm"), rustix::mount::UnmountFlags::DETACH);
        Ok(())
    })
    .await;
}

/// The record that the shim wrote, or one that says that nobody knows.
pub async fn end_of(state: &ContainerState, path: PathBuf) -> ExitRecord {
    let started_at = match state {
        ContainerState::Running { started_at, .. } => Some(*started_at),
        ContainerState::Exited { started_at, .. } => *started_at,
        ContainerState::Created => None,
    };
    let read = blocking("read the exit record", move || {
        if let Ok(record) = files::read_json::<ExitRecord>(&path) {
            return Ok(record);
        }
        let record = ExitRecord { started_at, exit: unknown_exit("the pod's shim is gone") };
        let _ = files::write_json(&path, &record);
        Ok(record)
    });
    read.await.unwrap_or_else(|e| ExitRecord { started_at, exit: unknown_exit(&e.to_string()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaced_sysctls() {
        let mut config = SandboxConfig::default();
        let check = |config: &mut SandboxConfig, name: &str| {
            config.sysctls = [(name.to_string(), "1".to_string())].into();
            super::check(config).is_ok()
        };
        assert!(!check(&mut config, "net.ipv4.ip_forward"), "the host's network");
        config.network = Network::Namespace("/run/netns/x".into());
        assert!(check(&mut config, "net.ipv4.ip_forward"));
        assert!(check(&mut config, "kernel.shm_rmid_forced"));
        for name in ["kernel.panic", "vm.swappiness", "net.../../kernel/panic", "", "net..x"] {
            assert!(!check(&mut config, name), "{name}");
        }
        config.host_ipc = true;
        assert!(!check(&mut config, "kernel.sem"));
    }
}
