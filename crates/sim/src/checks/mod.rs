//! What must hold at every write.

mod cron;
mod deployments;
mod history;
mod jobs;
mod life;
pub mod network;
mod pods;
mod stateful;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smol_str::SmolStr;
use timonier_meta::gvk::resources::PODS;
use timonier_meta::{Duration, GroupResource, GroupVersionResource, ObjectKey, Time};
use timonier_object::Value;
use timonier_store::Record;

use history::History;

/// A controller may still act on what was so long ago: a watch is late, requests are slow.
pub const STALE: Duration = Duration::from_secs(90);
/// More are not kept: one is enough.
const MAX_VIOLATIONS: usize = 5;
/// More writes than any run needs: somebody writes without end, and without time passing.
const MAX_WRITES: u64 = 60_000;

/// All objects, by resource.
pub type Tables = BTreeMap<GroupResource, BTreeMap<ObjectKey, Arc<Value>>>;

/// One write, and everything as it is after it.
pub struct Write<'a> {
    pub resource: &'a GroupResource,
    pub old: Option<&'a Value>,
    pub new: Option<&'a Value>,
    pub tables: &'a Tables,
    /// What is stored, with the keys that are no objects.
    pub records: &'a BTreeMap<SmolStr, Record>,
    pub now: Time,
}

impl Write<'_> {
    /// All objects of a resource.
    fn all<'b>(
        &'b self,
        resource: &GroupVersionResource,
    ) -> impl Iterator<Item = &'b Arc<Value>> + use<'b> {
        self.tables.get(&resource.group_resource()).into_iter().flat_map(BTreeMap::values)
    }

    /// One object.
    fn find(&self, resource: &GroupVersionResource, namespace: &str, name: &str) -> Option<&Value> {
        let table = self.tables.get(&resource.group_resource())?;
        table.get(&ObjectKey::new(namespace, name)).map(|o| &**o)
    }

    /// The pods that a controller owns.
    fn pods_of(&self, uid: &str) -> impl Iterator<Item = &Arc<Value>> {
        self.all(&PODS).filter(move |p| p.controller().is_some_and(|o| o.uid == uid))
    }
}

/// What is remembered for the checks, and what they found.
#[derive(Default)]
pub struct Checks {
    pub violations: Vec<String>,
    pub writes: u64,
    /// Writes to leases and events.
    pub background: u64,
    /// Objects that users asked to delete, by uid.
    asked: BTreeSet<SmolStr>,
    /// Every uid that was ever given.
    uids: BTreeSet<SmolStr>,
    /// The most replicas of an object over all that may be wanted, by its uid.
    most: BTreeMap<SmolStr, History>,
    /// The fewest available pods of a Deployment that a rollout may leave, by its uid.
    fewest: BTreeMap<SmolStr, History>,
    /// The available pods of a ReplicaSet as its status says, by its uid.
    available: BTreeMap<SmolStr, History>,
    /// When pods and nodes went, by name.
    gone: BTreeMap<(GroupResource, ObjectKey), Time>,
    /// Since when a node takes no pods.
    cordoned: BTreeMap<SmolStr, Time>,
    jobs: BTreeMap<SmolStr, jobs::Tally>,
    /// The times for which a CronJob's Jobs were made, by its uid.
    runs: BTreeMap<SmolStr, BTreeSet<SmolStr>>,
}

impl Checks {
    /// Adds to what was found.
    pub fn report(&mut self, now: Time, text: String) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(format!("{}: {text}", now.rfc3339()));
        }
    }

    /// A user is about to delete an object.
    pub fn asked_to_delete(&mut self, object: &Value) {
        self.asked.insert(object.uid().into());
    }

    pub fn on_write(&mut self, write: &Write<'_>, revision: u64) {
        self.writes += 1;
        let resource = write.resource;
        self.background += u64::from(matches!(&*resource.resource, "leases" | "events"));
        if self.writes == MAX_WRITES {
            let text = format!("more than {MAX_WRITES} writes, to {resource} last");
            self.report(write.now, text);
        }
        let mut found = self.life(write);
        found.extend(match &*resource.resource {
            "pods" => self.pod(write),
            "nodes" => self.node(write),
            "replicasets" => self.replica_set(write),
            "deployments" => self.deployment(write),
            "statefulsets" => self.stateful_set(write),
            "jobs" => [self.job(write), self.cron_run(write)].concat(),
            "services" => network::service(write),
            "poddisruptionbudgets" => network::budget(write),
            _ => Vec::new(),
        });
        for text in found {
            self.report(write.now, format!("revision {revision}: {text}"));
        }
    }

    /// Notes that an object went.
    fn note_gone(&mut self, write: &Write<'_>) {
        if let (Some(old), None) = (write.old, write.new) {
            self.gone.insert((write.resource.clone(), old.key()), write.now);
        }
    }

    /// Whether an object of that name is there, or was a short while ago.
    fn was_there(
        &self,
        write: &Write<'_>,
        resource: &GroupVersionResource,
        key: &ObjectKey,
    ) -> bool {
        let gone = self.gone.get(&(resource.group_resource(), key.clone()));
        write.find(resource, &key.namespace, &key.name).is_some()
            || gone.is_some_and(|at| *at >= write.now - STALE)
    }
}
