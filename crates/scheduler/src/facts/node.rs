//! Facts of a node.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_object::Value;

use super::{Effect, Resources};

/// Labels in the order of their keys.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Labels(Vec<(SmolStr, SmolStr)>);

impl Labels {
    /// No labels.
    pub const fn none() -> Self {
        Labels(Vec::new())
    }

    /// Reads `metadata.labels`.
    pub fn read(map: &Value) -> Self {
        let mut labels: Vec<_> = map.entries().map(|(k, v)| (k.into(), v.smol())).collect();
        labels.sort();
        Labels(labels)
    }

    /// The value of a label.
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(k, _)| k.as_str().cmp(key)).ok()?;
        Some(self.0[at].1.as_str())
    }
}

/// A taint of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Taint {
    pub key: SmolStr,
    pub value: SmolStr,
    pub effect: Effect,
}

/// What the plug-ins need to know of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeFacts {
    pub name: SmolStr,
    pub labels: Labels,
    pub unschedulable: bool,
    pub taints: Vec<Taint>,
    pub allocatable: Resources,
    /// How many pods the node takes.
    pub pods: i64,
    /// The names of the images on the node and their sizes in bytes.
    pub images: BTreeMap<SmolStr, i64>,
}

impl NodeFacts {
    /// Reads a node.
    pub fn read(node: &Value) -> Self {
        let taint = |t: &Value| {
            let effect = Effect::read(t.at("effect").str())?;
            Some(Taint { key: t.at("key").smol(), value: t.at("value").smol(), effect })
        };
        let mut images = BTreeMap::new();
        for image in node.at("status.images").items() {
            for name in image.at("names").items() {
                images.insert(name.smol(), image.at("sizeBytes").int_or(0));
            }
        }
        let allocatable = node.at("status.allocatable");
        let pods = allocatable.at("pods");
        NodeFacts {
            name: node.name().into(),
            labels: Labels::read(node.at("metadata.labels")),
            unschedulable: node.at("spec.unschedulable").bool(),
            taints: node.at("spec.taints").items().iter().filter_map(taint).collect(),
            allocatable: Resources::read(allocatable),
            pods: pods.as_i64().or_else(|| pods.str().parse().ok()).unwrap_or(0),
            images,
        }
    }
}
