//! The scheduler without I/O: changes go in, decisions come out, and what became of them goes in
//! again.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::gvk::resources::{
    NAMESPACES, NODES, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODDISRUPTIONBUDGETS, PODS,
    REPLICASETS, REPLICATIONCONTROLLERS, SERVICES, STATEFULSETS,
};
use timonier_meta::{ApiError, GroupVersionResource, ObjectKey, Selector, Time};
use timonier_object::{Value, label_selector};
use timonier_reconcile::{Change, Reason, Write};

use crate::cluster::{Budget, Claim, Cluster, Workload};
use crate::cycle::{Diagnosis, Framework};
use crate::facts::{Labels, NodeAffinity, NodeFacts, PodFacts};
use crate::plugin::Happening;
use crate::queue::{Entry, Queue};
use crate::{plugins, preemption, writes};

/// How a scheduler is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The pods that name this scheduler are its own.
    pub name: SmolStr,
    /// The start of all randomness.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { name: SmolStr::new_static("default-scheduler"), seed: 0 }
    }
}

/// What is to be done about one pod.
#[derive(Clone, Debug)]
pub struct Decision {
    pub pod: ObjectKey,
    pub uid: SmolStr,
    pub action: Action,
    /// Events to record: for a binding when it was done, otherwise at once.
    pub because: Vec<Reason>,
}

/// What a decision does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Create this `Binding` at the pod's subresource `binding`, then report with
    /// [`Scheduler::on_bound`] or [`Scheduler::on_failed`].
    Bind { node: SmolStr, binding: Value },
    /// Carry out the writes in order. They need no report: if one fails the pod is tried again
    /// in time.
    Write(Vec<Write>),
}

/// See the file's text.
pub struct Scheduler {
    config: Config,
    framework: Framework,
    cluster: Cluster,
    queue: Queue,
    /// Pods whose binding is under way.
    binding: BTreeMap<ObjectKey, Entry>,
    /// The node that the next cycle looks at first.
    start: usize,
    cycles: u64,
    synced: bool,
}

impl Scheduler {
    /// A scheduler with the default plug-ins that knows nothing yet.
    pub fn new(config: Config) -> Self {
        Scheduler {
            config,
            framework: Framework::new(plugins::default()),
            cluster: Cluster::default(),
            queue: Queue::default(),
            binding: BTreeMap::new(),
            start: 0,
            cycles: 0,
            synced: false,
        }
    }

    /// The resources whose changes the scheduler wants to know.
    pub fn watches() -> [GroupVersionResource; 10] {
        [
            NODES,
            PODS,
            NAMESPACES,
            SERVICES,
            REPLICATIONCONTROLLERS,
            REPLICASETS,
            STATEFULSETS,
            PODDISRUPTIONBUDGETS,
            PERSISTENTVOLUMECLAIMS,
            PERSISTENTVOLUMES,
        ]
    }

    /// Everything was listed once. Before that no decision is made, as a node might seem free
    /// whose pods are only not known yet.
    pub fn on_synced(&mut self) {
        self.synced = true;
    }

    /// Takes up a change of one object.
    pub fn on_change(&mut self, change: &Change, now: Time) {
        if change.is(&PODS) {
            self.on_pod(change, now);
        } else if change.is(&NODES) {
            self.on_node(change, now);
        } else if change.is(&NAMESPACES) {
            self.on_namespace(change, now);
        } else if change.is(&PODDISRUPTIONBUDGETS) {
            let budget = change.new.as_ref().map(|b| read_budget(b));
            self.cluster.put_budget(&change.key, budget);
        } else if change.is(&PERSISTENTVOLUMECLAIMS) {
            let claim = change.new.as_ref().map(|c| Claim::read(c));
            if self.cluster.put_claim(&change.key, claim) {
                self.wake(&Happening::Claim(&change.key), now);
            }
        } else if change.is(&PERSISTENTVOLUMES) {
            let demands = change.new.as_ref().map(|v| NodeAffinity::of_volume(v));
            if self.cluster.put_volume(&change.key.name, demands) {
                self.wake(&Happening::Volume(&change.key.name), now);
            }
        } else if let Some((kind, read)) = workload(change) {
            self.cluster.put_selector(kind, &change.key, change.new.as_ref().and_then(|w| read(w)));
        }
    }

