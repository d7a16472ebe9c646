//! Which container starts next, and which waits.

use alloc::format;
use alloc::vec::Vec;

use crate::backoff::{RESTART, go_duration};
use crate::life::{End, Life, life, next_attempt};
use crate::memory::Failure;
use crate::observed::State;
use crate::plan::{Action, Event, Planner};
use crate::spec::{self, ContainerSpec, Role, restarts_after};

/// Asks for the next start, if a container is due. One start is under way at a time, so that
/// containers start in the order of the spec and a postStart hook holds back what follows.
pub(crate) fn start(p: &mut Planner<'_>) {
    flip_pull_errors(p);
    if p.memory.starting.is_some() {
        return;
    }
    let pod = p.pod;
    let mut candidates: Vec<ContainerSpec<'_>> = spec::ephemeral_containers(pod)
        .into_iter()
        .filter(|c| matches!(life(pod, p.observed, c), Life::New))
        .collect();
    if init(p, &mut candidates) {
        candidates.extend(spec::main_containers(pod).into_iter().filter(|c| main_is_due(p, c)));
    }
    for c in candidates {
        if try_start(p, &c) {
            return;
        }
    }
}

/// Adds the init containers that are to run; gives whether the pod is initialized.
fn init<'a>(p: &Planner<'a>, candidates: &mut Vec<ContainerSpec<'a>>) -> bool {
    let mains = spec::main_containers(p.pod);
    let initialized = mains.iter().any(|c| p.observed.current(c.name()).is_some());
    for c in spec::init_containers(p.pod) {
        let run = p.observed.current(c.name());
        let running = run.filter(|r| matches!(r.state, State::Running | State::Created));
        match c.role {
            Role::Sidecar => match running {
                Some(run) => {
                    let started = p.memory.probes.get(&run.id).is_some_and(|s| s.started());
                    if !initialized && !started {
                        return false;
                    }
                }
                None => {
                    candidates.push(c);
                    if !initialized {
                        return false;
                    }
                }
            },
            _ if initialized => {}
            _ => match run {
                Some(r) if r.state == State::Exited && r.exit_code == 0 => {}
                Some(_) if running.is_some() => return false,
                _ => {
                    candidates.push(c);
                    return false;
                }
            },
        }
    }
    true
}

fn main_is_due(p: &Planner<'_>, c: &ContainerSpec<'_>) -> bool {
    match life(p.pod, p.observed, c) {
        Life::New => true,
        // A run in an old sandbox is about to die with it.
        Life::Running(run) => p.observed.current(&run.name).is_none(),
        Life::Ended(end) => restarts_after(p.pod, c, end.exit_code),
    }
}

/// Asks for a start unless the container has to wait.
fn try_start(p: &mut Planner<'_>, c: &ContainerSpec<'_>) -> bool {
    let now = p.now;
    if let Some(at) = p.memory.container(c.name()).retry_at
        && at > now
    {
        p.wake(at);
        return false;
    }
    if let Life::Ended(end) = life(p.pod, p.observed, c)
        && !wait_is_over(p, c, &end)
    {
        return false;
    }
    let attempt = next_attempt(p.pod, p.observed, c);
    p.memory.container(c.name()).retry_at = None;
    p.memory.starting = Some((c.name().into(), attempt));
    p.act(Action::Start { name: c.name().into(), attempt });
    true
}

/// Whether the delay after the container's last end is over; notes the end in the delay.
fn wait_is_over(p: &mut Planner<'_>, c: &ContainerSpec<'_>, end: &End) -> bool {
    let (now, pod) = (p.now, p.pod);
    let Some(finished_at) = end.finished_at else { return true };
    let memory = p.memory.container(c.name());
    if memory.counted.as_ref() == Some(&end.id) {
        return true;
    }
    // An end that was before the node's agent started has no delay yet; upstream neither.
    if let Some(until) = memory.restart.until(RESTART, finished_at)
        && until > now
    {
        let delay = go_duration(memory.restart.delay());
        let message = format!(
            "back-off {delay} restarting failed container={} pod={}",
            c.name(),
            spec::describe(pod)
        );
        memory.failure = Some(Failure { reason: "CrashLoopBackOff".into(), message });
        let first = memory.told.as_ref() != Some(&end.id);
        memory.told = Some(end.id.clone());
        if first {
            let text = format!(
                "Back-off restarting failed container {} in pod {}",
                c.name(),
                spec::describe(pod)
            );
            p.tell(Event::warning("BackOff", text).about(c));
        }
        p.wake(until);
        return false;
    }
    memory.restart.next(RESTART, finished_at);
    memory.counted = Some(end.id.clone());
    true
}

/// A failed pull reads `ErrImagePull` for a moment, then `ImagePullBackOff` until the next try.
fn flip_pull_errors(p: &mut Planner<'_>) {
    let now = p.now;
    for c in spec::all_containers(p.pod) {
        let memory = p.memory.container(c.name());
        match memory.pull_shown_until.clone() {
            Some((at, _)) if at > now => p.wake(at),
            Some((_, error)) if memory.retry_at.is_some() => {
                memory.pull_shown_until = None;
                let image = c.spec.at("image").str();
                let text = format!("Back-off pulling image {image:?}");
                memory.failure = Some(Failure {
                    reason: "ImagePullBackOff".into(),
                    message: format!("{text}: {error}"),
                });
                p.tell(Event::normal("BackOff", text).about(&c));
                p.tell(Event::warning("Failed", "Error: ImagePullBackOff").about(&c));
            }
            _ => {}
        }
    }
}
