//! `status.conditions`, as upstream's kubelet writes them.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use timonier_meta::Time;
use timonier_object::{Value, value};

use crate::spec::{self, Role};
use crate::status::go_list;

/// The conditions that the node writes; all others belong to others and are kept.
const OURS: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// What the conditions follow from.
pub(crate) struct Facts<'a> {
    pub pod: &'a Value,
    pub phase: &'a str,
    pub init: &'a [Value],
    pub main: &'a [Value],
    pub sandbox_ready: bool,
    pub now: Time,
}

struct Verdict {
    ok: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn yes() -> Self {
        Verdict { ok: true, reason: "", message: String::new() }
    }

    fn no(reason: &'static str, message: String) -> Self {
        Verdict { ok: false, reason, message }
    }
}

/// All conditions: the node's own in upstream's order, then those of others.
pub(crate) fn conditions(f: &Facts<'_>) -> Value {
    let containers = containers_ready(f);
    let ready = ready(f, &containers);
    let sandbox = Verdict { ok: f.sandbox_ready, reason: "", message: String::new() };
    let verdicts = [sandbox, initialized(f), ready, containers, Verdict::yes()];
    let mut out: Vec<Value> =
        OURS.iter().zip(verdicts).map(|(kind, v)| condition(f, kind, &v)).collect();
    let others = f.pod.at("status.conditions").items().iter();
    out.extend(others.filter(|c| !OURS.contains(&c.at("type").str())).cloned());
    Value::array(out)
}

fn condition(f: &Facts<'_>, kind: &str, v: &Verdict) -> Value {
    let status = if v.ok { "True" } else { "False" };
    let before = f.pod.condition(kind).filter(|c| c.at("status").str() == status);
    let since = match before.and_then(|c| c.at("lastTransitionTime").as_str()) {
        Some(text) => text.to_string(),
        None => f.now.rfc3339(),
    };
    let mut out = value!({ "lastProbeTime": null, "lastTransitionTime": since });
    if !v.message.is_empty() {
        out.set("message", v.message.as_str());
    }
    if f.pod.generation() > 0 {
        out.set("observedGeneration", f.pod.generation());
    }
    if !v.reason.is_empty() {
        out.set("reason", v.reason);
    }
    out.set("status", status);
    out.set("type", kind);
    out
}

fn initialized(f: &Facts<'_>) -> Verdict {
    if f.phase == "Succeeded" {
        return Verdict { ok: true, reason: "PodCompleted", message: String::new() };
    }
    let begun = f.main.iter().any(|s| {
        s.at("state").get("running").is_some() || s.at("state").get("terminated").is_some()
    });
    let incomplete: Vec<&str> = spec::init_containers(f.pod)
        .iter()
        .filter(|c| {
            let Some(s) = f.init.iter().find(|s| s.at("name").str() == c.name()) else {
                return true;
            };
            match c.role {
                Role::Sidecar => !s.at("started").bool() && !begun,
                _ => !s.at("ready").bool(),
            }
        })
        .map(|c| c.name())
        .collect();
    if incomplete.is_empty() {
        return Verdict::yes();
    }
    let message = format!("containers with incomplete status: {}", go_list(&incomplete));
    Verdict::no("ContainersNotInitialized", message)
}

fn containers_ready(f: &Facts<'_>) -> Verdict {
    let mut unknown = Vec::new();
    let mut unready = Vec::new();
    let sidecars = spec::init_containers(f.pod);
    let sidecars = sidecars.iter().filter(|c| c.role == Role::Sidecar);
    let mains = spec::main_containers(f.pod);
    let all = sidecars.map(|c| (c.name(), f.init)).chain(mains.iter().map(|c| (c.name(), f.main)));
    for (name, statuses) in all {
        match statuses.iter().find(|s| s.at("name").str() == name) {
            None => unknown.push(name),
            Some(s) if !s.at("ready").bool() => unready.push(name),
            Some(_) => {}
        }
    }
    if f.phase == "Succeeded" && unknown.is_empty() {
        return Verdict::no("PodCompleted", String::new());
    }
    if f.phase == "Failed" {
        return Verdict::no("PodFailed", String::new());
    }
    let mut messages = Vec::new();
    if !unknown.is_empty() {
        messages.push(format!("containers with unknown status: {}", go_list(&unknown)));
    }
    if !unready.is_empty() {
        messages.push(format!("containers with unready status: {}", go_list(&unready)));
    }
    match messages.is_empty() {
        true => Verdict::yes(),
        false => Verdict::no("ContainersNotReady", messages.join(", ")),
    }
}

fn ready(f: &Facts<'_>, containers: &Verdict) -> Verdict {
    if !containers.ok {
        return Verdict::no(containers.reason, containers.message.clone());
    }
    let mut messages = Vec::new();
    for gate in f.pod.at("spec.readinessGates").items() {
        let kind = gate.at("conditionType").str();
        match f.pod.condition(kind).map(|c| c.at("status").str()) {
            None => messages.push(format!(
                "corresponding condition of pod readiness gate {kind:?} does not exist."
            )),
            Some("True") => {}
            Some(other) => messages.push(format!(
                "the status of pod readiness gate {kind:?} is not \"True\", but {other}"
            )),
        }
    }
    match messages.is_empty() {
        true => Verdict::yes(),
        false => Verdict::no("ReadinessGatesNotReady", messages.join(", ")),
    }
}
