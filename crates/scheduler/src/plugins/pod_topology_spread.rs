//! Spreads like pods over zones, nodes and other parts of a topology: what a pod demands keeps
//! nodes out, what it wishes ranks them. A pod that says nothing is spread over nodes and zones
//! beside the pods of its Service or controller, as upstream's system defaults have it.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::Selector;

use crate::cluster::{Cluster, NodeState, Workload};
use crate::facts::{Inclusion, NodeFacts, PodFacts, SpreadConstraint, untolerated};
use crate::plugin::MAX_SCORE;
use crate::{Filter, Happening, Plugin, Verdict};

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// See the file's text.
pub struct PodTopologySpread;

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn filter<'a>(&'a self, pod: &'a PodFacts, cluster: &'a Cluster) -> Option<Filter<'a>> {
        let constraints: Vec<_> = pod.spread.iter().filter(|c| c.hard).collect();
        if constraints.is_empty() {
            return None;
        }
        let rules: Vec<Rule<'a>> =
            constraints.iter().map(|c| Rule::new(c, &constraints, pod, cluster)).collect();
        Some(Box::new(move |node| judge(&rules, node)))
    }

    fn score(&self, pod: &PodFacts, cluster: &Cluster, nodes: &[&NodeState]) -> Option<Vec<i64>> {
        let own = !pod.spread.is_empty();
        let constraints = match own {
            true => pod.spread.iter().filter(|c| !c.hard).cloned().collect(),
            false => defaults(pod, cluster),
        };
        // Without a zone's label a node can still be compared with other nodes; only a pod that
        // names its constraints wants every label.
        (!constraints.is_empty()).then(|| scores(pod, cluster, nodes, &constraints, own))
    }

    fn weight(&self) -> i64 {
        2
    }

    fn wakes(&self, pod: &PodFacts, change: &Happening<'_>) -> bool {
        let keys = |node: &NodeFacts| {
            pod.spread.iter().all(|c| node.labels.get(&c.topology_key).is_some())
        };
        match change {
            // A domain that is gone may have been the one with the fewest pods.
            Happening::NodeAdded(node) | Happening::NodeGone(node) => keys(node),
            Happening::NodeChanged { old, new } => {
                (keys(old) || keys(new)) && (old.labels != new.labels || old.taints != new.taints)
            }
            Happening::PodPlaced(other) | Happening::PodGone(other) => counts_somewhere(pod, other),
            Happening::PodChanged { old, new } => {
                old.labels != new.labels || old.deleting != new.deleting
            }
            _ => false,
        }
    }
}

fn counts_somewhere(pod: &PodFacts, other: &PodFacts) -> bool {
    pod.key.namespace == other.key.namespace
        && pod.spread.iter().any(|c| c.selector.matches(|key| other.labels.get(key)))
}

/// A demanded constraint and how things stand.
struct Rule<'a> {
    constraint: &'a SpreadConstraint,
    /// Matching pods by the value of the topology's label.
    counts: BTreeMap<&'a str, i64>,
    least: i64,
    /// 1 where the pod itself would count.
    own: i64,
}

impl<'a> Rule<'a> {
    fn new(
        constraint: &'a SpreadConstraint,
        all: &[&SpreadConstraint],
        pod: &PodFacts,
        cluster: &'a Cluster,
    ) -> Self {
        let mut counts: BTreeMap<&'a str, i64> = BTreeMap::new();
        for node in cluster.nodes() {
            let labelled = all.iter().all(|c| node.facts.labels.get(&c.topology_key).is_some());
            if !labelled || !included(constraint.inclusion, pod, &node.facts) {
                continue;
            }
            if let Some(value) = node.facts.labels.get(&constraint.topology_key) {
                *counts.entry(value).or_default() += matching(node, &constraint.selector, pod);
            }
        }
        let enough = counts.len() as i64 >= constraint.min_domains;
        // With too few domains there may be one more, with no pods.
        let least = if enough { counts.values().copied().min().unwrap_or(0) } else { 0 };
        let own = i64::from(constraint.selector.matches(|key| pod.labels.get(key)));
        Rule { constraint, counts, least, own }
    }
}

