//! A runtime without processes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::StreamExt;
use timonier_runtime::{
    AttachRequest, CgroupStats, Connection, ContainerConfig, ContainerState, ContainerStats,
    ContainerStatus, Error, Event, EventStream, ExecOutput, ExecRequest, Exit, Process, Resources,
    Result, Runtime, SandboxConfig, SandboxState, SandboxStatus, Version,
};
use tokio::sync::{broadcast, watch};
use tokio_stream::wrappers::BroadcastStream;

/// The time of tokio's clock, which tests may pause; as [`super::Clock`] tells it.
fn now() -> SystemTime {
    super::to_system(super::wall())
}

struct State {
    sandboxes: BTreeMap<String, SandboxStatus>,
    containers: BTreeMap<String, ContainerStatus>,
    log: Vec<String>,
    next: u32,
    /// Exit codes of coming exec calls; 0 when there are none.
    exec: VecDeque<i32>,
    /// Containers that ignore the stop signal.
    stubborn: Vec<String>,
    layer: u64,
}

/// Containers that do what tests say.
pub(crate) struct Toy {
    state: Mutex<State>,
    events: broadcast::Sender<Event>,
    changed: watch::Sender<u64>,
    /// While a test holds it, no container is created.
    pub creating: tokio::sync::Mutex<()>,
}

impl Default for Toy {
    fn default() -> Self {
        let state = State {
            sandboxes: BTreeMap::new(),
            containers: BTreeMap::new(),
            log: Vec::new(),
            next: 0,
            exec: VecDeque::new(),
            stubborn: Vec::new(),
            layer: 0,
        };
        let events = broadcast::channel(100).0;
        Toy {
            state: Mutex::new(state),
            events,
            changed: watch::Sender::new(0),
            creating: tokio::sync::Mutex::default(),
        }
    }
}

impl Toy {
    /// From now on every container's writable layer takes this many bytes.
    pub fn fill_layers(&self, bytes: u64) {
        self.state.lock().unwrap().layer = bytes;
    }

    /// What has been asked for, in order.
    pub fn log(&self) -> Vec<String> {
        self.state.lock().unwrap().log.clone()
    }

    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    pub fn answer_exec(&self, codes: &[i32]) {
        self.state.lock().unwrap().exec.extend(codes);
    }

    pub fn stubborn(&self, name: &str) {
        self.state.lock().unwrap().stubborn.push(name.into());
    }

    /// The configuration of the newest run of a container.
    pub fn config(&self, name: &str) -> ContainerConfig {
        let state = self.state.lock().unwrap();
        let runs = state.containers.values().filter(|c| c.config.name == name);
        runs.max_by_key(|c| c.config.attempt).expect("it was created").config.clone()
    }

    /// Ends the running container of this name.
    pub fn exit(&self, name: &str, code: i32) {
        let id = {
            let state = self.state.lock().unwrap();
            let running = state.containers.values().find(|c| {
                c.config.name == name && matches!(c.state, ContainerState::Running { .. })
            });
            running.expect("it runs").id.clone()
        };
        self.end(&id, code);
    }

    /// Everything is gone, as after a reboot without records.
    pub fn reboot(&self) {
        let mut state = self.state.lock().unwrap();
        state.sandboxes.clear();
        state.containers.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.state.lock().unwrap().sandboxes.is_empty()
    }

    fn end(&self, id: &str, code: i32) {
        let event = {
            let mut state = self.state.lock().unwrap();
            let Some(c) = state.containers.get_mut(id) else { return };
            let ContainerState::Running { started_at, .. } = c.state else { return };
            let reason = if code == 0 { "Completed" } else { "Error" };
            let exit = Exit {
                code,
                signal: None,
                oom_killed: false,
                reason: reason.into(),
                message: String::new(),
                finished_at: now(),
            };
            c.state = ContainerState::Exited { started_at: Some(started_at), exit: exit.clone() };
            Event::ContainerExited { sandbox: c.sandbox.clone(), container: id.into(), exit }
        };
        let _ = self.events.send(event);
        self.changed.send_modify(|n| *n += 1);
    }
}

#[async_trait]
impl Runtime for Toy {
    fn version(&self) -> Version {
        Version { name: "toy".into(), version: "1".into() }
    }