    /// The next decision, if there is one to make.
    pub fn next(&mut self, now: Time) -> Option<Decision> {
        if !self.synced {
            return None;
        }
        loop {
            let entry = self.queue.pop(now)?;
            if let Some(decision) = self.decide(entry, now) {
                return Some(decision);
            }
        }
    }

    /// When [`Scheduler::next`] may give something, if nothing changes before.
    pub fn next_at(&self, now: Time) -> Option<Time> {
        self.queue.next_at(now).filter(|_| self.synced)
    }

    /// A binding was done.
    pub fn on_bound(&mut self, pod: &ObjectKey, uid: &str) {
        if self.binding.get(pod).is_some_and(|e| e.pod.uid == uid) {
            self.binding.remove(pod);
        }
    }

    /// A binding was refused, or its outcome is unknown: the pod is tried again after a while.
    /// Gives what to tell about it.
    pub fn on_failed(
        &mut self,
        pod: &ObjectKey,
        uid: &str,
        error: &ApiError,
        now: Time,
    ) -> Option<Decision> {
        let entry = self.binding.remove(pod)?;
        if entry.pod.uid != uid {
            self.binding.insert(pod.clone(), entry);
            return None;
        }
        // Not if the pod was seen on a node meanwhile.
        let assumed = self.cluster.pod(pod).filter(|p| p.uid == uid)?;
        if !assumed.object.at("spec.nodeName").is_empty() {
            return None;
        }
        let gone = self.cluster.remove_pod(pod)?;
        self.wake(&Happening::PodGone(&gone), now);
        let facts = entry.pod.clone();
        self.queue.retry(entry);
        if error.is_not_found() || error.is_conflict() {
            return None;
        }
        let message = format!("running Bind plugin \"DefaultBinder\": {}", error.message);
        Some(self.refuse(&facts, "SchedulerError", &message, None, now))
    }

    /// How many pods are to be tried, back off, and wait.
    pub fn queue_lengths(&self) -> (usize, usize, usize) {
        self.queue.lengths()
    }

    fn decide(&mut self, entry: Entry, now: Time) -> Option<Decision> {
        let pod = entry.pod.clone();
        if self.cluster.pod(&pod.key).is_some_and(|p| p.uid == pod.uid) {
            return None;
        }
        self.cycles += 1;
        let random = mix(self.config.seed.wrapping_add(mix(self.cycles)));
        let start = self.start % self.cluster.nodes().len().max(1);
        match self.framework.place(&pod, &mut self.cluster, start, random) {
            Ok(placement) => {
                self.start = start + placement.looked_at;
                Some(self.bind(entry, placement.node, now))
            }
            Err(diagnosis) => Some(self.fits_nowhere(entry, diagnosis, random, now)),
        }
    }

    /// The pod counts as there from now on.
    fn bind(&mut self, entry: Entry, node: SmolStr, now: Time) -> Decision {
        let pod = entry.pod.clone();
        self.cluster.forget_nomination(&pod.key);
        let assumed = Arc::new(PodFacts { node: node.clone(), ..PodFacts::clone(&pod) });
        self.cluster.put_pod(assumed.clone());
        // A pod that wants to be with this one may find its place now.
        self.wake(&Happening::PodPlaced(&assumed), now);
        self.binding.insert(pod.key.clone(), entry);
        writes::bind(&pod, &node)
    }

