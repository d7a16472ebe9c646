//! The status of a pod, as upstream's kubelet writes it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::Time;
use timonier_object::{Value, value};

use crate::conditions;
use crate::container_status::{Context, container_status, mark_lost};
use crate::downward::NodeFacts;
use crate::life::{self, Life};
use crate::memory::{Cause, Memory, Step};
use crate::observed::{Observed, State};
use crate::plan::Stage;
use crate::spec::{self, RestartPolicy, Role};

/// The whole `status` of a pod. `stage` is that of the plan made from the same input.
pub fn status(
    pod: &Value,
    observed: &Observed,
    memory: &Memory,
    node: &NodeFacts,
    stage: Stage,
    now: Time,
) -> Value {
    let ctx = Context { pod, observed, memory, runtime_name: &node.runtime_name };
    let of = |list: Vec<spec::ContainerSpec<'_>>| -> Vec<Value> {
        list.iter().map(|c| container_status(&ctx, c)).collect()
    };
    let mut init = of(spec::init_containers(pod));
    let mut main = of(spec::main_containers(pod));
    main.sort_by(|a, b| a.at("name").str().cmp(b.at("name").str()));
    let ephemeral = of(spec::ephemeral_containers(pod));
    let old = pod.at("status");
    let over = matches!(stage, Stage::Terminated | Stage::Forgotten);
    if over {
        settle(pod, observed, &mut init, &mut main);
    }
    let phase = settled_phase(pod, observed, memory, &init, &main, over);
    let mut out = value!({ "observedGeneration": (pod.generation()) });
    if pod.generation() == 0 {
        out.remove("observedGeneration");
    }
    out.set("phase", phase);
    let ips = pod_ips(pod, observed, node);
    // A sandbox that was made beside volumes that failed is not ready for containers.
    let held = matches!(memory.volumes, Step::Failed { .. }) && observed.containers.is_empty();
    let facts = conditions::Facts {
        pod,
        phase,
        init: &init,
        main: &main,
        sandbox_ready: !held
            && observed.ready_sandbox().is_some()
            && (!ips.is_empty() || spec::host_network(pod)),
        now,
    };
    out.set("conditions", conditions::conditions(&facts));
    reason(memory, old, phase, &mut out);
    for field in ["nominatedNodeName", "resize", "resourceClaimStatuses"] {
        if let Some(kept) = old.get(field) {
            out.set(field, kept);
        }
    }
    addresses(node, &ips, &mut out);
    let started = pod.time("status.startTime").or(memory.first_seen).unwrap_or(now);
    out.set("startTime", started.rfc3339());
    if !init.is_empty() {
        out.set("initContainerStatuses", init);
    }
    out.set("containerStatuses", main);
    let class = match old.at("qosClass").str() {
        "" => crate::resources::qos(pod).as_str(),
        class => class,
    };
    out.set("qosClass", class);
    if !ephemeral.is_empty() {
        out.set("ephemeralContainerStatuses", ephemeral);
    }
    out
}

/// The pod's addresses: the sandbox's, the node's with its network, or the last known.
pub fn pod_ips(pod: &Value, observed: &Observed, node: &NodeFacts) -> Vec<SmolStr> {
    if spec::host_network(pod) && observed.sandbox().is_some() {
        return node.ips.clone();
    }
    match observed.ready_sandbox() {
        Some(sandbox) if !sandbox.ips.is_empty() => sandbox.ips.clone(),
        _ => pod.at("status.podIPs").items().iter().map(|ip| ip.at("ip").smol()).collect(),
    }
}

fn addresses(node: &NodeFacts, ips: &[SmolStr], out: &mut Value) {
    let list = |ips: &[SmolStr]| Value::array(ips.iter().map(|ip| value!({ "ip": ip })));
    if let Some(first) = node.ips.first() {
        out.set("hostIP", first);
        out.set("hostIPs", list(&node.ips));
    }
    if let Some(first) = ips.first() {
        out.set("podIP", first);
        out.set("podIPs", list(ips));
    }
}

fn reason(memory: &Memory, old: &Value, phase: &str, out: &mut Value) {
    let terminal = phase == "Failed" || phase == "Succeeded";
    let ours = memory.ending.as_ref().filter(|e| e.cause == Cause::Failed);
    let (reason, message) = match ours {
        Some(e) => (e.reason.as_str(), e.message.as_str()),
        None if terminal => (old.at("reason").str(), old.at("message").str()),
        None => return,
    };
    if !message.is_empty() {
        out.set("message", message);
    }
    if !reason.is_empty() {
        out.set("reason", reason);
    }
}

