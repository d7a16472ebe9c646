//! Where a container stands, from the runtime's records and, for records that are lost, from the
//! API's status.

use smol_str::SmolStr;
use timonier_meta::Time;
use timonier_object::Value;

use crate::observed::{Container, Observed, State};
use crate::spec::{self, ContainerSpec, Role, restarts_after};

/// The exit code of a container that can no longer be found (upstream's).
pub const LOST_EXIT_CODE: i32 = 137;

/// Where a container stands.
#[derive(Clone, Debug)]
pub enum Life<'a> {
    /// It has never run.
    New,
    Running(&'a Container),
    Ended(End),
}

/// The last end of a container.
#[derive(Clone, Debug)]
pub struct End {
    pub exit_code: i32,
    pub finished_at: Option<Time>,
    /// The run; empty where only the API knows of it and gives no id.
    pub id: SmolStr,
    /// The record is not in the runtime any more.
    pub lost: bool,
}

/// The status entry of a container in the API's object.
pub fn api_status<'a>(pod: &'a Value, role: Role, name: &str) -> &'a Value {
    static NONE: Value = Value::Null;
    let list = match role {
        Role::Init | Role::Sidecar => "status.initContainerStatuses",
        Role::Main => "status.containerStatuses",
        Role::Ephemeral => "status.ephemeralContainerStatuses",
    };
    pod.at(list).items().iter().find(|s| s.at("name").str() == name).unwrap_or(&NONE)
}

/// The id in `timonier://id`.
pub fn bare_id(container_id: &str) -> &str {
    container_id.split_once("://").map_or(container_id, |(_, id)| id)
}

/// Where a container stands.
pub fn life<'a>(pod: &Value, observed: &'a Observed, c: &ContainerSpec<'_>) -> Life<'a> {
    if let Some(run) = observed.latest(c.name()) {
        return match run.state {
            State::Running | State::Created => Life::Running(run),
            State::Exited | State::Unknown => Life::Ended(End {
                exit_code: match run.state {
                    State::Unknown => LOST_EXIT_CODE,
                    _ => run.exit_code,
                },
                finished_at: run.finished_at,
                id: run.id.clone(),
                lost: false,
            }),
        };
    }
    let status = api_status(pod, c.role, c.name());
    let terminated = status.at("state.terminated");
    if !terminated.is_null() {
        return Life::Ended(End {
            exit_code: terminated.at("exitCode").int_or(0) as i32,
            finished_at: terminated.time("finishedAt"),
            id: bare_id(terminated.at("containerID").str()).into(),
            lost: true,
        });
    }
    match status.at("containerID").str() {
        "" => Life::New,
        id => Life::Ended(End {
            exit_code: LOST_EXIT_CODE,
            finished_at: None,
            id: bare_id(id).into(),
            lost: true,
        }),
    }
}

/// The number of the next run.
pub fn next_attempt(pod: &Value, observed: &Observed, c: &ContainerSpec<'_>) -> u32 {
    if let Some(run) = observed.latest(c.name()) {
        return run.attempt.saturating_add(1);
    }
    let status = api_status(pod, c.role, c.name());
    let ran = !status.at("containerID").str().is_empty()
        || !status.at("state.terminated").is_null()
        || !status.at("lastState.terminated").is_null();
    let count = u32::try_from(status.at("restartCount").int_or(0)).unwrap_or(0);
    if ran { count.saturating_add(1) } else { 0 }
}

/// Whether nothing of the pod is left to run, under its restart policies. Sidecars do not count:
/// they end with the pod.
pub fn finished(pod: &Value, observed: &Observed) -> bool {
    let phase = pod.at("status.phase").str();
    if phase == "Succeeded" || phase == "Failed" {
        return true;
    }
    let ended_for_good = |c: &ContainerSpec<'_>| match life(pod, observed, c) {
        Life::Ended(end) => !restarts_after(pod, c, end.exit_code),
        _ => false,
    };
    let mains = spec::main_containers(pod);
    let started = mains.iter().any(|c| !matches!(life(pod, observed, c), Life::New));
    let init_failed = spec::init_containers(pod).iter().any(|c| {
        c.role == Role::Init
            && !started
            && match life(pod, observed, c) {
                Life::Ended(end) => end.exit_code != 0 && !restarts_after(pod, c, end.exit_code),
                _ => false,
            }
    });
    init_failed || (!mains.is_empty() && mains.iter().all(ended_for_good))
}
