//! The ReplicaSets of a Deployment while a plan is made: working copies and what to write.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use timonier_meta::Time;
use timonier_meta::gvk::resources::{DEPLOYMENTS, REPLICASETS};
use timonier_object::{Value, value};
use timonier_reconcile::{Context, Plan, Reason, World, Write};

use super::annotations::{self, REVISION};
use super::revision_patch;
use crate::common::hash::{self, template_hash};
use crate::common::intstr::scaled;
use crate::common::pods::controller_reference;

/// The label that tells the pods of a Deployment's ReplicaSets apart.
pub const HASH_LABEL: &str = "pod-template-hash";

/// A ReplicaSet as it is to become.
pub struct Set {
    pub value: Value,
    stored: Option<Arc<Value>>,
    changed: bool,
}

impl Set {
    pub fn replicas(&self) -> i64 {
        self.value.at("spec.replicas").int_or(1)
    }

    pub fn status(&self, field: &str) -> i64 {
        self.value.at("status").at(field).int_or(0)
    }

    fn age(&self) -> (Option<Time>, &str) {
        (self.value.created(), self.value.name())
    }
}

pub struct Sets<'a> {
    pub deployment: &'a Value,
    pub world: &'a World,
    pub context: &'a Context<'a>,
    /// The status as it is to become; conditions are changed in place.
    pub status: Value,
    /// In order of age, the oldest first.
    pub all: Vec<Set>,
    /// The one with the Deployment's template.
    pub new: Option<usize>,
    pub deletes: Vec<Write>,
    pub requeue_at: Option<Time>,
}

impl<'a> Sets<'a> {
    pub fn new(
        deployment: &'a Value,
        sets: Vec<Arc<Value>>,
        world: &'a World,
        context: &'a Context<'a>,
    ) -> Self {
        let mut all: Vec<Set> = sets
            .into_iter()
            .map(|s| Set { value: Value::clone(&s), stored: Some(s), changed: false })
            .collect();
        all.sort_by(|a, b| a.age().cmp(&b.age()));
        let new = all.iter().position(|s| same_template(&s.value, deployment));
        let mut status = deployment.at("status").clone();
        status.make_object();
        Sets { deployment, world, context, status, all, new, deletes: Vec::new(), requeue_at: None }
    }

    pub fn is_paused(&self) -> bool {
        self.deployment.at("spec.paused").bool()
    }

    /// The replicas that the Deployment wants.
    pub fn wanted(&self) -> i64 {
        self.deployment.at("spec.replicas").int_or(1)
    }

    pub fn new_set(&self) -> Option<&Set> {
        self.new.map(|i| &self.all[i])
    }

    /// The indexes of the old ones, the oldest first.
    pub fn old(&self) -> Vec<usize> {
        (0..self.all.len()).filter(|i| Some(*i) != self.new).collect()
    }

    /// The sum of the wanted replicas of all.
    pub fn total(&self) -> i64 {
        self.all.iter().map(Set::replicas).sum()
    }

    /// Surge and unavailability in pods, at least one of them above zero.
    fn fenceposts(&self) -> (i64, i64) {
        let (rolling, wanted) = (self.deployment.at("spec.strategy.rollingUpdate"), self.wanted());
        let surge = scaled(rolling.at("maxSurge"), wanted, true, 0);
        let unavailable = scaled(rolling.at("maxUnavailable"), wanted, false, 0);
        if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
    }

    fn is_rolling(&self) -> bool {
        self.deployment.at("spec.strategy.type").str() != "Recreate"
    }

    pub fn max_surge(&self) -> i64 {
        if self.is_rolling() { self.fenceposts().0 } else { 0 }
    }

    pub fn max_unavailable(&self) -> i64 {
        if self.is_rolling() { self.fenceposts().1.min(self.wanted()) } else { 0 }
    }

    /// Sets the replicas of a ReplicaSet. Gives whether the number changes.
    pub fn scale(&mut self, index: usize, replicas: i64) -> bool {
        let (desired, max) = (self.wanted(), self.wanted() + self.max_surge());
        let set = &mut self.all[index];
        let sized = set.replicas() != replicas;
        if sized || annotations::replicas_differ(&set.value, desired, max) {
            set.value.set("spec.replicas", replicas);
            annotations::set_replicas(&mut set.value, desired, max);
            set.changed = true;
        }
        sized
    }

    /// Brings the new ReplicaSet's annotations and settings up to date, or makes it where `create`
    /// says so. Gives a plan where the Deployment must change first.
    pub fn sync_new(&mut self, create: bool) -> Option<Plan> {
        let old = self.old();
        let max = old.iter().map(|i| annotations::revision(&self.all[*i].value)).max().unwrap_or(0);
        let revision = max + 1;
        if let Some(i) = self.new {
            self.update_new(i, revision);
            return None;
        }
        if !create {
            return None;
        }
        let set = self.make(revision);
        if self.world.get(&REPLICASETS, &set.key()).is_some() {
            return Some(self.count_collision());
        }
        self.all.push(Set { value: set, stored: None, changed: true });
        self.new = Some(self.all.len() - 1);
        let replicas = super::rollout::new_replicas(self);
        let set = &mut self.all[self.new?];
        set.value.set("spec.replicas", replicas);
        let message = format!("Created new replica set {:?}", set.value.name());
        super::status::progressing(self, "True", "NewReplicaSetCreated", &message);
        None
    }

