//! Which nodes suit a DaemonSet, and the pods for them.

use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::Selector;
use timonier_object::{Value, node_requirement, value};

use crate::common::pods;
use crate::common::revisions::HASH_LABEL;
use crate::common::taints::{self, untolerated};

/// The annotation of DaemonSets from before revisions.
const GENERATION: &str = "deprecated.daemonset.template.generation";
const GENERATION_LABEL: &str = "pod-template-generation";

/// Whether a pod of the set may start on a node, and whether one there may stay.
pub struct Fit {
    pub run: bool,
    pub keep: bool,
}

/// Whether a node suits a set: its name, labels and taints.
pub fn fits(set: &Value, node: &Value) -> Fit {
    let spec = set.at("spec.template.spec");
    let name = spec.at("nodeName").str();
    if !name.is_empty() && name != node.name() || !selected(spec, node) {
        return Fit { run: false, keep: false };
    }
    let mut tolerations = spec.at("tolerations").items().to_vec();
    tolerations.extend(daemon_tolerations(spec));
    let taints = node.at("spec.taints").items();
    if untolerated(taints, &tolerations, &["NoSchedule", "NoExecute"]).is_none() {
        return Fit { run: true, keep: true };
    }
    Fit { run: false, keep: untolerated(taints, &tolerations, &["NoExecute"]).is_none() }
}

/// What of a node matters here; a change of anything else is none.
pub fn facts(node: &Value) -> (Value, Value, bool) {
    let labels = node.at("metadata.labels").clone();
    (labels, node.at("spec.taints").clone(), node.at("spec.unschedulable").bool())
}

/// The node that a pod of a set is for: bound, or by its affinity.
pub fn node_of(pod: &Value) -> SmolStr {
    let bound = pod.at("spec.nodeName").smol();
    if !bound.is_empty() {
        return bound;
    }
    let terms = required(pod.at("spec"));
    let fields = terms.iter().flat_map(|t| t.at("matchFields").items());
    fields
        .filter(|f| f.at("key").str() == "metadata.name" && f.at("operator").str() == "In")
        .find_map(|f| f.at("values").items().first().map(Value::smol))
        .unwrap_or_default()
}

/// The pod of a set for a node; the scheduler binds it there by its affinity.
pub fn pod_for(set: &Value, hash: &str, node: &str) -> Value {
    let mut pod = pods::from_template(set.at("spec.template"), set);
    let extra = daemon_tolerations(pod.at("spec"));
    let tolerations = pod.entry("spec.tolerations").make_array();
    for toleration in extra {
        let same = |t: &Value| {
            t.at("key") == toleration.at("key") && t.at("effect") == toleration.at("effect")
        };
        match tolerations.iter_mut().find(|t| same(t)) {
            Some(old) => *old = toleration,
            None => tolerations.push(toleration),
        }
    }
    let terms = value!([{ "matchFields": [
        { "key": "metadata.name", "operator": "In", "values": [node] },
    ] }]);
    let path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution";
    pod.set(path, value!({ "nodeSelectorTerms": terms }));
    let labels = pod.entry("metadata.labels").make_object();
    labels.insert(HASH_LABEL, hash.into());
    if let Some(generation) = set.annotation(GENERATION) {
        labels.insert(GENERATION_LABEL, generation.into());
    }
    pod
}

/// What every pod of a DaemonSet tolerates.
fn daemon_tolerations(spec: &Value) -> Vec<Value> {
    let mut list = alloc::vec![
        (taints::NOT_READY, "NoExecute"),
        (taints::UNREACHABLE, "NoExecute"),
        (taints::DISK_PRESSURE, "NoSchedule"),
        (taints::MEMORY_PRESSURE, "NoSchedule"),
        (taints::PID_PRESSURE, "NoSchedule"),
        (taints::UNSCHEDULABLE, "NoSchedule"),
    ];
    if spec.at("hostNetwork").bool() {
        list.push((taints::NETWORK_UNAVAILABLE, "NoSchedule"));
    }
    let toleration = |(key, effect): (&str, &str)| value!({ "key": key, "operator": "Exists", "effect": effect });
    list.into_iter().map(toleration).collect()
}

fn required(spec: &Value) -> &[Value] {
    let affinity = spec.at("affinity.nodeAffinity");
    affinity.at("requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms").items()
}

/// `nodeSelector` and the required node affinity.
fn selected(spec: &Value, node: &Value) -> bool {
    let pairs = spec.at("nodeSelector").entries().map(|(k, v)| (k, v.str()));
    if !Selector::of_pairs(pairs).matches(|k| node.label(k)) {
        return false;
    }
    let stated = spec.find("affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");
    stated.is_none_or(Value::is_null) || required(spec).iter().any(|term| term_matches(term, node))
}

/// A term without any requirement matches nothing.
fn term_matches(term: &Value, node: &Value) -> bool {
    let (labels, fields) = (term.at("matchExpressions").items(), term.at("matchFields").items());
    if labels.is_empty() && fields.is_empty() {
        return false;
    }
    let name = |k: &str| (k == "metadata.name").then(|| node.name());
    labels.iter().all(|e| node_requirement(e).is_some_and(|r| r.matches(&|k| node.label(k))))
        && fields.iter().all(|e| node_requirement(e).is_some_and(|r| r.matches(&name)))
}
