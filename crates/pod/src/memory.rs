//! What the node remembers of a pod between two decisions: outcomes that no list of the runtime
//! tells, and what is under way.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;

use smol_str::SmolStr;
use timonier_meta::{Duration, Time};

use crate::backoff::{self, Backoff};
use crate::plan::Event;
use crate::probe::{Kind, Outcome, Probes};

/// How long a failed pull stands as `ErrImagePull` before it reads `ImagePullBackOff`.
const PULL_ERROR_SHOWN: Duration = Duration::from_secs(2);
/// When a start that failed for its configuration is tried again without a hint.
const CONFIG_RETRY: Duration = Duration::from_secs(10);

/// A piece of work of the whole pod.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Step {
    #[default]
    Idle,
    Busy,
    Done,
    Failed {
        message: String,
        retry_at: Time,
    },
}

/// Why a container does not run: what `state.waiting` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    pub reason: SmolStr,
    pub message: String,
}

/// A failed start, as the acting side reports it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StartError {
    /// `ErrImagePull`, `RegistryUnavailable`: tried again with growing delays.
    Pull { reason: SmolStr, message: String },
    /// `ErrImageNeverPull`, `InvalidImageName`, `CreateContainerConfigError`,
    /// `CreateContainerError`, `RunContainerError`, `PostStartHookError`.
    Other { reason: SmolStr, message: String },
    /// The pod ends; nothing to tell.
    Cancelled,
}

/// What is remembered of one container.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ContainerMemory {
    pub failure: Option<Failure>,
    pub retry_at: Option<Time>,
    /// When `ErrImagePull` turns into `ImagePullBackOff`, with the error.
    pub pull_shown_until: Option<(Time, String)>,
    pub restart: Backoff,
    pub image: Backoff,
    /// The run whose end is already in the restart delay.
    pub counted: Option<SmolStr>,
    /// The run for which `BackOff` was told.
    pub told: Option<SmolStr>,
}

/// A container that is being stopped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Killing {
    pub grace: i64,
    pub deadline: Time,
}

/// Why a pod comes to its end on this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// `deletionTimestamp` is set, or the object is gone.
    Deleted,
    /// `activeDeadlineSeconds` is over, or the node evicts it: the phase is `Failed`.
    Failed,
    /// Nothing is left to run.
    Finished,
}

/// The decision to end a pod. It stands once taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ending {
    pub cause: Cause,
    pub since: Time,
    /// Seconds for its containers.
    pub grace: i64,
    /// `status.reason` and `.message`; empty for none.
    pub reason: SmolStr,
    pub message: String,
}

/// Everything remembered of one pod.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    pub volumes: Step,
    volumes_backoff: Backoff,
    pub sandbox: Step,
    sandbox_backoff: Backoff,
    /// The container whose start is under way, and its attempt.
    pub starting: Option<(SmolStr, u32)>,
    pub containers: BTreeMap<SmolStr, ContainerMemory>,
    /// Probes of running containers, by container id.
    pub probes: BTreeMap<SmolStr, Probes>,
    /// Containers being stopped, by id.
    pub killing: BTreeMap<SmolStr, Killing>,
    pub removing: BTreeSet<SmolStr>,
    pub ending: Option<Ending>,
    /// The object is gone from the API.
    pub gone: bool,
    /// What is under way has been asked to stop.
    pub cancelled: bool,
    pub stop_sandbox: Step,
    pub unmount: Step,
    pub forget: Step,
    /// When the node first saw the pod.
    pub first_seen: Option<Time>,
}

impl Memory {
    /// What is remembered of a container, made where there is nothing.
    pub fn container(&mut self, name: &str) -> &mut ContainerMemory {
        self.containers.entry(name.into()).or_default()
    }

    /// Volumes are mounted, or could not be. A failure gives the Event to send.
    pub fn volumes_mounted(&mut self, result: Result<(), String>, now: Time) -> Option<Event> {
        match result {
            Ok(()) => {
                self.volumes = Step::Done;
                self.volumes_backoff.reset();
                None
            }
            Err(message) => {
                self.volumes_backoff.next(backoff::VOLUMES, now);
                let retry_at = now + self.volumes_backoff.delay();
                self.volumes = Step::Failed { message: message.clone(), retry_at };
                Some(Event::warning("FailedMount", message))
            }
        }
    }

