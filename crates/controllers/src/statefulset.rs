//! StatefulSet: pods with a number, a name and volumes of their own, one after another
//! (upstream `pkg/controller/statefulset`).

mod identity;
mod status;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::{
    CONTROLLERREVISIONS, PERSISTENTVOLUMECLAIMS, PODS, STATEFULSETS,
};
use timonier_meta::{Duration, GroupVersionResource, ObjectKey, Time};
use timonier_object::{Value, label_selector};
use timonier_reconcile::{Change, Context, Plan, Reason, Reconciler, World, Write};

use crate::common::claim::claim;
use crate::common::intstr::scaled;
use crate::common::pods;
use crate::common::revisions::{self, HASH_LABEL, history};
use identity::{claims, ordinal_of};

/// The controller of StatefulSets.
pub struct StatefulSets;

impl Reconciler for StatefulSets {
    fn name(&self) -> &'static str {
        "statefulset-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![STATEFULSETS, PODS, CONTROLLERREVISIONS, PERSISTENTVOLUMECLAIMS]
    }

    fn concerns(&self, change: &Change, world: &World) -> Vec<ObjectKey> {
        if change.is(&STATEFULSETS) {
            return vec![change.key.clone()];
        }
        if change.is(&PERSISTENTVOLUMECLAIMS) {
            // A pod that waits for a claim that is gone is given another.
            let sets = world.table(&STATEFULSETS).in_namespace(&change.key.namespace);
            let gone = change.new.is_none();
            let losers = sets.filter(|s| gone && identity::is_claim_of(s, &change.key.name));
            return losers.map(|s| s.key()).collect();
        }
        let mut keys = change.controllers("apps", "StatefulSet");
        if let Some(object) = change.new.as_ref().filter(|o| o.controller().is_none()) {
            let sets = world.table(&STATEFULSETS).in_namespace(object.namespace());
            let matching = sets.filter(|s| {
                label_selector(s.at("spec.selector")).is_ok_and(|s| s.matches(|k| object.label(k)))
            });
            keys.extend(matching.map(|s| s.key()));
        }
        keys
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        let Some(set) = world.get(&STATEFULSETS, key) else { return Plan::nothing() };
        let Ok(selector) = label_selector(set.at("spec.selector")) else { return Plan::nothing() };
        let past = claim(world, &CONTROLLERREVISIONS, set, &selector, |_| true);
        let mine = |p: &Value| ordinal_of(set, p).is_some();
        let claimed = claim(world, &PODS, set, &selector, mine);
        let mut plan = Plan { writes: past.writes, ..Plan::default() };
        plan.writes.extend(claimed.writes);
        if set.is_deleting() {
            return plan;
        }
        let revisions = history(set, past.objects, world);
        if revisions.collision {
            let mut changed = Value::clone(set);
            let count = set.at("status.collisionCount").int_or(0);
            changed.set("status.collisionCount", count + 1);
            plan.writes.push(Write::update_status(&STATEFULSETS, changed));
            return plan;
        }
        plan.writes.extend(revisions.writes);
        let stored = set.at("status.currentRevision").str();
        let update = revisions.current;
        let current = revisions.old.iter().find(|r| r.name() == stored);
        let current = current.map_or_else(|| update.clone(), |r| Value::clone(r));
        let mut step = Step {
            set,
            world,
            context,
            pods: claimed
                .objects
                .into_iter()
                .filter_map(|p| Some((ordinal_of(set, &p)?, p)))
                .collect(),
            current,
            update,
            writes: Vec::new(),
            because: Vec::new(),
        };
        step.decide();
        let limit = set.at("spec.revisionHistoryLimit").int_or(10);
        let live = |r: &Value| {
            r.name() == step.current.name()
                || step.pods.values().any(|p| p.label(HASH_LABEL) == Some(r.name()))
        };
        let surplus = revisions::surplus(&revisions.old, limit, live);
        step.finish(&mut plan);
        plan.writes.extend(surplus);
        plan
    }
}

