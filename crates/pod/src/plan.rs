//! The decision: what is to be done about a pod now.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::{Duration, Time};
use timonier_object::Value;

use crate::life::{self, api_status, bare_id};
use crate::memory::{Cause, Ending, Memory, Step};
use crate::observed::{Observed, State};
use crate::probe::{Kind, Probe, Probes};
use crate::spec;
use crate::{start, terminate};

/// Something to do. Each is asked for once; its outcome goes into the [`Memory`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Outcome: [`Memory::volumes_mounted`].
    MountVolumes,
    /// Make a sandbox, after stopping the one it replaces. Outcome: [`Memory::sandbox_created`].
    CreateSandbox { attempt: u32, replaces: Option<SmolStr> },
    /// Pull as the policy says, create, start, run the postStart hook. Outcome:
    /// [`Memory::start_finished`].
    Start { name: SmolStr, attempt: u32 },
    /// Stop a container. A repeated one for the same id replaces the one before. Outcome:
    /// [`Memory::kill_finished`].
    Kill(Kill),
    /// Outcome: [`Memory::probed`].
    Probe { id: SmolStr, name: SmolStr, kind: Kind, probe: Probe },
    /// Remove the record and files of a dead container.
    RemoveContainer { id: SmolStr },
    /// Remove a dead sandbox without containers.
    RemoveSandbox { id: SmolStr },
    /// The pod ends: pulls and hooks under way are to give up.
    Cancel,
    /// Stop all sandboxes. Outcome: [`Memory::ended`].
    StopSandboxes,
    /// Outcome: [`Memory::ended`].
    UnmountVolumes,
    /// Remove all records and files of the pod; nothing follows. Outcome: [`Memory::ended`].
    Forget,
}

/// How to stop a container.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kill {
    pub id: SmolStr,
    pub name: SmolStr,
    /// Seconds for the hook and the container together.
    pub grace: i64,
    /// Whether the preStop hook runs.
    pub hook: bool,
}

/// An Event about the pod, with upstream's reason and text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    pub warning: bool,
    pub reason: SmolStr,
    pub message: String,
    /// The container it is about, as a field path; empty for the pod.
    pub field_path: String,
}

impl Event {
    /// A `Normal` Event about the pod.
    pub fn normal(reason: &str, message: impl Into<String>) -> Self {
        let (message, field_path) = (message.into(), String::new());
        Event { warning: false, reason: reason.into(), message, field_path }
    }

    /// A `Warning` Event about the pod.
    pub fn warning(reason: &str, message: impl Into<String>) -> Self {
        Event { warning: true, ..Event::normal(reason, message) }
    }

    /// The Event, about a container.
    pub fn about(mut self, container: &spec::ContainerSpec<'_>) -> Self {
        self.field_path = container.field_path();
        self
    }
}

/// How far a pod is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Stage {
    #[default]
    Syncing,
    /// Its containers are being stopped.
    Terminating,
    /// Nothing runs, nothing is mounted: a deleted pod may leave the API.
    Terminated,
    /// Nothing of it is left on the node.
    Forgotten,
}

/// What is to be done now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    pub actions: Vec<Action>,
    pub events: Vec<Event>,
    /// When to decide again if nothing happens before.
    pub wake_at: Option<Time>,
    pub stage: Stage,
}

/// The making of a plan; the parts in `start` and `terminate` add to it.
pub(crate) struct Planner<'a> {
    pub pod: &'a Value,
    pub observed: &'a Observed,
    pub memory: &'a mut Memory,
    pub now: Time,
    pub plan: Plan,
}

/// Decides what is to be done about a pod, and notes in the memory what is now under way.
pub fn plan(pod: &Value, observed: &Observed, memory: &mut Memory, now: Time) -> Plan {
    memory.first_seen.get_or_insert(now);
    let mut p = Planner { pod, observed, memory, now, plan: Plan::default() };
    p.decide_ending();
    p.track_probes();
    if p.memory.ending.is_some() {
        terminate::terminate(&mut p);
    } else {
        p.sync();
    }
    p.plan
}

/// Seconds that the pod's containers get to stop.
pub fn grace_period(pod: &Value) -> i64 {
    let spec = pod.at("spec.terminationGracePeriodSeconds").as_i64();
    let deleted = pod.at("metadata.deletionGracePeriodSeconds").as_i64();
    let deleted = if pod.is_deleting() { deleted } else { None };
    deleted.or(spec).unwrap_or(30).max(0)
}

