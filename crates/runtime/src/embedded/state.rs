//! What the daemon knows, kept current by the shims' messages.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use tokio::sync::watch;

use super::Shared;
use super::client::Client;
use crate::api::*;
use crate::shim::protocol::Message;

#[derive(Default)]
pub struct State(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    sandboxes: BTreeMap<String, Sandbox>,
    containers: BTreeMap<String, Container>,
    /// The pods' cgroups in which a sandbox is being made.
    making: Vec<String>,
}

/// Holds a pod's cgroup while a sandbox is being made in it.
pub struct Making<'a>(&'a State, String);

impl Drop for Making<'_> {
    fn drop(&mut self) {
        let mut tables = self.0.lock();
        if let Some(at) = tables.making.iter().position(|p| *p == self.1) {
            tables.making.swap_remove(at);
        }
    }
}

pub struct Sandbox {
    pub dir: PathBuf,
    pub status: SandboxStatus,
    pub client: Option<Arc<Client>>,
}

struct Container {
    status: ContainerStatus,
    /// Tells whoever waits for the end.
    state: watch::Sender<ContainerState>,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Tables> {
        // A panic while holding the lock cannot leave a half-done change: every one is a single
        // insertion or removal.
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Notes that a sandbox is being made, until the value is dropped.
    pub fn making(&self, parent: &str) -> Making<'_> {
        self.lock().making.push(parent.to_owned());
        Making(self, parent.to_owned())
    }

    /// Whether no other sandbox is in this cgroup of a pod, or is being made in it.
    pub fn is_last(&self, id: &str, parent: &str) -> bool {
        let tables = self.lock();
        let in_it = |s: &Sandbox| s.status.config.cgroup_parent == parent;
        let known = tables.sandboxes.contains_key(id);
        // One that is not in the table yet is itself among those being made.
        let making = tables.making.iter().filter(|p| *p == parent).count();
        making == usize::from(!known)
            && !tables.sandboxes.iter().any(|(other, s)| other != id && in_it(s))
    }

    pub fn sandbox(&self, id: &str) -> Result<SandboxStatus> {
        let tables = self.lock();
        tables.sandboxes.get(id).map(|s| s.status.clone()).ok_or_else(|| Error::sandbox(id))
    }

    pub fn sandboxes(&self) -> Vec<SandboxStatus> {
        self.lock().sandboxes.values().map(|s| s.status.clone()).collect()
    }

    pub fn dir(&self, id: &str) -> Result<PathBuf> {
        let tables = self.lock();
        tables.sandboxes.get(id).map(|s| s.dir.clone()).ok_or_else(|| Error::sandbox(id))
    }

    /// The pod's shim; an error when it is not running.
    pub fn client(&self, sandbox: &str) -> Result<Arc<Client>> {
        let tables = self.lock();
        let found = tables.sandboxes.get(sandbox).ok_or_else(|| Error::sandbox(sandbox))?;
        let stopped = || Error::WrongState(format!("sandbox {sandbox:?} is not running"));
        found.client.clone().ok_or_else(stopped)
    }

    pub fn insert_sandbox(&self, sandbox: Sandbox) {
        self.lock().sandboxes.insert(sandbox.status.id.clone(), sandbox);
    }

    pub fn remove_sandbox(&self, id: &str) {
        let mut tables = self.lock();
        tables.sandboxes.remove(id);
        tables.containers.retain(|_, c| c.status.sandbox != id);
    }

    /// Marks a sandbox as over; true when it was running.
    pub fn sandbox_over(&self, id: &str) -> bool {
        let mut tables = self.lock();
        let Some(sandbox) = tables.sandboxes.get_mut(id) else { return false };
        sandbox.client = None;
        sandbox.status.pid = None;
        std::mem::replace(&mut sandbox.status.state, SandboxState::NotReady) == SandboxState::Ready
    }

    pub fn container(&self, id: &str) -> Result<ContainerStatus> {
        let tables = self.lock();
        tables.containers.get(id).map(|c| c.status.clone()).ok_or_else(|| Error::container(id))
    }

    pub fn containers(&self, sandbox: Option<&str>) -> Vec<ContainerStatus> {
        let tables = self.lock();
        let wanted = |c: &&Container| sandbox.is_none_or(|s| c.status.sandbox == s);
        tables.containers.values().filter(wanted).map(|c| c.status.clone()).collect()
    }

    pub fn insert_container(&self, status: ContainerStatus) {
        let (state, _) = watch::channel(status.state.clone());
        self.lock().containers.insert(status.id.clone(), Container { status, state });
    }

    pub fn remove_container(&self, id: &str) {
        self.lock().containers.remove(id);
    }

    pub fn watch(&self, id: &str) -> Result<watch::Receiver<ContainerState>> {
        let tables = self.lock();
        let found = tables.containers.get(id).ok_or_else(|| Error::container(id))?;
        Ok(found.state.subscribe())
    }

    /// Changes a container's state; an end is final. Returns the sandbox when it changed.
    fn advance(&self, id: &str, state: ContainerState) -> Option<String> {
        let mut tables = self.lock();
        let container = tables.containers.get_mut(id)?;
        if matches!(container.status.state, ContainerState::Exited { .. }) {
            return None;
        }
        container.status.state = state.clone();
        container.state.send_replace(state);
        Some(container.status.sandbox.clone())
    }
}

impl Shared {
    pub fn container_started(&self, id: &str, pid: i32, started_at: SystemTime) {
        let state = ContainerState::Running { pid, started_at };
        if let Some(sandbox) = self.state.advance(id, state) {
            self.emit(Event::ContainerStarted { sandbox, container: id.into() });
        }
    }

    pub fn container_exited(&self, id: &str, started_at: Option<SystemTime>, exit: Exit) {
        let state = ContainerState::Exited { started_at, exit: exit.clone() };
        if let Some(sandbox) = self.state.advance(id, state) {
            self.emit(Event::ContainerExited { sandbox, container: id.into(), exit });
        }
    }

    pub fn emit(&self, event: Event) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }

    /// What a shim says without being asked, other than to whoever waits for a command.
    pub fn news(&self, message: Message) {
        if let Message::Exited { container, started_at, exit } = message {
            self.container_exited(&container, started_at, exit);
        }
    }
}

/// The end of a container that nobody saw.
pub fn unknown_exit(message: &str) -> Exit {
    Exit {
        code: 255,
        signal: None,
        oom_killed: false,
        reason: "Unknown".into(),
        message: message.into(),
        finished_at: SystemTime::now(),
    }
}
