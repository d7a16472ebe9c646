//! ReplicaSet and ReplicationController: as many pods as wanted
//! (upstream `pkg/controller/replicaset`).

use alloc::format;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::{PODS, REPLICASETS, REPLICATIONCONTROLLERS};
use timonier_meta::{Duration, GroupVersionResource, ObjectKey, Selector, Time};
use timonier_object::{Value, label_selector, value};
use timonier_reconcile::{Change, Context, Plan, Reconciler, World, Write};

use crate::common::claim::claim;
use crate::common::conditions::{self, Condition};
use crate::common::{pods, ranking};

/// Most pods created or deleted by one plan.
const BURST: usize = 500;

/// The controller of ReplicaSets, or with the same rules of ReplicationControllers.
pub struct ReplicaSets {
    name: &'static str,
    resource: GroupVersionResource,
    group: &'static str,
    kind: &'static str,
}

impl ReplicaSets {
    /// The controller of ReplicaSets.
    pub fn new() -> Self {
        ReplicaSets {
            name: "replicaset-controller",
            resource: REPLICASETS,
            group: "apps",
            kind: "ReplicaSet",
        }
    }

    /// The controller of ReplicationControllers.
    pub fn replication_controllers() -> Self {
        ReplicaSets {
            name: "replication-controller",
            resource: REPLICATIONCONTROLLERS,
            group: "",
            kind: "ReplicationController",
        }
    }

    fn selector(&self, set: &Value) -> Selector {
        let selector = set.at("spec.selector");
        if self.group == "apps" {
            return label_selector(selector).unwrap_or_else(|_| Selector::nothing());
        }
        match selector.as_object() {
            Some(pairs) if !pairs.is_empty() => {
                Selector::of_pairs(pairs.iter().map(|(k, v)| (k, v.str())))
            }
            _ => Selector::nothing(),
        }
    }
}

impl Default for ReplicaSets {
    fn default() -> Self {
        Self::new()
    }
}

impl Reconciler for ReplicaSets {
    fn name(&self) -> &'static str {
        self.name
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![self.resource.clone(), PODS]
    }

    fn concerns(&self, change: &Change, world: &World) -> Vec<ObjectKey> {
        if change.is(&self.resource) {
            return vec![change.key.clone()];
        }
        let mut keys = change.controllers(self.group, self.kind);
        if let Some(pod) = change.new.as_ref().filter(|p| p.controller().is_none()) {
            let sets = world.table(&self.resource).in_namespace(pod.namespace());
            let matching = sets.filter(|s| self.selector(s).matches(|k| pod.label(k)));
            keys.extend(matching.map(|s| s.key()));
        }
        keys
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        let Some(set) = world.get(&self.resource, key) else { return Plan::nothing() };
        let selector = self.selector(set);
        let claimed = claim(world, &PODS, set, &selector, pods::is_active);
        let (active, rest): (Vec<_>, Vec<_>) =
            claimed.objects.into_iter().partition(|p| pods::is_active(p));
        let terminating = rest.iter().filter(|p| pods::is_terminating(p)).count();
        let mut plan = Plan { writes: claimed.writes, ..Plan::default() };
        let status = self.status(set, &active, terminating, context);
        // What failed is told before it is tried again.
        let failed = context.failure.is_some();
        if failed {
            plan.writes.extend(self.status_write(set, status.clone()));
        }
        if !set.is_deleting() {
            plan.writes.extend(self.manage(set, &active, world, context));
        }
        if !failed {
            plan.writes.extend(self.status_write(set, status));
        }
        plan.requeue_at = next_available(set, &active, context.now);
        plan
    }
}

impl ReplicaSets {
    /// Creates what is missing, deletes what is too much.
    fn manage(
        &self,
        set: &Value,
        active: &[Arc<Value>],
        world: &World,
        context: &Context<'_>,
    ) -> Vec<Write> {
        let wanted = wanted(set);
        if active.len() < wanted {
            let prefix = pods::name_prefix(set);
            let pod = pods::from_template(set.at("spec.template"), set);
            let missing = (wanted - active.len()).min(BURST) as u64;
            return (0..missing)
                .map(|n| pods::create(pod.clone(), &prefix, set, context, n))
                .collect();
        }
        let surplus = (active.len() - wanted).min(BURST);
        if surplus == 0 {
            return Vec::new();
        }
        let mut victims = active.to_vec();
        ranking::sort_for_deletion(&mut victims, &self.related(set, active, world), context.now);
        victims.iter().take(surplus).map(|pod| pods::delete(pod, set)).collect()
    }

