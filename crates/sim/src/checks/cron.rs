//! CronJobs: each time once, and no two at once where that is forbidden.

use timonier_meta::gvk::resources::{CRONJOBS, JOBS};
use timonier_object::Value;

use super::{Checks, Write};

const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

impl Checks {
    /// A Job came: one of a CronJob is the only one of its time.
    pub(super) fn cron_run(&mut self, write: &Write<'_>) -> Vec<String> {
        let (Some(job), None) = (write.new, write.old) else { return Vec::new() };
        let Some(owner) = job.controller().filter(|o| o.kind == "CronJob") else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let at = job.annotation(SCHEDULED).unwrap_or_default();
        if !self.runs.entry(owner.uid.clone()).or_default().insert(at.into()) {
            found.push(format!("CronJob {} ran twice for {at:?}", owner.name));
        }
        let cron = write.find(&CRONJOBS, job.namespace(), &owner.name);
        let alone = cron.is_some_and(|c| c.at("spec.concurrencyPolicy").str() == "Forbid");
        let runs = |j: &Value| {
            j.controller().is_some_and(|o| o.uid == owner.uid)
                && !j.condition_is_true("Complete")
                && !j.condition_is_true("Failed")
        };
        if alone && write.all(&JOBS).filter(|j| runs(j)).count() > 1 {
            found.push(format!("CronJob {} runs twice at once", owner.name));
        }
        found
    }
}
