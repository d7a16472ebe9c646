//! The actions of a plan, each done beside the worker.

use std::time::Duration;

use timonier_object::Value;
use timonier_pod::probe::Probe;
use timonier_pod::{Action, EndStep, Kill};

use super::volumes::blocking;
use super::{Outcome, Worker, sandbox};
use crate::shared::Shared;
use crate::{hooks, prober, starter, volumes};

/// A stop that fails is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);

impl Worker {
    /// Begins an action.
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::MountVolumes => self.mount_volumes(),
            Action::CreateSandbox { attempt, replaces } => {
                let work = sandbox::create(
                    self.shared.clone(),
                    self.pod.clone(),
                    attempt,
                    replaces.map(String::from),
                );
                self.tasks.spawn(async move { Outcome::Sandbox(work.await) });
            }
            Action::Start { name, attempt } => self.start(name, attempt),
            Action::Kill(kill) => self.kill(kill),
            Action::Probe { id, name, kind, probe } => self.probe(id, name, kind, probe),
            Action::RemoveContainer { id } => self.remove_container(id),
            Action::RemoveSandbox { id } => {
                let shared = self.shared.clone();
                self.tasks.spawn(async move {
                    if let Err(error) = shared.runtime.remove_sandbox(&id).await {
                        tracing::warn!(%error, "removing an old sandbox");
                    }
                    Outcome::Removed { id }
                });
            }
            Action::Cancel => self.cancel.cancel(),
            Action::StopSandboxes => {
                let sandboxes = self.sandboxes.iter().cloned().collect();
                let work = sandbox::stop(self.shared.clone(), self.uid(), sandboxes);
                self.tasks.spawn(async move { Outcome::Ended(EndStep::StopSandbox, work.await) });
            }
            Action::UnmountVolumes => {
                let (dir, mounts) =
                    (self.shared.config.pod_dir(self.pod.uid()), self.shared.mounts.clone());
                self.tasks.spawn(async move {
                    let result = blocking(move || volumes::unmount(&dir, &*mounts)).await;
                    Outcome::Ended(EndStep::Unmount, result)
                });
            }
            Action::Forget => self.remove_everything(),
        }
    }

    fn start(&mut self, name: smol_str::SmolStr, attempt: u32) {
        let request = starter::Start {
            shared: self.shared.clone(),
            inputs: self.inputs(),
            name: name.clone(),
            attempt,
            sandbox: self.observed.ready_sandbox().map(|s| s.id.to_string()).unwrap_or_default(),
            target: self.target_of(&name),
            cancel: self.cancel.clone(),
        };
        self.tasks.spawn(async move {
            let result = starter::start(request).await;
            Outcome::Started { name, result }
        });
    }

    /// The running container whose processes an ephemeral container sees.
    fn target_of(&self, name: &str) -> Option<String> {
        let c = timonier_pod::spec::container(&self.pod, name)?;
        let target = c.spec.at("targetContainerName").as_str().filter(|t| !t.is_empty())?;
        Some(self.observed.current(target)?.id.to_string())
    }

    pub(super) fn kill(&mut self, kill: Kill) {
        if let Some(before) = self.kills.remove(&kill.id) {
            before.abort();
        }
        let (shared, inputs) = (self.shared.clone(), self.inputs());
        let id = kill.id.clone();
        let task = self.tasks.spawn(async move {
            if let Err(error) = hooks::stop(&shared, &inputs, &kill).await {
                tracing::warn!(container = %kill.name, %error, "stopping a container");
                tokio::time::sleep(RETRY).await;
            }
            Outcome::Killed { id: kill.id }
        });
        self.kills.insert(id, task);
    }

    fn probe(
        &mut self,
        id: smol_str::SmolStr,
        name: smol_str::SmolStr,
        kind: timonier_pod::probe::Kind,
        probe: Probe,
    ) {
        let runtime = self.shared.runtime.clone();
        let ips = self.inputs().pod_ips;
        self.tasks.spawn(async move {
            let ip = ips.first().map(|ip| ip.as_str()).unwrap_or("127.0.0.1");
            let outcome = prober::probe(&*runtime, &id, ip, &probe).await;
            Outcome::Probed { id, name, kind, outcome }
        });
    }

    fn remove_container(&mut self, id: smol_str::SmolStr) {
        let shared = self.shared.clone();
        let run = self.observed.by_id(&id).map(|c| (c.name.to_string(), c.attempt));
        let pod = self.pod.clone();
        self.tasks.spawn(async move {
            match shared.runtime.remove_container(&id).await {
                Err(error) if !error.is_not_found() => {
                    tracing::warn!(%error, "removing a dead container");
                }
                _ => {
                    if let Some((name, attempt)) = run {
                        blocking(move || remove_run(&shared, &pod, &name, attempt)).await;
                    }
                }
            }
            Outcome::Removed { id }
        });
    }

    /// Removes all records and files of the pod.
    fn remove_everything(&mut self) {
        let shared = self.shared.clone();
        let pod = self.pod.clone();
        let sandboxes: Vec<String> = self.sandboxes.iter().cloned().collect();
        self.tasks.spawn(async move {
            let work = async {
                for id in sandboxes {
                    match shared.runtime.remove_sandbox(&id).await {
                        Err(e) if !e.is_not_found() => return Err(e.to_string()),
                        _ => {}
                    }
                }
                shared.network.detach(pod.uid()).await.map_err(|e| e.to_string())?;
                let dirs = [
                    shared.config.pod_dir(pod.uid()),
                    shared.config.log_dir(pod.namespace(), pod.name(), pod.uid()),
                ];
                let mounts = shared.mounts.clone();
                blocking(move || remove_dirs(&dirs, &*mounts)).await
            };
            Outcome::Ended(EndStep::Forget, work.await)
        });
    }
}

/// Removes what one run of a container has left on the host.
fn remove_run(shared: &Shared, pod: &Value, name: &str, attempt: u32) {
    let (config, uid) = (&shared.config, pod.uid());
    crate::logs::remove(&config.log_path(pod.namespace(), pod.name(), uid, name, attempt));
    let dir = config.pod_dir(uid);
    let message = crate::container::termination_file(&dir, name, attempt);
    if let Err(error) = std::fs::remove_file(message)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "removing a termination message");
    }
    volumes::release_subpaths(&dir, name, attempt, &*shared.mounts);
}

fn remove_dirs(
    dirs: &[std::path::PathBuf; 2],
    mounts: &dyn crate::volumes::host::Mounts,
) -> Result<(), String> {
    // Never through a mount: what is mounted is not the pod's own.
    volumes::unmount(&dirs[0], mounts)?;
    for dir in dirs {
        timonier_runtime::remove_tree(dir).map_err(|e| format!("removing {e}"))?;
    }
    Ok(())
}
