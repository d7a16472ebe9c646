//! Job: pods that run to completion (upstream `pkg/controller/job`).
//!
//! A pod counts exactly once, whatever is lost on the way: when it has ended, its uid goes into
//! `status.uncountedTerminatedPods`, then its finalizer is taken away, and only then the uid turns
//! into one more of `succeeded` or `failed`.

mod backoff;
mod finish;
mod indexes;
mod make;
mod policy;
mod tally;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::{JOBS, PODS};
use timonier_meta::{Duration, GroupVersionResource, ObjectKey, Time};
use timonier_object::{Value, label_selector, value};
use timonier_reconcile::{Change, Context, PatchKind, Plan, Reason, Reconciler, World, Write};

use crate::common::claim::claim;
use crate::common::conditions::{self, Condition};
use crate::common::pods;
use backoff::Backoff;
use tally::Tally;

/// The finalizer that keeps a pod until it is counted.
pub(crate) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

/// The controller of Jobs.
pub struct Jobs;

impl Reconciler for Jobs {
    fn name(&self) -> &'static str {
        "job-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![JOBS, PODS]
    }

    fn concerns(&self, change: &Change, world: &World) -> Vec<ObjectKey> {
        if change.is(&JOBS) {
            return vec![change.key.clone()];
        }
        let mut keys = change.controllers("batch", "Job");
        let orphan = change.new.as_ref().filter(|p| p.controller().is_none() && tracked(p));
        if let Some(pod) = orphan {
            let jobs = world.table(&JOBS).in_namespace(pod.namespace());
            let matching = jobs.filter(|j| {
                label_selector(j.at("spec.selector")).is_ok_and(|s| s.matches(|k| pod.label(k)))
            });
            keys.extend(matching.map(|j| j.key()));
        }
        keys
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        let Some(job) = world.get(&JOBS, key) else { return release_orphans(key, world) };
        let managed_by = job.at("spec.managedBy").str();
        if !managed_by.is_empty() && managed_by != "kubernetes.io/job-controller" {
            return Plan::nothing();
        }
        let Ok(selector) = label_selector(job.at("spec.selector")) else { return Plan::nothing() };
        let claimed = claim(world, &PODS, job, &selector, tracked);
        // Nobody would count a pod that is let go: its finalizer goes before its owner.
        let let_go = world.table(&PODS).controlled_by(job.uid()).filter(|p| {
            p.namespace() == job.namespace()
                && !selector.matches(|k| p.label(k))
                && !job.is_deleting()
        });
        let mut plan =
            Plan { writes: let_go.filter_map(|p| untrack(p)).collect(), ..Plan::default() };
        plan.writes.extend(claimed.writes);
        if is_finished(job) {
            plan.writes.extend(claimed.objects.iter().filter_map(|p| untrack(p)));
            return plan;
        }
        Step::new(job, claimed.objects, context).decide(&mut plan);
        plan
    }
}

/// Whether a pod waits to be counted.
fn tracked(pod: &Value) -> bool {
    pod.finalizers().any(|f| f == FINALIZER)
}

/// Takes the finalizer away.
fn untrack(pod: &Value) -> Option<Write> {
    let index = pod.finalizers().position(|f| f == FINALIZER)?;
    let path = alloc::format!("/metadata/finalizers/{index}");
    let patch = value!([
        { "op": "test", "path": "/metadata/uid", "value": (pod.uid()) },
        { "op": "test", "path": (path.as_str()), "value": FINALIZER },
        { "op": "remove", "path": (path.as_str()) },
    ]);
    Some(Write::patch(&PODS, pod, PatchKind::Json, patch))
}

/// Pods of a Job that is gone must not wait to be counted.
fn release_orphans(key: &ObjectKey, world: &World) -> Plan {
    let mut plan = Plan::nothing();
    for pod in world.table(&PODS).in_namespace(&key.namespace).filter(|p| tracked(p)) {
        let Some(owner) = pod.controller() else { continue };
        if owner.kind != "Job" || owner.name != key.name || world.by_uid(&owner.uid).is_some() {
            continue;
        }
        if world.table(&JOBS).synced().is_none_or(|s| s < pod.revision()) {
            plan.wait.push((JOBS.group_resource(), pod.revision()));
        } else {
            plan.writes.extend(untrack(pod));
        }
    }
    plan
}

fn is_finished(job: &Value) -> bool {
    job.condition_is_true("Complete") || job.condition_is_true("Failed")
}

/// One step of a Job that has not finished.
struct Step<'a> {
    job: &'a Value,
    context: &'a Context<'a>,
    pods: Vec<Arc<Value>>,
    active: Vec<Arc<Value>>,
    terminating: usize,
    tally: Tally,
    backoff: Backoff,
    /// The pods that know how often the open indexes have failed, where that is limited.
    last_failed: BTreeMap<i64, Arc<Value>>,
    /// As it is to become.
    status: Value,
    writes: Vec<Write>,
    because: Vec<Reason>,
    requeue_at: Option<Time>,
}

