//! The requests and texts of decisions, as upstream's scheduler makes them.

use alloc::format;
use alloc::vec::Vec;

use timonier_meta::Time;
use timonier_meta::gvk::resources::PODS;
use timonier_object::{Value, value};
use timonier_reconcile::{PatchKind, Reason, Write};

use crate::facts::PodFacts;
use crate::preemption::Preemption;
use crate::scheduler::{Action, Decision};

/// Binds a pod to a node.
pub fn bind(pod: &PodFacts, node: &str) -> Decision {
    let (namespace, name) = (&pod.key.namespace, &pod.key.name);
    let binding = value!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": { "namespace": namespace, "name": name, "uid": (&pod.uid) },
        "target": { "kind": "Node", "name": node },
    });
    let message = format!("Successfully assigned {namespace}/{name} to {node}");
    Decision {
        pod: pod.key.clone(),
        uid: pod.uid.clone(),
        action: Action::Bind { node: node.into(), binding },
        because: alloc::vec![Reason::normal(&pod.object, "Scheduled", message)],
    }
}

/// Sets the condition `PodScheduled` to false, and the node on which room is made; `None` where
/// the status says so already.
pub fn status(
    pod: &PodFacts,
    reason: &str,
    message: &str,
    nominated: Option<&str>,
    now: Time,
) -> Option<Write> {
    let old = pod.object.condition("PodScheduled").unwrap_or(&Value::Null);
    let same_status = old.at("status").str() == "False";
    let same_condition =
        same_status && old.at("reason").str() == reason && old.at("message").str() == message;
    let renominated = nominated.filter(|node| *node != pod.nominated);
    if same_condition && renominated.is_none() {
        return None;
    }
    let changed = match old.at("lastTransitionTime").as_str() {
        Some(time) if same_status => time.into(),
        _ => now.rfc3339(),
    };
    let mut patch = value!({ "status": { "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
        "lastProbeTime": null, "lastTransitionTime": changed,
        "observedGeneration": (pod.object.generation()),
    }] } });
    if let Some(node) = renominated {
        let node = if node.is_empty() { Value::Null } else { node.into() };
        patch.set("status.nominatedNodeName", node);
    }
    Some(Write::patch_subresource(&PODS, &pod.object, "status", PatchKind::Strategic, patch))
}

/// Takes back that room is made for a pod.
pub fn forget_nomination(pod: &PodFacts) -> Write {
    let patch = value!({ "status": { "nominatedNodeName": null } });
    Write::patch_subresource(&PODS, &pod.object, "status", PatchKind::Strategic, patch)
}

/// Deletes the pods that make room.
pub fn evict(pod: &PodFacts, room: &Preemption, scheduler: &str, now: Time) -> Vec<Write> {
    let mut writes = Vec::new();
    for victim in room.victims.iter().filter(|v| !v.deleting) {
        let condition = value!({ "status": { "conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": (format!("{scheduler}: preempting to accommodate a higher priority pod")),
            "lastProbeTime": null, "lastTransitionTime": (now.rfc3339()),
            "observedGeneration": (victim.object.generation()),
        }] } });
        let object = &victim.object;
        writes.push(Write::patch_subresource(
            &PODS,
            object,
            "status",
            PatchKind::Strategic,
            condition,
        ));
        let message = format!("Preempted by pod {} on node {}", pod.uid, room.node);
        let told = Reason::normal(object, "Preempted", message);
        writes.push(Write::delete(&PODS, object).event(told));
    }
    writes
}