fn judge(rules: &[Rule<'_>], node: &NodeState) -> Verdict {
    for rule in rules {
        let Some(value) = node.facts.labels.get(&rule.constraint.topology_key) else {
            return Verdict::unresolvable(
                "node(s) didn't match pod topology spread constraints (missing required label)",
            );
        };
        let there = rule.counts.get(value).copied().unwrap_or(0);
        if there + rule.own - rule.least > rule.constraint.max_skew {
            return Verdict::unschedulable("node(s) didn't match pod topology spread constraints");
        }
    }
    Verdict::Fits
}

fn included(inclusion: Inclusion, pod: &PodFacts, node: &NodeFacts) -> bool {
    (!inclusion.affinity || pod.node_affinity.matches(node))
        && (!inclusion.taints || untolerated(&node.taints, &pod.tolerations).is_none())
}

/// The pods of the same namespace on a node that a selector means and that are to stay.
fn matching(node: &NodeState, selector: &Selector, pod: &PodFacts) -> i64 {
    let like = |p: &&alloc::sync::Arc<PodFacts>| {
        !p.deleting
            && p.key.namespace == pod.key.namespace
            && selector.matches(|key| p.labels.get(key))
    };
    node.pods.iter().filter(like).count() as i64
}

/// What upstream spreads by default: three apart by node, five by zone, as a wish.
fn defaults(pod: &PodFacts, cluster: &Cluster) -> Vec<SpreadConstraint> {
    let Some(selector) = default_selector(pod, cluster) else { return Vec::new() };
    let constraint = |key: &'static str, max_skew| SpreadConstraint {
        topology_key: SmolStr::new_static(key),
        max_skew,
        min_domains: 1,
        hard: false,
        selector: selector.clone(),
        inclusion: Inclusion { affinity: true, taints: false },
    };
    alloc::vec![constraint(HOSTNAME, 3), constraint(ZONE, 5)]
}

/// What all Services of the pod and its controller select by, together.
fn default_selector(pod: &PodFacts, cluster: &Cluster) -> Option<Selector> {
    let namespace = &pod.key.namespace;
    let mut all = Selector::everything();
    for (_, selector) in cluster.selectors(namespace, Workload::Service) {
        if selector.matches(|key| pod.labels.get(key)) {
            all.requirements.extend(selector.requirements.iter().cloned());
        }
    }
    if let Some(owner) = pod.object.controller() {
        let kind = match owner.kind.as_str() {
            "ReplicationController" => Some(Workload::ReplicationController),
            "ReplicaSet" => Some(Workload::ReplicaSet),
            "StatefulSet" => Some(Workload::StatefulSet),
            _ => None,
        };
        let of_kind = kind.into_iter().flat_map(|kind| cluster.selectors(namespace, kind));
        for (_, selector) in of_kind.filter(|(name, _)| **name == owner.name) {
            all.requirements.extend(selector.requirements.iter().cloned());
        }
    }
    (!all.is_everything()).then_some(all)
}

fn scores(
    pod: &PodFacts,
    cluster: &Cluster,
    nodes: &[&NodeState],
    constraints: &[SpreadConstraint],
    every_label: bool,
) -> Vec<i64> {
    let labelled = |node: &NodeFacts| {
        !every_label || constraints.iter().all(|c| node.labels.get(&c.topology_key).is_some())
    };
    let ranked = nodes.iter().filter(|n| labelled(&n.facts)).count();
    let mut raw: Vec<f64> = alloc::vec![0.0; nodes.len()];
    for constraint in constraints {
        let key = constraint.topology_key.as_str();
        if key == HOSTNAME {
            let weight = natural_log(ranked as f64 + 2.0);
            for (node, sum) in nodes.iter().zip(&mut raw) {
                if node.facts.labels.get(key).is_some() {
                    let count = matching(node, &constraint.selector, pod);
                    *sum += share(count, constraint.max_skew, weight);
                }
            }
            continue;
        }
        let of_node = |node: &NodeFacts| SmolStr::new(node.labels.get(key).unwrap_or_default());
        let domains: BTreeSet<SmolStr> =
            nodes.iter().filter(|n| labelled(&n.facts)).map(|n| of_node(&n.facts)).collect();
        let weight = natural_log(domains.len() as f64 + 2.0);
        let mut counts: BTreeMap<SmolStr, i64> = BTreeMap::new();
        for node in cluster.nodes() {
            let value = of_node(&node.facts);
            if labelled(&node.facts)
                && domains.contains(&value)
                && included(constraint.inclusion, pod, &node.facts)
            {
                *counts.entry(value).or_default() += matching(node, &constraint.selector, pod);
            }
        }
        for (node, sum) in nodes.iter().zip(&mut raw) {
            if let Some(value) = node.facts.labels.get(key) {
                let count = counts.get(value).copied().unwrap_or(0);
                *sum += share(count, constraint.max_skew, weight);
            }
        }
    }
    let rounded =
        nodes.iter().zip(raw).map(|(n, r)| labelled(&n.facts).then_some((r + 0.5) as i64));
    invert(rounded.collect())
}

/// Fewer pods are better; a node that is not ranked gets nothing.
fn invert(raw: Vec<Option<i64>>) -> Vec<i64> {
    let least = raw.iter().flatten().copied().min().unwrap_or(0);
    let most = raw.iter().flatten().copied().max().unwrap_or(0);
    let score = |raw: Option<i64>| match raw {
        None => 0,
        Some(_) if most == 0 => MAX_SCORE,
        Some(s) => MAX_SCORE * (most + least - s) / most,
    };
    raw.into_iter().map(score).collect()
}

