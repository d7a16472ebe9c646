//! Pods: who makes them, where they go, and how they end.

use smol_str::SmolStr;
use timonier_controllers::pods;
use timonier_meta::gvk::resources::{NODES, PODS};
use timonier_meta::{ObjectKey, Quantity};
use timonier_object::Value;

use super::{Checks, STALE, Write};

impl Checks {
    pub(super) fn pod(&mut self, write: &Write<'_>) -> Vec<String> {
        self.note_gone(write);
        let mut found = match (write.old, write.new) {
            (None, Some(pod)) => self.pod_made(write, pod),
            (Some(old), Some(pod)) => self.pod_changed(write, old, pod),
            _ => Vec::new(),
        };
        found.extend(self.job_pod(write));
        found
    }

    pub(super) fn node(&mut self, write: &Write<'_>) -> Vec<String> {
        self.note_gone(write);
        let name = write.new.or(write.old).map(|n| SmolStr::new(n.name())).unwrap_or_default();
        match write.new.is_some_and(|n| n.at("spec.unschedulable").bool()) {
            true => drop(self.cordoned.entry(name).or_insert(write.now)),
            false => drop(self.cordoned.remove(&name)),
        }
        Vec::new()
    }

    fn pod_made(&mut self, write: &Write<'_>, pod: &Value) -> Vec<String> {
        let Some(owner) = pod.controller() else { return Vec::new() };
        let active = || write.pods_of(&owner.uid).filter(|p| pods::is_active(p));
        match &*owner.kind {
            "ReplicaSet" => {
                let bound = self.most.get(&owner.uid).and_then(|h| h.most(write.now));
                let count = active().count() as i64;
                if bound.is_some_and(|b| count > b) {
                    return vec![format!(
                        "ReplicaSet {} has {count} active pods where {bound:?} were wanted",
                        owner.name
                    )];
                }
                Vec::new()
            }
            "DaemonSet" => {
                let node = target(pod);
                let count = active().filter(|p| target(p) == node).count();
                if count > 1 {
                    return vec![format!("DaemonSet {} has {count} pods for {node}", owner.name)];
                }
                Vec::new()
            }
            "StatefulSet" => self.stateful_pod(write, pod, &owner),
            _ => Vec::new(),
        }
    }

    fn pod_changed(&self, write: &Write<'_>, old: &Value, pod: &Value) -> Vec<String> {
        let mut found = Vec::new();
        let key = pod.key();
        if let (Some(before), Some(after)) = (old.controller(), pod.controller())
            && before.uid != after.uid
        {
            found.push(format!("pod {key} went from {} to {}", before.name, after.name));
        }
        let (before, node) = (old.at("spec.nodeName").str(), pod.at("spec.nodeName").str());
        if before.is_empty() && !node.is_empty() {
            found.extend(over_committed(node, write));
            found.extend(self.unwelcome(write, pod, node));
        } else if before != node {
            found.push(format!("pod {key} moved from {before} to {node}"));
        }
        let (was, is) = (old.at("status.phase").str(), pod.at("status.phase").str());
        if pods::is_terminal(old) && was != is {
            found.push(format!("pod {key} went from {was} to {is}"));
        }
        found
    }

    /// A pod bound to a node that is not there, or that has taken none for a while.
    fn unwelcome(&self, write: &Write<'_>, pod: &Value, node: &str) -> Option<String> {
        if !self.was_there(write, &NODES, &ObjectKey::new("", node)) {
            return Some(format!("pod {} was bound to {node}, which is not there", pod.key()));
        }
        let daemon = pod.controller().is_some_and(|o| o.kind == "DaemonSet");
        let closed = self.cordoned.get(node).is_some_and(|since| *since < write.now - STALE);
        (closed && !daemon).then(|| format!("pod {} was bound to the closed {node}", pod.key()))
    }
}

/// The node that a DaemonSet's pod is for.
fn target(pod: &Value) -> SmolStr {
    let path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution";
    let terms = pod.at(path).at("nodeSelectorTerms").items();
    let fields = terms.iter().flat_map(|t| t.at("matchFields").items());
    fields.flat_map(|f| f.at("values").items()).map(Value::smol).next().unwrap_or_default()
}

/// Whether more is promised on a node than it has.
fn over_committed(node: &str, write: &Write<'_>) -> Option<String> {
    let stored = write.find(&NODES, "", node)?;
    let millis = |v: &Value| Quantity::parse(v.str()).map_or(0, |q| q.milli_value());
    let here = || {
        write.all(&PODS).filter(|p| p.at("spec.nodeName").str() == node && !pods::is_terminal(p))
    };
    let sum = |name: &str| -> i64 {
        let requests = here().flat_map(|p| p.at("spec.containers").items());
        requests.map(|c| millis(c.at("resources.requests").at(name))).sum()
    };
    let has = |name: &str| millis(stored.at("status.allocatable").at(name));
    let (cpu, memory, count) = (sum("cpu"), sum("memory"), here().count() as i64);
    let over = cpu > has("cpu") || memory > has("memory") || count * 1000 > has("pods");
    over.then(|| format!("node {node} got more than it has: {cpu}m, {memory}m bytes, {count} pods"))
}
