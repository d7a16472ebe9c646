//! Affinity to nodes and to other pods, read once.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::{Requirement, Selector};
use timonier_object::{Value, label_selector, node_requirement};

use super::{Labels, NodeFacts};

/// Something preferred, and how much.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Weighted<T> {
    pub weight: i64,
    pub what: T,
}

/// What a pod demands of a node, and what it would like.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeAffinity {
    /// `spec.nodeSelector`.
    selector: Selector,
    /// Any of these; `None` demands nothing.
    required: Option<Vec<NodeTerm>>,
    pub preferred: Vec<Weighted<NodeTerm>>,
}

/// A `NodeSelectorTerm`: all of it must hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeTerm {
    /// `None` where an operator or a number cannot be read: such a term matches nothing.
    labels: Option<Selector>,
    /// Demands on `metadata.name`.
    names: Vec<(bool, BTreeSet<SmolStr>)>,
    empty: bool,
}

impl NodeAffinity {
    /// Reads a pod's `spec`.
    pub fn read(spec: &Value) -> Self {
        let pairs = spec.at("nodeSelector").entries().map(|(k, v)| (k, v.str()));
        let affinity = spec.at("affinity.nodeAffinity");
        let required = affinity.at("requiredDuringSchedulingIgnoredDuringExecution");
        let preferred = affinity.at("preferredDuringSchedulingIgnoredDuringExecution");
        let terms = required.at("nodeSelectorTerms").items().iter().map(NodeTerm::read);
        let weighted = |p: &Value| Weighted {
            weight: p.at("weight").int_or(0),
            what: NodeTerm::read(p.at("preference")),
        };
        NodeAffinity {
            selector: Selector::of_pairs(pairs),
            required: (!required.is_null()).then(|| terms.collect()),
            preferred: preferred.items().iter().map(weighted).filter(|w| w.weight != 0).collect(),
        }
    }

    /// What a PersistentVolume demands of the nodes that use it.
    pub fn of_volume(volume: &Value) -> Self {
        let required = volume.at("spec.nodeAffinity.required");
        let terms = required.at("nodeSelectorTerms").items().iter().map(NodeTerm::read);
        NodeAffinity {
            required: (!required.is_null()).then(|| terms.collect()),
            ..NodeAffinity::default()
        }
    }

    /// Whether nothing is demanded.
    pub fn demands_nothing(&self) -> bool {
        self.selector.is_everything() && self.required.is_none()
    }

    /// Whether the node is as demanded.
    pub fn matches(&self, node: &NodeFacts) -> bool {
        self.selector.matches(|key| node.labels.get(key))
            && self.required.as_ref().is_none_or(|terms| terms.iter().any(|t| t.matches(node)))
    }

    /// The only nodes that can match, where every term names some, as the pods of a DaemonSet do.
    pub fn names(&self) -> Option<BTreeSet<SmolStr>> {
        let terms = self.required.as_ref().filter(|terms| !terms.is_empty())?;
        let mut all = BTreeSet::new();
        for term in terms {
            all.extend(term.named()?);
        }
        Some(all)
    }
}

impl NodeTerm {
    fn read(term: &Value) -> Self {
        let fields = term.at("matchFields").items();
        let expressions = term.at("matchExpressions").items();
        let names = fields.iter().filter(|f| f.at("key").str() == "metadata.name").map(|f| {
            (
                f.at("operator").str() == "In",
                f.at("values").items().iter().map(Value::smol).collect(),
            )
        });
        let requirements = expressions.iter().map(node_requirement).collect::<Option<Vec<_>>>();
        NodeTerm {
            labels: requirements.map(|requirements| Selector { requirements, nothing: false }),
            names: names.collect(),
            empty: fields.is_empty() && expressions.is_empty(),
        }
    }

    /// Whether the node is as the term says. A term that says nothing matches no node.
    pub fn matches(&self, node: &NodeFacts) -> bool {
        !self.empty
            && self.labels.as_ref().is_some_and(|s| s.matches(|key| node.labels.get(key)))
            && self.names.iter().all(|(is_in, names)| names.contains(&node.name) == *is_in)
    }

    fn named(&self) -> Option<BTreeSet<SmolStr>> {
        let mut sets = self.names.iter().filter(|(is_in, _)| *is_in).map(|(_, names)| names);
        let first = sets.next()?.clone();
        Some(sets.fold(first, |all, set| all.intersection(set).cloned().collect()))
    }
}

/// A `PodAffinityTerm`: other pods in the same part of a topology.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PodTerm {
    pub selector: Selector,
    /// By name; the pod's own where the term names none and selects none.
    pub namespaces: BTreeSet<SmolStr>,
    /// By label.
    pub namespace_selector: Option<Selector>,
    pub topology_key: SmolStr,
}