    /// The pods of all sets with the same controller, such as the others of a Deployment.
    fn related(&self, set: &Value, active: &[Arc<Value>], world: &World) -> Vec<Arc<Value>> {
        let Some(owner) = set.controller() else { return active.to_vec() };
        let siblings = world.table(&self.resource).controlled_by(&owner.uid);
        siblings.flat_map(|s| world.table(&PODS).controlled_by(s.uid())).cloned().collect()
    }

    fn status(
        &self,
        set: &Value,
        active: &[Arc<Value>],
        terminating: usize,
        context: &Context<'_>,
    ) -> Value {
        let min_ready = set.at("spec.minReadySeconds").int_or(0);
        let labels = set.at("spec.template.metadata.labels");
        let template = Selector::of_pairs(labels.entries().map(|(k, v)| (k, v.str())));
        let count = |f: &dyn Fn(&Value) -> bool| active.iter().filter(|p| f(p)).count();
        let labelled = count(&|p| template.matches(|k| p.label(k)));
        let ready = count(&|p| pods::is_ready(p));
        let available = count(&|p| pods::is_available(p, min_ready, context.now));
        let mut status = value!({ "replicas": (active.len()) });
        let counts = [
            ("fullyLabeledReplicas", labelled),
            ("readyReplicas", ready),
            ("availableReplicas", available),
        ];
        for (name, n) in counts.into_iter().filter(|(_, n)| *n > 0) {
            status.set(name, n);
        }
        if self.group == "apps" {
            status.set("terminatingReplicas", terminating);
        }
        status.set("observedGeneration", set.generation());
        let mut list = set.at("status.conditions").clone();
        failure_condition(&mut list, active.len(), wanted(set), context);
        if !list.is_empty() {
            status.set("conditions", list);
        }
        status
    }

    fn status_write(&self, set: &Value, status: Value) -> Option<Write> {
        if set.at("status") == &status {
            return None;
        }
        let mut set = set.clone();
        set.set("status", status);
        Some(Write::update_status(&self.resource, set))
    }
}

fn wanted(set: &Value) -> usize {
    usize::try_from(set.at("spec.replicas").int_or(1)).unwrap_or(0)
}

/// `ReplicaFailure` stands while the last attempt to create or delete pods failed.
fn failure_condition(list: &mut Value, active: usize, wanted: usize, context: &Context<'_>) {
    let failure = context.failure.filter(|f| f.resource == PODS.group_resource());
    let reason = match failure.map(|f| f.verb.as_str()) {
        Some("create") if active < wanted => "FailedCreate",
        Some("delete") if active > wanted => "FailedDelete",
        _ => {
            if context.failure.is_none() {
                conditions::remove(list, "ReplicaFailure");
            }
            return;
        }
    };
    if conditions::find(list, "ReplicaFailure").is_some() {
        return;
    }
    let message = failure.map(|f| format!("{}", f.error)).unwrap_or_default();
    let condition = Condition { kind: "ReplicaFailure", status: "True", reason, message: &message };
    conditions::set(list, condition, context.now);
}

