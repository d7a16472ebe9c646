//! Prefers nodes that have the pod's images already, an image on few nodes counting less so that
//! pods do not all gather there.

use alloc::vec::Vec;

use crate::cluster::{Cluster, NodeState};
use crate::facts::PodFacts;
use crate::{Plugin, plugin::MAX_SCORE};

const MIB: i64 = 1 << 20;
/// Below this many bytes an image makes no difference.
const LEAST: i64 = 23 * MIB;
/// Above this many bytes a container it makes none either.
const MOST_OF_A_CONTAINER: i64 = 1000 * MIB;

/// See the file's text.
pub struct ImageLocality;

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn score(&self, pod: &PodFacts, cluster: &Cluster, nodes: &[&NodeState]) -> Option<Vec<i64>> {
        let all = cluster.nodes().len() as f64;
        let most = MOST_OF_A_CONTAINER * pod.images.len() as i64;
        let score = |node: &&NodeState| {
            let present = pod.images.iter().filter_map(|image| {
                let size = *node.facts.images.get(image)?;
                let spread = cluster.nodes_with_image(image) as f64 / all;
                Some((size as f64 * spread) as i64)
            });
            let sum = present.sum::<i64>().clamp(LEAST, most.max(LEAST));
            MAX_SCORE * (sum - LEAST) / (most - LEAST).max(1)
        };
        Some(nodes.iter().map(score).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{cluster, node, pod, scores};
    use timonier_object::value;

    #[test]
    fn a_large_image_draws() {
        let with = |name, image: &str, size: i64| {
            node(name, |n| {
                n.set("status.images", value!([{ "names": [image], "sizeBytes": size }]))
            })
        };
        let c =
            cluster([with("a", "web:latest", 500 * MIB), with("b", "web:latest", 10 * MIB)], &[]);
        let p = pod("p", value!({ "containers": [{ "image": "web" }] }));
        assert_eq!(scores(&ImageLocality, &p, &c), [48, 0]);
        let other = pod("p", value!({ "containers": [{ "image": "web:2" }] }));
        assert_eq!(scores(&ImageLocality, &other, &c), [0, 0]);
        let c = cluster([with("a", "web:latest", 500 * MIB), with("b", "x:1", 10 * MIB)], &[]);
        assert_eq!(scores(&ImageLocality, &p, &c), [23, 0], "on half of the nodes");
    }
}
