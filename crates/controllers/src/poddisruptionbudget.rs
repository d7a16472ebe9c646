//! PodDisruptionBudget: how many pods may be evicted now (upstream `pkg/controller/disruption`).

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::gvk::resources::{
    DEPLOYMENTS, PODDISRUPTIONBUDGETS, PODS, REPLICASETS, REPLICATIONCONTROLLERS, STATEFULSETS,
};
use timonier_meta::{Duration, GroupVersionResource, ObjectKey};
use timonier_object::{Value, label_selector};
use timonier_reconcile::{Change, Context, Plan, Reconciler, World, Write};

use crate::common::conditions::{self, Condition};
use crate::common::intstr::scaled;
use crate::common::pods;

/// An evicted pod counts as gone for so long, even if its deletion is not observed.
const DELETION_TIMEOUT: Duration = Duration::from_secs(120);

/// The controller of the status of PodDisruptionBudgets.
pub struct PodDisruptionBudgets;

impl Reconciler for PodDisruptionBudgets {
    fn name(&self) -> &'static str {
        "disruption-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![
            PODDISRUPTIONBUDGETS,
            PODS,
            REPLICASETS,
            DEPLOYMENTS,
            STATEFULSETS,
            REPLICATIONCONTROLLERS,
        ]
    }

    fn concerns(&self, change: &Change, world: &World) -> Vec<ObjectKey> {
        if change.is(&PODDISRUPTIONBUDGETS) {
            return vec![change.key.clone()];
        }
        let budgets = world.table(&PODDISRUPTIONBUDGETS).in_namespace(&change.key.namespace);
        if change.is(&PODS) {
            let states: Vec<_> = change.states().collect();
            let touched = budgets.filter(|b| states.iter().any(|p| selects(b, p)));
            return touched.map(|b| b.key()).collect();
        }
        let scale = |o: &Option<Arc<Value>>| o.as_ref().map(|o| o.at("spec.replicas").int_or(1));
        if scale(&change.old) == scale(&change.new) {
            return Vec::new();
        }
        budgets.map(|b| b.key()).collect()
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        let Some(budget) = world.get(&PODDISRUPTIONBUDGETS, key) else { return Plan::nothing() };
        let selected: Vec<Arc<Value>> = world
            .table(&PODS)
            .in_namespace(&key.namespace)
            .filter(|p| selects(budget, p) && !pods::is_terminal(p))
            .cloned()
            .collect();
        let mut plan = Plan::nothing();
        let (expected, desired) = wanted(budget, &selected, world);
        let disrupted = disrupted(budget, &selected, context, &mut plan);
        let healthy = selected
            .iter()
            .filter(|p| !p.is_deleting() && !disrupted.contains_key(p.name()) && pods::is_ready(p))
            .count() as i64;
        let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
        let mut changed = Value::clone(budget);
        let status = changed.entry("status");
        status.set("observedGeneration", budget.generation());
        status.set("disruptionsAllowed", allowed);
        status.set("currentHealthy", healthy);
        status.set("desiredHealthy", desired);
        status.set("expectedPods", expected);
        match disrupted.is_empty() {
            true => drop(status.make_object().remove("disruptedPods")),
            false => status.set("disruptedPods", disrupted.into_iter().collect::<Value>()),
        }
        let (state, reason) =
            if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
        let condition = Condition { kind: "DisruptionAllowed", status: state, reason, message: "" };
        let list = status.entry("conditions");
        if conditions::set(list, condition, context.now) {
            let mine = list.make_array().iter_mut().find(|c| c.at("type").str() == condition.kind);
            mine.into_iter().for_each(|c| c.set("observedGeneration", budget.generation()));
        }
        if changed.at("status") != budget.at("status") {
            plan.writes.push(Write::update_status(&PODDISRUPTIONBUDGETS, changed));
        }
        plan
    }
}

/// An empty selector selects all pods of the namespace, a null one none.
fn selects(budget: &Value, pod: &Value) -> bool {
    label_selector(budget.at("spec.selector")).is_ok_and(|s| s.matches(|k| pod.label(k)))
}