impl Planner<'_> {
    pub fn act(&mut self, action: Action) {
        self.plan.actions.push(action);
    }

    pub fn tell(&mut self, event: Event) {
        self.plan.events.push(event);
    }

    pub fn wake(&mut self, at: Time) {
        let earliest = self.plan.wake_at.map_or(at, |w| w.min(at));
        self.plan.wake_at = Some(earliest);
    }

    /// Whether a failed or idle step is due; a later time goes into the plan.
    pub fn due(&mut self, step: &Step) -> bool {
        match step {
            Step::Idle => true,
            Step::Busy | Step::Done => false,
            Step::Failed { retry_at, .. } if *retry_at <= self.now => true,
            Step::Failed { retry_at, .. } => {
                self.wake(*retry_at);
                false
            }
        }
    }

    /// Decides whether the pod comes to its end, and notes it.
    fn decide_ending(&mut self) {
        let grace = grace_period(self.pod);
        if self.pod.is_deleting() || self.memory.gone {
            match &mut self.memory.ending {
                Some(ending) => {
                    ending.grace = ending.grace.min(grace);
                }
                None => self.end(Cause::Deleted, grace, "", ""),
            }
            return;
        }
        if self.memory.ending.is_some() {
            return;
        }
        if life::finished(self.pod, self.observed) {
            return self.end(Cause::Finished, grace, "", "");
        }
        let deadline = self.pod.at("spec.activeDeadlineSeconds").as_i64();
        let started = self.pod.time("status.startTime").or(self.memory.first_seen);
        if let (Some(seconds), Some(started)) = (deadline, started) {
            let at = started + Duration::from_secs(seconds);
            if at > self.now {
                return self.wake(at);
            }
            let message = "Pod was active on the node longer than the specified deadline";
            self.tell(Event::normal("DeadlineExceeded", message));
            self.end(Cause::Failed, grace, "DeadlineExceeded", message);
        }
    }

    fn end(&mut self, cause: Cause, grace: i64, reason: &str, message: &str) {
        let (reason, message) = (reason.into(), message.into());
        let since = self.now;
        self.memory.ending = Some(Ending { cause, since, grace, reason, message });
    }

    /// Volumes and the sandbox side by side, then containers. Where volumes fail, no sandbox is
    /// made for them.
    fn sync(&mut self) {
        self.probe();
        self.kill_failed();
        let volumes = self.memory.volumes.clone();
        let failed = matches!(volumes, Step::Failed { .. });
        if self.due(&volumes) {
            self.memory.volumes = Step::Busy;
            self.act(Action::MountVolumes);
        }
        let sandbox = !failed && self.have_sandbox();
        if sandbox && self.memory.volumes == Step::Done {
            start::start(self);
        }
        self.collect_dead();
    }

    /// Whether there is a sandbox to start containers in; otherwise asks for one.
    fn have_sandbox(&mut self) -> bool {
        if self.observed.ready_sandbox().is_some() && self.memory.sandbox != Step::Busy {
            self.memory.sandbox = Step::Done;
            return true;
        }
        // A container whose start is under way belongs to the old sandbox.
        if self.memory.starting.is_some() {
            return false;
        }
        let step = match self.memory.sandbox.clone() {
            // It was there and is not any more.
            Step::Done => Step::Idle,
            step => step,
        };
        if self.due(&step) {
            self.memory.sandbox = Step::Busy;
            let old = self.observed.sandbox();
            let attempt = old.map_or(0, |s| s.attempt.saturating_add(1));
            let replaces = old.map(|s| s.id.clone());
            if replaces.is_some() && step == Step::Idle {
                let text = "Pod sandbox changed, it will be killed and re-created.";
                self.tell(Event::normal("SandboxChanged", text));
            }
            self.act(Action::CreateSandbox { attempt, replaces });
        }
        false
    }

    /// Keeps a set of probes per running container.
    fn track_probes(&mut self) {
        let observed = self.observed;
        self.memory
            .probes
            .retain(|id, _| observed.by_id(id).is_some_and(|c| c.state == State::Running));
        let running = observed.containers.iter().filter(|c| c.state == State::Running);
        for run in running {
            if self.memory.probes.contains_key(&run.id) {
                continue;
            }
            let Some(c) = spec::container(self.pod, &run.name) else { continue };
            // A clock that was put back must not put off the probes.
            let started = run.started_at.unwrap_or(run.created_at).min(self.now);
            let status = api_status(self.pod, c.role, c.name());
            let known = bare_id(status.at("containerID").str()) == run.id;
            let probes = if known {
                Probes::resumed(c.spec, started, status)
            } else {
                Probes::new(c.spec, started)
            };
            self.memory.probes.insert(run.id.clone(), probes);
        }
    }

    /// Asks for the probes that are due.
    pub fn probe(&mut self) {
        let now = self.now;
        let ending = self.memory.ending.is_some();
        let starting = self.memory.starting.as_ref().map(|(name, _)| name.clone());
        let mut actions = Vec::new();
        let mut next = None;
        for (id, probes) in &mut self.memory.probes {
            // A container is probed once its postStart hook has run.
            let in_hook = starting.as_ref() == Some(&probes.container);
            if in_hook {
                continue;
            }
            let stopping = ending || self.memory.killing.contains_key(id);
            let (due, later) = probes.take_due(now, stopping);
            next = later.or(next).map(|at| next.map_or(at, |n: Time| n.min(at)));
            let name = probes.container.clone();
            actions.extend(due.into_iter().map(|(kind, probe)| Action::Probe {
                id: id.clone(),
                name: name.clone(),
                kind,
                probe,
            }));
        }
        self.plan.actions.extend(actions);
        if let Some(at) = next {
            self.wake(at);
        }
    }

    /// Stops containers whose liveness or startup probe failed.
    fn kill_failed(&mut self) {
        let grace = grace_period(self.pod);
        let restart = spec::pod_restart_policy(self.pod) != spec::RestartPolicy::Never;
        let failed: Vec<_> = self
            .memory
            .probes
            .iter()
            .filter(|(id, _)| !self.memory.killing.contains_key(*id))
            .filter_map(|(id, p)| {
                let (kind, probe) = p.fatal()?;
                Some((id.clone(), p.container.clone(), kind, probe.termination_grace))
            })
            .collect();
        for (id, name, kind, own_grace) in failed {
            let Some(c) = spec::container(self.pod, &name) else { continue };
            let word = if kind == Kind::Liveness { "liveness" } else { "startup" };
            let init = if c.role == spec::Role::Sidecar { "Init container" } else { "Container" };
            let restarts = restart || c.role == spec::Role::Sidecar;
            let tail = if restarts { ", will be restarted" } else { "" };
            let message = format!("{init} {name} failed {word} probe{tail}");
            self.tell(Event::normal("Killing", message).about(&c));
            self.kill(id, name, own_grace.unwrap_or(grace), true);
        }
    }

    /// Asks for a container's stop.
    pub fn kill(&mut self, id: SmolStr, name: SmolStr, grace: i64, hook: bool) {
        let deadline = self.now + Duration::from_secs(grace);
        let killing = crate::memory::Killing { grace, deadline };
        self.memory.killing.insert(id.clone(), killing);
        self.act(Action::Kill(Kill { id, name, grace, hook }));
    }

    /// Keeps the newest dead run of each container beside the present one, for its log and
    /// `lastState`; asks for the removal of all older ones, and of sandboxes that are left empty.
    fn collect_dead(&mut self) {
        let mut doomed: Vec<&crate::observed::Container> = Vec::new();
        for c in spec::all_containers(self.pod) {
            let runs = self.observed.runs(c.name());
            doomed.extend(runs.into_iter().skip(2).filter(|r| r.state == State::Exited));
        }
        let newest = self.observed.sandbox().map(|s| s.id.clone());
        for id in doomed.into_iter().map(|r| r.id.clone()) {
            if self.memory.removing.insert(id.clone()) {
                self.act(Action::RemoveContainer { id });
            }
        }
        for sandbox in &self.observed.sandboxes {
            let used = self.observed.containers.iter().any(|c| c.sandbox_id == sandbox.id);
            let old = !sandbox.ready && Some(&sandbox.id) != newest.as_ref() && !used;
            if old && self.memory.removing.insert(sandbox.id.clone()) {
                self.act(Action::RemoveSandbox { id: sandbox.id.clone() });
            }
        }
        // What is gone need not be remembered.
        let observed = self.observed;
        let known = |id: &SmolStr| {
            observed.by_id(id).is_some() || observed.sandboxes.iter().any(|s| s.id == *id)
        };
        self.memory.removing.retain(known);
    }
}
