//! Which key runs when. No I/O: the caller brings changes, carries out tasks, and sleeps.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::{ApiError, Duration, GroupResource, ObjectKey, Time};
use timonier_object::Value;

use crate::World;
use crate::gate::{Gate, Relists};
use crate::plan::{Operation, Plan, Reason, Write};
use crate::reconciler::{Change, Context, Failure, Reconciler, mix};

/// The bounds of a driver.
#[derive(Clone, Debug)]
pub struct Config {
    /// The start of all randomness.
    pub seed: u64,
    /// Tasks that may be under way at once.
    pub max_running: usize,
    /// How long a key waits at a gate before the driver asks for a fresh list.
    pub patience: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config { seed: 0, max_running: 64, patience: Duration::from_secs(2) }
    }
}

/// The first back-off after a failure (upstream's `DefaultTypedControllerRateLimiter`).
const FIRST_BACKOFF: Duration = Duration::from_millis(5);
/// The longest back-off.
const LONGEST_BACKOFF: Duration = Duration::from_secs(1000);
/// The most writes of one task; the key runs again for the rest.
const MAX_WRITES: usize = 500;

/// Names a task until it is finished.
pub type TaskId = u64;

/// Writes to carry out in order up to the first that fails, then to report with
/// [`Driver::finish`].
#[derive(Clone, Debug)]
pub struct Task {
    pub id: TaskId,
    /// The reconciler's name.
    pub controller: &'static str,
    pub key: ObjectKey,
    pub writes: Vec<Write>,
    /// Events to record once all writes are done.
    pub because: Vec<Reason>,
}

/// What became of one write.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Done; the object's resource version is this revision.
    Done { resource: GroupResource, revision: u64 },
    /// The object is deleted, was gone before, or will be.
    Deleted { resource: GroupResource, key: ObjectKey, uid: SmolStr },
    /// The server refused it; nothing was changed.
    Refused(Failure),
    /// No reply came, or none that settles it: it may have been done or not.
    Unknown(Failure),
}

impl Outcome {
    /// The outcome of a write that the server answered with an object of this revision.
    pub fn done(write: &Write, revision: u64) -> Self {
        let resource = write.resource.group_resource();
        match &write.operation {
            Operation::Delete { preconditions, .. } => Outcome::Deleted {
                resource,
                key: write.key.clone(),
                uid: preconditions.uid.clone().unwrap_or_default(),
            },
            _ => Outcome::Done { resource, revision },
        }
    }

    /// The outcome of a write that the server answered with an error. A delete of what is gone
    /// is done; 500, 503 and 504 leave open whether the write took place.
    pub fn failed(write: &Write, error: ApiError) -> Self {
        let verb = match &write.operation {
            Operation::Create { .. } => "create",
            Operation::Update { .. } => "update",
            Operation::Patch { .. } => "patch",
            Operation::Delete { .. } if error.is_not_found() => return Outcome::done(write, 0),
            Operation::Delete { .. } => "delete",
        };
        let resource = write.resource.group_resource();
        let open = matches!(error.code, 500 | 503 | 504);
        let failure = Failure { resource, key: write.key.clone(), verb: verb.into(), error };
        if open { Outcome::Unknown(failure) } else { Outcome::Refused(failure) }
    }

    /// Whether the next write may follow.
    pub fn is_done(&self) -> bool {
        matches!(self, Outcome::Done { .. } | Outcome::Deleted { .. })
    }
}

type Id = (usize, ObjectKey);

#[derive(Clone, Debug, Default, PartialEq)]
enum State {
    #[default]
    Idle,
    Ready,
    Parked(Gate),
    Running,
}

/// What is remembered of a key while there is something to remember.
#[derive(Debug, Default)]
struct Item {
    state: State,
    dirty: bool,
    failures: u32,
    failure: Option<Failure>,
    memory: Option<Value>,
    /// With the time from which on the gate is waited for.
    gates: Vec<(Gate, Time)>,
    timer: Option<Time>,
}

struct Running {
    id: Id,
    requeue_at: Option<Time>,
    wait: Vec<(GroupResource, u64)>,
    again: bool,
    remember: Option<Value>,
}

