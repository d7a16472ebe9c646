//! What must hold at every write.

use std::collections::BTreeMap;
use std::sync::Arc;

use smol_str::SmolStr;
use timonier_controllers::{hash, pods};
use timonier_meta::gvk::resources::{NODES, PODS, REPLICASETS};
use timonier_meta::{Duration, GroupResource, ObjectKey, Quantity, Time};
use timonier_object::Value;

/// A controller may still act on what was wanted so long ago: a watch is late, requests are slow.
const STALE: Duration = Duration::from_secs(90);
/// More are not kept: one is enough.
const MAX_VIOLATIONS: usize = 5;
/// More writes than any run needs: somebody writes without end, and without time passing.
const MAX_WRITES: u64 = 20_000;

type Tables = BTreeMap<GroupResource, BTreeMap<ObjectKey, Arc<Value>>>;

/// What is remembered for the checks, and what they found.
#[derive(Default)]
pub struct Checks {
    pub violations: Vec<String>,
    pub writes: u64,
    /// Writes to leases and events.
    pub background: u64,
    /// By uid: the most pods that were wanted at once, by the time until which that held.
    bounds: BTreeMap<SmolStr, Vec<(Time, i64)>>,
    /// By the uid of a Job: the pods made for it.
    made: BTreeMap<SmolStr, i64>,
}

impl Checks {
    /// Whether the run is to end: after a violation nothing more is written.
    pub fn is_halted(&self) -> bool {
        !self.violations.is_empty()
    }

    pub fn on_write(
        &mut self,
        resource: &GroupResource,
        old: Option<&Value>,
        new: Option<&Arc<Value>>,
        tables: &Tables,
        now: Time,
    ) {
        self.writes += 1;
        self.background += u64::from(matches!(&*resource.resource, "leases" | "events"));
        if self.writes == MAX_WRITES {
            self.violations
                .push(format!("{now}: more than {MAX_WRITES} writes, to {resource} last"));
        }
        let Some(new) = new else { return };
        let found = match &*resource.resource {
            "pods" if old.is_none() => self.pod_made(new, tables, now),
            "pods" => self.pod_changed(old, new, tables),
            "replicasets" => self.replica_set(old, new, tables, now),
            "deployments" => {
                let surge = surge(new);
                self.note(new, new.at("spec.replicas").int_or(1) + surge, now);
                Vec::new()
            }
            "jobs" => self.job(old, new),
            _ => Vec::new(),
        };
        for text in found {
            if self.violations.len() < MAX_VIOLATIONS {
                self.violations.push(format!("{now} revision {}: {text}", new.revision()));
            }
        }
    }

    /// Remembers a bound; the one before holds until now.
    fn note(&mut self, object: &Value, bound: i64, now: Time) {
        let history = self.bounds.entry(object.uid().into()).or_default();
        if history.last().is_some_and(|(_, last)| *last == bound) {
            return;
        }
        if let Some((until, _)) = history.last_mut() {
            *until = now;
        }
        history.push((Time(i64::MAX), bound));
    }

    /// The highest bound that a controller may still believe in.
    fn bound(&self, uid: &str, now: Time) -> Option<i64> {
        let history = self.bounds.get(uid)?;
        history.iter().filter(|(until, _)| *until >= now - STALE).map(|(_, bound)| *bound).max()
    }

    fn pod_made(&mut self, pod: &Value, tables: &Tables, now: Time) -> Vec<String> {
        let Some(owner) = pod.controller() else { return Vec::new() };
        let siblings = || {
            tables[&PODS.group_resource()].values().filter(|p| {
                pods::is_active(p) && p.controller().is_some_and(|o| o.uid == owner.uid)
            })
        };
        match &*owner.kind {
            "ReplicaSet" => {
                let (count, bound) = (siblings().count() as i64, self.bound(&owner.uid, now));
                if bound.is_some_and(|b| count > b) {
                    return vec![format!(
                        "ReplicaSet {} has {count} active pods where {bound:?} were wanted",
                        owner.name
                    )];
                }
            }
            "DaemonSet" => {
                let node = target(pod);
                let count = siblings().filter(|p| target(p) == node).count();
                if count > 1 {
                    return vec![format!("DaemonSet {} has {count} pods for {node}", owner.name)];
                }
            }
            "Job" => *self.made.entry(owner.uid).or_insert(0) += 1,
            _ => {}
        }
        Vec::new()
    }