    async fn run_sandbox(&self, config: SandboxConfig) -> Result<String> {
        let mut state = self.state.lock().unwrap();
        state.next += 1;
        let id = format!("sandbox{}", state.next);
        state.log.push(format!("sandbox {}", config.name));
        let status = SandboxStatus {
            id: id.clone(),
            config,
            state: SandboxState::Ready,
            created_at: now(),
            pid: None,
        };
        state.sandboxes.insert(id.clone(), status);
        Ok(id)
    }

    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        if let Some(s) = self.state.lock().unwrap().sandboxes.get_mut(id) {
            s.state = SandboxState::NotReady;
        }
        let _ = self.events.send(Event::SandboxStopped { sandbox: id.into() });
        Ok(())
    }

    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        state.sandboxes.remove(id);
        state.containers.retain(|_, c| c.sandbox != id);
        Ok(())
    }

    async fn sandbox_status(&self, id: &str) -> Result<SandboxStatus> {
        let found = self.state.lock().unwrap().sandboxes.get(id).cloned();
        found.ok_or_else(|| Error::NotFound { what: format!("sandbox {id:?}") })
    }

    async fn list_sandboxes(&self) -> Result<Vec<SandboxStatus>> {
        Ok(self.state.lock().unwrap().sandboxes.values().cloned().collect())
    }

    async fn update_sandbox(&self, _: &str, _: &Resources) -> Result<()> {
        Ok(())
    }

    async fn create_container(&self, sandbox: &str, config: ContainerConfig) -> Result<String> {
        let _may = self.creating.lock().await;
        let mut state = self.state.lock().unwrap();
        state.next += 1;
        let id = format!("container{}", state.next);
        let status = ContainerStatus {
            id: id.clone(),
            sandbox: sandbox.into(),
            config,
            state: ContainerState::Created,
            created_at: now(),
        };
        state.containers.insert(id.clone(), status);
        Ok(id)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let sandbox = {
            let mut state = self.state.lock().unwrap();
            let c = state.containers.get_mut(id).expect("it was created");
            c.state = ContainerState::Running { pid: 1, started_at: now() };
            let entry = format!("start {} {}", c.config.name, c.config.attempt);
            let sandbox = c.sandbox.clone();
            state.log.push(entry);
            sandbox
        };
        let _ = self.events.send(Event::ContainerStarted { sandbox, container: id.into() });
        Ok(())
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let stubborn = {
            let mut state = self.state.lock().unwrap();
            let Some(name) = state.containers.get(id).map(|c| c.config.name.clone()) else {
                return Ok(());
            };
            state.log.push(format!("stop {name} {}", grace.as_secs()));
            state.stubborn.contains(&name)
        };
        if stubborn {
            tokio::time::sleep(grace).await;
            self.end(id, 137);
        } else {
            self.end(id, 143);
        }
        Ok(())
    }

    async fn signal_container(&self, _: &str, _: i32) -> Result<()> {
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        self.state.lock().unwrap().containers.remove(id);
        Ok(())
    }

    async fn container_status(&self, id: &str) -> Result<ContainerStatus> {
        let found = self.state.lock().unwrap().containers.get(id).cloned();
        found.ok_or_else(|| Error::NotFound { what: format!("container {id:?}") })
    }

    async fn list_containers(&self, sandbox: Option<&str>) -> Result<Vec<ContainerStatus>> {
        let state = self.state.lock().unwrap();
        let all = state.containers.values();
        Ok(all.filter(|c| sandbox.is_none_or(|s| s == c.sandbox)).cloned().collect())
    }

    async fn update_container(&self, _: &str, _: &Resources) -> Result<()> {
        Ok(())
    }

    async fn reopen_log(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn exec_sync(&self, _: &str, argv: &[String], _: Option<Duration>) -> Result<ExecOutput> {
        let mut state = self.state.lock().unwrap();
        state.log.push(format!("exec {}", argv.join(" ")));
        let exit_code = state.exec.pop_front().unwrap_or(0);
        Ok(ExecOutput { stdout: b"said".to_vec(), stderr: Vec::new(), exit_code })
    }

    async fn exec(&self, _: &str, _: ExecRequest) -> Result<Process> {
        Err(Error::Invalid("not in tests".into()))
    }

    async fn attach(&self, _: &str, _: AttachRequest) -> Result<Process> {
        Err(Error::Invalid("not in tests".into()))
    }

    async fn port_forward(&self, _: &str, _: u16) -> Result<Box<dyn Connection>> {
        Err(Error::Invalid("not in tests".into()))
    }

    fn events(&self) -> EventStream {
        let stream = BroadcastStream::new(self.events.subscribe());
        Box::pin(stream.map(|e| e.unwrap_or(Event::Lagged)))
    }

    async fn container_stats(&self, _: &str) -> Result<ContainerStats> {
        let writable_bytes = self.state.lock().unwrap().layer;
        Ok(ContainerStats { writable_bytes, ..ContainerStats::default() })
    }

    async fn sandbox_stats(&self, _: &str) -> Result<CgroupStats> {
        Ok(CgroupStats::default())
    }
}
