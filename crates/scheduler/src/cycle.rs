//! One pod's way through the plug-ins: which nodes it fits on, and which of those is best.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smol_str::SmolStr;

use crate::cluster::{Cluster, NodeState};
use crate::facts::PodFacts;
use crate::plugin::{Filter, Happening, Plugin, Verdict};

/// A set of plug-ins, in order.
pub struct Framework {
    plugins: Vec<Box<dyn Plugin>>,
}

/// Where a pod goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placement {
    pub node: SmolStr,
    /// How many nodes were looked at; the next cycle starts after them.
    pub looked_at: usize,
}

/// Why a pod goes nowhere.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Diagnosis {
    /// How many nodes there are.
    pub nodes: usize,
    /// What was said of single nodes.
    pub verdicts: BTreeMap<SmolStr, Verdict>,
    /// What is said of all others.
    pub others: Option<SmolStr>,
    /// No node can suit the pod.
    pub hopeless: Option<SmolStr>,
    /// The plug-ins that said no.
    pub plugins: BTreeSet<&'static str>,
    /// What came of making room.
    pub preemption: String,
}

/// Below this many nodes all of them are looked at.
const LOOK_AT_LEAST: usize = 100;

/// Nodes that are full with the pods expected there: what is said, and by which plug-in.
type Crowded = BTreeMap<SmolStr, (Verdict, &'static str)>;

type Filters<'a> = Vec<(&'static str, Filter<'a>)>;

impl Framework {
    /// A framework of these plug-ins.
    pub fn new(plugins: Vec<Box<dyn Plugin>>) -> Self {
        Framework { plugins }
    }

    /// Finds the best node. Looks at nodes from the `start`th on, and in a large cluster only
    /// until enough of them fit; `random` decides between equals.
    pub fn place(
        &self,
        pod: &PodFacts,
        cluster: &mut Cluster,
        start: usize,
        random: u64,
    ) -> Result<Placement, Box<Diagnosis>> {
        let crowded = self.crowded(pod, cluster);
        let cluster = &*cluster;
        let mut diagnosis =
            Box::new(Diagnosis { nodes: cluster.nodes().len(), ..Diagnosis::default() });
        let Some(nodes) = self.candidates(pod, cluster, &mut diagnosis) else {
            return Err(diagnosis);
        };
        let filters = self.filters(pod, cluster);
        if let Some(node) = nodes.iter().find(|n| n.facts.name == pod.nominated)
            && judge(&filters, &crowded, node).0.fits()
        {
            return Ok(Placement { node: node.facts.name.clone(), looked_at: 0 });
        }
        let wanted = enough(nodes.len());
        let mut fitting: Vec<&NodeState> = Vec::new();
        let mut looked_at = 0;
        for i in 0..nodes.len() {
            if fitting.len() >= wanted {
                break;
            }
            let node = nodes[(start + i) % nodes.len()];
            looked_at += 1;
            match judge(&filters, &crowded, node) {
                (Verdict::Fits, _) => fitting.push(node),
                (verdict, plugin) => {
                    diagnosis.plugins.insert(plugin);
                    diagnosis.verdicts.insert(node.facts.name.clone(), verdict);
                }
            }
        }
        match self.best(pod, cluster, &fitting, random) {
            Some(node) => Ok(Placement { node: node.facts.name.clone(), looked_at }),
            None => Err(diagnosis),
        }
    }

    /// Whether the pod fits on a node, as the cluster is.
    pub fn judge(&self, pod: &PodFacts, cluster: &mut Cluster, node: &str) -> Verdict {
        let crowded = self.with_nominated(pod, cluster, node);
        match cluster.node(node) {
            _ if let Some((verdict, _)) = crowded => verdict,
            Some(node) => run(&self.filters(pod, cluster), node).0,
            None => Verdict::unresolvable("node(s) are gone"),
        }
    }

    /// The nodes that the pod does not fit on beside the pods for which room is made there.
    fn crowded(&self, pod: &PodFacts, cluster: &mut Cluster) -> Crowded {
        let nodes: Vec<SmolStr> = cluster.nominated_nodes().cloned().collect();
        let judged = nodes.into_iter().filter_map(|node| {
            let said = self.with_nominated(pod, cluster, &node)?;
            Some((node, said))
        });
        judged.collect()
    }

    /// What speaks against a node once the pods for which room is made there are there, if they
    /// matter as much as this one. The filters are made of a cluster that has them: what a pod
    /// says of others beside it counts, too.
    fn with_nominated(
        &self,
        pod: &PodFacts,
        cluster: &mut Cluster,
        node: &str,
    ) -> Option<(Verdict, &'static str)> {
        let expected = cluster.nominated(node);
        let mut expected =
            expected.filter(|p| p.priority >= pod.priority && p.uid != pod.uid).peekable();
        expected.peek()?;
        let mut full = NodeState::clone(cluster.node(node)?);
        expected.for_each(|p| full.add(p.clone()));
        let said = cluster
            .with_node(full, |cluster| Some(run(&self.filters(pod, cluster), cluster.node(node)?)));
        said.flatten().filter(|(verdict, _)| !verdict.fits())
    }

    /// Whether a change may help a pod that these plug-ins kept out; a pod that none kept out
    /// may be helped by anything.
    pub fn wakes(
        &self,
        pod: &PodFacts,
        kept_out_by: &BTreeSet<&'static str>,
        change: &Happening<'_>,
    ) -> bool {
        let mut concerned = self.plugins.iter().filter(|p| kept_out_by.contains(p.name()));
        kept_out_by.is_empty() || concerned.any(|p| p.wakes(pod, change))
    }

    fn filters<'a>(&'a self, pod: &'a PodFacts, cluster: &'a Cluster) -> Filters<'a> {
        let plugins = self.plugins.iter();
        plugins.filter_map(|p| Some((p.name(), p.filter(pod, cluster)?))).collect()
    }

    /// The nodes that come into question; `None` if the pod suits none at all.
    fn candidates<'a>(
        &self,
        pod: &PodFacts,
        cluster: &'a Cluster,
        diagnosis: &mut Diagnosis,
    ) -> Option<Vec<&'a Arc<NodeState>>> {
        let mut names: Option<BTreeSet<SmolStr>> = None;
        let mut narrowed_by = Vec::new();
        for plugin in &self.plugins {
            match plugin.narrow(pod, cluster) {
                Ok(None) => {}
                Ok(Some(set)) => {
                    narrowed_by.push(plugin.name());
                    names = Some(match names {
                        Some(names) => names.intersection(&set).cloned().collect(),
                        None => set,
                    });
                }
                Err(message) => {
                    diagnosis.plugins.insert(plugin.name());
                    diagnosis.hopeless = Some(message);
                    return None;
                }
            }
        }
        let Some(names) = names else { return Some(cluster.nodes().iter().collect()) };
        diagnosis.plugins.extend(&narrowed_by);
        let plugins = narrowed_by.join(" ");
        diagnosis.others = Some(format!("node(s) didn't satisfy plugin(s) [{plugins}]").into());
        Some(names.iter().filter_map(|name| cluster.node(name)).collect())
    }

    fn best<'a>(
        &self,
        pod: &PodFacts,
        cluster: &Cluster,
        nodes: &[&'a NodeState],
        random: u64,
    ) -> Option<&'a NodeState> {
        if nodes.len() < 2 {
            return nodes.first().copied();
        }
        let mut totals: Vec<i64> = alloc::vec![0; nodes.len()];
        for plugin in &self.plugins {
            for (total, score) in
                totals.iter_mut().zip(plugin.score(pod, cluster, nodes).into_iter().flatten())
            {
                *total += plugin.weight() * score;
            }
        }
        let most = totals.iter().max()?;
        let best: Vec<&NodeState> =
            nodes.iter().zip(&totals).filter(|(_, t)| *t == most).map(|(n, _)| *n).collect();
        best.get((random % best.len() as u64) as usize).copied()
    }
}