/// One step of a set.
struct Step<'a> {
    set: &'a Value,
    world: &'a World,
    context: &'a Context<'a>,
    /// By ordinal.
    pods: BTreeMap<i64, Arc<Value>>,
    /// The revision that the set comes from, and the one that it goes to.
    current: Value,
    update: Value,
    writes: Vec<Write>,
    because: Vec<Reason>,
}

impl Step<'_> {
    fn first(&self) -> i64 {
        self.set.at("spec.ordinals.start").int_or(0)
    }

    /// The first ordinal that is not wanted.
    fn end(&self) -> i64 {
        self.first() + self.set.at("spec.replicas").int_or(1)
    }

    fn min_ready(&self) -> i64 {
        self.set.at("spec.minReadySeconds").int_or(0)
    }

    fn is_healthy(&self, pod: &Value) -> bool {
        pods::is_active(pod) && pods::is_available(pod, self.min_ready(), self.context.now)
    }

    fn is_updated(&self, pod: &Value) -> bool {
        pod.label(HASH_LABEL) == Some(self.update.name())
    }

    fn decide(&mut self) {
        let ordered = self.set.at("spec.podManagementPolicy").str() != "Parallel";
        if !self.fill(ordered) || !self.shrink(ordered) {
            return;
        }
        if self.set.at("spec.updateStrategy.type").str() != "OnDelete" {
            self.roll();
        }
    }

    /// Makes what is missing, in order. Gives whether the next part may follow.
    fn fill(&mut self, ordered: bool) -> bool {
        for ordinal in self.first()..self.end() {
            let Some(pod) = self.pods.get(&ordinal).cloned() else {
                self.create(ordinal);
                if ordered {
                    return false;
                }
                continue;
            };
            if pods::is_terminal(&pod) && !pod.is_deleting() {
                let text = format!(
                    "StatefulSet {} is recreating failed Pod {}",
                    self.set.key(),
                    pod.name()
                );
                let failed = pod.at("status.phase").str() == "Failed";
                if failed {
                    self.because.push(Reason::warning(self.set, "RecreatingFailedPod", text));
                }
                self.delete(&pod);
                if ordered {
                    return false;
                }
                continue;
            }
            if pod.at("status.phase").str() == "Pending" && !pod.is_deleting() {
                self.create_claims(ordinal);
            }
            if ordered && !self.is_healthy(&pod) {
                return false;
            }
        }
        true
    }

    /// Deletes what is too much, the highest first, one after another. In order, one that does not
    /// serve stops it, unless it is the only such pod or the first of them.
    fn shrink(&mut self, ordered: bool) -> bool {
        let (first, end) = (self.first(), self.end());
        let out = |o: &i64| *o < first || *o >= end;
        let condemned: Vec<Arc<Value>> =
            self.pods.iter().rev().filter(|(o, _)| out(o)).map(|(_, p)| p.clone()).collect();
        let kept = self.pods.iter().filter(|(o, _)| !out(o)).map(|(_, p)| p);
        let first_unhealthy = kept
            .chain(condemned.iter().rev())
            .find(|p| !self.is_healthy(p))
            .map(|p| p.uid().to_string());
        for pod in &condemned {
            let may_go = self.is_healthy(pod) || first_unhealthy.as_deref() == Some(pod.uid());
            if ordered && !pod.is_deleting() && !may_go {
                return false;
            }
            if !pod.is_deleting() {
                self.release_claims(pod);
                self.delete(pod);
            }
            if ordered {
                return false;
            }
        }
        condemned.is_empty()
    }

    /// Replaces pods of older revisions, the highest first, down to the partition.
    fn roll(&mut self) {
        let rolling = self.set.at("spec.updateStrategy.rollingUpdate");
        let partition = self.first() + rolling.at("partition").int_or(0);
        let replicas = self.set.at("spec.replicas").int_or(1);
        let most = scaled(rolling.at("maxUnavailable"), replicas, false, 1).max(1);
        let unhealthy = self.pods.values().filter(|p| !self.is_healthy(p)).count() as i64;
        let mut room = most - unhealthy;
        let targets: Vec<Arc<Value>> = self
            .pods
            .iter()
            .rev()
            .filter(|(o, _)| **o >= partition && **o < self.end())
            .map(|(_, p)| p.clone())
            .collect();
        for pod in targets {
            let healthy = self.is_healthy(&pod);
            if !self.is_updated(&pod) && !pod.is_deleting() {
                // One that does not serve is replaced whatever the room.
                if healthy && room <= 0 {
                    return;
                }
                room -= i64::from(healthy);
                self.delete(&pod);
                if most == 1 {
                    return;
                }
            } else if !healthy && most == 1 {
                return;
            }
        }
    }

    /// Whether a new pod of this ordinal still gets the revision that the set comes from.
    fn keeps_current(&self, ordinal: i64) -> bool {
        let strategy = self.set.at("spec.updateStrategy");
        if strategy.at("type").str() == "OnDelete" {
            return false;
        }
        let partition = strategy.at("rollingUpdate.partition").as_i64();
        let count = partition.unwrap_or_else(|| self.set.at("status.currentReplicas").int_or(0));
        ordinal < self.first() + count
    }

    fn create(&mut self, ordinal: i64) {
        let revision = if self.keeps_current(ordinal) { &self.current } else { &self.update };
        let pod = identity::pod(self.set, revision, ordinal);
        let (pod_name, name) = (pod.name(), self.set.name());
        self.create_claims(ordinal);
        let what = format!("create Pod {pod_name} in StatefulSet {name}");
        let done = Reason::normal(self.set, "SuccessfulCreate", format!("{what} successful"));
        let failed = Reason::warning(self.set, "FailedCreate", format!("{what} failed error: "));
        self.writes.push(Write::create(&PODS, pod).event(done).on_failure(failed));
    }

    /// Makes the claims of an ordinal that are not there.
    fn create_claims(&mut self, ordinal: i64) {
        let (pod, name) = (identity::pod_name(self.set, ordinal), self.set.name());
        for claim in claims(self.set, ordinal) {
            if self.world.get(&PERSISTENTVOLUMECLAIMS, &claim.key()).is_some() {
                continue;
            }
            let what = format!("create Claim {} Pod {pod} in StatefulSet {name}", claim.name());
            let done = Reason::normal(self.set, "SuccessfulCreate", format!("{what} success"));
            let failed =
                Reason::warning(self.set, "FailedCreate", format!("{what} failed error: "));
            self.writes
                .push(Write::create(&PERSISTENTVOLUMECLAIMS, claim).event(done).on_failure(failed));
        }
    }

    fn delete(&mut self, pod: &Value) {
        let what = format!("delete Pod {} in StatefulSet {}", pod.name(), self.set.name());
        let done = Reason::normal(self.set, "SuccessfulDelete", format!("{what} successful"));
        let failed = Reason::warning(self.set, "FailedDelete", format!("{what} failed error: "));
        self.writes.push(Write::delete(&PODS, pod).event(done).on_failure(failed));
    }

    /// The claims of a condemned pod go with it, where the set says so.
    fn release_claims(&mut self, pod: &Value) {
        let policy = self.set.at("spec.persistentVolumeClaimRetentionPolicy.whenScaled").str();
        let Some(ordinal) = ordinal_of(self.set, pod).filter(|_| policy == "Delete") else {
            return;
        };
        for claim in claims(self.set, ordinal) {
            let stored = self.world.get(&PERSISTENTVOLUMECLAIMS, &claim.key());
            if let Some(stored) = stored.filter(|c| c.owners().iter().all(|o| o.uid != pod.uid())) {
                self.writes.push(identity::give_to(stored, pod));
            }
        }
    }

    fn finish(self, plan: &mut Plan) {
        let status = status::write(&self);
        let failed = self.context.failure.is_some();
        if failed {
            plan.writes.extend(status.clone());
        }
        let next = self.next_available();
        plan.writes.extend(self.writes);
        if !failed {
            plan.writes.extend(status);
        }
        plan.because.extend(self.because);
        if let Some(at) = next {
            plan.requeue(at);
        }
    }

    /// When the next ready pod becomes available.
    fn next_available(&self) -> Option<Time> {
        let times = self.pods.values().filter_map(|p| pods::available_from(p, self.min_ready()));
        let next = times.filter(|at| *at > self.context.now).min();
        next.map(|at| at + Duration::from_millis(1))
    }
}
