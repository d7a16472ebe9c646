//! How long a Job waits after failures (upstream `backoff_utils.go`).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::{Duration, Time};
use timonier_object::{Value, value};

use super::policy::{self, Action};
use super::tally::has_failed;
use super::{Step, indexes};

/// The annotation with how often a pod's index had failed before it.
pub const INDEX_FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// The annotation with how often a pod's index had failed before it without counting.
pub const INDEX_IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// The back-off after a failure: doubled from the first, up to the longest.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);

/// The failures since the last success, of pods that may be gone by now.
pub struct Backoff {
    failures: i64,
    last: Option<Time>,
    /// The pods still there that are in the count, by uid.
    seen: BTreeSet<SmolStr>,
}

impl Backoff {
    /// What is remembered, brought up to date with the pods that have ended since. Without a
    /// memory every pod that is left counts.
    pub fn of(job: &Value, pods: &[Arc<Value>], memory: Option<&Value>) -> Self {
        let nothing = Value::default();
        let memory = memory.filter(|m| m.at("uid").str() == job.uid()).unwrap_or(&nothing);
        let known: BTreeSet<&str> = memory.at("seen").items().iter().map(Value::str).collect();
        let mut out = Backoff {
            failures: memory.at("failures").int_or(0),
            last: memory.time("last"),
            seen: BTreeSet::new(),
        };
        let mut failed = Vec::new();
        let mut success = None;
        for pod in pods {
            let fails = has_failed(job, pod);
            if !fails && pod.at("status.phase").str() != "Succeeded" {
                continue;
            }
            out.seen.insert(pod.uid().into());
            if known.contains(pod.uid()) {
                continue;
            }
            let at = ended_at(pod).unwrap_or_default();
            if fails { failed.push(at) } else { success = success.max(Some(at)) }
        }
        if success.is_some() {
            (out.failures, out.last) = (0, None);
            failed.retain(|at| Some(*at) > success);
        }
        out.failures += failed.len() as i64;
        out.last = failed.into_iter().max().max(out.last);
        out
    }

    /// What the next run has to know; nothing without failures.
    pub fn memory(&self, job: &Value) -> Option<Value> {
        let last = self.last.filter(|_| self.failures > 0)?;
        let seen = Value::array(self.seen.iter().map(Value::from));
        Some(value!({ "uid": (job.uid()), "failures": (self.failures), "seen": seen,
                      "last": (last.rfc3339()) }))
    }

    /// When the next pod may start.
    pub fn until(&self) -> Option<Time> {
        Some(self.last? + wait(self.failures))
    }
}

fn wait(failures: i64) -> Duration {
    let factor = 1i64 << (failures - 1).clamp(0, 20);
    Duration(FIRST.0.saturating_mul(factor).min(LONGEST.0))
}

/// How often an index has failed, where that is limited.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failures {
    pub counted: i64,
    pub ignored: i64,
}

impl Failures {
    /// What a pod's annotations say of the time before it.
    fn noted(pod: &Value) -> Self {
        let number = |key| pod.annotation(key).and_then(|n| n.parse().ok()).unwrap_or(0);
        Failures { counted: number(INDEX_FAILURES), ignored: number(INDEX_IGNORED) }
    }

    /// The failures of an index up to now.
    pub fn before(step: &Step<'_>, index: i64) -> Self {
        let Some(pod) = step.last_failed.get(&index) else { return Self::default() };
        let mut failures = Self::noted(pod);
        match policy::matched(step.job, pod) {
            Some((Action::Ignore, _)) => failures.ignored += 1,
            _ => failures.counted += 1,
        }
        failures
    }

    fn all(self) -> i64 {
        self.counted + self.ignored
    }
}

/// The failed pod of each open index that knows how often it has failed. It is kept until there
/// is a pod in its place that knows.
pub fn last_failed(
    job: &Value,
    pods: &[Arc<Value>],
    open: impl Fn(i64) -> bool,
) -> BTreeMap<i64, Arc<Value>> {
    let completions = job.at("spec.completions").int_or(0);
    let mut last: BTreeMap<i64, Arc<Value>> = BTreeMap::new();
    for pod in pods {
        let Some(index) = indexes::of(pod, completions).filter(|i| open(*i)) else { continue };
        let before = last.get(&index).map(|p| Failures::noted(p).all());
        if before.is_none_or(|b| b <= Failures::noted(pod).all()) {
            last.insert(index, pod.clone());
        }
    }
    last.retain(|_, pod| has_failed(job, pod));
    last
}

/// Those of some free indexes whose back-off is over. If there are none, the Job runs again when
/// the first is.
pub fn due(step: &mut Step<'_>, free: Vec<i64>) -> Vec<i64> {
    if !step.counts_per_index() {
        return free;
    }
    let until = |index: &i64| {
        let pod = step.last_failed.get(index)?;
        Some(ended_at(pod)? + wait(Failures::noted(pod).all() + 1))
    };
    let now = step.now();
    let next = free.iter().filter_map(until).filter(|at| *at > now).min();
    let due: Vec<i64> =
        free.iter().filter(|i| until(i).is_none_or(|at| at <= now)).copied().collect();
    if let Some(next) = next {
        step.requeue(next);
    }
    due
}

/// When a pod ended: its last container, or else what is known of it.
fn ended_at(pod: &Value) -> Option<Time> {
    let statuses = pod.at("status.containerStatuses").items();
    let ends: Option<Vec<Time>> =
        statuses.iter().map(|s| s.time("state.terminated.finishedAt")).collect();
    let unready = || {
        let ready = pod.condition("Ready").filter(|c| c.at("status").str() == "False")?;
        ready.time("lastTransitionTime")
    };
    let deleted = || {
        let grace = pod.at("metadata.deletionGracePeriodSeconds").int_or(0).clamp(0, 1 << 31);
        Some(pod.time("metadata.deletionTimestamp")? - Duration::from_secs(grace))
    };
    ends.and_then(|all| all.into_iter().max())
        .or_else(unready)
        .or_else(deleted)
        .or_else(|| pod.created())
}
