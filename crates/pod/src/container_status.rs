//! The status of one container, as upstream's kubelet writes it.

use alloc::format;
use alloc::string::String;

use timonier_meta::Time;
use timonier_object::{Value, value};

use crate::life::{LOST_EXIT_CODE, api_status};
use crate::memory::Memory;
use crate::observed::{Container, Observed, State};
use crate::spec::{self, ContainerSpec, Role};

/// Upstream's text for a container of which nothing is known at the pod's end.
pub const LOST_MESSAGE: &str = "The container could not be located when the pod was terminated";
const LOST_REASON: &str = "ContainerStatusUnknown";

/// What the status of all containers of a pod is made from.
pub(crate) struct Context<'a> {
    pub pod: &'a Value,
    pub observed: &'a Observed,
    pub memory: &'a Memory,
    pub runtime_name: &'a str,
}

/// The entry of `containerStatuses`.
pub(crate) fn container_status(ctx: &Context<'_>, c: &ContainerSpec<'_>) -> Value {
    let old = api_status(ctx.pod, c.role, c.name());
    let runs = ctx.observed.runs(c.name());
    let run = runs.first().copied();
    let (mut state, mut last) = match run {
        Some(run) => (state_of(ctx, run), last_of(ctx, runs.get(1).copied(), run, old)),
        None => without_run(ctx, c, old),
    };
    let running = state.get("running").is_some();
    let failure = ctx.memory.containers.get(c.name()).and_then(|m| m.failure.as_ref());
    if let Some(failure) = failure
        && !running
        && ctx.memory.ending.is_none()
    {
        if let Some(terminated) = state.get("terminated") {
            last = value!({ "terminated": terminated });
        }
        state = waiting(&failure.reason, &failure.message);
    }
    let (started, ready) = health(ctx, c, run, &state);
    let mut status = value!({ "name": (c.name()), "state": state, "lastState": last,
        "ready": ready, "restartCount": (restart_count(run, old)) });
    image(ctx, c, run, old, &mut status);
    status.set("started", started);
    resources(c, &mut status);
    mounts(c, &mut status);
    if let Some(user) = user(run, old) {
        status.set("user", user);
    }
    status
}

/// `{"waiting": …}`; an empty message is left out.
fn waiting(reason: &str, message: &str) -> Value {
    let mut inner = value!({ "reason": reason });
    if !message.is_empty() {
        inner = value!({ "message": message, "reason": reason });
    }
    value!({ "waiting": inner })
}

fn time(at: Option<Time>) -> Value {
    at.map_or(Value::Null, |t| Value::from(t.rfc3339()))
}

fn full_id(ctx: &Context<'_>, id: &str) -> String {
    format!("{}://{id}", ctx.runtime_name)
}

fn terminated(ctx: &Context<'_>, run: &Container) -> Value {
    let mut t = value!({ "containerID": (full_id(ctx, &run.id)), "exitCode": (run.exit_code),
        "finishedAt": (time(run.finished_at)) });
    if !run.message.is_empty() {
        t.set("message", run.message.as_str());
    }
    t.set("reason", run.end_reason());
    t.set("startedAt", time(run.started_at.or(run.finished_at)));
    t
}

fn state_of(ctx: &Context<'_>, run: &Container) -> Value {
    match run.state {
        State::Running => {
            let at = run.started_at.unwrap_or(run.created_at);
            value!({ "running": { "startedAt": (at.rfc3339()) } })
        }
        State::Created => default_waiting(ctx.pod),
        State::Exited | State::Unknown => {
            value!({ "terminated": (terminated(ctx, run)) })
        }
    }
}

fn default_waiting(pod: &Value) -> Value {
    match pod.at("spec.initContainers").items() {
        [] => waiting("ContainerCreating", ""),
        _ => waiting("PodInitializing", ""),
    }
}

/// `lastState`: the run before, or what the API knew of it.
fn last_of(ctx: &Context<'_>, before: Option<&Container>, run: &Container, old: &Value) -> Value {
    if let Some(before) = before.filter(|b| matches!(b.state, State::Exited | State::Unknown)) {
        return value!({ "terminated": (terminated(ctx, before)) });
    }
    if run.attempt == 0 {
        return Value::object();
    }
    // The record of the run before is gone.
    let same = old.at("containerID").str() == full_id(ctx, &run.id);
    let ended = old.at("state.terminated");
    match same {
        false if !ended.is_null() => value!({ "terminated": ended }),
        false if !old.at("containerID").is_empty() && old.at("lastState").is_empty() => {
            value!({ "terminated": (lost(old)) })
        }
        _ => match old.get("lastState") {
            Some(last) => last.clone(),
            None => Value::object(),
        },
    }
}

