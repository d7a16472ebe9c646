//! The status of Jobs: what must hold, and which ways there are from one to the next.

use alloc::collections::BTreeSet;
use alloc::format;

use timonier_object::Value;

use super::at::{At, Errors, IMMUTABLE, same};
use super::batch::count_indexes;

/// Checks a written status of a Job.
pub fn status(e: &mut Errors, new: &Value, old: &Value) {
    let at = At::top(new).get("status");
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        at.get(field).non_negative(e);
    }
    uncounted(e, &at);
    conditions(e, new, old);
    times(e, new, old);
    finished(e, new, old);
    indexes(e, new, old);
    let changed = |field: &str| !same(at.value.at(field), old.at("status").at(field));
    let ready = at.get("ready");
    if (changed("ready") || changed("active")) && ready.int() > at.get("active").int() {
        ready.bad_int(e, "cannot set more ready pods than active");
    }
    ways(e, new, old);
}

fn uncounted(e: &mut Errors, at: &At<'_>) {
    let mut seen = BTreeSet::new();
    for list in ["succeeded", "failed"] {
        for uid in at.get("uncountedTerminatedPods").get(list).items() {
            if uid.is_empty() {
                uid.bad_str(e, "must not be empty");
            } else if !seen.insert(uid.str()) {
                uid.bad_duplicate(e, uid.str());
            }
        }
    }
}

/// The conditions that count, and whether they were so before.
fn changes(new: &Value, old: &Value, kind: &str) -> bool {
    new.condition_is_true(kind) != old.condition_is_true(kind)
}

fn is_finished(job: &Value) -> bool {
    job.condition_is_true("Complete") || job.condition_is_true("Failed")
}

fn say(e: &mut Errors, new: &Value, why: &str) {
    let at = At::top(new).get("status.conditions");
    // Upstream leaves the value out.
    let mut error = timonier_meta::FieldError::invalid(&at.path, "", why);
    error.value.clear();
    e.push(error);
}

fn conditions(e: &mut Errors, new: &Value, old: &Value) {
    let is = |kind: &str| new.condition_is_true(kind);
    let moved = |kind: &str| changes(new, old, kind);
    let (complete, failed) = (is("Complete"), is("Failed"));
    let (target, met) = (is("FailureTarget"), is("SuccessCriteriaMet"));
    if (moved("Complete") || moved("Failed")) && complete && failed {
        say(e, new, "cannot set Complete=True and Failed=true conditions");
    }
    if (moved("Complete") || moved("FailureTarget")) && complete && target {
        say(e, new, "cannot set Complete=True and FailureTarget=true conditions");
    }
    let indexes = !same(new.at("status.failedIndexes"), old.at("status.failedIndexes"));
    if (moved("Failed") || indexes) && failed && !target {
        say(e, new, "cannot set Failed=True condition without the FailureTarget=true condition");
    }
    if (moved("Complete") || moved("SuccessCriteriaMet")) && complete && !met {
        say(
            e,
            new,
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        );
    }
    if met && failed {
        say(e, new, "cannot set SuccessCriteriaMet=True and Failed=true conditions");
    }
    if met && target {
        say(e, new, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    }
    if !new.at("spec.successPolicy").is_null() && !met && complete {
        say(
            e,
            new,
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
        );
    }
}

fn times(e: &mut Errors, new: &Value, old: &Value) {
    let at = At::top(new).get("status");
    let changed = |field: &str| new.at("status").at(field) != old.at("status").at(field);
    let (start, end) = (at.get("startTime"), at.get("completionTime"));
    let complete = new.condition_is_true("Complete");
    if changes(new, old, "Complete") || changed("completionTime") {
        if end.is_set() && !complete {
            end.invalid(e, "cannot set completionTime when there is no Complete=True condition");
        }
        if !end.is_set() && complete {
            end.required(e, "completionTime is required for Complete jobs");
        }
    }
    let before = || Some(new.time("status.completionTime")? < new.time("status.startTime")?);
    if (changed("startTime") || changed("completionTime")) && before() == Some(true) {
        end.invalid(e, "must be equal to or after `startTime`");
    }
    let old_end = old.at("status.completionTime");
    if end.is_set() && !old_end.is_null() && end.value != old_end {
        end.invalid(e, IMMUTABLE);
    }
    let resumes = old.condition_is_true("Suspended")
        && new.condition("Suspended").is_some_and(|c| c.at("status").str() == "False");
    let moved = changed("startTime") && !resumes && !old.at("status.startTime").is_null();
    if moved && !new.at("spec.suspend").bool() {
        start.required(e, "startTime cannot be removed for unsuspended job");
    }
}

fn finished(e: &mut Errors, new: &Value, old: &Value) {
    let at = At::top(new).get("status");
    let over = is_finished(new);
    let moved = over != is_finished(old);
    let changed = |field: &str| !same(at.value.at(field), old.at("status").at(field));
    let active = at.get("active");
    if (moved || changed("active")) && over && active.int() > 0 {
        active.bad_int(e, "active>0 is invalid for finished job");
    }
    let idle = new.at("spec.suspend").bool() && new.at("spec.completions").as_i64() == Some(0);
    if (moved || changed("startTime")) && !idle && over && !at.get("startTime").is_set() {
        at.get("startTime").required(e, "startTime is required for finished job");
    }
    let uncounted = at.get("uncountedTerminatedPods");
    let some = ["succeeded", "failed"].iter().any(|f| !uncounted.get(f).is_empty());
    if (moved || changed("uncountedTerminatedPods")) && over && some {
        uncounted.invalid(e, "must be empty for finished job");
    }
    let terminating = at.get("terminating");
    if (moved || changed("terminating")) && over && terminating.int() > 0 {
        terminating.bad_int(e, "terminating>0 is invalid for finished job");
    }
}

fn indexes(e: &mut Errors, new: &Value, old: &Value) {
    let at = At::top(new).get("status");
    let (done, failed) = (at.get("completedIndexes"), at.get("failedIndexes"));
    let changed = |field: &str| new.at("status").at(field) != old.at("status").at(field);
    let completions = new.at("spec.completions").as_i64();
    let per_index = !new.at("spec.backoffLimitPerIndex").is_null();
    if changed("completedIndexes") {
        if let Some(Err(why)) = completions.map(|n| count_indexes(done.str(), n)) {
            done.bad_str(e, format!("error parsing completedIndexes: {why}"));
        }
        if !done.is_empty() && new.at("spec.completionMode").str() != "Indexed" {
            done.bad_str(
                e,
                "cannot set non-empty completedIndexes when non-indexed completion mode",
            );
        }
    }
    if changed("failedIndexes") && failed.is_set() {
        if let Some(Err(why)) =
            completions.filter(|_| per_index).map(|n| count_indexes(failed.str(), n))
        {
            failed.bad_str(e, format!("error parsing failedIndexes: {why}"));
        }
        if !per_index {
            failed
                .bad_str(e, "cannot set non-null failedIndexes when backoffLimitPerIndex is null");
        }
    }
    if (changed("failedIndexes") || changed("completedIndexes"))
        && completions.is_some()
        && let Some(index) = common_index(done.str(), failed.str())
    {
        failed.bad_str(e, format!("failedIndexes and completedIndexes overlap at index: {index}"));
    }
}

/// The first index in both of two texts such as `1,3-5`.
fn common_index(a: &str, b: &str) -> Option<i64> {
    let ranges = |text: &str| -> alloc::vec::Vec<(i64, i64)> {
        let range = |part: &str| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            Some((from.parse().ok()?, to.parse().ok()?))
        };
        text.split(',').filter_map(range).collect()
    };
    let b = ranges(b);
    let both = ranges(a).into_iter().flat_map(|(from, to)| {
        b.iter().filter(move |(f, t)| *f <= to && from <= *t).map(move |(f, _)| from.max(*f))
    });
    both.min()
}

