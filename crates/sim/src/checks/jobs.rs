//! Jobs: no pod too many, and each counted once.

use std::collections::BTreeSet;

use smol_str::SmolStr;
use timonier_controllers::pods;
use timonier_meta::Time;
use timonier_object::Value;

use super::history::History;
use super::{Checks, STALE, Write};

/// What became of the pods of one Job.
#[derive(Default)]
pub struct Tally {
    made: i64,
    parallelism: History,
    completions: Option<i64>,
    indexed: bool,
    /// Pods that succeeded and were not being deleted then.
    succeeded: BTreeSet<SmolStr>,
    ended: Option<Time>,
}

impl Checks {
    /// A pod of a Job came, or changed.
    pub(super) fn job_pod(&mut self, write: &Write<'_>) -> Vec<String> {
        let Some(pod) = write.new else { return Vec::new() };
        let Some(owner) = pod.controller().filter(|o| o.kind == "Job") else { return Vec::new() };
        let tally = self.jobs.entry(owner.uid.clone()).or_default();
        if pod.at("status.phase").str() == "Succeeded" && !pod.is_deleting() {
            tally.succeeded.insert(pod.uid().into());
        }
        if write.old.is_some() {
            return Vec::new();
        }
        tally.made += 1;
        let mut found = Vec::new();
        if tally.ended.is_some_and(|at| at < write.now - STALE) {
            found.push(format!("Job {} made a pod after its end", owner.name));
        }
        let active = write.pods_of(&owner.uid).filter(|p| pods::is_active(p)).count() as i64;
        let most = tally.parallelism.most(write.now);
        if most.is_some_and(|m| active > m) {
            found.push(format!("Job {} has {active} active pods of {most:?}", owner.name));
        }
        let done = tally.succeeded.len() as i64;
        if let Some(wanted) = tally.completions.filter(|w| !tally.indexed && done + active > *w) {
            found.push(format!(
                "Job {} has {active} active pods, and {done} of {wanted} have succeeded",
                owner.name
            ));
        }
        found
    }

    pub(super) fn job(&mut self, write: &Write<'_>) -> Vec<String> {
        let Some(job) = write.new else { return Vec::new() };
        let count = |j: &Value, f: &str| j.at("status").at(f).int_or(0);
        let tally = self.jobs.entry(job.uid().into()).or_default();
        tally.parallelism.note(job.at("spec.parallelism").int_or(1), write.now);
        tally.completions = job.at("spec.completions").as_i64();
        tally.indexed = job.at("spec.completionMode").str() == "Indexed";
        let (complete, failed) =
            (job.condition_is_true("Complete"), job.condition_is_true("Failed"));
        if complete || failed {
            tally.ended.get_or_insert(write.now);
        }
        let mut found = Vec::new();
        if complete && failed {
            found.push(format!("Job {} is complete and failed", job.key()));
        }
        let (succeeded, lost) = (count(job, "succeeded"), count(job, "failed"));
        if succeeded + lost > tally.made {
            found.push(format!(
                "Job {} counted {} pods, and made {}",
                job.key(),
                succeeded + lost,
                tally.made
            ));
        }
        let Some(old) = write.old else { return found };
        if succeeded < count(old, "succeeded") || lost < count(old, "failed") {
            found.push(format!("Job {} lost count", job.key()));
        }
        for end in ["Complete", "Failed"] {
            if old.condition_is_true(end) && !job.condition_is_true(end) {
                found.push(format!("Job {} is no longer {end}", job.key()));
            }
        }
        found
    }
}
