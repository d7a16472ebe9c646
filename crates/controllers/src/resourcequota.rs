//! ResourceQuota: what a namespace uses of its quotas
//! (upstream `pkg/controller/resourcequota` and `pkg/quota/v1/evaluator`).

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::{
    CONFIGMAPS, PERSISTENTVOLUMECLAIMS, PODS, REPLICATIONCONTROLLERS, RESOURCEQUOTAS, SECRETS,
    SERVICES,
};
use timonier_meta::{Duration, GroupVersionResource, ObjectKey, Time};
use timonier_object::{Value, value};
use timonier_policy::quota::{self, Amounts};
use timonier_reconcile::{Change, Context, Plan, Reconciler, World, Write};

/// A write that admission has counted and that failed is found after this long at the latest.
const RESYNC: Duration = Duration::from_secs(5 * 60);

/// The controller of the status of ResourceQuotas.
pub struct ResourceQuotas;

impl Reconciler for ResourceQuotas {
    fn name(&self) -> &'static str {
        "resourcequota-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![
            RESOURCEQUOTAS,
            PODS,
            SERVICES,
            CONFIGMAPS,
            SECRETS,
            PERSISTENTVOLUMECLAIMS,
            REPLICATIONCONTROLLERS,
        ]
    }

    fn watches_all(&self) -> bool {
        true
    }

    fn concerns(&self, change: &Change, world: &World) -> Vec<ObjectKey> {
        if change.is(&RESOURCEQUOTAS) && change.new.is_some() {
            // The status is written by admission too, before the object that it counts is there.
            let bounds = |q: &Option<Arc<Value>>| q.as_ref().map(|q| q.at("spec").clone());
            return match bounds(&change.old) == bounds(&change.new) {
                true => Vec::new(),
                false => vec![change.key.clone()],
            };
        }
        // What is new was counted by admission, in a quota that may be known here before the
        // object is: to count now could forget it.
        let matters = match (&change.old, &change.new) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(old), Some(new)) => {
                let usage = |o: &Value| quota::usage(&change.resource, o, Time::default());
                let changes = [PODS, SERVICES, PERSISTENTVOLUMECLAIMS].iter().any(|r| change.is(r));
                changes && usage(old) != usage(new)
            }
        };
        let quotas = world.table(&RESOURCEQUOTAS).in_namespace(&change.key.namespace);
        if matters { quotas.map(|q| q.key()).collect() } else { Vec::new() }
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        let Some(quota) = world.get(&RESOURCEQUOTAS, key).filter(|q| !q.is_deleting()) else {
            return Plan::nothing();
        };
        let hard = quota.at("spec.hard");
        let used = quota::to_value(&used(quota, world, context.now));
        let status = value!({ "hard": hard, "used": used });
        let mut plan = Plan::nothing();
        plan.requeue(context.now + RESYNC);
        if quota.at("status") != &status {
            let mut changed = Value::clone(quota);
            changed.set("status", status);
            plan.writes.push(Write::update_status(&RESOURCEQUOTAS, changed));
        }
        plan
    }
}

/// What a namespace uses of a quota. What nobody counts is left out.
fn used(quota: &Value, world: &World, now: Time) -> Amounts {
    let mut total = Amounts::new();
    let mut by_resource: Vec<(timonier_meta::GroupResource, Amounts)> = Vec::new();
    for (name, _) in quota.at("spec.hard").entries() {
        let Some(of) = quota::counted_by(name) else { continue };
        let place = by_resource.iter().position(|(r, _)| *r == of).unwrap_or_else(|| {
            let sums = sums(quota, &of, world, now);
            by_resource.push((of, sums));
            by_resource.len() - 1
        });
        let sum = by_resource[place].1.get(name).copied().unwrap_or_default();
        total.insert(name.into(), sum);
    }
    total
}

fn sums(quota: &Value, of: &timonier_meta::GroupResource, world: &World, now: Time) -> Amounts {
    let mut sums = Amounts::new();
    let objects = world.table_of(of).in_namespace(quota.namespace());
    for object in objects.filter(|o| quota::in_scope(quota, of, o)) {
        for (name, amount) in quota::usage(of, object, now) {
            let sum = sums.entry(name).or_default();
            *sum = *sum + amount;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{body, object, plan, pod, world};

    #[test]
    fn a_status_that_admission_wrote_is_left_alone() {
        let quota = |used: &str| {
            let mut quota = object(
                r#"{"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"q","namespace":"ns"},
                    "spec":{"hard":{"pods":"10"}}}"#,
            );
            quota.set("status.used.pods", used);
            Arc::new(quota)
        };
        let mut change = Change {
            resource: RESOURCEQUOTAS.group_resource(),
            key: ObjectKey::new("ns", "q"),
            old: Some(quota("0")),
            new: Some(quota("1")),
        };
        assert!(ResourceQuotas.concerns(&change, &world([])).is_empty());
        let mut more = Value::clone(&quota("1"));
        more.set("spec.hard.pods", "11");
        change.new = Some(Arc::new(more));
        assert_eq!(ResourceQuotas.concerns(&change, &world([])).len(), 1);
    }

    #[test]
    fn what_admission_has_counted_is_not_counted_again() {
        let quota = object(
            r#"{"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"q","namespace":"ns"},
                "spec":{"hard":{"pods":"2"}}}"#,
        );
        let set = object(
            r#"{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"name":"r","namespace":"ns"}}"#,
        );
        let world = world([quota]);
        let pod = |phase: &str| {
            let mut pod = pod("a", &set, value!({}), true);
            pod.set("status.phase", phase);
            Some(Arc::new(pod))
        };
        let concerned = |old, new| {
            let (resource, key) = (PODS.group_resource(), ObjectKey::new("ns", "a"));
            ResourceQuotas.concerns(&Change { resource, key, old, new }, &world).len()
        };
        assert_eq!(concerned(None, pod("Pending")), 0);
        assert_eq!(concerned(pod("Pending"), pod("Running")), 0);
        assert_eq!(concerned(pod("Running"), pod("Succeeded")), 1);
        assert_eq!(concerned(pod("Running"), None), 1);
    }

    #[test]
    fn usage_is_counted_and_summed() {
        let quota = object(
            r#"{"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"q","namespace":"ns"},
                "spec":{"hard":{"pods":"10","requests.cpu":"2","limits.memory":"1Gi",
                                "count/replicasets.apps":"5","services.nodeports":"1"}}}"#,
        );
        let set = object(
            r#"{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"name":"r","namespace":"ns"}}"#,
        );
        let with = |name: &str, phase: &str| {
            let mut pod = pod(name, &set, value!({}), true);
            pod.set("status.phase", phase);
            pod.entry("spec.containers").make_array()[0].set(
                "resources",
                value!({ "requests": { "cpu": "250m" }, "limits": { "memory": "64Mi" } }),
            );
            pod
        };
        let pods = [with("a", "Running"), with("b", "Pending"), with("c", "Succeeded")];
        let world = world([quota, set.clone()].into_iter().chain(pods));
        let plan = plan(&ResourceQuotas, &world, "q");
        assert_eq!(plan.requeue_at, Some(crate::common::testing::now() + RESYNC));
        assert_eq!(
            body(&plan, &RESOURCEQUOTAS).at("status.used"),
            &value!({ "pods": "2", "requests.cpu": "500m", "limits.memory": "128Mi",
                      "count/replicasets.apps": "1", "services.nodeports": "0" })
        );
    }
}