    fn update_new(&mut self, index: usize, revision: i64) {
        let deployment = self.deployment;
        let set = &mut self.all[index];
        let mut changed = annotations::of_new_set(&mut set.value, deployment, revision);
        let min_ready = deployment.at("spec.minReadySeconds").int_or(0);
        if set.value.at("spec.minReadySeconds").int_or(0) != min_ready {
            set.value.set("spec.minReadySeconds", min_ready);
            changed = true;
        }
        set.changed |= changed;
        let message = format!("Found new replica set {:?}", set.value.name());
        if super::status::condition(self, "Progressing").is_none() {
            super::status::progressing(self, "True", "FoundNewReplicaSet", &message);
        }
    }

    fn make(&self, revision: i64) -> Value {
        let d = self.deployment;
        let collisions = d.at("status.collisionCount").as_i64();
        let mut template = d.at("spec.template").clone();
        let hash = template_hash(&template, collisions);
        let label = |at: &mut Value| {
            at.make_object().insert(HASH_LABEL, hash.as_str().into());
        };
        label(template.entry("metadata.labels"));
        let mut selector = d.at("spec.selector").clone();
        label(selector.entry("matchLabels"));
        let name = format!("{}-{hash}", d.name());
        let labels = template.at("metadata.labels").clone();
        let mut set = value!({
            "kind": "ReplicaSet", "apiVersion": "apps/v1",
            "metadata": { "name": name, "namespace": (d.namespace()), "labels": labels,
                          "ownerReferences": [(&controller_reference(d))] },
            "spec": { "replicas": 0, "selector": selector, "template": template },
        });
        let min_ready = d.at("spec.minReadySeconds").int_or(0);
        if min_ready > 0 {
            set.set("spec.minReadySeconds", min_ready);
        }
        annotations::of_new_set(&mut set, d, revision);
        annotations::set_replicas(&mut set, self.wanted(), self.wanted() + self.max_surge());
        set
    }

    /// Another ReplicaSet has the name that the hash gives: the next hash will differ.
    fn count_collision(&self) -> Plan {
        let mut changed = self.deployment.clone();
        let count = self.deployment.at("status.collisionCount").int_or(0);
        changed.set("status.collisionCount", count + 1);
        Plan::write(Write::update_status(&DEPLOYMENTS, changed))
    }

    /// The newest revision but the highest.
    pub fn last_revision(&self) -> i64 {
        let mut all: Vec<i64> = self.all.iter().map(|s| annotations::revision(&s.value)).collect();
        all.sort_unstable();
        all.iter().rev().nth(1).copied().unwrap_or(0)
    }

    pub fn with_revision(&self, revision: i64) -> Option<&Value> {
        self.all.iter().map(|s| &s.value).find(|s| annotations::revision(s) == revision)
    }

    /// The writes that make it so.
    pub fn into_plan(self) -> Plan {
        let mut plan = Plan { requeue_at: self.requeue_at, ..Plan::default() };
        let revision =
            self.new_set().and_then(|s| s.value.annotation(REVISION)).map(ToString::to_string);
        let down_first = |s: &&Set| s.stored.as_ref().is_none_or(|o| s.replicas() >= replicas(o));
        let changed = || self.all.iter().filter(|s| s.changed);
        for set in changed().filter(|s| !down_first(s)).chain(changed().filter(down_first)) {
            plan.writes.push(self.write_of(set));
        }
        plan.writes.extend(self.deletes);
        let mut next = self.deployment.clone();
        next.set("status", self.status);
        if next.at("status") != self.deployment.at("status") {
            let status = Write::update_status(&DEPLOYMENTS, next);
            // What failed is told before it is tried again.
            let at = if self.context.failure.is_some() { 0 } else { plan.writes.len() };
            plan.writes.insert(at, status);
        }
        // After the status, which rests on the present version of the Deployment.
        if let Some(r) = revision.filter(|r| self.deployment.annotation(REVISION) != Some(r)) {
            plan.writes.push(revision_patch(self.deployment, &r));
        }
        plan
    }

    fn write_of(&self, set: &Set) -> Write {
        let (d, name, replicas_now) = (self.deployment, set.value.name(), set.replicas());
        let Some(stored) = &set.stored else {
            let failure = format!("Failed to create new replica set {name:?}: ");
            let write = Write::create(&REPLICASETS, set.value.clone()).on_failure(Reason::warning(
                d,
                "ReplicaSetCreateError",
                failure,
            ));
            return match replicas_now {
                0 => write,
                n => write.event(scaled_event(d, name, 0, n)),
            };
        };
        let write = Write::update(&REPLICASETS, set.value.clone());
        match replicas(stored) {
            before if before != replicas_now => {
                write.event(scaled_event(d, name, before, replicas_now))
            }
            _ => write,
        }
    }
}

fn scaled_event(deployment: &Value, set: &str, from: i64, to: i64) -> Reason {
    let way = if to > from { "up" } else { "down" };
    let message: String = format!("Scaled {way} replica set {set} from {from} to {to}");
    Reason::normal(deployment, "ScalingReplicaSet", message)
}

fn replicas(set: &Value) -> i64 {
    set.at("spec.replicas").int_or(1)
}

/// A ReplicaSet's template without the label that the controller added.
pub fn template_without_hash(set: &Value) -> Value {
    let mut template = set.at("spec.template").clone();
    if let Some(labels) = template.find_mut("metadata.labels") {
        labels.make_object().remove(HASH_LABEL);
    }
    template
}

/// Whether a ReplicaSet has the Deployment's template.
pub fn same_template(set: &Value, deployment: &Value) -> bool {
    let (ours, theirs) = (set.at("spec.template"), deployment.at("spec.template"));
    hash::same(ours.at("spec"), theirs.at("spec"))
        && hash::same(&template_without_hash(set), theirs)
}
