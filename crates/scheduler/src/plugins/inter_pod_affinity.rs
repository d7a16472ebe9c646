//! Pods that want to be with others, or not, in the same part of a topology; and pods that are
//! there already and do not want this one.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::cluster::{Cluster, NodeState};
use crate::facts::{PodFacts, PodTerm, Weighted};
use crate::plugin::MAX_SCORE;
use crate::{Filter, Happening, Plugin, Verdict};

/// See the file's text.
pub struct InterPodAffinity;

/// A label of nodes and its value.
type Domain<'a> = (&'a str, &'a str);

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn filter<'a>(&'a self, pod: &'a PodFacts, cluster: &'a Cluster) -> Option<Filter<'a>> {
        let demands = !pod.affinity.is_empty() || !pod.anti_affinity.is_empty();
        if !demands && !cluster.has_affinity() {
            return None;
        }
        let state = State::new(pod, cluster);
        Some(Box::new(move |node| state.judge(pod, node)))
    }

    fn score(&self, pod: &PodFacts, cluster: &Cluster, nodes: &[&NodeState]) -> Option<Vec<i64>> {
        let wishes = !pod.preferred_affinity.is_empty() || !pod.preferred_anti_affinity.is_empty();
        if !wishes && !cluster.has_affinity() {
            return None;
        }
        let liked = liked(pod, cluster, wishes);
        if liked.is_empty() {
            return None;
        }
        let of_node = |node: &&NodeState| {
            let here = liked.iter().filter(|((key, value), _)| is_in(node, key, value));
            here.map(|(_, weight)| weight).sum::<i64>()
        };
        let raw: Vec<i64> = nodes.iter().map(of_node).collect();
        let least = raw.iter().copied().min().unwrap_or(0);
        let span = raw.iter().copied().max().unwrap_or(0) - least;
        let score = |r: i64| if span == 0 { 0 } else { MAX_SCORE * (r - least) / span };
        Some(raw.into_iter().map(score).collect())
    }

    fn weight(&self) -> i64 {
        2
    }

    fn wakes(&self, pod: &PodFacts, change: &Happening<'_>) -> bool {
        match change {
            Happening::NodeAdded(_) => true,
            Happening::NodeChanged { old, new } => old.labels != new.labels,
            Happening::PodPlaced(_) => !pod.affinity.is_empty(),
            Happening::PodChanged { old, new } => old.labels != new.labels,
            Happening::PodGone(gone) => {
                !pod.anti_affinity.is_empty() || !gone.anti_affinity.is_empty()
            }
            Happening::NamespaceLabels(..) => true,
            Happening::NodeGone(_) | Happening::Claim(_) | Happening::Volume(_) => false,
        }
    }
}

struct State<'a> {
    /// Where pods are that all terms of the affinity mean.
    wanted: BTreeSet<Domain<'a>>,
    /// Where pods are that a term of the anti-affinity means.
    unwanted: BTreeSet<Domain<'a>>,
    /// Where pods are that do not want this one.
    unwelcome: BTreeSet<Domain<'a>>,
    /// Whether the pod is one of those that it wants to be with.
    wants_itself: bool,
}

impl<'a> State<'a> {
    fn new(pod: &'a PodFacts, cluster: &'a Cluster) -> Self {
        let mut state = State {
            wanted: BTreeSet::new(),
            unwanted: BTreeSet::new(),
            unwelcome: BTreeSet::new(),
            wants_itself: meant_by_all(&pod.affinity, pod, cluster),
        };
        let demands = !pod.affinity.is_empty() || !pod.anti_affinity.is_empty();
        for node in cluster.nodes() {
            if demands {
                for other in &node.pods {
                    if meant_by_all(&pod.affinity, other, cluster) {
                        state.wanted.extend(pod.affinity.iter().filter_map(|t| domain(t, node)));
                    }
                    let terms = pod.anti_affinity.iter().filter(|t| means(t, other, cluster));
                    state.unwanted.extend(terms.filter_map(|t| domain(t, node)));
                }
            }
            if node.with_affinity > 0 {
                for other in &node.pods {
                    let terms = other.anti_affinity.iter().filter(|t| means(t, pod, cluster));
                    state.unwelcome.extend(terms.filter_map(|t| domain(t, node)));
                }
            }
        }
        state
    }

