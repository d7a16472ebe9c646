//! CronJob: Jobs at times (upstream `pkg/controller/cronjob`).

mod schedule;

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::{CRONJOBS, JOBS};
use timonier_meta::{Duration, GroupVersionResource, ObjectKey, Time, Zone};
use timonier_object::{Value, value};
use timonier_reconcile::{Change, Context, Plan, Propagation, Reason, Reconciler, World, Write};

use crate::common::pods::controller_reference;
use schedule::Schedule;

const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// With more missed times than this the start time counts as wrong.
const TOO_MANY_MISSED: usize = 100;

/// The controller of CronJobs.
pub struct CronJobs;

impl Reconciler for CronJobs {
    fn name(&self) -> &'static str {
        "cronjob-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![CRONJOBS, JOBS]
    }

    fn concerns(&self, change: &Change, _: &World) -> Vec<ObjectKey> {
        if change.is(&CRONJOBS) {
            return vec![change.key.clone()];
        }
        change.controllers("batch", "CronJob")
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        let Some(cron) = world.get(&CRONJOBS, key).filter(|c| !c.is_deleting()) else {
            return Plan::nothing();
        };
        let mut jobs: Vec<Arc<Value>> =
            world.table(&JOBS).controlled_by(cron.uid()).cloned().collect();
        jobs.sort_by_key(|j| (j.time("status.startTime"), j.created(), j.key()));
        let mut step = Step {
            cron,
            now: context.now,
            status: cron.at("status").clone(),
            plan: Plan::nothing(),
        };
        step.status.make_object();
        step.note_jobs(&jobs);
        step.clean_up(&jobs);
        step.start(world);
        if step.status.at("active").items().is_empty() {
            step.status.make_object().remove("active");
        }
        if &step.status != cron.at("status")
            && !(step.status.is_empty() && cron.at("status").is_empty())
        {
            let mut changed = Value::clone(cron);
            changed.set("status", step.status);
            step.plan.writes.push(Write::update_status(&CRONJOBS, changed));
        }
        step.plan
    }
}

struct Step<'a> {
    cron: &'a Arc<Value>,
    now: Time,
    status: Value,
    plan: Plan,
}