/// The work queue of a set of reconcilers over one world.
pub struct Driver {
    config: Config,
    reconcilers: Vec<Arc<dyn Reconciler>>,
    watchers: BTreeMap<GroupResource, Vec<usize>>,
    watch_all: Vec<usize>,
    /// Per reconciler what it has to wait for at the start; empty once all of it is there.
    unlisted: Vec<Vec<Gate>>,
    items: BTreeMap<Id, Item>,
    ready: VecDeque<Id>,
    parked: BTreeMap<Gate, BTreeSet<Id>>,
    timers: BTreeSet<(Time, Id)>,
    running: BTreeMap<TaskId, Running>,
    tasks: u64,
    runs: u64,
    /// The number given out for the last list asked for, and those not handed over yet.
    relist_number: u64,
    wanted: BTreeMap<GroupResource, u64>,
    relists: Relists,
}

impl Driver {
    /// A driver that knows nothing yet; [`Driver::resync`] or the changes of a first list fill it.
    pub fn new(reconcilers: Vec<Arc<dyn Reconciler>>, config: Config) -> Self {
        let mut watchers: BTreeMap<GroupResource, Vec<usize>> = BTreeMap::new();
        let mut watch_all = Vec::new();
        for (i, reconciler) in reconcilers.iter().enumerate() {
            if reconciler.watches_all() {
                watch_all.push(i);
                continue;
            }
            for resource in reconciler.watches() {
                watchers.entry(resource.group_resource()).or_default().push(i);
            }
        }
        let listed = |r: &Arc<dyn Reconciler>| {
            r.watches().iter().map(|w| Gate::Listed(w.group_resource())).collect()
        };
        Driver {
            config,
            unlisted: reconcilers.iter().map(listed).collect(),
            reconcilers,
            watchers,
            watch_all,
            items: BTreeMap::new(),
            ready: VecDeque::new(),
            parked: BTreeMap::new(),
            timers: BTreeSet::new(),
            running: BTreeMap::new(),
            tasks: 0,
            runs: 0,
            relist_number: 0,
            wanted: BTreeMap::new(),
            relists: Relists::new(),
        }
    }

    /// Takes note of a change that the world has taken in.
    pub fn observe(&mut self, change: &Change, world: &World) {
        self.wake_gone(&change.resource, &change.key);
        self.concern(change, world);
        self.progressed(&change.resource, world);
    }

    /// Takes note that a resource was observed further (a list or bookmark without changes).
    pub fn progressed(&mut self, resource: &GroupResource, world: &World) {
        let Some(synced) = world.table_of(resource).synced() else { return };
        let first = Gate::Revision(resource.clone(), 0);
        let last = Gate::Revision(resource.clone(), synced);
        let mut open: Vec<Gate> = self.parked.range(first..=last).map(|(g, _)| g.clone()).collect();
        open.push(Gate::Listed(resource.clone()));
        open.iter().for_each(|gate| self.wake(gate));
    }

    /// Enqueues everything: after hints were lost.
    pub fn resync(&mut self, world: &World) {
        for info in world.resources() {
            let resource = info.resource.group_resource();
            for object in world.table_of(&resource).iter() {
                let (key, new) = (object.key(), Some(object.clone()));
                self.concern(&Change { resource: resource.clone(), key, old: None, new }, world);
            }
            self.progressed(&resource, world);
        }
    }

    /// Enqueues one key of the reconciler with this name.
    pub fn enqueue(&mut self, controller: &str, key: ObjectKey) {
        if let Some(i) = self.reconcilers.iter().position(|r| r.name() == controller) {
            self.touch((i, key));
        }
    }

    /// The next task with something to do, running keys until one has. `None` when there is none
    /// now, or enough tasks are under way.
    pub fn next(&mut self, world: &World, now: Time) -> Option<Task> {
        self.fire_timers(now);
        while self.running.len() < self.config.max_running {
            let id = self.ready.pop_front()?;
            if let Some(gate) = self.closed_gate(&id, world, now) {
                self.park(id, gate, now);
                continue;
            }
            let plan = self.run(&id, world, now);
            if let Some(task) = self.begin(id, plan, now) {
                return Some(task);
            }
        }
        None
    }