    /// An object that the pod waits for may be there now: failed steps are due at once.
    pub fn objects_changed(&mut self, now: Time) {
        if let Step::Failed { retry_at, .. } = &mut self.volumes {
            *retry_at = now;
        }
        for c in self.containers.values_mut() {
            let waits =
                c.failure.as_ref().is_some_and(|f| f.reason == "CreateContainerConfigError");
            if waits {
                c.retry_at = None;
            }
        }
    }

    /// The sandbox is there (the runtime's list will say so), or could not be made.
    pub fn sandbox_created(&mut self, result: Result<(), String>, now: Time) -> Option<Event> {
        match result {
            Ok(()) => {
                self.sandbox = Step::Done;
                self.sandbox_backoff.reset();
                None
            }
            Err(why) => {
                self.sandbox_backoff.next(backoff::SANDBOX, now);
                let message = format!("Failed to create pod sandbox: {why}");
                let retry_at = now + self.sandbox_backoff.delay();
                self.sandbox = Step::Failed { message: message.clone(), retry_at };
                Some(Event::warning("FailedCreatePodSandBox", message))
            }
        }
    }

    /// The start that was under way is over.
    pub fn start_finished(&mut self, name: &str, result: Result<(), StartError>, now: Time) {
        self.starting = None;
        let memory = self.container(name);
        match result {
            Ok(()) => {
                memory.failure = None;
                memory.retry_at = None;
                memory.pull_shown_until = None;
                memory.image.reset();
            }
            Err(StartError::Cancelled) => {}
            Err(StartError::Pull { reason, message }) => {
                memory.image.next(backoff::RESTART, now);
                memory.retry_at = Some(now + memory.image.delay());
                memory.pull_shown_until =
                    Some((now + PULL_ERROR_SHOWN, format!("{reason}: {message}")));
                memory.failure = Some(Failure { reason, message });
            }
            Err(StartError::Other { reason, message }) => {
                let ran = reason == "RunContainerError" || reason == "PostStartHookError";
                // What ran has an exit to count from; what did not is tried again later.
                memory.retry_at = (!ran).then_some(now + CONFIG_RETRY);
                memory.pull_shown_until = None;
                memory.failure = Some(Failure { reason, message });
            }
        }
    }

    /// Takes a probe's outcome; gives the Event to send.
    pub fn probed(&mut self, id: &str, kind: Kind, outcome: &Outcome, now: Time) -> Option<Event> {
        let probes = self.probes.get_mut(id)?;
        let message = probes.take(kind, outcome, now)?;
        Some(Event::warning("Unhealthy", message))
    }

    /// The stop of a container is over, whether it worked or not; the runtime's list says which.
    pub fn kill_finished(&mut self, id: &str) {
        self.killing.remove(id);
    }

    /// Work of the pod's end is over.
    pub fn ended(&mut self, step: EndStep, result: Result<(), String>, now: Time) {
        let slot = match step {
            EndStep::StopSandbox => &mut self.stop_sandbox,
            EndStep::Unmount => &mut self.unmount,
            EndStep::Forget => &mut self.forget,
        };
        *slot = match result {
            Ok(()) => Step::Done,
            Err(message) => Step::Failed { message, retry_at: now + Duration::from_secs(1) },
        };
    }

    /// The node ends the pod: eviction. The decision stands. Whether it was not ending already.
    pub fn evict(&mut self, reason: &str, message: String, grace: i64, now: Time) -> bool {
        let new = self.ending.is_none();
        if new {
            let cause = Cause::Failed;
            self.ending = Some(Ending { cause, since: now, grace, reason: reason.into(), message });
        }
        new
    }

    /// Whether work is under way that must finish before the sandbox may go.
    pub fn pending(&self) -> bool {
        self.starting.is_some() || self.sandbox == Step::Busy || self.volumes == Step::Busy
    }
}

/// The steps of a pod's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndStep {
    StopSandbox,
    Unmount,
    Forget,
}
