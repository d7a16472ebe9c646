//! What the runtime says about a pod: its sandboxes and containers.

use alloc::string::String;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::Time;

/// The state of a container in the runtime.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Created,
    Running,
    Exited,
    /// The runtime lost it.
    Unknown,
}

/// A sandbox: the namespaces and cgroup that the pod's containers share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sandbox {
    pub id: SmolStr,
    pub ready: bool,
    /// 0 for the first sandbox of the pod.
    pub attempt: u32,
    pub created_at: Time,
    /// Addresses of the pod; empty with the node's network.
    pub ips: Vec<SmolStr>,
}

/// One run of a container.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Container {
    pub id: SmolStr,
    pub sandbox_id: SmolStr,
    pub name: SmolStr,
    /// 0 for the first run; what `restartCount` says.
    pub attempt: u32,
    pub state: State,
    pub created_at: Time,
    pub started_at: Option<Time>,
    pub finished_at: Option<Time>,
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`…; empty where the runtime has none.
    pub reason: SmolStr,
    /// The termination message, or why the start failed.
    pub message: String,
    /// The image as the spec named it, and its id (a digest).
    pub image: SmolStr,
    pub image_id: SmolStr,
    /// Of the first process: user, group, supplementary groups. `None` where not known.
    pub user: Option<(i64, i64, Vec<i64>)>,
}

impl Container {
    /// The reason of the end: the runtime's, or the one that follows from the exit code.
    pub fn end_reason(&self) -> SmolStr {
        match (&self.reason, self.exit_code) {
            (r, _) if !r.is_empty() => r.clone(),
            (_, 0) => SmolStr::new_static("Completed"),
            _ => SmolStr::new_static("Error"),
        }
    }
}

/// Everything that the runtime knows about one pod.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Observed {
    pub sandboxes: Vec<Sandbox>,
    pub containers: Vec<Container>,
}

impl Observed {
    /// The newest sandbox, ready or not.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.iter().max_by_key(|s| (s.attempt, s.created_at))
    }

    /// The newest sandbox, if it is ready.
    pub fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandbox().filter(|s| s.ready)
    }

    /// All runs of a container, newest first.
    pub fn runs(&self, name: &str) -> Vec<&Container> {
        let mut runs: Vec<&Container> = self.containers.iter().filter(|c| c.name == name).collect();
        runs.sort_by_key(|c| core::cmp::Reverse((c.attempt, c.created_at)));
        runs
    }

    /// The newest run of a container.
    pub fn latest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().filter(|c| c.name == name).max_by_key(|c| (c.attempt, c.created_at))
    }

    /// The newest run of a container in the present sandbox.
    pub fn current(&self, name: &str) -> Option<&Container> {
        let sandbox = self.ready_sandbox()?;
        self.latest(name).filter(|c| c.sandbox_id == sandbox.id)
    }

    /// The run with this id.
    pub fn by_id(&self, id: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.id == id)
    }

    /// Whether any container runs.
    pub fn any_running(&self) -> bool {
        self.containers.iter().any(|c| c.state == State::Running)
    }
}