impl PodTerm {
    /// Reads the terms of `podAffinity` or `podAntiAffinity`: those demanded, those preferred.
    pub fn read_all(affinity: &Value, pod: &Value) -> (Vec<PodTerm>, Vec<Weighted<PodTerm>>) {
        let required = affinity.at("requiredDuringSchedulingIgnoredDuringExecution").items();
        let preferred = affinity.at("preferredDuringSchedulingIgnoredDuringExecution").items();
        let weighted = |p: &Value| Weighted {
            weight: p.at("weight").int_or(0),
            what: PodTerm::read(p.at("podAffinityTerm"), pod),
        };
        (
            required.iter().map(|t| PodTerm::read(t, pod)).collect(),
            preferred.iter().map(weighted).collect(),
        )
    }

    fn read(term: &Value, pod: &Value) -> Self {
        let mut selector =
            label_selector(term.at("labelSelector")).unwrap_or_else(|_| Selector::nothing());
        for (list, is_in) in [("matchLabelKeys", true), ("mismatchLabelKeys", false)] {
            extend_by_keys(&mut selector, term.at(list), pod, is_in);
        }
        let chosen = term.at("namespaceSelector");
        let mut namespaces: BTreeSet<SmolStr> =
            term.at("namespaces").items().iter().map(Value::smol).collect();
        if namespaces.is_empty() && chosen.is_null() {
            namespaces.insert(pod.namespace().into());
        }
        let namespace_selector = (!chosen.is_null())
            .then(|| label_selector(chosen).unwrap_or_else(|_| Selector::nothing()));
        let topology_key = term.at("topologyKey").smol();
        PodTerm { selector, namespaces, namespace_selector, topology_key }
    }

    /// Whether a pod with these labels in this namespace is meant; `namespace_labels` are those
    /// of its namespace.
    pub fn matches(&self, namespace: &str, namespace_labels: &Labels, labels: &Labels) -> bool {
        let chosen = self.namespace_selector.as_ref();
        (self.namespaces.contains(namespace)
            || chosen.is_some_and(|s| s.matches(|key| namespace_labels.get(key))))
            && self.selector.matches(|key| labels.get(key))
    }
}

/// Adds the pod's own values of some labels to a selector.
pub(super) fn extend_by_keys(selector: &mut Selector, keys: &Value, pod: &Value, is_in: bool) {
    for key in keys.items() {
        let Some(value) = pod.label(key.str()) else { continue };
        let values = BTreeSet::from([SmolStr::new(value)]);
        selector.requirements.push(match is_in {
            true => Requirement::In(key.smol(), values),
            false => Requirement::NotIn(key.smol(), values),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timonier_object::value;

    fn node() -> NodeFacts {
        NodeFacts::read(&value!({ "metadata": { "name": "n1",
            "labels": { "zone": "a", "cores": "8" } } }))
    }

    fn matches(spec: Value) -> bool {
        NodeAffinity::read(&spec).matches(&node())
    }

    fn required(terms: Value) -> Value {
        value!({ "affinity": { "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } } } })
    }

    #[test]
    fn selectors_and_terms() {
        assert!(matches(value!({})));
        assert!(matches(value!({ "nodeSelector": { "zone": "a" } })));
        assert!(!matches(value!({ "nodeSelector": { "zone": "b" } })));
        let term = |key: &str, operator: &str, values: Value| {
            required(value!([{ "matchExpressions": [
                { "key": key, "operator": operator, "values": values }] }]))
        };
        assert!(matches(term("zone", "In", value!(["b", "a"]))));
        assert!(!matches(term("zone", "NotIn", value!(["b", "a"]))));
        assert!(matches(term("cores", "Gt", value!(["7"]))));
        assert!(!matches(term("cores", "Lt", value!(["8"]))));
        assert!(!matches(term("cores", "Gt", value!(["x"]))));
        assert!(!matches(required(value!([]))));
        assert!(!matches(required(value!([{}]))));
    }

    #[test]
    fn names_narrow_the_nodes() {
        let by_name = |names: Value| {
            value!({ "matchFields": [
                { "key": "metadata.name", "operator": "In", "values": names }] })
        };
        let one = required(value!([(by_name(value!(["n1"])))]));
        assert!(matches(one.clone()));
        assert_eq!(NodeAffinity::read(&one).names(), Some(BTreeSet::from(["n1".into()])));
        let other = required(value!([(by_name(value!(["n2"])))]));
        assert!(!matches(other));
        let any = required(value!([(by_name(value!(["n2"]))),
            { "matchExpressions": [{ "key": "zone", "operator": "Exists" }] }]));
        assert_eq!(NodeAffinity::read(&any).names(), None);
        assert!(matches(any));
    }
}
