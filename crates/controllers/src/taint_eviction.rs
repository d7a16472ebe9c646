//! Evicts pods from nodes with `NoExecute` taints that they do not tolerate, or not for longer
//! (upstream `pkg/controller/tainteviction`). Its keys are nodes.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::{NODES, PODS};
use timonier_meta::{Duration, GroupVersionResource, ObjectKey, Time};
use timonier_object::{Value, value};
use timonier_reconcile::{Change, Context, Plan, Reason, Reconciler, World, Write};

use crate::common::taints::tolerates;
use crate::common::{conditions, pods};

/// The taint eviction controller.
pub struct TaintEviction;

impl Reconciler for TaintEviction {
    fn name(&self) -> &'static str {
        "taint-eviction-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![NODES, PODS]
    }

    fn concerns(&self, change: &Change, world: &World) -> Vec<ObjectKey> {
        let key = match &change.new {
            None => return Vec::new(),
            Some(_) if change.is(&NODES) => change.key.clone(),
            Some(pod) => ObjectKey::new("", pod.at("spec.nodeName").smol()),
        };
        let tainted = world.get(&NODES, &key).is_some_and(|n| no_execute(n).next().is_some());
        if tainted { vec![key] } else { Vec::new() }
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        let Some(node) = world.get(&NODES, key) else { return Plan::nothing() };
        let taints: Vec<&Value> = no_execute(node).collect();
        let mut plan = Plan::nothing();
        if taints.is_empty() {
            return plan;
        }
        for pod in world.table(&PODS).on_node(&key.name).filter(|p| pods::is_active(p)) {
            match leaves_at(pod, &taints, context.now) {
                Some(at) if at <= context.now => plan.writes.extend(evict(pod, context.now)),
                Some(at) => plan.requeue(at),
                None => {}
            }
        }
        plan
    }
}

fn no_execute(node: &Value) -> impl Iterator<Item = &Value> {
    node.at("spec.taints").items().iter().filter(|t| t.at("effect").str() == "NoExecute")
}

/// When the pod has to leave; `None` if it may stay.
fn leaves_at(pod: &Value, taints: &[&Value], now: Time) -> Option<Time> {
    let tolerations = pod.at("spec.tolerations").items();
    let mut earliest: Option<Time> = None;
    for taint in taints {
        let since = taint.time("timeAdded").unwrap_or(now);
        let mut covered = false;
        let mut shortest: Option<i64> = None;
        for toleration in tolerations.iter().filter(|t| tolerates(t, taint)) {
            covered = true;
            if let Some(seconds) = toleration.at("tolerationSeconds").as_i64() {
                let seconds = seconds.max(0);
                shortest = Some(shortest.map_or(seconds, |s| s.min(seconds)));
            }
        }
        let at = match (covered, shortest) {
            (false, _) => Some(now),
            (true, None) => None,
            (true, Some(seconds)) => Some(since + Duration::from_secs(seconds)),
        };
        earliest = [earliest, at].into_iter().flatten().min();
    }
    earliest
}

fn evict(pod: &Value, now: Time) -> [Write; 2] {
    let mut marked = pod.clone();
    let condition = value!({
        "type": "DisruptionTarget", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": (now.rfc3339()), "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint",
    });
    conditions::put(marked.entry("status.conditions"), "DisruptionTarget", condition);
    let text = format!("Marking for deletion Pod {}/{}", pod.namespace(), pod.name());
    [
        Write::update_status(&PODS, marked),
        Write::delete(&PODS, pod).event(Reason::normal(pod, "TaintManagerEviction", text)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{events, now, object, plan_key, pod, short, world};

    #[test]
    fn pods_leave_when_their_toleration_ends() {
        let node = object(
            r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"},
                "spec":{"taints":[{"key":"node.kubernetes.io/unreachable","effect":"NoExecute",
                                   "timeAdded":"2026-01-01T00:59:00Z"}]}}"#,
        );
        let with = |name: &str, tolerations: Value| {
            let mut pod = pod(name, &node, value!({}), true);
            pod.set("spec.tolerations", tolerations);
            pod
        };
        let key = "node.kubernetes.io/unreachable";
        let world = world([
            node.clone(),
            with("none", value!([])),
            with("forever", value!([{ "operator": "Exists" }])),
            with("later", value!([{ "key": key, "operator": "Exists", "tolerationSeconds": 300 }])),
            with("due", value!([{ "key": key, "operator": "Exists", "tolerationSeconds": 60 }])),
        ]);
        let plan = plan_key(&TaintEviction, &world, &ObjectKey::new("", "n1"));
        assert_eq!(
            short(&plan),
            [
                "update-status pods due",
                "delete pods due",
                "update-status pods none",
                "delete pods none"
            ]
        );
        assert_eq!(plan.requeue_at, Some(now() + Duration::from_secs(240)));
        assert_eq!(events(&plan)[0], "TaintManagerEviction: Marking for deletion Pod ns/due");
    }
}
