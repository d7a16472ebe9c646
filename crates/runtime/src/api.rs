//! The contract between a node and whatever runs its containers.
//!
//! It is modelled on the Container Runtime Interface (CRI, `runtime.v1`), in Rust's own types: a
//! *sandbox* is what the containers of one pod share, a *container* runs inside one. Streams are
//! byte streams, not URLs, because the embedded runtime lives in the same process.

use std::pin::Pin;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_stream::Stream;

pub use crate::error::{Error, Result};
pub use crate::spec::*;

/// Runs pods. Every call is idempotent where CRI says so: stopping what is stopped and removing
/// what is gone succeed.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Name and version of the runtime, as shown in `node.status.nodeInfo`.
    fn version(&self) -> Version;

    /// Creates and starts a sandbox; its network namespace must exist already.
    /// Returns the sandbox's id (64 hexadecimal digits).
    async fn run_sandbox(&self, config: SandboxConfig) -> Result<String>;
    /// Kills every process of the sandbox. Containers stay listed as exited.
    async fn stop_sandbox(&self, id: &str) -> Result<()>;
    /// Stops the sandbox if needed and removes it with its containers, cgroup and files.
    async fn remove_sandbox(&self, id: &str) -> Result<()>;
    async fn sandbox_status(&self, id: &str) -> Result<SandboxStatus>;
    async fn list_sandboxes(&self) -> Result<Vec<SandboxStatus>>;
    /// Changes the limits of the pod's cgroup.
    async fn update_sandbox(&self, id: &str, resources: &Resources) -> Result<()>;

    /// Prepares a container; nothing runs yet. Returns its id (64 hexadecimal digits).
    async fn create_container(&self, sandbox: &str, config: ContainerConfig) -> Result<String>;
    /// Starts a created container. When this fails the container is left exited with code 128 and
    /// reason `StartError`, as containerd does.
    async fn start_container(&self, id: &str) -> Result<()>;
    /// Sends the container's stop signal, waits up to `grace`, then kills. Returns once it exited.
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()>;
    /// Sends one signal to the container's first process.
    async fn signal_container(&self, id: &str, signal: i32) -> Result<()>;
    /// Kills the container if needed and removes its files. Its log stays: it belongs to the node.
    async fn remove_container(&self, id: &str) -> Result<()>;
    async fn container_status(&self, id: &str) -> Result<ContainerStatus>;
    /// All containers, or those of one sandbox.
    async fn list_containers(&self, sandbox: Option<&str>) -> Result<Vec<ContainerStatus>>;
    /// Changes the limits of a created or running container.
    async fn update_container(&self, id: &str, resources: &Resources) -> Result<()>;
    /// Opens the log file anew at its path, after the node renamed it.
    async fn reopen_log(&self, id: &str) -> Result<()>;

    /// Runs a command in a running container and collects at most 16 MiB of each output stream.
    /// On timeout the command is killed and [`Error::ExecTimeout`] returned.
    async fn exec_sync(
        &self,
        id: &str,
        argv: &[String],
        timeout: Option<Duration>,
    ) -> Result<ExecOutput>;
    /// Runs a command in a running container with live streams.
    async fn exec(&self, id: &str, request: ExecRequest) -> Result<Process>;
    /// Connects to the streams of the container's first process.
    async fn attach(&self, id: &str, request: AttachRequest) -> Result<Process>;
    /// Opens a TCP connection to `localhost:port` as seen from inside the sandbox.
    async fn port_forward(&self, sandbox: &str, port: u16) -> Result<Box<dyn Connection>>;

    /// Changes from now on. A reader that is too slow gets [`Event::Lagged`] and must list again.
    fn events(&self) -> EventStream;

    async fn container_stats(&self, id: &str) -> Result<ContainerStats>;
    /// Figures of the whole pod's cgroup.
    async fn sandbox_stats(&self, id: &str) -> Result<CgroupStats>;
}

/// What [`Runtime::version`] answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// For example `timonier`.
    pub name: String,
    /// Semantic version without a leading `v`.
    pub version: String,
}

/// A byte stream in both directions.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

pub type ByteReader = Pin<Box<dyn AsyncRead + Send>>;
pub type ByteWriter = Pin<Box<dyn AsyncWrite + Send>>;
pub type EventStream = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// A command to run inside a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    pub argv: Vec<String>,
    /// A terminal: stdout and stderr become one stream, and resizing works.
    pub tty: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// Which streams of a running container to connect to. Whether it has a terminal was decided when
/// it was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachRequest {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    pub width: u16,
    pub height: u16,
}

/// Live streams of a process. Dropping `stdin` closes it; dropping everything of an exec closes
/// its pipes or hangs up its terminal, it is not killed.
pub struct Process {
    pub stdin: Option<ByteWriter>,
    pub stdout: Option<ByteReader>,
    pub stderr: Option<ByteReader>,
    /// Present when there is a terminal.
    pub resize: Option<mpsc::Sender<TerminalSize>>,
    /// Ends with the exit code (128 + signal when killed). For attach: of the container.
    pub exit: BoxFuture<'static, Result<i32>>,
}

/// What [`Runtime::exec_sync`] collected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutput {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit_code: i32,
}

/// Something changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    ContainerStarted {
        sandbox: String,
        container: String,
    },
    ContainerExited {
        sandbox: String,
        container: String,
        exit: Exit,
    },
    /// The sandbox is no longer ready: stopped, or its shim is gone.
    SandboxStopped {
        sandbox: String,
    },
    /// Events were lost; list again.
    Lagged,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exit {
    /// 0–255; 128 + signal when killed by one.
    pub code: i32,
    /// The signal that killed it.
    pub signal: Option<i32>,
    pub oom_killed: bool,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, or `Unknown` after a lost shim (code 255).
    pub reason: String,
    pub message: String,
    pub finished_at: SystemTime,
}

/// Figures of one container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerStats {
    pub cgroup: CgroupStats,
    /// Bytes and inodes of the writable layer.
    pub writable_bytes: u64,
    pub writable_inodes: u64,
}

/// Figures read from a cgroup, v1 or v2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupStats {
    /// Nanoseconds of processor time since creation.
    pub cpu_usage_ns: u64,
    /// Periods in which the group was throttled, and for how long (nanoseconds).
    pub cpu_throttled_periods: u64,
    pub cpu_throttled_ns: u64,
    /// Bytes, file cache included.
    pub memory_usage: u64,
    /// Usage without inactive file cache; what eviction looks at.
    pub memory_working_set: u64,
    /// Anonymous memory.
    pub memory_rss: u64,
    /// `None` when unlimited.
    pub memory_limit: Option<u64>,
    pub page_faults: u64,
    pub major_page_faults: u64,
    pub pids: u64,
    pub oom_kills: u64,
}