    fn judge(&self, pod: &PodFacts, node: &NodeState) -> Verdict {
        if !self.is_wanted(pod, node) {
            return Verdict::unresolvable("node(s) didn't match pod affinity rules");
        }
        let mut anti = pod.anti_affinity.iter().filter_map(|t| domain(t, node));
        if anti.any(|d| self.unwanted.contains(&d)) {
            return Verdict::unschedulable("node(s) didn't match pod anti-affinity rules");
        }
        if self.unwelcome.iter().any(|(key, value)| is_in(node, key, value)) {
            return Verdict::unschedulable(
                "node(s) didn't satisfy existing pods anti-affinity rules",
            );
        }
        Verdict::Fits
    }

    fn is_wanted(&self, pod: &PodFacts, node: &NodeState) -> bool {
        let mut all_there = true;
        for term in &pod.affinity {
            match domain(term, node) {
                Some(domain) => all_there &= self.wanted.contains(&domain),
                None => return false,
            }
        }
        // The first of a group that wants to be together has nobody to join.
        all_there || (self.wanted.is_empty() && self.wants_itself)
    }
}

fn domain<'a>(term: &'a PodTerm, node: &'a NodeState) -> Option<Domain<'a>> {
    Some((term.topology_key.as_str(), node.facts.labels.get(&term.topology_key)?))
}

fn is_in(node: &NodeState, key: &str, value: &str) -> bool {
    node.facts.labels.get(key) == Some(value)
}

fn means(term: &PodTerm, pod: &PodFacts, cluster: &Cluster) -> bool {
    let namespace = &pod.key.namespace;
    term.matches(namespace, cluster.namespace(namespace), &pod.labels)
}

fn meant_by_all(terms: &[PodTerm], pod: &PodFacts, cluster: &Cluster) -> bool {
    !terms.is_empty() && terms.iter().all(|t| means(t, pod, cluster))
}