/// When the next ready pod becomes available.
fn next_available(set: &Value, active: &[Arc<Value>], now: Time) -> Option<Time> {
    let min_ready = set.at("spec.minReadySeconds").int_or(0);
    let times = active.iter().filter_map(|p| pods::available_from(p, min_ready));
    // Times have no fractions in the API: look again just after the second.
    times.filter(|at| *at > now).min().map(|at| at + Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use timonier_meta::ApiError;
    use timonier_reconcile::{Failure, Operation};

    use super::*;
    use crate::common::testing::{add, body, events, now, object, plan, pod, short, world};

    fn set(replicas: i64) -> Value {
        let mut set = object(
            r#"{"apiVersion":"apps/v1","kind":"ReplicaSet",
                "metadata":{"name":"web","namespace":"ns","uid":"uid-web","generation":2},
                "spec":{"selector":{"matchLabels":{"app":"web"}},
                        "template":{"metadata":{"labels":{"app":"web"}},
                                    "spec":{"containers":[{"name":"c","image":"i"}]}}}}"#,
        );
        set.set("spec.replicas", replicas);
        set
    }

    fn labels() -> Value {
        value!({ "app": "web" })
    }

    #[test]
    fn missing_pods_are_created_with_names_and_owner() {
        let plan = plan(&ReplicaSets::new(), &world([set(3)]), "web");
        assert_eq!(plan.writes.len(), 4);
        let Operation::Create { object } = &plan.writes[0].operation else { panic!() };
        assert!(object.name().starts_with("web-") && object.name().len() == 9);
        assert_eq!(object.at("metadata.generateName").str(), "web-");
        assert!(object.controller().unwrap().block_owner_deletion);
        assert_eq!(object.label("app"), Some("web"));
        let names: alloc::collections::BTreeSet<_> =
            plan.writes.iter().map(|w| w.key.name.clone()).collect();
        assert_eq!(names.len(), 4);
        assert_eq!(events(&plan)[0], format!("SuccessfulCreate: Created pod: {}", object.name()));
        let Operation::Update { object: status, .. } = &plan.writes[3].operation else { panic!() };
        assert_eq!(
            status.at("status"),
            &value!({ "replicas": 0, "terminatingReplicas": 0, "observedGeneration": 2 })
        );
    }

    #[test]
    fn surplus_pods_go_the_unready_one_first() {
        let set = set(1);
        let world =
            world([set.clone(), pod("a", &set, labels(), true), pod("b", &set, labels(), false)]);
        let plan = plan(&ReplicaSets::new(), &world, "web");
        assert_eq!(short(&plan), ["delete pods b", "update-status replicasets web"]);
        let status = body(&plan, &REPLICASETS).at("status");
        assert_eq!(status.at("readyReplicas").as_i64(), Some(1));
        assert_eq!(status.at("fullyLabeledReplicas").as_i64(), Some(2));
    }

    #[test]
    fn pods_are_adopted_and_released() {
        let set = set(1);
        let mut orphan = pod("orphan", &set, labels(), true);
        orphan.remove("metadata.ownerReferences");
        let world = world([set.clone(), orphan, pod("other", &set, value!({ "app": "x" }), true)]);
        let plan = plan(&ReplicaSets::new(), &world, "web");
        assert_eq!(
            short(&plan),
            ["patch pods other", "patch pods orphan", "update-status replicasets web"]
        );
    }

    #[test]
    fn finished_and_deleted_pods_are_replaced() {
        let set = set(2);
        let mut failed = pod("failed", &set, labels(), false);
        failed.set("status.phase", "Failed");
        let mut deleted = pod("deleted", &set, labels(), true);
        deleted.set("metadata.deletionTimestamp", "2026-01-01T00:00:00Z");
        let plan = plan(&ReplicaSets::new(), &world([set, failed, deleted]), "web");
        assert_eq!(plan.writes.len(), 3);
        assert_eq!(body(&plan, &PODS).kind(), "Pod");
        let Operation::Update { object, .. } = &plan.writes[2].operation else { panic!() };
        assert_eq!(object.at("status.terminatingReplicas").as_i64(), Some(1));
    }

    #[test]
    fn a_failure_becomes_a_condition_and_goes_again() {
        let failure = Failure {
            resource: PODS.group_resource(),
            key: ObjectKey::new("ns", "web-x"),
            verb: "create".into(),
            error: ApiError::forbidden(&PODS.group_resource(), "web-x", "exceeded quota"),
        };
        let mut world = world([set(1)]);
        let key = ObjectKey::new("ns", "web");
        let context = Context { now: now(), seed: 1, failure: Some(&failure), memory: None };
        let plan = ReplicaSets::new().reconcile(&key, &world, &context);
        let Operation::Update { object, .. } = &plan.writes[0].operation else { panic!() };
        let condition = object.condition("ReplicaFailure").unwrap();
        assert_eq!(condition.at("reason").str(), "FailedCreate");
        assert!(condition.at("message").str().contains("exceeded quota"));
        assert_eq!(plan.writes.len(), 2);

        let mut next = object.clone();
        next.set("metadata.resourceVersion", "2");
        add(&mut world, next);
        let plan = ReplicaSets::new().reconcile(&key, &world, &Context::at(now(), 1));
        let Operation::Update { object, .. } = &plan.writes[1].operation else { panic!() };
        assert!(object.condition("ReplicaFailure").is_none());
    }

    #[test]
    fn min_ready_seconds_delay_availability() {
        let mut set = set(1);
        set.set("spec.minReadySeconds", 3600);
        let world = world([set.clone(), pod("a", &set, labels(), true)]);
        let plan = plan(&ReplicaSets::new(), &world, "web");
        assert!(body(&plan, &REPLICASETS).find("status.availableReplicas").is_none());
        assert_eq!(
            plan.requeue_at,
            Some(now() + Duration::from_secs(10) + Duration::from_millis(1))
        );
    }

    #[test]
    fn replication_controllers_follow_the_same_rules() {
        let controller = object(
            r#"{"apiVersion":"v1","kind":"ReplicationController",
                "metadata":{"name":"rc","namespace":"ns","uid":"u"},
                "spec":{"replicas":1,"selector":{"a":"b"},
                        "template":{"metadata":{"labels":{"a":"b"}},"spec":{}}}}"#,
        );
        let plan = plan(&ReplicaSets::replication_controllers(), &world([controller]), "rc");
        assert_eq!(body(&plan, &PODS).controller().unwrap().kind, "ReplicationController");
    }
}
