//! Starting and stopping the pods of a Job that goes on.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use timonier_object::{Value, value};

use super::backoff::{self, Failures, INDEX_FAILURES, INDEX_IGNORED};
use super::indexes::{self, INDEX};
use super::tally::only_replaces_failed;
use super::{FINALIZER, Step};
use crate::common::{pods, ranking};

/// Most pods created by one plan (upstream's `MaxPodCreateDeletePerSync`).
const BURST: usize = 500;

/// Brings the number of active pods to what is wanted now.
pub fn manage(step: &mut Step<'_>) {
    let job = step.job;
    let surplus = surplus(step);
    if !surplus.is_empty() {
        step.writes.extend(surplus.iter().map(|p| pods::delete(p, job)));
        return;
    }
    let mut busy = step.active.len();
    if only_replaces_failed(job) {
        busy += step.terminating;
    }
    let missing = wanted(step).saturating_sub(busy).min(BURST);
    if missing == 0 {
        return;
    }
    if !step.counts_per_index()
        && let Some(at) = step.backoff.until().filter(|at| *at > step.now())
    {
        step.requeue(at);
        return;
    }
    let prefix = pods::name_prefix(job);
    if !step.is_indexed() {
        for n in 0..missing as u64 {
            let pod = pod(job, None);
            step.writes.push(pods::create(pod, &prefix, job, step.context, n));
        }
        return;
    }
    let free = free_indexes(step, missing);
    for (n, index) in backoff::due(step, free).into_iter().enumerate() {
        let prefix = format!("{prefix}{index}-");
        let failures = step.counts_per_index().then(|| Failures::before(step, index));
        let pod = pod(job, Some((index, failures)));
        step.writes.push(pods::create(pod, &prefix, job, step.context, n as u64));
    }
}

/// How many pods should be active.
fn wanted(step: &Step<'_>) -> usize {
    let parallelism = step.spec("parallelism").int_or(1);
    let succeeded = step.tally.all_succeeded();
    let wanted = match step.spec("completions").as_i64() {
        // A work queue: once one has succeeded, no new ones are started.
        None if succeeded > 0 => step.active.len() as i64,
        None => parallelism,
        Some(completions) => {
            let failed = step.tally.failed_indexes.len() as i64;
            parallelism.min(completions - succeeded - failed)
        }
    };
    usize::try_from(wanted).unwrap_or(0)
}

/// The active pods that are too much: of indexes that are done or taken twice, then the least
/// useful ones.
fn surplus(step: &Step<'_>) -> Vec<Arc<Value>> {
    let mut out: Vec<Arc<Value>> = Vec::new();
    let mut rest: Vec<Arc<Value>> = Vec::new();
    let completions = step.spec("completions").int_or(0);
    let mut taken = BTreeSet::new();
    for pod in &step.active {
        let usable = !step.is_indexed()
            || indexes::of(pod, completions).is_some_and(|i| {
                !step.tally.succeeded_indexes.contains(&i)
                    && !step.tally.failed_indexes.contains(&i)
                    && taken.insert(i)
            });
        if usable { rest.push(pod.clone()) } else { out.push(pod.clone()) }
    }
    let over = rest.len().saturating_sub(wanted(step));
    ranking::sort_for_deletion(&mut rest, &[], step.now());
    out.extend(rest.into_iter().take(over));
    out.truncate(BURST);
    out
}

/// The lowest indexes without a result and without a pod.
fn free_indexes(step: &Step<'_>, count: usize) -> Vec<i64> {
    let completions = step.spec("completions").int_or(0);
    let waits_for_end = only_replaces_failed(step.job);
    let busy: BTreeSet<i64> = step
        .pods
        .iter()
        .filter(|p| pods::is_active(p) || waits_for_end && pods::is_terminating(p))
        .filter_map(|p| indexes::of(p, completions))
        .collect();
    let done = |i: &i64| {
        step.tally.succeeded_indexes.contains(i)
            || step.tally.failed_indexes.contains(i)
            || busy.contains(i)
    };
    (0..completions).filter(|i| !done(i)).take(count).collect()
}

fn pod(job: &Value, index: Option<(i64, Option<Failures>)>) -> Value {
    let mut pod = pods::from_template(job.at("spec.template"), job);
    pod.entry("metadata.finalizers").make_array().push(FINALIZER.into());
    let Some((index, failures)) = index else { return pod };
    let text = format!("{index}");
    let notes = pod.entry("metadata.annotations").make_object();
    notes.insert(INDEX, text.as_str().into());
    if let Some(failures) = failures {
        notes.insert(INDEX_FAILURES, format!("{}", failures.counted).into());
        if failures.ignored > 0 {
            notes.insert(INDEX_IGNORED, format!("{}", failures.ignored).into());
        }
    }
    pod.entry("metadata.labels").make_object().insert(INDEX, text.as_str().into());
    pod.set("spec.hostname", format!("{}-{index}", job.name()));
    for list in ["initContainers", "containers"] {
        let Some(containers) = pod.entry("spec").get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        containers.iter_mut().for_each(add_index_variable);
    }
    pod
}

fn add_index_variable(container: &mut Value) {
    let variables = container.entry("env").make_array();
    if variables.iter().any(|v| v.at("name").str() == "JOB_COMPLETION_INDEX") {
        return;
    }
    let path = format!("metadata.labels['{INDEX}']");
    variables.push(value!({
        "name": "JOB_COMPLETION_INDEX",
        "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": path } },
    }));
}
