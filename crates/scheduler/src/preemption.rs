//! Making room for a pod by deleting less important ones, as upstream's `DefaultPreemption`.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;

use smol_str::SmolStr;
use timonier_meta::{ObjectKey, Time};

use crate::cluster::{Cluster, NodeState};
use crate::cycle::{Diagnosis, Framework};
use crate::facts::PodFacts;
use crate::plugin::Verdict;

/// Whom to delete, and where.
#[derive(Clone, Debug)]
pub struct Preemption {
    pub node: SmolStr,
    /// The most important first.
    pub victims: Vec<Arc<PodFacts>>,
}

/// At least this many nodes are tried, or a tenth of all.
const LEAST_CANDIDATES: usize = 100;

const NO_HELP: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// Finds the node where making room hurts least. The error is the text for the pod's message.
pub fn preempt(
    framework: &Framework,
    pod: &PodFacts,
    cluster: &mut Cluster,
    diagnosis: &Diagnosis,
    random: u64,
) -> Result<Preemption, String> {
    if let Some(why) = ineligible(pod, cluster, diagnosis) {
        return Err(format!("preemption: {why}"));
    }
    let helped = |v: &Verdict| matches!(v, Verdict::Unschedulable(_));
    let nodes = diagnosis.verdicts.iter().filter(|(_, v)| helped(v));
    let mut nodes: Vec<SmolStr> = nodes.map(|(name, _)| name.clone()).collect();
    let offset = random as usize % nodes.len().max(1);
    nodes.rotate_left(offset);
    let enough = (nodes.len() / 10).max(LEAST_CANDIDATES);
    let mut candidates = Vec::new();
    let mut verdicts = BTreeMap::new();
    for node in nodes {
        match victims_on(framework, pod, cluster, &node) {
            Ok(candidate) => candidates.push(candidate),
            Err(verdict) => drop(verdicts.insert(node, verdict)),
        }
        if candidates.len() >= enough {
            break;
        }
    }
    match candidates.into_iter().min_by_key(Candidate::harm) {
        Some(best) => Ok(Preemption { node: best.node, victims: best.victims }),
        None => {
            let others = Some(SmolStr::new_static(NO_HELP));
            let said =
                Diagnosis { nodes: diagnosis.nodes, verdicts, others, ..Diagnosis::default() };
            Err(format!("preemption: {}", said.message()))
        }
    }
}

fn ineligible(pod: &PodFacts, cluster: &Cluster, diagnosis: &Diagnosis) -> Option<&'static str> {
    if pod.never_preempts {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let node = cluster.node(&pod.nominated)?;
    // Where the node does not suit any more, another may.
    if matches!(diagnosis.verdicts.get(&pod.nominated), Some(Verdict::Unresolvable(_))) {
        return None;
    }
    let leaving = node.pods.iter().any(|p| p.deleting && p.priority < pod.priority);
    leaving.then_some("not eligible due to a terminating pod on the nominated node.")
}

struct Candidate {
    node: SmolStr,
    /// The most important first.
    victims: Vec<Arc<PodFacts>>,
    /// How many of them a disruption budget would spare.
    violations: usize,
}

impl Candidate {
    /// What is compared to find the least harm: budgets violated, the most important victim, all
    /// of their importance, their number, and how long the most important have run.
    fn harm(&self) -> (usize, i64, i64, usize, Reverse<Option<Time>>) {
        let highest = self.victims.iter().map(|v| v.priority).max().unwrap_or(i64::MIN);
        // Shifted so that every pod counts, even one of negative priority.
        let sum = self.victims.iter().map(|v| v.priority + (1 << 31)).sum();
        let important = self.victims.iter().filter(|v| v.priority == highest);
        let earliest = important.filter_map(|v| v.started).min();
        (self.violations, highest, sum, self.victims.len(), Reverse(earliest))
    }
}

/// The fewest pods whose going lets the pod fit on a node.
fn victims_on(
    framework: &Framework,
    pod: &PodFacts,
    cluster: &mut Cluster,
    node: &str,
) -> Result<Candidate, Verdict> {
    let possible = cluster.node(node).into_iter().flat_map(|n| &n.pods);
    let mut possible: Vec<_> = possible.filter(|p| p.priority < pod.priority).cloned().collect();
    let Some(real) = cluster.node(node).filter(|_| !possible.is_empty()) else {
        return Err(Verdict::unresolvable(NO_VICTIMS));
    };
    let mut state = NodeState::clone(real);
    for victim in &possible {
        state.remove(&victim.key);
    }
    possible.sort_by_key(|v| (Reverse(v.priority), v.started.is_none(), v.started));
    let over = over_budget(&possible, cluster);
    let mut judge = |state: &NodeState| {
        let judged = cluster.with_node(state.clone(), |c| framework.judge(pod, c, node));
        judged.unwrap_or_else(|| Verdict::unresolvable(NO_VICTIMS))
    };
    let verdict = judge(&state);
    if !verdict.fits() {
        return Err(verdict);
    }
    // Whoever can stay stays, the most important first, and those under a budget before all.
    let (protected, others): (Vec<_>, Vec<_>) =
        possible.into_iter().partition(|v| over.contains(&v.key));
    let (mut victims, mut violations) = (Vec::new(), 0);
    for victim in protected.into_iter().chain(others) {
        state.add(victim.clone());
        if !judge(&state).fits() {
            state.remove(&victim.key);
            violations += usize::from(over.contains(&victim.key));
            victims.push(victim);
        }
    }
    victims.sort_by_key(|v| Reverse(v.priority));
    Ok(Candidate { node: node.into(), victims, violations })
}