/// The state of a container that the runtime has no record of.
fn without_run(ctx: &Context<'_>, c: &ContainerSpec<'_>, old: &Value) -> (Value, Value) {
    let last = old.get("lastState").cloned().unwrap_or_else(Value::object);
    if let Some(ended) = old.at("state").get("terminated") {
        return (value!({ "terminated": ended }), last);
    }
    if old.at("containerID").str().is_empty() {
        return (default_waiting(ctx.pod), last);
    }
    let ends = ctx.memory.ending.is_some() || !spec::restarts_after(ctx.pod, c, LOST_EXIT_CODE);
    if ends {
        (value!({ "terminated": (lost(old)) }), last)
    } else if old.at("state").get("running").is_some() {
        (default_waiting(ctx.pod), value!({ "terminated": (lost(old)) }))
    } else {
        (default_waiting(ctx.pod), last)
    }
}

fn lost(old: &Value) -> Value {
    let mut t = value!({ "exitCode": (LOST_EXIT_CODE), "finishedAt": null,
        "message": LOST_MESSAGE, "reason": LOST_REASON, "startedAt": null });
    let id = old.at("containerID").str();
    if !id.is_empty() {
        t.set("containerID", id);
    }
    t
}

/// What a container's state becomes when the pod has ended and nothing is known of it.
pub(crate) fn mark_lost(status: &mut Value) {
    if status.at("state").get("terminated").is_none() {
        let t = value!({ "terminated": { "exitCode": (LOST_EXIT_CODE), "finishedAt": null,
            "message": LOST_MESSAGE, "reason": LOST_REASON, "startedAt": null } });
        status.set("state", t);
        status.set("ready", false);
        status.set("started", false);
    }
}

fn restart_count(run: Option<&Container>, old: &Value) -> i64 {
    run.map_or_else(|| old.at("restartCount").int_or(0), |r| i64::from(r.attempt))
}

/// `started` and `ready`.
fn health(
    ctx: &Context<'_>,
    c: &ContainerSpec<'_>,
    run: Option<&Container>,
    state: &Value,
) -> (bool, bool) {
    let Some(run) = run.filter(|r| r.state == State::Running) else {
        // An init container is ready once it has succeeded.
        let done = state.at("terminated.exitCode").as_i64() == Some(0);
        return (false, c.role == Role::Init && done);
    };
    let probes = ctx.memory.probes.get(&run.id);
    let in_hook = ctx.memory.starting.as_ref().is_some_and(|(n, _)| n == c.name());
    let started = !in_hook && probes.is_none_or(|p| p.started());
    let ready = started && probes.is_none_or(|p| p.ready());
    (started, ready && c.role != Role::Init)
}

fn image(
    ctx: &Context<'_>,
    c: &ContainerSpec<'_>,
    run: Option<&Container>,
    old: &Value,
    status: &mut Value,
) {
    let (image, image_id, id) = match run {
        Some(run) => (run.image.as_str(), run.image_id.as_str(), full_id(ctx, &run.id)),
        None => {
            (c.spec.at("image").str(), old.at("imageID").str(), old.at("containerID").str().into())
        }
    };
    status.set("image", image);
    status.set("imageID", image_id);
    if !id.is_empty() {
        status.set("containerID", id);
    }
}

fn resources(c: &ContainerSpec<'_>, status: &mut Value) {
    if c.role == Role::Ephemeral {
        return;
    }
    let resources = c.spec.at("resources");
    let requests = resources.at("requests");
    if !requests.is_empty() {
        status.set("allocatedResources", requests);
    }
    let shown = resources.entries().filter(|(k, v)| *k != "claims" && !v.is_empty());
    status.set("resources", shown.map(|(k, v)| (k, v.clone())).collect::<Value>());
}

fn mounts(c: &ContainerSpec<'_>, status: &mut Value) {
    let mounts = c.spec.at("volumeMounts").items();
    if mounts.is_empty() {
        return;
    }
    let shown = mounts.iter().map(|m| {
        let mut out = value!({ "mountPath": (m.at("mountPath")), "name": (m.at("name")) });
        if m.at("readOnly").bool() {
            out.set("readOnly", true);
            let recursive = match m.at("recursiveReadOnly").str() {
                "Enabled" | "IfPossible" => "Enabled",
                _ => "Disabled",
            };
            out.set("recursiveReadOnly", recursive);
        }
        out
    });
    status.set("volumeMounts", Value::array(shown));
}

fn user(run: Option<&Container>, old: &Value) -> Option<Value> {
    let Some(run) = run else { return old.get("user").cloned() };
    let (uid, gid, groups) = run.user.as_ref()?;
    Some(
        value!({ "linux": { "gid": (*gid), "supplementalGroups": (groups.clone()), "uid": (*uid) } }),
    )
}