/// How many pods there should be, and how many of them healthy.
fn wanted(budget: &Value, selected: &[Arc<Value>], world: &World) -> (i64, i64) {
    let (most, least) = (budget.at("spec.maxUnavailable"), budget.at("spec.minAvailable"));
    if !most.is_null() {
        let expected = expected(selected, world);
        return (expected, (expected - scaled(most, expected, true, 0)).max(0));
    }
    if let Some(least) = least.as_i64() {
        return (selected.len() as i64, least);
    }
    let expected = expected(selected, world);
    (expected, scaled(least, expected, true, 0))
}

/// The sum of what the pods' controllers want.
fn expected(selected: &[Arc<Value>], world: &World) -> i64 {
    let mut scales: BTreeMap<SmolStr, i64> = BTreeMap::new();
    let mut alone = 0;
    for pod in selected {
        let Some(owner) = pod.controller() else {
            alone += 1;
            continue;
        };
        let Some((_, mut top)) = world.by_uid(&owner.uid) else { continue };
        if let Some(above) = top.controller()
            && let Some((_, deployment)) = world.by_uid(&above.uid)
        {
            top = deployment;
        }
        if let Some(replicas) = top.at("spec.replicas").as_i64() {
            scales.insert(top.uid().into(), replicas);
        }
    }
    scales.values().sum::<i64>() + alone
}

/// Pods that an eviction has taken and that are still there.
fn disrupted(
    budget: &Value,
    selected: &[Arc<Value>],
    context: &Context<'_>,
    plan: &mut Plan,
) -> BTreeMap<SmolStr, Value> {
    let mut out = BTreeMap::new();
    for (name, at) in budget.at("status.disruptedPods").entries() {
        let there = selected.iter().any(|p| p.name() == name && !p.is_deleting());
        let Some(time) = at.as_str().and_then(timonier_meta::Time::parse) else { continue };
        let until = time + DELETION_TIMEOUT;
        if there && until > context.now {
            plan.requeue(until);
            out.insert(name.into(), at.clone());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;
    use crate::common::testing::{body, object, plan, pod, world};

    fn status(spec: Value, ready: usize, unready: usize) -> Value {
        let set = object(
            r#"{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"name":"web","namespace":"ns",
                "uid":"uid-web"},"spec":{"replicas":4}}"#,
        );
        let mut spec = spec;
        spec.set("selector", value!({ "matchLabels": { "a": "b" } }));
        let budget = value!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": { "name": "pdb", "namespace": "ns", "generation": 1 }, "spec": spec });
        let pods = (0..ready + unready)
            .map(|n| pod(&alloc::format!("p{n}"), &set, value!({ "a": "b" }), n < ready));
        let world = world([budget, set.clone()].into_iter().chain(pods));
        body(&plan(&PodDisruptionBudgets, &world, "pdb"), &PODDISRUPTIONBUDGETS)
            .at("status")
            .clone()
    }

    #[test]
    fn budgets_count_what_is_wanted_and_what_is_healthy() {
        let of = |s: &Value| {
            let n = |f: &str| s.at(f).int_or(-1);
            (n("expectedPods"), n("desiredHealthy"), n("currentHealthy"), n("disruptionsAllowed"))
        };
        assert_eq!(of(&status(value!({ "maxUnavailable": 1 }), 4, 0)), (4, 3, 4, 1));
        assert_eq!(of(&status(value!({ "maxUnavailable": "50%" }), 3, 1)), (4, 2, 3, 1));
        assert_eq!(of(&status(value!({ "minAvailable": 2 }), 2, 1)), (3, 2, 2, 0));
        assert_eq!(of(&status(value!({ "minAvailable": "75%" }), 4, 0)), (4, 3, 4, 1));
        let none = status(value!({ "minAvailable": 1 }), 0, 0);
        assert_eq!(of(&none), (0, 1, 0, 0));
        let condition = &none.at("conditions").items()[0];
        assert_eq!(condition.at("reason").str(), "InsufficientPods");
    }
}
