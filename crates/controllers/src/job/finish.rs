//! When a Job is over, and how.

use alloc::format;
use alloc::string::{String, ToString};

use timonier_object::Value;
use timonier_reconcile::Reason;

use super::policy::{self, Action};
use super::{Step, indexes, tracked};

/// How a Job ends, if it does.
#[derive(Debug)]
pub enum Ending {
    Open,
    /// Reason and message.
    Success(String, String),
    Failure(String, String),
}

impl Ending {
    pub fn is_over(&self) -> bool {
        !matches!(self, Ending::Open)
    }

    pub fn is_failure(&self) -> bool {
        matches!(self, Ending::Failure(..))
    }
}

/// Whether the Job is over, by what is decided already or by what its pods say.
pub fn verdict(step: &mut Step<'_>) -> Ending {
    if let Some(ending) = decided(step.job) {
        return ending;
    }
    if let Some((_, text)) = policy_failure(step) {
        return Ending::Failure("PodFailurePolicy".into(), text);
    }
    let limit = step.spec("backoffLimit").int_or(6);
    if step.tally.all_failed() > limit || restarts_exceed(step, limit) {
        return failure("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    if let Some(deadline) = step.deadline() {
        if deadline <= step.now() {
            let text = "Job was active longer than specified deadline";
            return failure("DeadlineExceeded", text);
        }
        step.requeue(deadline);
    }
    by_indexes(step)
}

/// Writes the conditions: first the verdict, and when all pods are gone and counted, the end.
pub fn conclude(step: &mut Step<'_>, ending: Ending) {
    let ending = match ending {
        Ending::Open if is_complete(step) => Ending::Success(
            "CompletionsReached".into(),
            "Reached expected number of succeeded pods".into(),
        ),
        other => other,
    };
    let (target, kind, reason, message) = match &ending {
        Ending::Open => return,
        Ending::Success(reason, message) => ("SuccessCriteriaMet", "Complete", reason, message),
        Ending::Failure(reason, message) => ("FailureTarget", "Failed", reason, message),
    };
    step.condition(target, "True", reason, message);
    let waits = !step.active.is_empty() || step.terminating > 0 || !step.tally.is_settled();
    if waits {
        return;
    }
    step.condition(kind, "True", reason, message);
    let event = if kind == "Complete" {
        let now = step.now().rfc3339();
        step.status.set("completionTime", now);
        Reason::normal(step.job, "Completed", "Job completed")
    } else {
        Reason::warning(step.job, reason, message.to_string())
    };
    step.because.push(event);
}

fn failure(reason: &str, message: &str) -> Ending {
    Ending::Failure(reason.into(), message.into())
}

/// The verdict that the conditions hold.
fn decided(job: &Value) -> Option<Ending> {
    let of = |kind: &str| job.condition(kind).filter(|c| c.at("status").str() == "True");
    let text = |c: &Value, f: &str| c.at(f).str().to_string();
    if let Some(c) = of("FailureTarget") {
        return Some(Ending::Failure(text(c, "reason"), text(c, "message")));
    }
    of("SuccessCriteriaMet").map(|c| Ending::Success(text(c, "reason"), text(c, "message")))
}

fn policy_failure(step: &Step<'_>) -> Option<(Action, String)> {
    let failed = step.pods.iter().filter(|p| tracked(p) && p.at("status.phase").str() == "Failed");
    failed.filter_map(|p| policy::matched(step.job, p)).find(|(a, _)| *a == Action::FailJob)
}

/// With `restartPolicy: OnFailure` restarts count as failures.
fn restarts_exceed(step: &Step<'_>, limit: i64) -> bool {
    if step.job.at("spec.template.spec.restartPolicy").str() != "OnFailure" {
        return false;
    }
    let statuses = ["initContainerStatuses", "containerStatuses"];
    let live =
        step.pods.iter().filter(|p| matches!(p.at("status.phase").str(), "Running" | "Pending"));
    let restarts: i64 = live
        .flat_map(|p| statuses.iter().flat_map(|f| p.at("status").at(f).items()))
        .map(|s| s.at("restartCount").int_or(0))
        .sum();
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}

fn by_indexes(step: &Step<'_>) -> Ending {
    if !step.is_indexed() {
        return Ending::Open;
    }
    let tally = &step.tally;
    let completions = step.spec("completions").int_or(0);
    let failed = tally.failed_indexes.len() as i64;
    if step.spec("maxFailedIndexes").as_i64().is_some_and(|most| failed > most) {
        let text = "Job has exceeded the specified maximal number of failed indexes";
        return failure("MaxFailedIndexesExceeded", text);
    }
    if failed > 0 && failed + tally.succeeded_indexes.len() as i64 >= completions {
        return failure("FailedIndexes", "Job has failed indexes");
    }
    let rules = step.job.at("spec.successPolicy.rules").items();
    let met = rules.iter().position(|rule| {
        let wanted = rule.at("succeededIndexes").as_str().map(|t| indexes::parse(t, completions));
        let among = match &wanted {
            Some(wanted) => wanted.intersection(&tally.succeeded_indexes).count(),
            None => tally.succeeded_indexes.len(),
        };
        let needed = rule.at("succeededCount").as_i64().and_then(|n| usize::try_from(n).ok());
        needed.or(wanted.map(|w| w.len())).is_some_and(|n| among >= n)
    });
    match met {
        Some(i) => Ending::Success("SuccessPolicy".into(), format!("Matched rules at index {i}")),
        None => Ending::Open,
    }
}

fn is_complete(step: &Step<'_>) -> bool {
    let succeeded = step.tally.all_succeeded();
    match step.spec("completions").as_i64() {
        Some(completions) => succeeded >= completions,
        None => succeeded > 0 && step.active.is_empty(),
    }
}