/// How much a pod likes to be in each domain, by its own wishes and those of the pods there.
fn liked<'a>(pod: &'a PodFacts, cluster: &'a Cluster, wishes: bool) -> BTreeMap<Domain<'a>, i64> {
    let mut liked: BTreeMap<Domain<'a>, i64> = BTreeMap::new();
    for node in cluster.nodes().iter().filter(|n| wishes || n.with_affinity > 0) {
        let mut add = |terms: &'a [Weighted<PodTerm>], about: &PodFacts, sign: i64| {
            for term in terms.iter().filter(|t| means(&t.what, about, cluster)) {
                if let Some(domain) = domain(&term.what, node) {
                    *liked.entry(domain).or_default() += sign * term.weight;
                }
            }
        };
        for other in &node.pods {
            add(&pod.preferred_affinity, other, 1);
            add(&pod.preferred_anti_affinity, other, -1);
            add(&other.preferred_affinity, pod, 1);
            add(&other.preferred_anti_affinity, pod, -1);
        }
        // Who demands this pod's company is glad of it a little.
        for term in node.pods.iter().flat_map(|p| &p.affinity) {
            if means(term, pod, cluster)
                && let Some(domain) = domain(term, node)
            {
                *liked.entry(domain).or_default() += 1;
            }
        }
    }
    liked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::NodeFacts;
    use crate::plugins::testing::{cluster, fits, labelled, node, scores, verdicts};
    use timonier_object::{Value, value};

    const HOST: &str = "kubernetes.io/hostname";

    fn term(app: &str) -> Value {
        value!({ "topologyKey": HOST, "labelSelector": { "matchLabels": { "app": app } } })
    }

    fn app(name: &str, app: &str, affinity: Value) -> PodFacts {
        labelled(name, value!({ "app": app }), value!({ "affinity": affinity }))
    }

    fn required(kind: &str, of: &str) -> Value {
        value!({ kind: { "requiredDuringSchedulingIgnoredDuringExecution": [(term(of))] } })
    }

    fn nodes() -> [NodeFacts; 2] {
        [node("a", |_| {}), node("b", |_| {})]
    }

    #[test]
    fn wants_to_be_with_or_without() {
        let c = cluster(nodes(), &[("a", app("x", "db", Value::Null))]);
        let with = app("p", "web", required("podAffinity", "db"));
        let no = Verdict::unresolvable("node(s) didn't match pod affinity rules");
        assert_eq!(verdicts(&InterPodAffinity, &with, &c), [Verdict::Fits, no]);
        let without = app("p", "web", required("podAntiAffinity", "db"));
        let no = Verdict::unschedulable("node(s) didn't match pod anti-affinity rules");
        assert_eq!(verdicts(&InterPodAffinity, &without, &c), [no, Verdict::Fits]);
        let mut elsewhere = required("podAffinity", "db");
        elsewhere.set(
            "podAffinity",
            value!({ "requiredDuringSchedulingIgnoredDuringExecution": [
            { "topologyKey": HOST, "namespaces": ["other"],
              "labelSelector": { "matchLabels": { "app": "db" } } }] }),
        );
        assert_eq!(fits(&InterPodAffinity, &app("p", "web", elsewhere), &c), [false, false]);
    }

    #[test]
    fn the_first_of_a_group_may_go_anywhere() {
        let c = cluster(nodes(), &[]);
        let group = app("p", "web", required("podAffinity", "web"));
        assert_eq!(fits(&InterPodAffinity, &group, &c), [true, true]);
        let lonely = app("p", "web", required("podAffinity", "db"));
        assert_eq!(fits(&InterPodAffinity, &lonely, &c), [false, false]);
    }

    #[test]
    fn who_is_there_may_not_want_it() {
        let hermit = app("x", "db", required("podAntiAffinity", "web"));
        let c = cluster(nodes(), &[("a", hermit.clone())]);
        let p = app("p", "web", Value::Null);
        let no = Verdict::unschedulable("node(s) didn't satisfy existing pods anti-affinity rules");
        assert_eq!(verdicts(&InterPodAffinity, &p, &c), [no, Verdict::Fits]);
        assert!(InterPodAffinity.wakes(&p, &Happening::PodGone(&hermit)));
    }

    #[test]
    fn namespaces_may_be_chosen_by_label() {
        let mut affinity = required("podAffinity", "db");
        affinity.set(
            "podAffinity",
            value!({ "requiredDuringSchedulingIgnoredDuringExecution": [
            { "topologyKey": HOST, "namespaceSelector": { "matchLabels": { "team": "x" } },
              "labelSelector": { "matchLabels": { "app": "db" } } }] }),
        );
        let p = app("p", "web", affinity);
        let mut c = cluster(nodes(), &[("a", app("x", "db", Value::Null))]);
        assert_eq!(fits(&InterPodAffinity, &p, &c), [false, false]);
        c.put_namespace("ns", Some(crate::facts::Labels::read(&value!({ "team": "x" }))));
        assert_eq!(fits(&InterPodAffinity, &p, &c), [true, false]);
    }

    #[test]
    fn wishes_rank() {
        let c = cluster(nodes(), &[("a", app("x", "db", Value::Null))]);
        let wish = |kind: &str| {
            value!({ kind: { "preferredDuringSchedulingIgnoredDuringExecution": [
                { "weight": 10, "podAffinityTerm": (term("db")) }] } })
        };
        assert_eq!(scores(&InterPodAffinity, &app("p", "web", wish("podAffinity")), &c), [100, 0]);
        let anti = app("p", "web", wish("podAntiAffinity"));
        assert_eq!(scores(&InterPodAffinity, &anti, &c), [0, 100]);
        assert_eq!(scores(&InterPodAffinity, &app("p", "web", Value::Null), &c), [0i64; 0]);
    }
}