    fn pod_changed(&self, old: Option<&Value>, pod: &Value, tables: &Tables) -> Vec<String> {
        let Some(old) = old else { return Vec::new() };
        let mut found = Vec::new();
        if let (Some(before), Some(after)) = (old.controller(), pod.controller())
            && before.uid != after.uid
        {
            found.push(format!("pod {} went from {} to {}", pod.key(), before.name, after.name));
        }
        let node = pod.at("spec.nodeName").str();
        if old.at("spec.nodeName").is_empty() && !node.is_empty() {
            found.extend(over_committed(node, tables));
        }
        if old.at("spec.nodeName").str() != node && !old.at("spec.nodeName").is_empty() {
            found.push(format!("pod {} moved from one node to another", pod.key()));
        }
        found
    }

    fn replica_set(
        &mut self,
        old: Option<&Value>,
        set: &Value,
        tables: &Tables,
        now: Time,
    ) -> Vec<String> {
        let replicas = |s: &Value| s.at("spec.replicas").int_or(1);
        self.note(set, replicas(set), now);
        let mut found = Vec::new();
        if set.owners().iter().filter(|o| o.controller).count() > 1 {
            found.push(format!("ReplicaSet {} has two controllers", set.key()));
        }
        let Some(owner) = set.controller() else { return found };
        let all = &tables[&REPLICASETS.group_resource()];
        let siblings =
            || all.values().filter(|s| s.controller().is_some_and(|o| o.uid == owner.uid));
        let grew = old.is_none_or(|old| replicas(set) > replicas(old));
        let total: i64 = siblings().map(|s| replicas(s)).sum();
        let bound = self.bound(&owner.uid, now);
        if grew && bound.is_some_and(|b| total > b) {
            found.push(format!(
                "Deployment {} has {total} replicas over all where {bound:?} were allowed",
                owner.name
            ));
        }
        if old.is_none() {
            let template = plain_template(set);
            let same = siblings().filter(|s| plain_template(s) == template).count();
            if same > 1 {
                found.push(format!("Deployment {} has {same} sets of one template", owner.name));
            }
        }
        found
    }

    fn job(&self, old: Option<&Value>, job: &Value) -> Vec<String> {
        let count = |j: &Value, f: &str| j.at("status").at(f).int_or(0);
        let mut found = Vec::new();
        let total = count(job, "succeeded") + count(job, "failed");
        let made = self.made.get(job.uid()).copied().unwrap_or(0);
        if total > made {
            found.push(format!("Job {} counted {total} pods, and made {made}", job.key()));
        }
        if old.is_some_and(|old| {
            count(job, "succeeded") < count(old, "succeeded")
                || count(job, "failed") < count(old, "failed")
        }) {
            found.push(format!("Job {} lost count", job.key()));
        }
        found
    }
}

fn surge(deployment: &Value) -> i64 {
    let surge = deployment.at("spec.strategy.rollingUpdate.maxSurge").int_or(0);
    if deployment.at("spec.strategy.type").str() == "Recreate" { 0 } else { surge }
}

fn plain_template(set: &Value) -> Value {
    let mut template = set.at("spec.template").clone();
    if let Some(labels) = template.find_mut("metadata.labels") {
        labels.make_object().remove("pod-template-hash");
    }
    hash::canonical(&template)
}

/// The node that a DaemonSet's pod is for.
fn target(pod: &Value) -> SmolStr {
    let path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution";
    let terms = pod.at(path).at("nodeSelectorTerms").items();
    let fields = terms.iter().flat_map(|t| t.at("matchFields").items());
    fields.flat_map(|f| f.at("values").items()).map(Value::smol).next().unwrap_or_default()
}

/// Whether more is promised on a node than it has.
fn over_committed(node: &str, tables: &Tables) -> Option<String> {
    let stored = tables[&NODES.group_resource()].get(&ObjectKey::new("", node))?;
    let millis = |v: &Value| Quantity::parse(v.str()).map_or(0, |q| q.milli_value());
    let here = || {
        tables[&PODS.group_resource()]
            .values()
            .filter(|p| p.at("spec.nodeName").str() == node && !pods::is_terminal(p))
    };
    let wanted: i64 = here()
        .flat_map(|p| p.at("spec.containers").items())
        .map(|c| millis(c.at("resources.requests.cpu")))
        .sum();
    let has = millis(stored.at("status.allocatable.cpu"));
    let (count, most) =
        (here().count() as i64, millis(stored.at("status.allocatable.pods")) / 1000);
    (wanted > has || count > most).then(|| {
        format!("node {node} has {has}m and room for {most} pods: {wanted}m in {count} pods bound")
    })
}