impl<'a> Step<'a> {
    fn new(job: &'a Value, pods: Vec<Arc<Value>>, context: &'a Context<'a>) -> Self {
        let active = pods.iter().filter(|p| pods::is_active(p)).cloned().collect();
        let terminating = pods.iter().filter(|p| pods::is_terminating(p)).count();
        let mut status = job.at("status").clone();
        status.make_object();
        let tally = Tally::of(job, &pods);
        let open = |index: i64| {
            !tally.succeeded_indexes.contains(&index) && !tally.failed_indexes.contains(&index)
        };
        let last_failed = match job.at("spec.backoffLimitPerIndex").as_i64() {
            Some(_) => backoff::last_failed(job, &pods, open),
            None => BTreeMap::new(),
        };
        Step {
            job,
            context,
            tally,
            backoff: Backoff::of(job, &pods, context.memory),
            last_failed,
            pods,
            active,
            terminating,
            status,
            writes: Vec::new(),
            because: Vec::new(),
            requeue_at: None,
        }
    }

    fn spec(&self, field: &str) -> &'a Value {
        self.job.at("spec").at(field)
    }

    fn is_indexed(&self) -> bool {
        self.spec("completionMode").str() == "Indexed"
    }

    fn counts_per_index(&self) -> bool {
        self.spec("backoffLimitPerIndex").as_i64().is_some()
    }

    fn is_suspended(&self) -> bool {
        self.spec("suspend").bool()
    }

    fn now(&self) -> Time {
        self.context.now
    }

    fn requeue(&mut self, at: Time) {
        self.requeue_at = Some(self.requeue_at.map_or(at, |t| t.min(at)));
    }

    fn condition(&mut self, kind: &str, status: &str, reason: &str, message: &str) -> bool {
        let now = self.now();
        let list = self.status.entry("conditions");
        let changed = conditions::set(list, Condition { kind, status, reason, message }, now);
        if changed
            && let Some(c) = list.make_array().iter_mut().find(|c| c.at("type").str() == kind)
        {
            c.set("lastProbeTime", now.rfc3339());
        }
        changed
    }

    fn decide(mut self, plan: &mut Plan) {
        if self.status.at("startTime").is_empty() && !self.is_suspended() {
            self.status.set("startTime", self.now().rfc3339());
        }
        let ending = finish::verdict(&mut self);
        let nobody = BTreeMap::new();
        let goes_on = !ending.is_over() && !self.job.is_deleting();
        let kept = if goes_on { &self.last_failed } else { &nobody };
        self.tally.track(self.job, &self.pods, ending.is_failure(), kept);
        if ending.is_over() {
            self.stop_pods();
        } else if !self.job.is_deleting() {
            self.suspend_or_resume();
            if self.is_suspended() {
                self.stop_pods();
            } else {
                make::manage(&mut self);
            }
        }
        self.counts();
        finish::conclude(&mut self, ending);
        let mut status = core::mem::take(&mut self.status);
        if status.at("conditions").is_empty() {
            status.make_object().remove("conditions");
        }
        if status != *self.job.at("status") {
            let mut next = self.job.clone();
            next.set("status", status);
            // What is counted is written before its finalizer goes.
            plan.writes.push(Write::update_status(&JOBS, next));
        }
        plan.writes.extend(self.tally.release.iter().filter_map(|p| untrack(p)));
        plan.writes.append(&mut self.writes);
        plan.because.append(&mut self.because);
        plan.remember = self.backoff.memory(self.job);
        if let Some(at) = self.requeue_at {
            plan.requeue(at);
        }
    }

    fn stop_pods(&mut self) {
        let job = self.job;
        self.writes.extend(self.active.iter().map(|p| pods::delete(p, job)));
    }

    fn suspend_or_resume(&mut self) {
        if self.is_suspended() {
            if self.condition("Suspended", "True", "JobSuspended", "Job suspended") {
                self.because.push(Reason::normal(self.job, "Suspended", "Job suspended"));
            }
            return;
        }
        let was = self.job.condition_is_true("Suspended");
        if was && self.condition("Suspended", "False", "JobResumed", "Job resumed") {
            self.because.push(Reason::normal(self.job, "Resumed", "Job resumed"));
            self.status.set("startTime", self.now().rfc3339());
        }
    }

    fn counts(&mut self) {
        let ready = self.active.iter().filter(|p| pods::is_ready(p)).count();
        let (active, terminating) = (self.active.len(), self.terminating);
        self.status.set("ready", ready);
        self.status.set("terminating", terminating);
        self.put("active", active as i64);
        let (succeeded, failed) = (self.tally.counted_succeeded(), self.tally.failed);
        self.put("succeeded", succeeded);
        self.put("failed", failed);
        if self.is_indexed() {
            let text = indexes::format(&self.tally.succeeded_indexes);
            self.put_text("completedIndexes", text);
            if self.counts_per_index() {
                let text = indexes::format(&self.tally.failed_indexes);
                self.status.set("failedIndexes", text);
            }
        }
        self.status.set("uncountedTerminatedPods", self.tally.uncounted());
    }

    fn put(&mut self, field: &str, n: i64) {
        match n {
            0 => drop(self.status.make_object().remove(field)),
            n => self.status.set(field, n),
        }
    }

    fn put_text(&mut self, field: &str, text: alloc::string::String) {
        match text.is_empty() {
            true => drop(self.status.make_object().remove(field)),
            false => self.status.set(field, text),
        }
    }

    /// When the Job has run for its `activeDeadlineSeconds`.
    fn deadline(&self) -> Option<Time> {
        let seconds = self.spec("activeDeadlineSeconds").as_i64()?;
        if self.is_suspended() {
            return None;
        }
        Some(self.status.time("startTime")? + Duration::from_secs(seconds))
    }
}