/// A larger skew waters differences down.
fn share(count: i64, max_skew: i64, weight: f64) -> f64 {
    count as f64 * weight + (max_skew - 1) as f64
}

/// The natural logarithm of a number from 1 on, which `core` does not have: halved down to below
/// two, then by the series of the inverse hyperbolic tangent.
fn natural_log(x: f64) -> f64 {
    let (mut x, mut halvings) = (x.max(1.0), 0.0);
    while x >= 2.0 {
        x /= 2.0;
        halvings += 1.0;
    }
    let y = (x - 1.0) / (x + 1.0);
    let (mut power, mut sum) = (y, 0.0);
    for n in 0..20 {
        sum += power / f64::from(2 * n + 1);
        power *= y * y;
    }
    2.0 * sum + halvings * core::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{cluster, fits, labelled, node, pod, scores, verdicts};
    use timonier_object::{Value, value};

    fn web(name: &str, constraint: Value) -> PodFacts {
        let constraints = if constraint.is_null() { value!([]) } else { value!([constraint]) };
        labelled(
            name,
            value!({ "app": "web" }),
            value!({ "topologySpreadConstraints": constraints }),
        )
    }

    fn by(key: &str, when: &str) -> Value {
        value!({ "maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": when,
            "labelSelector": { "matchLabels": { "app": "web" } } })
    }

    fn in_zone(name: &str, zone: &str) -> NodeFacts {
        node(name, |n| {
            let labels = n.entry("metadata.labels").make_object();
            labels.insert(ZONE, zone.into());
        })
    }

    #[test]
    fn a_demand_keeps_the_skew() {
        let web1 = web("w1", Value::Null);
        let other = pod("o", value!({}));
        let zones = || [in_zone("a", "1"), in_zone("b", "1"), in_zone("c", "2"), node("d", |_| {})];
        let c = cluster(zones(), &[("a", web1.clone()), ("c", other)]);
        let p = web("p", by(ZONE, "DoNotSchedule"));
        let skewed = Verdict::unschedulable("node(s) didn't match pod topology spread constraints");
        let missing = Verdict::unresolvable(
            "node(s) didn't match pod topology spread constraints (missing required label)",
        );
        assert_eq!(
            verdicts(&PodTopologySpread, &p, &c),
            [skewed.clone(), skewed, Verdict::Fits, missing]
        );
        assert!(PodTopologySpread.wakes(&p, &Happening::PodGone(&web1)));
        assert!(!PodTopologySpread.wakes(&p, &Happening::PodGone(&pod("x", value!({})))));
        // A third domain is wanted, and has no pods: nothing may stand in a domain twice.
        let mut wants_three = by(ZONE, "DoNotSchedule");
        wants_three.set("minDomains", 3);
        let c = cluster(zones(), &[("a", web1.clone()), ("c", web("w2", Value::Null))]);
        let p = web("p", wants_three);
        assert_eq!(fits(&PodTopologySpread, &p, &c), [false, false, false, false]);
        let p = web("p", by(ZONE, "DoNotSchedule"));
        assert_eq!(fits(&PodTopologySpread, &p, &c), [true, true, true, false]);
    }

    #[test]
    fn a_wish_ranks() {
        let c = cluster(
            [in_zone("a", "1"), in_zone("b", "1"), in_zone("c", "2")],
            &[("a", web("w1", Value::Null))],
        );
        let p = web("p", by(ZONE, "ScheduleAnyway"));
        assert_eq!(fits(&PodTopologySpread, &p, &c), [true, true, true]);
        assert_eq!(super::super::testing::scores(&PodTopologySpread, &p, &c), [0, 0, 100]);
    }

    #[test]
    fn the_pods_of_a_service_are_spread_by_default() {
        let on_a = [("a", web("w1", Value::Null))];
        let mut c = cluster([node("a", |_| {}), node("b", |_| {})], &on_a);
        let p = web("p", Value::Null);
        assert_eq!(scores(&PodTopologySpread, &p, &c), [0i64; 0]);
        let key = timonier_meta::ObjectKey::new("ns", "web");
        c.put_selector(Workload::Service, &key, Some(Selector::of_pairs([("app", "web")])));
        let ranks = scores(&PodTopologySpread, &p, &c);
        assert!(ranks[1] > ranks[0], "{ranks:?}");
        let stranger = pod("p", value!({}));
        assert_eq!(scores(&PodTopologySpread, &stranger, &c), [0i64; 0]);
    }

    #[test]
    fn logarithms() {
        extern crate std;
        for x in [1.0, 1.5, 2.0, 3.0, 10.0, 5002.0f64] {
            assert!((natural_log(x) - x.ln()).abs() < 1e-12, "{x}: {}", natural_log(x));
        }
    }
}