/// At the end, containers of which nothing is known count as failed: all of an initialized pod,
/// and of the init containers those before one that has run.
fn settle(pod: &Value, observed: &Observed, init: &mut [Value], main: &mut [Value]) {
    let ran = |c: &spec::ContainerSpec<'_>| !matches!(life::life(pod, observed, c), Life::New);
    let inits = spec::init_containers(pod);
    let initialized =
        inits.is_empty() || spec::main_containers(pod).iter().any(ran) || inits.iter().all(ran);
    if initialized && spec::main_containers(pod).iter().any(ran) {
        main.iter_mut().for_each(mark_lost);
    }
    let last = inits.iter().rposition(ran);
    for (i, status) in init.iter_mut().enumerate() {
        if initialized || last.is_some_and(|last| i <= last) {
            mark_lost(status);
        }
    }
}

/// The phase to publish. It goes to a terminal one only when nothing runs, and never back.
fn settled_phase(
    pod: &Value,
    observed: &Observed,
    memory: &Memory,
    init: &[Value],
    main: &[Value],
    over: bool,
) -> &'static str {
    let old = match pod.at("status.phase").str() {
        "Running" => "Running",
        "Succeeded" => "Succeeded",
        "Failed" => "Failed",
        _ => "Pending",
    };
    if old == "Succeeded" || old == "Failed" {
        return old;
    }
    let forced = memory.ending.as_ref().is_some_and(|e| e.cause == Cause::Failed);
    let mut new = if forced { "Failed" } else { phase(pod, init, main, memory.ending.is_some()) };
    let terminal = new == "Succeeded" || new == "Failed";
    if over && !terminal {
        // A pod that has ended without having run.
        new = "Failed";
    }
    let busy =
        observed.containers.iter().any(|c| matches!(c.state, State::Running | State::Created));
    if terminal && !over && (busy || memory.pending()) {
        return old;
    }
    new
}

/// Upstream `getPhase`.
fn phase(pod: &Value, init: &[Value], main: &[Value], ending: bool) -> &'static str {
    let policy = spec::pod_restart_policy(pod);
    let state = |s: &Value| s.at("state").entries().next().map(|(k, _)| SmolStr::from(k));
    let (mut pending_init, mut pending_sidecar, mut failed_init) = (0, 0, 0);
    for c in spec::init_containers(pod) {
        let Some(s) = init.iter().find(|s| s.at("name").str() == c.name()) else { continue };
        if c.role == Role::Sidecar {
            let up = s.at("state").get("running").is_some() && s.at("started").bool();
            pending_sidecar += i32::from(!up);
            continue;
        }
        let exit = |at: &str| s.at(at).get("terminated").map(|t| t.at("exitCode").int_or(0) as i32);
        let ended =
            exit("state").or_else(|| s.at("state").get("waiting").and_then(|_| exit("lastState")));
        match ended {
            Some(0) => {}
            Some(code) if spec::restarts_after(pod, &c, code) => pending_init += 1,
            Some(_) => failed_init += 1,
            None => pending_init += 1,
        }
    }
    let (mut unknown, mut running, mut waiting, mut stopped, mut succeeded) = (0, 0, 0, 0, 0);
    for s in main {
        match state(s).as_deref() {
            Some("running") => running += 1,
            Some("terminated") => {
                stopped += 1;
                succeeded += i32::from(s.at("state.terminated.exitCode").int_or(1) == 0);
            }
            Some("waiting") if s.at("lastState").get("terminated").is_some() => stopped += 1,
            Some("waiting") => waiting += 1,
            _ => unknown += 1,
        }
    }
    let begun = running + stopped > 0;
    if failed_init > 0 {
        return "Failed";
    }
    if pending_init > 0 || (pending_sidecar > 0 && !begun) || waiting > 0 || unknown > 0 {
        return "Pending";
    }
    if running > 0 {
        return "Running";
    }
    if stopped == 0 {
        return "Pending";
    }
    let verdict = if stopped == succeeded { "Succeeded" } else { "Failed" };
    if ending {
        return verdict;
    }
    match policy {
        RestartPolicy::Always => "Running",
        _ if stopped == succeeded => "Succeeded",
        RestartPolicy::Never => "Failed",
        RestartPolicy::OnFailure => "Running",
    }
}

/// The names of containers in brackets, as Go prints a list.
pub(crate) fn go_list(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}
