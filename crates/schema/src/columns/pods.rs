//! Pods and pod templates.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::Time;
use timonier_object::Value;

use super::cells::{self, NONE};
use super::{Column, age, text, wide};

/// The columns after the name.
pub(super) fn columns(key: (&str, &str)) -> Option<Vec<Column>> {
    Some(match key {
        ("", "pods") => vec![
            text("Ready", |o, _| ready(o)),
            text("Status", |o, _| status(o).into()),
            text("Restarts", restarts),
            age(),
            wide(text("IP", |o, _| cells::str_or_none(o, "status.podIP"))),
            wide(text("Node", |o, _| cells::str_or_none(o, "spec.nodeName"))),
            wide(text("Nominated Node", |o, _| cells::str_or_none(o, "status.nominatedNodeName"))),
            wide(text("Readiness Gates", |o, _| gates(o))),
        ],
        ("", "podtemplates") => vec![
            text("Containers", |o, _| cells::join(o.at("template.spec.containers"), "name").into()),
            text("Images", |o, _| cells::join(o.at("template.spec.containers"), "image").into()),
            text("Pod Labels", |o, _| cells::pairs(o.at("template.metadata.labels"))),
        ],
        _ => return None,
    })
}

/// Whether an init container goes on beside the others.
fn is_sidecar(pod: &Value, name: &str) -> bool {
    pod.at("spec.initContainers")
        .items()
        .iter()
        .any(|c| c.at("name").str() == name && c.at("restartPolicy").str() == "Always")
}

fn ready(pod: &Value) -> Value {
    let mut total = pod.at("spec.containers").items().len();
    let mut ready = 0;
    for s in pod.at("status.initContainerStatuses").items() {
        if is_sidecar(pod, s.at("name").str()) {
            total += 1;
            ready += usize::from(s.at("started").bool() && s.at("ready").bool());
        }
    }
    for s in pod.at("status.containerStatuses").items() {
        let running = !s.at("state.running").is_null();
        ready += usize::from(s.at("ready").bool() && running);
    }
    format!("{ready}/{total}").into()
}

/// The one word that tells how a pod is: its phase, or what keeps it from running.
fn status(pod: &Value) -> String {
    let phase = pod.at("status.phase").str();
    let mut reason = match pod.at("status.reason").str() {
        "" => phase,
        reason => reason,
    }
    .to_string();
    if let Some(c) = pod.condition("PodScheduled")
        && c.at("reason").str() == "SchedulingGated"
    {
        reason = "SchedulingGated".into();
    }
    let initializing = init_status(pod);
    match initializing {
        Some(init) if !pod.condition_is_true("Initialized") => reason = init,
        _ => reason = container_status(pod, reason),
    }
    if pod.is_deleting() {
        if pod.at("status.reason").str() == "NodeLost" {
            return "Unknown".into();
        }
        if phase != "Succeeded" && phase != "Failed" {
            return "Terminating".into();
        }
    }
    reason
}

/// What the init containers hold the pod up with; `None` once they are through.
fn init_status(pod: &Value) -> Option<String> {
    let total = pod.at("spec.initContainers").items().len();
    for (i, s) in pod.at("status.initContainerStatuses").items().iter().enumerate() {
        let (terminated, waiting) = (s.at("state.terminated"), s.at("state.waiting"));
        if !terminated.is_null() && terminated.at("exitCode").int_or(-1) == 0
            || is_sidecar(pod, s.at("name").str()) && s.at("started").bool()
        {
            continue;
        }
        let waiting_for = waiting.at("reason").str();
        return Some(if !terminated.is_null() {
            format!("Init:{}", exit_reason(terminated))
        } else if !waiting_for.is_empty() && waiting_for != "PodInitializing" {
            format!("Init:{waiting_for}")
        } else {
            format!("Init:{i}/{total}")
        });
    }
    None
}