    fn fits_nowhere(
        &mut self,
        entry: Entry,
        mut diagnosis: Box<Diagnosis>,
        random: u64,
        now: Time,
    ) -> Decision {
        let pod = entry.pod.clone();
        self.queue.wait(entry, diagnosis.plugins.clone(), now);
        if diagnosis.nodes == 0 {
            return self.refuse(&pod, "Unschedulable", &diagnosis.message(), None, now);
        }
        let room =
            preemption::preempt(&self.framework, &pod, &mut self.cluster, &diagnosis, random);
        match room {
            Ok(room) => {
                let nominated =
                    Arc::new(PodFacts { nominated: room.node.clone(), ..PodFacts::clone(&pod) });
                self.cluster.nominate(&nominated, &room.node);
                let message = diagnosis.message();
                let mut decision =
                    self.refuse(&pod, "Unschedulable", &message, Some(&room.node), now);
                let evictions = writes::evict(&pod, &room, &self.config.name, now);
                let displaced = self.displace(&pod, &room.node, now);
                if let Action::Write(all) = &mut decision.action {
                    all.splice(0..0, evictions.into_iter().chain(displaced));
                }
                decision
            }
            Err(why) => {
                diagnosis.preemption = why;
                // Where there is no room to be made, none is kept.
                let waits = diagnosis.preemption.contains("a terminating pod");
                let keep = if waits { pod.nominated.clone() } else { SmolStr::default() };
                if !waits {
                    self.cluster.forget_nomination(&pod.key);
                }
                self.refuse(&pod, "Unschedulable", &diagnosis.message(), Some(&keep), now)
            }
        }
    }

    /// The less important pods for which room was made on the node lose it: they look for another
    /// place at once.
    fn displace(&mut self, pod: &PodFacts, node: &str, now: Time) -> Vec<Write> {
        let less = self.cluster.nominated(node).filter(|p| p.priority < pod.priority);
        let less: Vec<_> = less.cloned().collect();
        for pod in &less {
            self.cluster.forget_nomination(&pod.key);
        }
        self.queue.wake(now, |e| less.iter().any(|p| p.key == e.pod.key));
        less.iter().map(|p| writes::forget_nomination(p)).collect()
    }

    /// Tells that the pod has no node: an Event, and a condition where it says something new.
    fn refuse(
        &self,
        pod: &PodFacts,
        reason: &str,
        message: &str,
        nominated: Option<&str>,
        now: Time,
    ) -> Decision {
        let told = cut(message);
        Decision {
            pod: pod.key.clone(),
            uid: pod.uid.clone(),
            action: Action::Write(
                writes::status(pod, reason, message, nominated, now).into_iter().collect(),
            ),
            because: alloc::vec![Reason::warning(&pod.object, "FailedScheduling", told)],
        }
    }

    fn on_pod(&mut self, change: &Change, now: Time) {
        let Some(new) = &change.new else {
            return self.forget_pod(&change.key, None, now);
        };
        let pod = Arc::new(PodFacts::read(new));
        // Another pod of the same name has taken the place of one that is gone.
        self.forget_pod(&pod.key, Some(&pod.uid), now);
        if pod.finished {
            return self.forget_pod(&pod.key, None, now);
        }
        if !pod.node.is_empty() {
            return self.on_placed(pod, now);
        }
        if pod.scheduler != self.config.name {
            return;
        }
        if self.cluster.pod(&pod.key).is_some() {
            // It was given a node, of which this change does not know yet.
            if let Some(entry) = self.binding.get_mut(&pod.key) {
                entry.pod = pod;
            }
        } else if pod.deleting {
            self.queue.remove(&pod.key);
            self.cluster.forget_nomination(&pod.key);
        } else {
            self.cluster.nominate(&pod, &pod.nominated);
            self.queue.put(pod, now);
        }
    }

    /// A pod that has a node, by whoever's decision.
    fn on_placed(&mut self, pod: Arc<PodFacts>, now: Time) {
        self.queue.remove(&pod.key);
        self.binding.remove(&pod.key);
        self.cluster.forget_nomination(&pod.key);
        match self.cluster.put_pod(pod.clone()) {
            Some(old) if old.node == pod.node => {
                self.wake(&Happening::PodChanged { old: &old, new: &pod }, now);
            }
            _ => self.wake(&Happening::PodPlaced(&pod), now),
        }
    }

