//! Which pods count, and which have been counted.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_object::{Value, value};

use super::backoff::INDEX_FAILURES;
use super::policy::{self, Action};
use super::{indexes, tracked};

/// Most uncounted pods in a status.
const MAX_UNCOUNTED: usize = 500;

/// How a Job's pods have ended.
pub struct Tally {
    indexed: bool,
    /// Counted for good.
    succeeded: i64,
    pub failed: i64,
    pub succeeded_indexes: BTreeSet<i64>,
    pub failed_indexes: BTreeSet<i64>,
    /// Ended, and not counted yet, by uid.
    uncounted_succeeded: Vec<SmolStr>,
    uncounted_failed: Vec<SmolStr>,
    /// Ended, and not even noted in the status yet.
    new_succeeded: usize,
    new_failed: usize,
    /// Pods whose finalizer is to go once the status is written.
    pub release: Vec<Arc<Value>>,
}

impl Tally {
    /// What the status says, brought up to date with the pods that are left.
    pub fn of(job: &Value, pods: &[Arc<Value>]) -> Self {
        let status = job.at("status");
        let indexed = job.at("spec.completionMode").str() == "Indexed";
        let completions = job.at("spec.completions").int_or(0);
        let waiting: BTreeMap<&str, &Arc<Value>> =
            pods.iter().filter(|p| tracked(p)).map(|p| (p.uid(), p)).collect();
        let uids = |f: &str| -> Vec<SmolStr> {
            status.at("uncountedTerminatedPods").at(f).items().iter().map(Value::smol).collect()
        };
        // Without its finalizer, or gone, a noted pod is counted.
        let split = |f: &str| -> (Vec<SmolStr>, Vec<SmolStr>) {
            uids(f).into_iter().partition(|uid| waiting.contains_key(uid.as_str()))
        };
        let (uncounted_succeeded, counted_succeeded) = split("succeeded");
        let (uncounted_failed, counted_failed) = split("failed");
        let set = |f: &str| indexes::parse(status.at(f).str(), completions);
        let mut tally = Tally {
            indexed,
            succeeded: status.at("succeeded").int_or(0) + counted_succeeded.len() as i64,
            failed: status.at("failed").int_or(0) + counted_failed.len() as i64,
            succeeded_indexes: set("completedIndexes"),
            failed_indexes: set("failedIndexes"),
            uncounted_succeeded,
            uncounted_failed,
            new_succeeded: 0,
            new_failed: 0,
            release: Vec::new(),
        };
        tally.look_ahead(job, pods);
        tally
    }

    /// Counts pods that have ended and are not in the status yet.
    fn look_ahead(&mut self, job: &Value, pods: &[Arc<Value>]) {
        let completions = job.at("spec.completions").int_or(0);
        for pod in pods.iter().filter(|p| tracked(p)) {
            if self.is_noted(pod.uid()) {
                continue;
            }
            let index = indexes::of(pod, completions);
            if pod.at("status.phase").str() == "Succeeded" {
                match (self.indexed, index) {
                    (true, Some(index)) => {
                        self.succeeded_indexes.insert(index);
                    }
                    (true, None) => {}
                    (false, _) => self.new_succeeded += 1,
                }
            } else if has_failed(job, pod) && self.counts(job, pod) {
                self.new_failed += usize::from(!self.indexed || index.is_some());
                self.fail_index(job, pod, index);
            }
        }
    }

    fn is_noted(&self, uid: &str) -> bool {
        let all = || self.uncounted_succeeded.iter().chain(&self.uncounted_failed);
        all().any(|u| u == uid)
    }

    /// Whether the failure policy lets a failure count.
    fn counts(&self, job: &Value, pod: &Value) -> bool {
        !matches!(policy::matched(job, pod), Some((Action::Ignore, _)))
    }