impl Step<'_> {
    fn active(&mut self) -> &mut Value {
        self.status.entry("active")
    }

    /// Brings the list of active Jobs up to date.
    fn note_jobs(&mut self, jobs: &[Arc<Value>]) {
        for job in jobs {
            let listed = self.active().items().iter().any(|r| r.at("uid").str() == job.uid());
            match (listed, ended(job)) {
                (false, None) => self.active().make_array().push(reference(job)),
                (true, Some(how)) => {
                    let uid = job.uid();
                    self.active().make_array().retain(|r| r.at("uid").str() != uid);
                    let text = format!("Saw completed job: {}, condition: {how}", job.name());
                    self.plan.because.push(Reason::normal(self.cron, "SawCompletedJob", text));
                    let end = job.at("status.completionTime").clone();
                    let last = self.status.time("lastSuccessfulTime");
                    if how == "Complete" && end.as_str().and_then(Time::parse) > last {
                        self.status.set("lastSuccessfulTime", end);
                    }
                }
                _ => {}
            }
        }
        let cron = self.cron;
        let there = |r: &Value| jobs.iter().any(|j| j.uid() == r.at("uid").str());
        let mut missing = Vec::new();
        self.active().make_array().retain(|r| {
            let found = there(r);
            if !found {
                missing.push(r.at("name").smol());
            }
            found
        });
        for name in missing {
            let text = format!("Active job went missing: {name}");
            self.plan.because.push(Reason::normal(cron, "MissingJob", text));
        }
    }

    /// Deletes the oldest ended Jobs beyond the limits of the history.
    fn clean_up(&mut self, jobs: &[Arc<Value>]) {
        for (how, field, default) in [
            ("Complete", "spec.successfulJobsHistoryLimit", 3),
            ("Failed", "spec.failedJobsHistoryLimit", 1),
        ] {
            let limit = self.cron.at(field).int_or(default);
            let all: Vec<_> =
                jobs.iter().filter(|j| ended(j) == Some(how) && !j.is_deleting()).collect();
            let surplus = usize::try_from(all.len() as i64 - limit).unwrap_or(0);
            let deletes: Vec<Write> =
                all.into_iter().take(surplus).map(|j| self.delete(j)).collect();
            self.plan.writes.extend(deletes);
        }
    }

    fn delete(&self, job: &Value) -> Write {
        let text = format!("Deleted job {}", job.name());
        Write::delete(&JOBS, job)
            .propagate(Propagation::Background)
            .event(Reason::normal(self.cron, "SuccessfulDelete", text))
            .on_failure(Reason::warning(self.cron, "FailedDelete", "Deleted job: "))
    }

    fn start(&mut self, world: &World) {
        if self.cron.at("spec.suspend").bool() {
            return;
        }
        let (text, zone) =
            (self.cron.at("spec.schedule").str(), self.cron.at("spec.timeZone").str());
        let zone = if zone.is_empty() { Some(Zone::utc()) } else { Zone::named(zone) };
        let Some(zone) = zone else {
            let zone = self.cron.at("spec.timeZone").str();
            let text = format!("invalid timeZone: {zone:?}: unknown time zone {zone}");
            self.plan.because.push(Reason::warning(self.cron, "UnknownTimeZone", text));
            return;
        };
        let Some(schedule) = Schedule::parse(text, zone) else {
            let text = format!("unparseable schedule: {text:?}");
            self.plan.because.push(Reason::warning(self.cron, "UnparseableSchedule", text));
            return;
        };
        let deadline =
            self.cron.at("spec.startingDeadlineSeconds").as_i64().map(Duration::from_secs);
        let mut from =
            self.status.time("lastScheduleTime").or(self.cron.created()).unwrap_or(self.now);
        if let Some(deadline) = deadline {
            from = from.max(self.now - deadline);
        }
        if let Some(next) = schedule.after(self.now) {
            self.plan.requeue(next + Duration::from_millis(100));
        }
        let (last, missed) = last_missed(&schedule, from, self.now);
        let Some(at) = last else { return };
        if missed > TOO_MANY_MISSED {
            let text = format!(
                "too many missed start times: {missed}. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            );
            self.plan.because.push(Reason::warning(self.cron, "TooManyMissedTimes", text));
        }
        if deadline.is_some_and(|d| at + d < self.now) {
            let text = format!("Missed scheduled time to start a job: {}", at.rfc3339());
            self.plan.because.push(Reason::warning(self.cron, "MissSchedule", text));
            return;
        }
        self.run_at(at, world);
    }

    fn run_at(&mut self, at: Time, world: &World) {
        let active = self.active().items().to_vec();
        match self.cron.at("spec.concurrencyPolicy").str() {
            "Forbid" if !active.is_empty() => {
                let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
                self.plan.because.push(Reason::normal(self.cron, "JobAlreadyActive", text));
                return;
            }
            "Replace" => {
                for old in &active {
                    let found = world.by_uid(old.at("uid").str()).map(|(_, job)| job.clone());
                    let delete = found.map(|job| self.delete(&job));
                    self.plan.writes.extend(delete);
                }
                *self.active() = Value::array([]);
            }
            _ => {}
        }
        let job = job(self.cron, at);
        self.status.set("lastScheduleTime", at.rfc3339());
        if let Some(present) = world.get(&JOBS, &job.key()) {
            // Made by a run whose status was lost; its own change brings it into the list.
            let ours = present.controller().is_some_and(|o| o.uid == self.cron.uid());
            if ours {
                return;
            }
        }
        let text = format!("Created job {}", job.name());
        let write = Write::create(&JOBS, job)
            .event(Reason::normal(self.cron, "SuccessfulCreate", text))
            .on_failure(Reason::warning(self.cron, "FailedCreate", "Error creating job: "));
        self.plan.writes.push(write);
    }
}

/// The last time that was due, and how many were (counted up to a bound).
fn last_missed(schedule: &Schedule, from: Time, now: Time) -> (Option<Time>, usize) {
    let (mut last, mut missed, mut at) = (None, 0, from);
    while let Some(next) = schedule.after(at).filter(|t| *t <= now) {
        last = Some(next);
        missed += 1;
        at = next;
        if missed > TOO_MANY_MISSED {
            return (schedule.last_before(now).or(last), missed);
        }
    }
    (last, missed)
}

fn ended(job: &Value) -> Option<&'static str> {
    ["Complete", "Failed"].into_iter().find(|kind| job.condition_is_true(kind))
}

fn reference(job: &Value) -> Value {
    value!({
        "kind": (job.kind()), "namespace": (job.namespace()), "name": (job.name()),
        "uid": (job.uid()), "apiVersion": (job.api_version()),
        "resourceVersion": (job.resource_version()),
    })
}

