//! Containers: files and a cgroup when created, a process when started.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::client::Failure;
use super::{Shared, blocking, new_id};
use crate::api::*;
use crate::disk_usage::DiskUsage;
use crate::files::{self, ExitRecord};
use crate::init::{self, Plan};
use crate::seccomp;
use crate::shim::protocol::Call;

/// How long a killed container may take to go.
const KILL_TIMEOUT: Duration = Duration::from_secs(30);

pub const CONFIG: &str = "container.json";

/// A container on disk.
#[derive(Serialize, Deserialize)]
pub struct Saved {
    pub config: ContainerConfig,
    pub created_at: SystemTime,
}

pub async fn create(
    shared: &Arc<Shared>,
    sandbox: &str,
    mut config: ContainerConfig,
) -> Result<String> {
    let pod = shared.state.sandbox(sandbox)?;
    shared.state.client(sandbox)?;
    check(&config)?;
    if !pod.config.hostname.is_empty() && !config.env.iter().any(|e| e.starts_with("HOSTNAME=")) {
        config.env.insert(0, format!("HOSTNAME={}", pod.config.hostname));
    }
    let id = new_id();
    let pod_dir = shared.state.dir(sandbox)?;
    let dir = files::container_dir(&pod_dir, &id);
    let cgroup = cgroup(&pod, &id);
    let created_at = SystemTime::now();
    let plan = Plan {
        cgroup: cgroup.clone(),
        dir: dir.clone(),
        shm: Some(if pod.config.host_ipc {
            PathBuf::from("/dev/shm")
        } else {
            pod_dir.join("shm")
        }),
        mqueue: !pod.config.host_ipc,
        config: config.clone(),
    };
    let cgroups = shared.cgroups.clone();
    let made = (dir.clone(), cgroup.clone());
    let work = move || -> Result<()> {
        let filter = seccomp::program(&plan.config.security)?;
        let rules = init::devices::rules(&plan.config).map_err(Error::Invalid)?;
        let io = |context: &str| {
            let context = context.to_string();
            move |source| Error::Io { context, source }
        };
        write(&plan, filter, created_at).map_err(io("write the container"))?;
        cgroups.create(&cgroup).map_err(io("create the container's cgroup"))?;
        cgroups.apply(&cgroup, &plan.config.resources).map_err(io("limit the container"))?;
        cgroups.restrict_devices(&cgroup, &rules).map_err(io("restrict devices"))
    };
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|e| Err(Error::Invalid(e.to_string())));
    if let Err(error) = done {
        discard(shared, made.0, made.1).await?;
        return Err(error);
    }
    shared.state.insert_container(ContainerStatus {
        id: id.clone(),
        sandbox: sandbox.to_string(),
        config,
        state: ContainerState::Created,
        created_at,
    });
    Ok(id)
}

/// Mistakes are better found here than inside a half-made container.
fn check(config: &ContainerConfig) -> Result<()> {
    if config.argv.is_empty() {
        return Err(Error::Invalid("no command specified".into()));
    }
    init::capabilities::mask(&config.security).map_err(Error::Invalid)?;
    for mount in &config.mounts {
        if !mount.target.starts_with('/') {
            let target = &mount.target;
            return Err(Error::Invalid(format!("mount target {target:?} is not absolute")));
        }
    }
    Ok(())
}

pub fn cgroup(pod: &SandboxStatus, container: &str) -> String {
    format!("{}/{container}", pod.config.cgroup_parent.trim_end_matches('/'))
}

fn write(plan: &Plan, filter: Option<Vec<u8>>, created_at: SystemTime) -> io::Result<()> {
    let dir = &plan.dir;
    for name in ["rootfs", "work"] {
        fs::create_dir_all(dir.join(name))?;
    }
    // Its mode becomes that of the container's `/`.
    fs::DirBuilder::new().mode(0o755).create(dir.join("upper"))?;
    match filter {
        Some(program) => files::write_plain(&dir.join("seccomp.bpf"), &program)?,
        None => files::write_plain(&dir.join("seccomp.none"), b"")?,
    }
    files::write_plain(&dir.join("plan.json"), &serde_json::to_vec(plan)?)?;
    let saved = Saved { config: plan.config.clone(), created_at };
    files::write_plain(&dir.join(CONFIG), &serde_json::to_vec(&saved)?)
}

async fn discard(shared: &Arc<Shared>, dir: PathBuf, cgroup: String) -> Result<()> {
    let cgroups = shared.cgroups.clone();
    blocking("remove the container", move || {
        cgroups.remove(&cgroup)?;
        crate::remove::remove_tree(&dir)
    })
    .await
}