    fn fail_index(&mut self, job: &Value, pod: &Value, index: Option<i64>) {
        let Some(limit) = job.at("spec.backoffLimitPerIndex").as_i64() else { return };
        let Some(index) = index.filter(|i| !self.succeeded_indexes.contains(i)) else { return };
        let before: i64 = pod.annotation(INDEX_FAILURES).and_then(|n| n.parse().ok()).unwrap_or(0);
        let now = matches!(policy::matched(job, pod), Some((Action::FailIndex, _)));
        if now || before >= limit {
            self.failed_indexes.insert(index);
        }
    }

    /// Notes the pods that have ended; their finalizers go after the status is written. When the
    /// Job has failed, pods that still run count as failed. The pods `kept` for what they know wait.
    pub fn track(
        &mut self,
        job: &Value,
        pods: &[Arc<Value>],
        job_failed: bool,
        kept: &BTreeMap<i64, Arc<Value>>,
    ) {
        let completions = job.at("spec.completions").int_or(0);
        for pod in pods.iter().filter(|p| tracked(p)) {
            let noted = self.is_noted(pod.uid());
            let succeeded = pod.at("status.phase").str() == "Succeeded";
            let failed = has_failed(job, pod) || job_failed && !succeeded;
            if !noted && !succeeded && !failed {
                continue;
            }
            let room = self.uncounted_succeeded.len() + self.uncounted_failed.len() < MAX_UNCOUNTED;
            if !noted && !room {
                continue;
            }
            let index = indexes::of(pod, completions);
            if !noted && index.and_then(|i| kept.get(&i)).is_some_and(|k| k.uid() == pod.uid()) {
                continue;
            }
            if !noted && succeeded && !self.indexed {
                self.uncounted_succeeded.push(pod.uid().into());
            } else if !noted
                && failed
                && self.counts(job, pod)
                && (!self.indexed || index.is_some())
            {
                self.uncounted_failed.push(pod.uid().into());
            }
            self.release.push(pod.clone());
        }
        self.new_succeeded = 0;
        self.new_failed = 0;
    }

    /// What `status.succeeded` says.
    pub fn counted_succeeded(&self) -> i64 {
        if self.indexed { self.succeeded_indexes.len() as i64 } else { self.succeeded }
    }

    /// All that have succeeded, counted or not.
    pub fn all_succeeded(&self) -> i64 {
        if self.indexed {
            return self.succeeded_indexes.len() as i64;
        }
        self.succeeded + (self.uncounted_succeeded.len() + self.new_succeeded) as i64
    }

    /// All that have failed, counted or not.
    pub fn all_failed(&self) -> i64 {
        self.failed + (self.uncounted_failed.len() + self.new_failed) as i64
    }

    /// Whether nothing waits to be counted.
    pub fn is_settled(&self) -> bool {
        self.uncounted_succeeded.is_empty()
            && self.uncounted_failed.is_empty()
            && self.release.is_empty()
    }

    /// `status.uncountedTerminatedPods`.
    pub fn uncounted(&self) -> Value {
        let mut out = value!({});
        for (field, uids) in
            [("succeeded", &self.uncounted_succeeded), ("failed", &self.uncounted_failed)]
        {
            if !uids.is_empty() {
                out.set(field, Value::array(uids.iter().map(Value::from)));
            }
        }
        out
    }
}

/// Whether a pod has failed. One that is deleted before its end counts, for it may never get
/// there; but where replacements wait for the end, it does not yet.
pub fn has_failed(job: &Value, pod: &Value) -> bool {
    let phase = pod.at("status.phase").str();
    if phase == "Failed" {
        return true;
    }
    if only_replaces_failed(job) {
        return pod.is_deleting() && phase == "Pending";
    }
    pod.is_deleting() && phase != "Succeeded"
}

/// Whether a pod is replaced only when it has failed, not when it is terminating.
pub fn only_replaces_failed(job: &Value) -> bool {
    job.at("spec.podReplacementPolicy").str() == "Failed"
        || !job.at("spec.podFailurePolicy").is_empty()
}
