//! A pod's end: its containers in order, then its sandbox, then its volumes.

use alloc::format;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::Duration;

use crate::memory::{Cause, Step};
use crate::observed::{Container, State};
use crate::plan::{Action, Event, Planner, Stage};
use crate::spec::{self, Role};

/// The least time that a sidecar gets once its turn has come, seconds (upstream's).
const LEAST_GRACE: i64 = 2;

/// Plans the next step of the end.
pub(crate) fn terminate(p: &mut Planner<'_>) {
    p.plan.stage = Stage::Terminating;
    if p.memory.pending() && !p.memory.cancelled {
        p.memory.cancelled = true;
        p.act(Action::Cancel);
    }
    // What is being drained tells by its readiness whether it still wants traffic.
    p.probe();
    let alive: Vec<&Container> = p
        .observed
        .containers
        .iter()
        .filter(|c| matches!(c.state, State::Running | State::Created | State::Unknown))
        .collect();
    if alive.is_empty() {
        if !p.memory.pending() {
            tear_down(p);
        }
        return;
    }
    let sidecar =
        |c: &&Container| spec::container(p.pod, &c.name).is_some_and(|s| s.role == Role::Sidecar);
    let (sidecars, others): (Vec<&Container>, Vec<&Container>) =
        alive.into_iter().partition(sidecar);
    if !others.is_empty() {
        for c in others {
            stop(p, c.id.clone(), c.name.clone(), None);
        }
        return;
    }
    // Sidecars go one after the other, the last one first, in what is left of the time.
    let order = spec::names(&spec::init_containers(p.pod));
    let place = |c: &&Container| order.iter().position(|n| *n == c.name);
    if let Some(c) = sidecars.into_iter().max_by_key(place) {
        let ending = p.memory.ending.as_ref().expect("a pod that ends has an ending");
        let end = ending.since + Duration::from_secs(ending.grace);
        let left = (end - p.now).as_secs().max(LEAST_GRACE);
        stop(p, c.id.clone(), c.name.clone(), Some(left));
    }
}

/// Asks for a stop once, and again where the time has become shorter.
fn stop(p: &mut Planner<'_>, id: SmolStr, name: SmolStr, left: Option<i64>) {
    let ending = p.memory.ending.as_ref().expect("a pod that ends has an ending");
    let whole = ending.grace;
    let grace = left.unwrap_or(whole);
    match p.memory.killing.get(&id) {
        Some(before) if before.grace <= whole => return,
        Some(before) => {
            let deadline = p.now + Duration::from_secs(grace);
            if deadline >= before.deadline {
                return;
            }
            p.kill(id, name, grace, false);
            return;
        }
        None => {}
    }
    let message = match ending.cause {
        // Of a finished pod only sidecars are left.
        Cause::Deleted | Cause::Failed | Cause::Finished => format!("Stopping container {name}"),
    };
    if let Some(c) = spec::container(p.pod, &name) {
        p.tell(Event::normal("Killing", message).about(&c));
    }
    p.kill(id, name, grace, true);
}

fn tear_down(p: &mut Planner<'_>) {
    let sandbox = p.memory.stop_sandbox.clone();
    if sandbox != Step::Done {
        if p.due(&sandbox) {
            p.memory.stop_sandbox = Step::Busy;
            p.act(Action::StopSandboxes);
        }
        return;
    }
    let unmount = p.memory.unmount.clone();
    if unmount != Step::Done {
        if p.due(&unmount) {
            p.memory.unmount = Step::Busy;
            p.act(Action::UnmountVolumes);
        }
        return;
    }
    p.plan.stage = Stage::Terminated;
    if !p.memory.gone {
        return;
    }
    let forget = p.memory.forget.clone();
    if forget == Step::Done {
        p.plan.stage = Stage::Forgotten;
    } else if p.due(&forget) {
        p.memory.forget = Step::Busy;
        p.act(Action::Forget);
    }
}