    /// Reports the outcomes of a task's writes, as far as they were carried out.
    pub fn finish(&mut self, task: TaskId, outcomes: Vec<Outcome>, now: Time) {
        let Some(done) = self.running.remove(&task) else { return };
        let mut failure = None;
        let mut gates = Vec::new();
        for outcome in outcomes {
            match outcome {
                Outcome::Done { resource, revision } => {
                    gates.push(Gate::Revision(resource, revision))
                }
                Outcome::Deleted { resource, key, uid } => {
                    gates.push(Gate::Gone(resource, key, uid))
                }
                Outcome::Refused(why) => failure = Some(why),
                Outcome::Unknown(why) => {
                    gates.push(self.want(why.resource.clone()));
                    failure = Some(why);
                }
            }
        }
        let failed = failure.is_some();
        let waits = !done.wait.is_empty();
        // A plan that waits does so on a quiet resource, mostly: a fresh list is asked for at once.
        let at_once = now - self.config.patience;
        let waits_for = done.wait.into_iter().map(|(r, n)| (Gate::Revision(r, n), at_once));
        let gates: Vec<_> = gates.into_iter().map(|g| (g, now)).chain(waits_for).collect();
        let item = self.items.entry(done.id.clone()).or_default();
        item.state = State::Idle;
        item.gates.extend(gates);
        item.failure = failure;
        item.failures = if failed { item.failures.saturating_add(1) } else { 0 };
        if !failed {
            item.memory = done.remember;
        }
        item.dirty |= waits || done.again && !failed;
        let retry = failed.then(|| now + backoff(item.failures));
        let at = [retry, done.requeue_at].into_iter().flatten().min();
        self.set_timer(&done.id, at);
        self.settle(done.id);
    }

    /// The resources to list anew, each with the number to report with [`Driver::relisted`]. The
    /// list must start after this call and give the newest state.
    pub fn take_relists(&mut self) -> Vec<(GroupResource, u64)> {
        core::mem::take(&mut self.wanted).into_iter().collect()
    }

    /// Reports that a list asked for has replaced the table.
    pub fn relisted(&mut self, resource: &GroupResource, number: u64, world: &World) {
        let done = self.relists.entry(resource.clone()).or_insert(0);
        *done = (*done).max(number);
        let first = Gate::Relisted(resource.clone(), 0);
        let last = Gate::Relisted(resource.clone(), number);
        let open: Vec<Gate> = self.parked.range(first..=last).map(|(g, _)| g.clone()).collect();
        open.iter().for_each(|gate| self.wake(gate));
        self.progressed(resource, world);
    }