/// What the filters say of a node. The pods for which room is being made there count as there;
/// but the pod must fit without them as well, as they may never come.
fn judge(filters: &Filters<'_>, crowded: &Crowded, node: &NodeState) -> (Verdict, &'static str) {
    match crowded.get(&node.facts.name) {
        Some(said) => said.clone(),
        None => run(filters, node),
    }
}

fn run(filters: &Filters<'_>, node: &NodeState) -> (Verdict, &'static str) {
    for (name, filter) in filters {
        let verdict = filter(node);
        if !verdict.fits() {
            return (verdict, name);
        }
    }
    (Verdict::Fits, "")
}

/// How many fitting nodes are enough: all of a small cluster, half to a twentieth of a large one.
fn enough(nodes: usize) -> usize {
    if nodes < LOOK_AT_LEAST {
        return nodes;
    }
    let percent = 50usize.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(LOOK_AT_LEAST)
}

impl Diagnosis {
    /// The message of the Event and the condition, as upstream's `FitError` prints it.
    pub fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".into();
        }
        let mut text = format!("0/{} nodes are available:", self.nodes);
        let reasons = match &self.hopeless {
            Some(message) => message.as_str().into(),
            None => self.histogram().join(", "),
        };
        if !reasons.is_empty() {
            text.push_str(&format!(" {reasons}."));
        }
        if !self.preemption.is_empty() {
            text.push_str(&format!(" {}", self.preemption));
        }
        text
    }

    /// Each reason and how many nodes have it, in the order of the texts.
    fn histogram(&self) -> Vec<String> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for reason in self.verdicts.values().flat_map(Verdict::reasons) {
            *counts.entry(reason).or_default() += 1;
        }
        let others = self.nodes.saturating_sub(self.verdicts.len());
        if let Some(reason) = self.others.as_ref().filter(|_| others > 0) {
            *counts.entry(reason).or_default() += others;
        }
        let mut texts: Vec<String> = counts.iter().map(|(r, n)| format!("{n} {r}")).collect();
        texts.sort();
        texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins;
    use crate::plugins::testing::{asking, cluster, labelled, node, pod};
    use timonier_object::{Value, value};

    fn framework() -> Framework {
        Framework::new(plugins::default())
    }

    fn tainted(name: &str) -> crate::facts::NodeFacts {
        node(name, |n| n.set("spec.taints", value!([{ "key": "k", "effect": "NoSchedule" }])))
    }

    #[test]
    fn the_message_is_upstreams() {
        let mut c = cluster([node("a", |_| {}), tainted("b"), tainted("c")], &[]);
        let said = framework().place(&asking("p", "8", "8Gi"), &mut c, 0, 0).unwrap_err();
        assert_eq!(
            said.message(),
            "0/3 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, \
             2 node(s) had untolerated taint(s)."
        );
        assert_eq!(said.plugins, BTreeSet::from(["NodeResourcesFit", "TaintToleration"]));
        let nothing = framework().place(&asking("p", "1", "1"), &mut Cluster::default(), 0, 0);
        assert_eq!(nothing.unwrap_err().message(), "no nodes available to schedule pods");
    }

    fn bound_to(names: Value) -> PodFacts {
        let term = value!({ "matchFields": [
            { "key": "metadata.name", "operator": "In", "values": names }] });
        pod(
            "p",
            value!({ "affinity": { "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [term] } } } }),
        )
    }

    #[test]
    fn a_pod_that_names_nodes_sees_only_those() {
        let mut c = cluster([node("a", |_| {}), tainted("b"), node("c", |_| {})], &[]);
        let placed = framework().place(&bound_to(value!(["c"])), &mut c, 0, 0).unwrap();
        assert_eq!((placed.node.as_str(), placed.looked_at), ("c", 1));
        let said = framework().place(&bound_to(value!(["b"])), &mut c, 0, 0).unwrap_err();
        assert_eq!(
            said.message(),
            "0/3 nodes are available: 1 node(s) had untolerated taint(s), \
             2 node(s) didn't satisfy plugin(s) [NodeAffinity]."
        );
        let said = framework().place(&bound_to(value!([])), &mut c, 0, 0).unwrap_err();
        assert_eq!(said.message(), "0/3 nodes are available: pod affinity terms conflict.");
    }

    #[test]
    fn equals_are_drawn_for_and_the_seed_decides() {
        let mut c = cluster([node("a", |_| {}), node("b", |_| {}), node("c", |_| {})], &[]);
        let mut at =
            |random| framework().place(&asking("p", "1", "1"), &mut c, 0, random).unwrap().node;
        assert_eq!([at(0), at(1), at(2), at(3)], ["a", "b", "c", "a"]);
    }

    #[test]
    fn a_large_cluster_is_looked_at_in_part_and_in_turn() {
        assert_eq!(
            [enough(99), enough(100), enough(1000), enough(5000), enough(20_000)],
            [99, 100, 420, 500, 1000]
        );
        let mut c = Cluster::default();
        for i in 0..1000 {
            c.put_node(node(&format!("n{i:04}"), |_| {}));
        }
        let placed = framework().place(&asking("p", "1", "1"), &mut c, 900, 0).unwrap();
        assert_eq!((placed.looked_at, placed.node.as_str()), (420, "n0900"));
    }

    #[test]
    fn room_that_is_made_for_another_is_kept() {
        let mut c = cluster([node("a", |_| {})], &[]);
        let important = PodFacts { priority: 10, ..asking("i", "3", "1") };
        c.nominate(&Arc::new(important.clone()), "a");
        let said = framework().place(&asking("p", "2", "1"), &mut c, 0, 0).unwrap_err();
        assert_eq!(said.message(), "0/1 nodes are available: 1 Insufficient cpu.");
        let more_important = PodFacts { priority: 11, ..asking("m", "2", "1") };
        assert!(framework().place(&more_important, &mut c, 0, 0).is_ok());
        assert!(framework().place(&important, &mut c, 0, 0).is_ok());
    }

    #[test]
    fn a_pod_that_is_expected_is_not_disturbed() {
        let mut c = cluster([node("a", |_| {})], &[]);
        let term = value!({ "topologyKey": "kubernetes.io/hostname",
            "labelSelector": { "matchLabels": { "app": "noisy" } } });
        let shy = pod(
            "shy",
            value!({ "affinity": { "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [term] } } }),
        );
        c.nominate(&Arc::new(PodFacts { priority: 10, ..shy }), "a");
        let noisy = labelled("noisy", value!({ "app": "noisy" }), value!({}));
        let said = framework().place(&noisy, &mut c, 0, 0).unwrap_err();
        assert_eq!(
            said.message(),
            "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules."
        );
        assert!(!framework().judge(&noisy, &mut c, "a").fits());
        assert!(framework().place(&pod("quiet", value!({})), &mut c, 0, 0).is_ok());
        let urgent = PodFacts { priority: 11, ..noisy };
        assert!(framework().place(&urgent, &mut c, 0, 0).is_ok());
    }
}
