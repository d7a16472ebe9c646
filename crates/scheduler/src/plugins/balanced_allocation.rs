//! Prefers nodes whose processor time and memory would be used in like measure.

use alloc::vec::Vec;

use crate::cluster::{Cluster, NodeState};
use crate::facts::PodFacts;
use crate::{Plugin, plugin::MAX_SCORE};

/// See the file's text.
pub struct BalancedAllocation;

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn score(&self, pod: &PodFacts, _: &Cluster, nodes: &[&NodeState]) -> Option<Vec<i64>> {
        // A pod that asks for nothing changes no balance.
        if pod.request.milli_cpu == 0 && pod.request.memory == 0 {
            return None;
        }
        let balance = |node: &&NodeState| {
            let (all, used) = (&node.facts.allocatable, &node.requested);
            let cpu = share(all.milli_cpu, used.milli_cpu + pod.request.milli_cpu);
            let memory = share(all.memory, used.memory + pod.request.memory);
            // The standard deviation of two figures is half their distance.
            let deviation = match (cpu, memory) {
                (Some(cpu), Some(memory)) => (cpu - memory).abs() / 2.0,
                _ => 0.0,
            };
            ((1.0 - deviation) * MAX_SCORE as f64) as i64
        };
        Some(nodes.iter().map(balance).collect())
    }
}

fn share(total: i64, used: i64) -> Option<f64> {
    (total > 0).then(|| (used as f64 / total as f64).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{asking, cluster, node, pod, scores};
    use timonier_object::value;

    #[test]
    fn an_even_use_scores_best() {
        let c = cluster(
            [node("a", |_| {}), node("b", |_| {})],
            &[("a", asking("x", "2", "0")), ("b", asking("y", "1", "1Gi"))],
        );
        assert_eq!(scores(&BalancedAllocation, &asking("p", "1", "1Gi"), &c), [75, 100]);
        assert_eq!(scores(&BalancedAllocation, &pod("p", value!({})), &c), [0i64; 0]);
    }
}
