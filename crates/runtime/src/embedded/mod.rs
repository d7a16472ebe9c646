//! The runtime inside this binary: it starts one shim per pod and talks to them.

mod client;
mod containers;
mod process;
mod recover;
mod sandboxes;
mod state;
mod terminal;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use crate::api::*;
use crate::cgroup::Cgroups;
use crate::error::Context;
use crate::executable::Executable;
use state::State;

/// Events kept for slow readers.
const EVENTS: usize = 1024;

/// Where the runtime lives.
#[derive(Clone, Debug)]
pub struct Config {
    /// Holds one directory per pod; must survive the daemon, need not survive a reboot.
    pub state_dir: PathBuf,
    /// The program that calls [`crate::reexec_main`] first thing; usually this very binary.
    pub executable: PathBuf,
    /// Cgroup of the shims, for example `/timonier/shims`.
    pub shim_cgroup: String,
}

impl Config {
    /// The running binary.
    pub fn new(state_dir: impl Into<PathBuf>, shim_cgroup: impl Into<String>) -> Self {
        Self {
            state_dir: state_dir.into(),
            executable: PathBuf::from("/proc/self/exe"),
            shim_cgroup: shim_cgroup.into(),
        }
    }
}

/// The embedded runtime. Cheap to clone; the last clone dropped leaves the pods running.
#[derive(Clone)]
pub struct EmbeddedRuntime {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    cgroups: Cgroups,
    executable: Executable,
    state: State,
    events: broadcast::Sender<Event>,
}

impl EmbeddedRuntime {
    /// Opens the runtime and finds the pods that an earlier daemon left running. Pods whose shim
    /// is gone are cleaned of processes and listed as not ready.
    pub async fn open(config: Config) -> Result<Self> {
        let cgroups = Cgroups::detect().context(|| "find cgroups".into())?;
        let executable =
            Executable::open(&config.executable).context(|| "prepare the shim's program".into())?;
        make_private_dir(&config.state_dir)
            .context(|| format!("create {}", config.state_dir.display()))?;
        let (events, _) = broadcast::channel(EVENTS);
        let shared =
            Arc::new(Shared { config, cgroups, executable, state: State::default(), events });
        recover::all(&shared).await?;
        Ok(Self { shared })
    }
}

fn make_private_dir(dir: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Runs file operations that may take long without holding up a worker.
async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.context(|| what.into()),
        Err(e) => Err(Error::Io { context: what.into(), source: io::Error::other(e) }),
    }
}

/// 64 hexadecimal digits, as other runtimes name things.
fn new_id() -> String {
    let mut bytes = [0u8; 32];
    // SAFETY: fills the buffer; 32 bytes are never cut short.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[async_trait]
impl Runtime for EmbeddedRuntime {
    fn version(&self) -> Version {
        Version { name: "timonier".into(), version: env!("CARGO_PKG_VERSION").into() }
    }

    async fn run_sandbox(&self, config: SandboxConfig) -> Result<String> {
        sandboxes::run(&self.shared, config).await
    }

    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        sandboxes::stop(&self.shared, id).await
    }

    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        sandboxes::remove(&self.shared, id).await
    }

    async fn sandbox_status(&self, id: &str) -> Result<SandboxStatus> {
        self.shared.state.sandbox(id)
    }

    async fn list_sandboxes(&self) -> Result<Vec<SandboxStatus>> {
        Ok(self.shared.state.sandboxes())
    }

    async fn update_sandbox(&self, id: &str, resources: &Resources) -> Result<()> {
        let path = self.shared.state.sandbox(id)?.config.cgroup_parent;
        let (cgroups, resources) = (self.shared.cgroups.clone(), resources.clone());
        blocking("update the pod's limits", move || cgroups.apply(&path, &resources)).await
    }

    async fn create_container(&self, sandbox: &str, config: ContainerConfig) -> Result<String> {
        containers::create(&self.shared, sandbox, config).await
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        containers::start(&self.shared, id).await
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        containers::stop(&self.shared, id, grace).await
    }

    async fn signal_container(&self, id: &str, signal: i32) -> Result<()> {
        containers::signal(&self.shared, id, signal, false).await
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        containers::remove(&self.shared, id).await
    }

    async fn container_status(&self, id: &str) -> Result<ContainerStatus> {
        self.shared.state.container(id)
    }

    async fn list_containers(&self, sandbox: Option<&str>) -> Result<Vec<ContainerStatus>> {
        Ok(self.shared.state.containers(sandbox))
    }

    async fn update_container(&self, id: &str, resources: &Resources) -> Result<()> {
        containers::update(&self.shared, id, resources).await
    }

    async fn reopen_log(&self, id: &str) -> Result<()> {
        containers::reopen_log(&self.shared, id).await
    }

    async fn exec_sync(
        &self,
        id: &str,
        argv: &[String],
        timeout: Option<Duration>,
    ) -> Result<ExecOutput> {
        process::exec_sync(&self.shared, id, argv, timeout).await
    }

    async fn exec(&self, id: &str, request: ExecRequest) -> Result<Process> {
        Ok(process::exec(&self.shared, id, request).await?.1)
    }

    async fn attach(&self, id: &str, request: AttachRequest) -> Result<Process> {
        process::attach(&self.shared, id, request).await
    }

    async fn port_forward(&self, sandbox: &str, port: u16) -> Result<Box<dyn Connection>> {
        process::port_forward(&self.shared, sandbox, port).await
    }

    fn events(&self) -> EventStream {
        let events = BroadcastStream::new(self.shared.events.subscribe());
        Box::pin(events.map(|event| match event {
            Ok(event) => event,
            Err(BroadcastStreamRecvError::Lagged(_)) => Event::Lagged,
        }))
    }

    async fn container_stats(&self, id: &str) -> Result<ContainerStats> {
        containers::stats(&self.shared, id).await
    }

    async fn sandbox_stats(&self, id: &str) -> Result<CgroupStats> {
        let path = self.shared.state.sandbox(id)?.config.cgroup_parent;
        Ok(self.shared.cgroups.stats(&path))
    }
}