/// The Job of a time; its name says which, so that no time is served twice.
fn job(cron: &Value, at: Time) -> Value {
    let template = cron.at("spec.jobTemplate");
    let name: String = format!("{}-{}", cron.name(), at.unix() / 60);
    let mut metadata = value!({ "name": name, "namespace": (cron.namespace()) });
    for field in ["labels", "annotations"] {
        let all = template.at("metadata").at(field);
        if !all.is_empty() {
            metadata.set(field, all);
        }
    }
    metadata.entry("annotations").make_object().insert(SCHEDULED, at.rfc3339().into());
    metadata.set("ownerReferences", value!([(&controller_reference(cron))]));
    value!({ "kind": "Job", "apiVersion": "batch/v1", "metadata": metadata,
             "spec": (template.at("spec")) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{body, events, now, object, plan, short, world};

    fn cron(policy: &str) -> Value {
        let mut cron = object(
            r#"{"apiVersion":"batch/v1","kind":"CronJob",
                "metadata":{"name":"c","namespace":"ns","uid":"uid-c",
                            "creationTimestamp":"2026-01-01T00:30:30Z"},
                "spec":{"schedule":"*/20 * * * *",
                        "jobTemplate":{"metadata":{"labels":{"a":"b"}},
                                       "spec":{"template":{"spec":{}}}}}}"#,
        );
        cron.set("spec.concurrencyPolicy", policy);
        cron
    }

    fn job_of(cron: &Value, name: &str, end: &str) -> Value {
        let mut job = value!({ "apiVersion": "batch/v1", "kind": "Job",
            "metadata": { "name": name, "namespace": "ns", "uid": name,
                          "ownerReferences": [(&controller_reference(cron))] } });
        if !end.is_empty() {
            job.set("status.conditions", value!([{ "type": end, "status": "True" }]));
            job.set("status.completionTime", "2026-01-01T00:50:00Z");
        }
        job
    }

    #[test]
    fn a_due_time_starts_one_job() {
        let plan = plan(&CronJobs, &world([cron("Allow")]), "c");
        let made = body(&plan, &JOBS);
        assert_eq!(made.annotation(SCHEDULED), Some("2026-01-01T01:00:00Z"));
        assert_eq!(made.name(), format!("c-{}", now().unix() / 60));
        assert_eq!(made.label("a"), Some("b"));
        assert_eq!(
            plan.requeue_at,
            Some(now() + Duration::from_secs(1200) + Duration::from_millis(100))
        );
        assert_eq!(
            body(&plan, &CRONJOBS).at("status.lastScheduleTime").str(),
            "2026-01-01T01:00:00Z"
        );
        assert_eq!(events(&plan).len(), 1);
    }

    #[test]
    fn concurrency_is_forbidden_or_replaced() {
        let running = |c: &Value| world([c.clone(), job_of(c, "old", "")]);
        let forbid = plan(&CronJobs, &running(&cron("Forbid")), "c");
        assert_eq!(short(&forbid), ["update-status cronjobs c"]);
        assert_eq!(forbid.because[0].reason, "JobAlreadyActive");
        let replace = plan(&CronJobs, &running(&cron("Replace")), "c");
        assert_eq!(short(&replace)[0], "delete jobs old");
        assert!(short(&replace)[1].starts_with("create jobs c-"));
    }

    #[test]
    fn ended_jobs_are_noted_and_the_oldest_deleted() {
        let mut cron = cron("Allow");
        cron.set("spec.suspend", true);
        cron.set("spec.successfulJobsHistoryLimit", 1);
        let (a, b) = (job_of(&cron, "a", "Complete"), job_of(&cron, "b", "Complete"));
        cron.set("status.active", value!([{ "uid": "a", "name": "a" }]));
        let plan = plan(&CronJobs, &world([cron, a, b]), "c");
        assert_eq!(short(&plan), ["delete jobs a", "update-status cronjobs c"]);
        assert_eq!(plan.because[0].message, "Saw completed job: a, condition: Complete");
        let status = body(&plan, &CRONJOBS).at("status");
        assert_eq!(status.at("lastSuccessfulTime").str(), "2026-01-01T00:50:00Z");
    }

    #[test]
    fn the_zone_of_a_schedule_decides() {
        let mut far = cron("Allow");
        far.set("spec.schedule", "30 6 * * *");
        far.set("spec.timeZone", "Asia/Kolkata");
        let plan_for = |c: &Value| plan(&CronJobs, &world([c.clone()]), "c");
        let made = plan_for(&far);
        assert_eq!(body(&made, &JOBS).annotation(SCHEDULED), Some("2026-01-01T01:00:00Z"));
        far.set("spec.timeZone", "Mars/Olympus");
        let refused = plan_for(&far);
        assert_eq!(events(&refused).len(), 1);
        assert_eq!(refused.because[0].reason, "UnknownTimeZone");
    }

    #[test]
    fn a_time_missed_for_too_long_is_let_go() {
        let mut late = cron("Allow");
        late.set("spec.schedule", "0 * * * *");
        late.set("spec.startingDeadlineSeconds", 10);
        late.set("status.lastScheduleTime", "2026-01-01T01:00:00Z");
        assert!(plan(&CronJobs, &world([late]), "c").writes.is_empty());
    }
}