/// What does not go back.
fn ways(e: &mut Errors, new: &Value, old: &Value) {
    let at = At::top(new).get("status");
    let before = |field: &str| old.at("status").at(field).int_or(0);
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if old.condition_is_true(kind) && !new.condition_is_true(kind) {
            say(e, new, &format!("cannot disable the terminal {kind}=True condition"));
        }
    }
    if at.get("failed").int() < before("failed") {
        at.get("failed").bad_int(e, "cannot decrease the failed counter");
    }
    let elastic = new.at("spec.completionMode").str() == "Indexed"
        && new.at("spec.completions") == new.at("spec.parallelism");
    if !elastic && at.get("succeeded").int() < before("succeeded") {
        at.get("succeeded").bad_int(e, "cannot decrease the succeeded counter");
    }
    let met = |job: &Value| job.condition_is_true("SuccessCriteriaMet");
    if met(old) && !met(new) {
        say(e, new, "cannot disable the SuccessCriteriaMet=True condition");
    }
    if old.condition_is_true("Complete") && !met(old) && met(new) {
        say(
            e,
            new,
            "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions",
        );
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use timonier_object::value;

    use super::*;

    fn texts(new: &Value, old: &Value) -> Vec<String> {
        let mut e = Errors::new();
        status(&mut e, new, old);
        e.iter().map(ToString::to_string).collect()
    }

    fn job(status: Value) -> Value {
        value!({ "spec": { "completions": 5 }, "status": status })
    }

    fn truth(kinds: &[&str]) -> Value {
        Value::array(kinds.iter().map(|k| value!({ "type": (*k), "status": "True" })))
    }

    #[test]
    fn a_job_ends_in_order() {
        let start =
            job(value!({ "startTime": "2026-01-01T00:00:00Z", "succeeded": 4, "active": 1 }));
        let end = job(value!({ "startTime": "2026-01-01T00:00:00Z", "succeeded": 5,
            "completionTime": "2026-01-01T00:01:00Z",
            "conditions": (truth(&["SuccessCriteriaMet", "Complete"])) }));
        assert!(texts(&end, &start).is_empty());
        assert_eq!(
            texts(&start, &end),
            [
                "status.conditions: Invalid value: cannot disable the terminal Complete=True condition",
                "status.succeeded: Invalid value: 4: cannot decrease the succeeded counter",
                "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition"
            ]
        );
    }

    #[test]
    fn what_cannot_be_is_named() {
        let nothing = job(value!({}));
        for (status, text) in [
            (
                value!({ "ready": 1 }),
                "status.ready: Invalid value: 1: cannot set more ready pods than active",
            ),
            (
                value!({ "startTime": "2026-01-01T00:00:00Z", "conditions": (truth(&["Failed"])) }),
                "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition",
            ),
            (
                value!({ "completionTime": "2026-01-01T00:00:00Z" }),
                "status.completionTime: Invalid value: \"2026-01-01T00:00:00Z\": cannot set completionTime when there is no Complete=True condition",
            ),
            (
                value!({ "completedIndexes": "1" }),
                "status.completedIndexes: Invalid value: \"1\": cannot set non-empty completedIndexes when non-indexed completion mode",
            ),
            (
                value!({ "uncountedTerminatedPods": { "succeeded": ["a"], "failed": ["a"] } }),
                "status.uncountedTerminatedPods.failed[0]: Duplicate value: \"a\"",
            ),
        ] {
            assert_eq!(texts(&job(status.clone()), &nothing), [text], "{status}");
        }
        assert_eq!(common_index("1,3-5", "5-9"), Some(5));
        assert_eq!(common_index("1", ""), None);
    }
}
