//! What a plug-in is: it keeps nodes out, ranks those that are left, and says which changes may
//! help a pod that it kept out. The extension points are upstream's scheduling framework, with
//! what a plug-in prepares for a pod held in the filter that it gives.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::ObjectKey;

use crate::cluster::{Cluster, NodeState};
use crate::facts::{Labels, NodeFacts, PodFacts};

/// The best score of a node from one plug-in.
pub const MAX_SCORE: i64 = 100;

/// One plug-in.
pub trait Plugin: Send + Sync {
    /// The name, as upstream's.
    fn name(&self) -> &'static str;

    /// The only nodes that come into question; `None` is all of them. The error is a message for
    /// a pod that no node can suit.
    fn narrow(
        &self,
        _pod: &PodFacts,
        _cluster: &Cluster,
    ) -> Result<Option<BTreeSet<SmolStr>>, SmolStr> {
        Ok(None)
    }

    /// The filter for a pod; `None` where every node passes.
    fn filter<'a>(&'a self, _pod: &'a PodFacts, _cluster: &'a Cluster) -> Option<Filter<'a>> {
        None
    }

    /// The score of each node for a pod, from 0 to [`MAX_SCORE`]; `None` where it makes no
    /// difference.
    fn score(
        &self,
        _pod: &PodFacts,
        _cluster: &Cluster,
        _nodes: &[&NodeState],
    ) -> Option<Vec<i64>> {
        None
    }

    /// How much the plug-in's scores count.
    fn weight(&self) -> i64 {
        1
    }

    /// Whether a change may let a pod fit that this plug-in kept out.
    fn wakes(&self, _pod: &PodFacts, _change: &Happening<'_>) -> bool {
        false
    }
}

/// Judges one node after the other.
pub type Filter<'a> = Box<dyn Fn(&NodeState) -> Verdict + 'a>;

/// What a filter says of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Fits,
    /// Not as things are; taking pods off the node may help.
    Unschedulable(Vec<SmolStr>),
    /// Not even without the pods on the node.
    Unresolvable(Vec<SmolStr>),
}

impl Verdict {
    /// A reason that taking pods off may remove.
    pub fn unschedulable(reason: &'static str) -> Self {
        Verdict::Unschedulable(alloc::vec![SmolStr::new_static(reason)])
    }

    /// A reason that lies in the node itself.
    pub fn unresolvable(reason: &'static str) -> Self {
        Verdict::Unresolvable(alloc::vec![SmolStr::new_static(reason)])
    }

    /// Whether the node passes.
    pub fn fits(&self) -> bool {
        *self == Verdict::Fits
    }

    /// Why the node does not pass.
    pub fn reasons(&self) -> &[SmolStr] {
        match self {
            Verdict::Fits => &[],
            Verdict::Unschedulable(reasons) | Verdict::Unresolvable(reasons) => reasons,
        }
    }
}

/// A change in the cluster that may let a waiting pod fit.
#[derive(Clone, Copy, Debug)]
pub enum Happening<'a> {
    NodeAdded(&'a NodeFacts),
    NodeChanged {
        old: &'a NodeFacts,
        new: &'a NodeFacts,
    },
    NodeGone(&'a NodeFacts),
    /// A pod has a node now.
    PodPlaced(&'a PodFacts),
    /// A pod that has a node changed.
    PodChanged {
        old: &'a PodFacts,
        new: &'a PodFacts,
    },
    /// A pod that had a node is finished or gone.
    PodGone(&'a PodFacts),
    /// A namespace's labels are new.
    NamespaceLabels(&'a str, &'a Labels),
    /// A claim is new or changed.
    Claim(&'a ObjectKey),
    /// A volume is new or changed.
    Volume(&'a str),
}

impl<'a> Happening<'a> {
    /// The state of the node that is new or changed.
    pub fn node(&self) -> Option<&'a NodeFacts> {
        match self {
            Happening::NodeAdded(node) | Happening::NodeChanged { new: node, .. } => Some(node),
            _ => None,
        }
    }
}

/// Scores relative to the largest, as upstream's `DefaultNormalizeScore`; reversed where less is
/// better.
pub fn normalize(mut scores: Vec<i64>, reverse: bool) -> Vec<i64> {
    let most = scores.iter().copied().max().unwrap_or(0);
    for score in &mut scores {
        let share = if most == 0 { 0 } else { MAX_SCORE * *score / most };
        *score = if reverse { MAX_SCORE - share } else { share };
    }
    scores
}