    /// When [`Driver::next`] has to be called again even if nothing happens.
    pub fn wake_at(&self) -> Option<Time> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Whether no key waits to run and no task is under way.
    pub fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.running.is_empty() && self.parked.is_empty()
    }

    /// The number of reconciles so far.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    fn concern(&mut self, change: &Change, world: &World) {
        let some = self.watchers.get(&change.resource).cloned().unwrap_or_default();
        for i in some.into_iter().chain(self.watch_all.clone()) {
            for key in self.reconcilers[i].concerns(change, world) {
                self.touch((i, key));
            }
        }
    }

    fn touch(&mut self, id: Id) {
        let item = self.items.entry(id.clone()).or_default();
        item.dirty = true;
        if item.state == State::Idle {
            self.settle(id);
        }
    }

    /// Puts an idle key where it belongs: into the queue, or out of memory.
    fn settle(&mut self, id: Id) {
        let Some(item) = self.items.get_mut(&id) else { return };
        if item.dirty {
            item.state = State::Ready;
            self.ready.push_back(id);
        } else if item.failures == 0
            && item.timer.is_none()
            && item.gates.is_empty()
            && item.memory.is_none()
        {
            self.items.remove(&id);
        }
    }

    fn fire_timers(&mut self, now: Time) {
        while let Some((at, _)) = self.timers.first()
            && *at <= now
        {
            let Some((_, id)) = self.timers.pop_first() else { return };
            let Some(item) = self.items.get_mut(&id) else { continue };
            item.timer = None;
            item.dirty = true;
            match item.state.clone() {
                State::Idle => self.settle(id),
                State::Parked(gate) => self.unpark(&gate, id),
                State::Ready | State::Running => {}
            }
        }
    }

    fn set_timer(&mut self, id: &Id, at: Option<Time>) {
        let Some(item) = self.items.get_mut(id) else { return };
        if let Some(old) = item.timer.take() {
            self.timers.remove(&(old, id.clone()));
        }
        item.timer = at;
        if let Some(at) = at {
            self.timers.insert((at, id.clone()));
        }
    }

    /// The first gate that holds the key back; the open ones are forgotten.
    fn closed_gate(&mut self, id: &Id, world: &World, now: Time) -> Option<Gate> {
        let relists = &self.relists;
        self.unlisted[id.0].retain(|gate| !gate.is_open(world, relists));
        if let Some(gate) = self.unlisted[id.0].first() {
            return Some(gate.clone());
        }
        let item = self.items.get_mut(id)?;
        item.gates.retain(|(gate, _)| !gate.is_open(world, relists));
        let patience = self.config.patience;
        let late =
            |g: &Gate, since: Time| !matches!(g, Gate::Relisted(..)) && now - since >= patience;
        let stale: Vec<GroupResource> = item
            .gates
            .iter()
            .filter(|(g, since)| late(g, *since))
            .map(|(g, _)| g.resource().clone())
            .collect();
        item.gates.retain(|(g, since)| !late(g, *since));
        let fresh: Vec<_> = stale.into_iter().map(|r| (self.want(r), now)).collect();
        let item = self.items.get_mut(id)?;
        item.gates.extend(fresh);
        item.gates.first().map(|(gate, _)| gate.clone())
    }

    fn park(&mut self, id: Id, gate: Gate, now: Time) {
        let Some(item) = self.items.get_mut(&id) else { return };
        item.state = State::Parked(gate.clone());
        let since = item.gates.first().map(|(_, since)| *since);
        let waits = matches!(gate, Gate::Revision(..) | Gate::Gone(..));
        let at = since.filter(|_| waits).map(|s| (s + self.config.patience).max(now));
        self.set_timer(&id, at);
        self.parked.entry(gate).or_default().insert(id);
    }

    fn unpark(&mut self, gate: &Gate, id: Id) {
        if let Some(ids) = self.parked.get_mut(gate) {
            ids.remove(&id);
            if ids.is_empty() {
                self.parked.remove(gate);
            }
        }
        if let Some(item) = self.items.get_mut(&id) {
            item.state = State::Ready;
            self.ready.push_back(id);
        }
    }

    fn wake(&mut self, gate: &Gate) {
        for id in self.parked.remove(gate).into_iter().flatten() {
            if let Some(item) = self.items.get_mut(&id) {
                item.state = State::Ready;
                self.ready.push_back(id);
            }
        }
    }

    fn wake_gone(&mut self, resource: &GroupResource, key: &ObjectKey) {
        let first = Gate::Gone(resource.clone(), key.clone(), SmolStr::default());
        let open: Vec<Gate> = self
            .parked
            .range(first..)
            .map(|(gate, _)| gate)
            .take_while(|g| matches!(g, Gate::Gone(r, k, _) if r == resource && k == key))
            .cloned()
            .collect();
        open.iter().for_each(|gate| self.wake(gate));
    }

    fn want(&mut self, resource: GroupResource) -> Gate {
        self.relist_number += 1;
        self.wanted.insert(resource.clone(), self.relist_number);
        Gate::Relisted(resource, self.relist_number)
    }

    fn run(&mut self, id: &Id, world: &World, now: Time) -> Plan {
        self.runs += 1;
        self.set_timer(id, None);
        let item = self.items.entry(id.clone()).or_default();
        item.dirty = false;
        let seed = mix(self.config.seed.wrapping_add(self.runs));
        let context =
            Context { now, seed, failure: item.failure.as_ref(), memory: item.memory.as_ref() };
        self.reconcilers[id.0].reconcile(&id.1, world, &context)
    }

    /// Starts the task of a plan, or finishes a plan that has nothing to carry out.
    fn begin(&mut self, id: Id, mut plan: Plan, now: Time) -> Option<Task> {
        self.tasks += 1;
        let again = plan.writes.len() > MAX_WRITES;
        plan.writes.truncate(MAX_WRITES);
        let (controller, key) = (self.reconcilers[id.0].name(), id.1.clone());
        if again {
            // The next run tells and remembers what has become of the whole.
            plan.because.clear();
            plan.remember = self.items.get(&id).and_then(|item| item.memory.clone());
        }
        if let Some(item) = self.items.get_mut(&id) {
            item.state = State::Running;
        }
        let running = Running {
            id,
            requeue_at: plan.requeue_at,
            wait: plan.wait,
            again,
            remember: plan.remember,
        };
        self.running.insert(self.tasks, running);
        if plan.writes.is_empty() && plan.because.is_empty() {
            self.finish(self.tasks, Vec::new(), now);
            return None;
        }
        let (writes, because) = (plan.writes, plan.because);
        Some(Task { id: self.tasks, controller, key, writes, because })
    }
}

/// The wait before the retry after this many failures in a row.
fn backoff(failures: u32) -> Duration {
    let factor = 1i64 << failures.saturating_sub(1).min(30);
    Duration(FIRST_BACKOFF.0.saturating_mul(factor).min(LONGEST_BACKOFF.0))
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
