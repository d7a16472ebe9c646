//! What the daemon and a shim say to each other, one JSON message per packet.
//!
//! Shims outlive upgrades of the daemon: fields may be added with defaults, nothing may change its
//! meaning, and [`VERSION`] counts changes that an old side cannot understand.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::api::{Exit, TerminalSize};
use crate::init::ProcessSpec;

pub const VERSION: u32 = 1;
/// Largest message; a command line and environment fit.
pub const MAX_MESSAGE: usize = 1 << 20;
/// Name of the socket in the pod's directory.
pub const SOCKET: &str = "shim.sock";

#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Comes back with the reply.
    pub id: u64,
    pub call: Call,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Call {
    Hello {
        version: u32,
    },
    /// Starts the container whose plan lies in its directory.
    Start {
        container: String,
    },
    /// `all`: every process of the container's cgroup, with SIGKILL.
    Signal {
        container: String,
        signal: i32,
        all: bool,
    },
    /// Without a terminal three descriptors come along.
    Exec {
        exec: String,
        container: String,
        process: Box<ProcessSpec>,
    },
    SignalExec {
        exec: String,
        signal: i32,
    },
    /// One descriptor for each stream that is true, in this order.
    Attach {
        container: String,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    },
    Resize {
        container: String,
        size: TerminalSize,
    },
    ReopenLog {
        container: String,
    },
    /// Forgets an exited container.
    Delete {
        container: String,
    },
    /// Makes sockets in the pod's network namespace.
    Sockets,
    /// Kills everything, and goes once it is gone.
    Stop,
}

/// From the shim.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    Reply { id: u64, result: Result<Answer, String> },
    Exited { container: String, started_at: Option<SystemTime>, exit: Exit },
    ExecExited { exec: String, code: i32 },
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    Done,
    Hello {
        version: u32,
        pid: i32,
        containers: Vec<Known>,
    },
    Started {
        pid: i32,
        started_at: SystemTime,
    },
    /// With the terminal's descriptor, if there is one.
    ExecStarted {
        pid: i32,
    },
    /// With two descriptors: IPv4 and IPv6 (the latter missing where it is switched off).
    Sockets,
}

/// A container that the shim runs or ran.
#[derive(Debug, Serialize, Deserialize)]
pub struct Known {
    pub container: String,
    pub pid: Option<i32>,
    pub started_at: Option<SystemTime>,
    pub exit: Option<Exit>,
}

/// The file that tells a shim what it is for.
#[derive(Debug, Serialize, Deserialize)]
pub struct ShimConfig {
    pub sandbox: crate::spec::SandboxConfig,
    /// The cgroup of the shims themselves, apart from the daemon's and the pods'.
    pub shim_cgroup: String,
    /// Within how many milliseconds somebody must say hello. A daemon that was killed meanwhile took
    /// the pod for dead: then nobody will ever come.
    #[serde(default = "patience")]
    pub patience_ms: u64,
}

/// The default of [`ShimConfig::patience_ms`].
pub fn patience() -> u64 {
    60_000
}