    /// Forgets a pod, or one of the same name but another uid than `but`.
    fn forget_pod(&mut self, key: &ObjectKey, but: Option<&str>, now: Time) {
        let other = |uid: &str| but.is_none_or(|but| but != uid);
        if self.queue.get(key).is_some_and(|e| other(&e.pod.uid)) {
            self.queue.remove(key);
            self.cluster.forget_nomination(key);
        }
        if self.binding.get(key).is_some_and(|e| other(&e.pod.uid)) {
            self.binding.remove(key);
        }
        if self.cluster.pod(key).is_some_and(|p| other(&p.uid))
            && let Some(gone) = self.cluster.remove_pod(key)
        {
            self.wake(&Happening::PodGone(&gone), now);
        }
    }

    fn on_node(&mut self, change: &Change, now: Time) {
        let Some(new) = &change.new else {
            if let Some(gone) = self.cluster.remove_node(&change.key.name) {
                self.wake(&Happening::NodeGone(&gone), now);
            }
            return;
        };
        let facts = NodeFacts::read(new);
        match self.cluster.put_node(facts.clone()) {
            None => self.wake(&Happening::NodeAdded(&facts), now),
            // Heartbeats change nothing here.
            Some(old) if *old == facts => {}
            Some(old) => self.wake(&Happening::NodeChanged { old: &old, new: &facts }, now),
        }
    }

    fn on_namespace(&mut self, change: &Change, now: Time) {
        let labels = change.new.as_ref().map(|n| Labels::read(n.at("metadata.labels")));
        let same = labels.as_ref().is_some_and(|l| l == self.cluster.namespace(&change.key.name));
        self.cluster.put_namespace(&change.key.name, labels.clone());
        if let Some(labels) = labels.filter(|_| !same) {
            self.wake(&Happening::NamespaceLabels(&change.key.name, &labels), now);
        }
    }

    fn wake(&mut self, change: &Happening<'_>, now: Time) {
        let framework = &self.framework;
        self.queue.wake(now, |e| framework.wakes(&e.pod, &e.kept_out_by, change));
    }
}

type ReadSelector = fn(&Value) -> Option<Selector>;

/// The kind of workload that a change is about, and where its selector is.
fn workload(change: &Change) -> Option<(Workload, ReadSelector)> {
    let pairs: ReadSelector = |w| {
        let pairs = w.at("spec.selector");
        (!pairs.is_empty()).then(|| Selector::of_pairs(pairs.entries().map(|(k, v)| (k, v.str()))))
    };
    let full: ReadSelector = |w| label_selector(w.at("spec.selector")).ok();
    [
        (&SERVICES, Workload::Service, pairs),
        (&REPLICATIONCONTROLLERS, Workload::ReplicationController, pairs),
        (&REPLICASETS, Workload::ReplicaSet, full),
        (&STATEFULSETS, Workload::StatefulSet, full),
    ]
    .into_iter()
    .find(|(resource, ..)| change.is(resource))
    .map(|(_, kind, read)| (kind, read))
}

fn read_budget(budget: &Value) -> Budget {
    let selector = label_selector(budget.at("spec.selector"));
    Budget {
        selector: selector.unwrap_or_else(|_| Selector::nothing()),
        allowed: budget.at("status.disruptionsAllowed").int_or(0),
        disrupted: budget.at("status.disruptedPods").entries().map(|(k, _)| k.into()).collect(),
    }
}

/// The most bytes of an Event's note.
const NOTE: usize = 1024;

fn cut(message: &str) -> String {
    if message.len() <= NOTE {
        return message.into();
    }
    let mut end = NOTE - " ...".len();
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{} ...", &message[..end])
}

/// The finaliser of splitmix64.
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