/// The pods whose going would take a disruption budget below nothing.
fn over_budget(pods: &[Arc<PodFacts>], cluster: &Cluster) -> BTreeSet<ObjectKey> {
    let mut left: BTreeMap<(&SmolStr, &SmolStr), i64> = BTreeMap::new();
    let mut over = BTreeSet::new();
    for pod in pods {
        let namespace = &pod.key.namespace;
        for (name, budget) in cluster.budgets(namespace) {
            // An empty selector protects nothing here, and neither does a budget that has
            // counted the pod already.
            if budget.selector.is_everything()
                || !budget.selector.matches(|key| pod.labels.get(key))
                || budget.disrupted.contains(&pod.key.name)
            {
                continue;
            }
            let left = left.entry((namespace, name)).or_insert(budget.allowed);
            *left -= 1;
            if *left < 0 {
                over.insert(pod.key.clone());
            }
        }
    }
    over
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Budget;
    use crate::plugins;
    use crate::plugins::testing::{asking, cluster, node};
    use timonier_meta::Selector;
    use timonier_object::value;

    fn with(priority: i64, pod: PodFacts) -> PodFacts {
        PodFacts { priority, ..pod }
    }

    fn try_it(pod: &PodFacts, cluster: &mut Cluster) -> Result<(SmolStr, Vec<SmolStr>), String> {
        let framework = Framework::new(plugins::default());
        let diagnosis = framework.place(pod, cluster, 0, 0).unwrap_err();
        let found = preempt(&framework, pod, cluster, &diagnosis, 0)?;
        Ok((found.node, found.victims.iter().map(|v| v.key.name.clone()).collect()))
    }

    #[test]
    fn takes_the_fewest_and_least_important() {
        let mut c = cluster(
            [node("a", |_| {}), node("b", |_| {})],
            &[
                ("a", with(1, asking("a1", "2", "1"))),
                ("a", with(2, asking("a2", "2", "1"))),
                ("b", with(1, asking("b1", "1", "1"))),
                ("b", with(5, asking("b5", "3", "1"))),
            ],
        );
        let p = with(9, asking("p", "2", "1"));
        assert_eq!(try_it(&p, &mut c), Ok(("a".into(), alloc::vec!["a1".into()])));
        assert_eq!(c.nodes()[0].pods.len(), 2, "the cluster is as it was");
    }

    #[test]
    fn says_why_it_does_not_help() {
        let tainted =
            node("b", |n| n.set("spec.taints", value!([{ "key": "k", "effect": "NoSchedule" }])));
        let mut c = cluster(
            [node("a", |_| {}), tainted, node("c", |_| {})],
            &[("a", with(9, asking("x", "4", "1"))), ("c", with(1, asking("y", "1", "1")))],
        );
        c.put_pod(Arc::new(PodFacts { node: "c".into(), ..with(9, asking("z", "3", "1")) }));
        let p = with(5, asking("p", "3", "1"));
        assert_eq!(
            try_it(&p, &mut c),
            Err("preemption: 0/3 nodes are available: 1 Insufficient cpu, \
                 1 No preemption victims found for incoming pod, \
                 1 Preemption is not helpful for scheduling."
                .into())
        );
        let polite = PodFacts { never_preempts: true, ..p };
        assert_eq!(
            try_it(&polite, &mut c),
            Err("preemption: not eligible due to preemptionPolicy=Never.".into())
        );
    }

    #[test]
    fn waits_for_a_victim_that_is_leaving() {
        let leaving = PodFacts { deleting: true, ..asking("x", "4", "1") };
        let mut c = cluster([node("a", |_| {})], &[("a", leaving)]);
        let p = PodFacts { nominated: "a".into(), ..with(5, asking("p", "1", "1")) };
        assert_eq!(
            try_it(&p, &mut c),
            Err("preemption: not eligible due to a terminating pod on the nominated node.".into())
        );
    }

    #[test]
    fn spares_pods_under_a_budget() {
        let mut c = cluster(
            [node("a", |_| {}), node("b", |_| {})],
            &[("a", with(1, asking("a1", "4", "1"))), ("b", with(2, asking("b1", "4", "1")))],
        );
        let p = with(9, asking("p", "2", "1"));
        assert_eq!(try_it(&p, &mut c).unwrap().0, "a");
        let protected = PodFacts {
            labels: crate::facts::Labels::read(&value!({ "app": "db" })),
            node: "a".into(),
            ..with(1, asking("a1", "4", "1"))
        };
        c.put_pod(Arc::new(protected));
        let selector = Selector::of_pairs([("app", "db")]);
        let budget = Budget { selector, allowed: 0, disrupted: BTreeSet::new() };
        c.put_budget(&ObjectKey::new("ns", "db"), Some(budget));
        assert_eq!(try_it(&p, &mut c).unwrap().0, "b");
    }
}