pub async fn start(shared: &Arc<Shared>, id: &str) -> Result<()> {
    let status = shared.state.container(id)?;
    if status.state != ContainerState::Created {
        return Err(Error::WrongState(format!("container {id:?} was started before")));
    }
    let client = shared.state.client(&status.sandbox)?;
    match client.call(Call::Start { container: id.to_string() }, &[]).await {
        Ok(_) => Ok(()),
        Err(Failure::Refused(text)) => {
            let exit = Exit {
                code: 128,
                signal: None,
                oom_killed: false,
                reason: "StartError".into(),
                message: text.clone(),
                finished_at: SystemTime::now(),
            };
            // The shim recorded it unless it failed before it had a child.
            let dir = files::container_dir(&shared.state.dir(&status.sandbox)?, id);
            let record = ExitRecord { started_at: None, exit: exit.clone() };
            let _ = blocking("write the exit record", move || {
                let path = dir.join(files::EXIT);
                if path.exists() { Ok(()) } else { files::write_json(&path, &record) }
            })
            .await;
            shared.container_exited(id, None, exit);
            Err(Error::Start(text))
        }
        Err(Failure::Lost(error)) => Err(error),
    }
}

pub async fn signal(shared: &Arc<Shared>, id: &str, signal: i32, all: bool) -> Result<()> {
    let status = shared.state.container(id)?;
    let client = shared.state.client(&status.sandbox)?;
    let call = Call::Signal { container: id.to_string(), signal, all };
    client.call(call, &[]).await.map(drop).map_err(Failure::into_error)
}

pub async fn stop(shared: &Arc<Shared>, id: &str, grace: Duration) -> Result<()> {
    let status = shared.state.container(id)?;
    if !matches!(status.state, ContainerState::Running { .. }) {
        return Ok(());
    }
    let mut watch = shared.state.watch(id)?;
    let mut gone = async |limit: Duration| {
        let over = |s: &ContainerState| matches!(s, ContainerState::Exited { .. });
        tokio::time::timeout(limit, watch.wait_for(over)).await.is_ok()
    };
    if !grace.is_zero() {
        let number = match status.config.stop_signal {
            0 => libc::SIGTERM,
            number => number,
        };
        // A failure to send means that it is gone or must be killed anyway.
        let _ = signal(shared, id, number, false).await;
        if gone(grace).await {
            return Ok(());
        }
    }
    let _ = signal(shared, id, libc::SIGKILL, true).await;
    if gone(KILL_TIMEOUT).await {
        return Ok(());
    }
    Err(Error::WrongState(format!("container {id:?} does not end after SIGKILL")))
}

pub async fn remove(shared: &Arc<Shared>, id: &str) -> Result<()> {
    let Ok(status) = shared.state.container(id) else { return Ok(()) };
    stop(shared, id, Duration::ZERO).await?;
    if let Ok(client) = shared.state.client(&status.sandbox) {
        let _ = client.call(Call::Delete { container: id.to_string() }, &[]).await;
    }
    let pod = shared.state.sandbox(&status.sandbox)?;
    let dir = files::container_dir(&shared.state.dir(&status.sandbox)?, id);
    discard(shared, dir, cgroup(&pod, id)).await?;
    shared.state.remove_container(id);
    Ok(())
}

pub async fn update(shared: &Arc<Shared>, id: &str, resources: &Resources) -> Result<()> {
    let status = shared.state.container(id)?;
    if matches!(status.state, ContainerState::Exited { .. }) {
        return Err(Error::WrongState(format!("container {id:?} has exited")));
    }
    let path = cgroup(&shared.state.sandbox(&status.sandbox)?, id);
    let (cgroups, resources) = (shared.cgroups.clone(), resources.clone());
    blocking("update the container's limits", move || cgroups.apply(&path, &resources)).await
}

pub async fn reopen_log(shared: &Arc<Shared>, id: &str) -> Result<()> {
    let status = shared.state.container(id)?;
    let client = shared.state.client(&status.sandbox)?;
    let call = Call::ReopenLog { container: id.to_string() };
    client.call(call, &[]).await.map(drop).map_err(Failure::into_error)
}

pub async fn stats(shared: &Arc<Shared>, id: &str) -> Result<ContainerStats> {
    let status = shared.state.container(id)?;
    let path = cgroup(&shared.state.sandbox(&status.sandbox)?, id);
    let upper = files::container_dir(&shared.state.dir(&status.sandbox)?, id).join("upper");
    let cgroups = shared.cgroups.clone();
    blocking("read figures", move || {
        let layer = DiskUsage::below(&upper);
        Ok(ContainerStats {
            cgroup: cgroups.stats(&path),
            writable_bytes: layer.bytes,
            writable_inodes: layer.inodes,
        })
    })
    .await
}