fn exit_reason(terminated: &Value) -> String {
    match (terminated.at("reason").str(), terminated.at("signal").int_or(0)) {
        ("", 0) => format!("ExitCode:{}", terminated.at("exitCode").int_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_string(),
    }
}

fn container_status(pod: &Value, phase: String) -> String {
    let mut reason = phase;
    let mut running = false;
    for s in pod.at("status.containerStatuses").items().iter().rev() {
        let (terminated, waiting) = (s.at("state.terminated"), s.at("state.waiting"));
        if !waiting.at("reason").str().is_empty() {
            reason = waiting.at("reason").str().into();
        } else if !terminated.is_null() {
            reason = exit_reason(terminated);
        } else if s.at("ready").bool() && !s.at("state.running").is_null() {
            running = true;
        }
    }
    if reason == "Completed" && running {
        let ready = pod.condition_is_true("Ready");
        reason = if ready { "Running" } else { "NotReady" }.into();
    }
    reason
}

fn restarts(pod: &Value, now: Time) -> Value {
    let mut count = 0;
    let mut last: Option<Time> = None;
    let mut add = |s: &Value| {
        count += s.at("restartCount").int_or(0);
        last = last.max(s.time("lastState.terminated.finishedAt"));
    };
    let initializing = init_status(pod).is_some() && !pod.condition_is_true("Initialized");
    for s in pod.at("status.initContainerStatuses").items() {
        if initializing || is_sidecar(pod, s.at("name").str()) {
            add(s);
        }
    }
    if !initializing {
        pod.at("status.containerStatuses").items().iter().for_each(add);
    }
    match last {
        Some(time) if count > 0 => {
            format!("{count} ({} ago)", cells::human_duration(now - time)).into()
        }
        _ => format!("{count}").into(),
    }
}

fn gates(pod: &Value) -> Value {
    let gates = pod.at("spec.readinessGates").items();
    if gates.is_empty() {
        return NONE.into();
    }
    let met = gates.iter().filter(|g| pod.condition_is_true(g.at("conditionType").str())).count();
    format!("{met}/{}", gates.len()).into()
}

#[cfg(test)]
mod tests {
    use timonier_meta::gvk::resources::PODS;
    use timonier_object::{Value, value};

    use crate::columns::tests::row;

    fn pod(status: Value) -> Value {
        value!({
            "metadata": { "name": "p", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "nodeName": "n", "containers": [{ "name": "a" }], "initContainers": [{ "name": "i" }] },
            "status": status,
        })
    }

    #[test]
    fn the_status_says_what_holds_a_pod_up() {
        for (status, expected) in [
            (value!({ "phase": "Pending" }), "p|0/1|Pending|0|10m|<none>|n|<none>|<none>"),
            (
                value!({ "phase": "Pending", "initContainerStatuses": [{ "name": "i", "state": { "running": {} } }] }),
                "p|0/1|Init:0/1|0|10m|<none>|n|<none>|<none>",
            ),
            (
                value!({ "phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [{ "name": "a", "ready": true, "restartCount": 2,
                    "state": { "running": {} }, "lastState": { "terminated": { "finishedAt": "2026-01-01T00:09:00Z" } } }] }),
                "p|1/1|Running|2 (60s ago)|10m|10.0.0.1|n|<none>|<none>",
            ),
            (
                value!({ "phase": "Running", "containerStatuses": [{ "name": "a", "restartCount": 1, "state": { "waiting": { "reason": "CrashLoopBackOff" } } }] }),
                "p|0/1|CrashLoopBackOff|1|10m|<none>|n|<none>|<none>",
            ),
            (
                value!({ "phase": "Failed", "containerStatuses": [{ "name": "a", "state": { "terminated": { "exitCode": 3 } } }] }),
                "p|0/1|ExitCode:3|0|10m|<none>|n|<none>|<none>",
            ),
        ] {
            assert_eq!(row(&PODS, &pod(status)), expected);
        }
        let mut deleting = pod(value!({ "phase": "Running" }));
        deleting.set("metadata.deletionTimestamp", "2026-01-01T00:00:00Z");
        assert!(row(&PODS, &deleting).contains("|Terminating|"));
    }
}
