//! Deletes finished Jobs after their `ttlSecondsAfterFinished`
//! (upstream `pkg/controller/ttlafterfinished`).

use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::JOBS;
use timonier_meta::{Duration, GroupVersionResource, ObjectKey, Time};
use timonier_object::Value;
use timonier_reconcile::{Change, Context, Plan, Propagation, Reconciler, World, Write};

/// The controller of the time to live of Jobs.
pub struct TtlAfterFinished;

impl Reconciler for TtlAfterFinished {
    fn name(&self) -> &'static str {
        "ttl-after-finished-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![JOBS]
    }

    fn concerns(&self, change: &Change, _: &World) -> Vec<ObjectKey> {
        let job = change.new.as_ref().filter(|j| expires(j).is_some());
        job.map(|_| change.key.clone()).into_iter().collect()
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        let Some(job) = world.get(&JOBS, key).filter(|j| !j.is_deleting()) else {
            return Plan::nothing();
        };
        match expires(job) {
            None => Plan::nothing(),
            Some(at) if at > context.now => Plan { requeue_at: Some(at), ..Plan::default() },
            Some(_) => Plan::write(
                Write::delete(&JOBS, job).unchanged(job).propagate(Propagation::Foreground),
            ),
        }
    }
}

fn expires(job: &Value) -> Option<Time> {
    let ttl = job.at("spec.ttlSecondsAfterFinished").as_i64()?;
    let ended = job.at("status.conditions").items().iter().find(|c| {
        matches!(c.at("type").str(), "Complete" | "Failed") && c.at("status").str() == "True"
    })?;
    Some(ended.time("lastTransitionTime")? + Duration::from_secs(ttl))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{now, object, plan, short, world};

    #[test]
    fn a_job_lives_its_time_after_its_end() {
        let mut job = object(
            r#"{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"j","namespace":"ns"},
                "spec":{"ttlSecondsAfterFinished":3700},
                "status":{"conditions":[{"type":"Complete","status":"True",
                                         "lastTransitionTime":"2026-01-01T00:00:00Z"}]}}"#,
        );
        let waiting = plan(&TtlAfterFinished, &world([job.clone()]), "j");
        assert_eq!(waiting.requeue_at, Some(now() + Duration::from_secs(100)));
        job.set("spec.ttlSecondsAfterFinished", 0);
        assert_eq!(short(&plan(&TtlAfterFinished, &world([job.clone()]), "j")), ["delete jobs j"]);
        job.remove("status");
        assert_eq!(plan(&TtlAfterFinished, &world([job]), "j"), Plan::nothing());
    }
}
