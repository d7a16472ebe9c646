//! The scheduler's own picture of the cluster, kept up with every change: nodes with the pods on
//! them (those assumed there included), and the selectors of Services and controllers.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::{ObjectKey, Selector};
use timonier_object::Value;

use crate::facts::{HostPort, Labels, NodeAffinity, NodeFacts, PodFacts, Resources};

/// A node and what is on it.
#[derive(Clone, Debug)]
pub struct NodeState {
    pub facts: Arc<NodeFacts>,
    pub pods: Vec<Arc<PodFacts>>,
    /// What the pods ask for.
    pub requested: Resources,
    /// The same as scoring sees it: processor time in thousandths, memory.
    pub scored: (i64, i64),
    /// How many of the pods have terms about other pods.
    pub with_affinity: usize,
}

impl NodeState {
    /// A node without pods.
    pub fn new(facts: NodeFacts) -> Self {
        NodeState {
            facts: Arc::new(facts),
            pods: Vec::new(),
            requested: Resources::default(),
            scored: (0, 0),
            with_affinity: 0,
        }
    }

    /// Puts a pod on the node.
    pub fn add(&mut self, pod: Arc<PodFacts>) {
        self.requested.add(&pod.request);
        self.scored.0 += pod.scored.0;
        self.scored.1 += pod.scored.1;
        self.with_affinity += usize::from(pod.has_affinity());
        self.pods.push(pod);
    }

    /// Takes a pod off the node.
    pub fn remove(&mut self, key: &ObjectKey) -> Option<Arc<PodFacts>> {
        let at = self.pods.iter().position(|p| p.key == *key)?;
        let pod = self.pods.remove(at);
        self.requested.subtract(&pod.request);
        self.scored.0 -= pod.scored.0;
        self.scored.1 -= pod.scored.1;
        self.with_affinity -= usize::from(pod.has_affinity());
        Some(pod)
    }

    /// Whether one of the ports is taken.
    pub fn has_taken(&self, ports: &[HostPort]) -> bool {
        let mut taken = self.pods.iter().flat_map(|p| &p.ports);
        taken.any(|t| ports.iter().any(|p| p.conflicts(t)))
    }
}

/// What owns pods and selects them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Workload {
    Service,
    ReplicationController,
    ReplicaSet,
    StatefulSet,
}

/// All nodes, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    nodes: Vec<Arc<NodeState>>,
    index: BTreeMap<SmolStr, usize>,
    /// Every pod that has a node, known or not.
    pods: BTreeMap<ObjectKey, Arc<PodFacts>>,
    by_node: BTreeMap<SmolStr, BTreeSet<ObjectKey>>,
    with_affinity: usize,
    /// How many nodes have an image.
    images: BTreeMap<SmolStr, usize>,
    /// Pods for which room is made, by node.
    nominated: BTreeMap<SmolStr, BTreeMap<ObjectKey, Arc<PodFacts>>>,
    workloads: BTreeMap<(SmolStr, Workload), BTreeMap<SmolStr, Selector>>,
    budgets: BTreeMap<SmolStr, BTreeMap<SmolStr, Budget>>,
    namespaces: BTreeMap<SmolStr, Labels>,
    claims: BTreeMap<ObjectKey, Claim>,
    /// The nodes that the volumes can be used on.
    volumes: BTreeMap<SmolStr, NodeAffinity>,
}

/// A PersistentVolumeClaim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    pub bound: bool,
    /// Its volume is gone.
    pub lost: bool,
    pub deleting: bool,
    /// Empty while it has none.
    pub volume: SmolStr,
}

impl Claim {
    /// Reads a claim.
    pub fn read(claim: &Value) -> Self {
        let phase = claim.at("status.phase").str();
        let volume = claim.at("spec.volumeName").smol();
        Claim {
            bound: phase == "Bound" && !volume.is_empty(),
            lost: phase == "Lost",
            deleting: claim.is_deleting(),
            volume,
        }
    }
}

/// A PodDisruptionBudget.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Budget {
    pub selector: Selector,
    /// How many more pods may go.
    pub allowed: i64,
    /// Pods that are counted as going already.
    pub disrupted: BTreeSet<SmolStr>,
}

static NO_LABELS: Labels = Labels::none();

impl Cluster {
    /// The nodes, in the order in which they came.
    pub fn nodes(&self) -> &[Arc<NodeState>] {
        &self.nodes
    }

    /// A node by its name.
    pub fn node(&self, name: &str) -> Option<&Arc<NodeState>> {
        self.index.get(name).map(|i| &self.nodes[*i])
    }

    /// How many nodes have an image.
    pub fn nodes_with_image(&self, image: &str) -> usize {
        self.images.get(image).copied().unwrap_or(0)
    }

    /// Whether any pod that has a node says something about pods beside it.
    pub fn has_affinity(&self) -> bool {
        self.with_affinity > 0
    }

    /// The labels of a namespace; none where it is unknown.
    pub fn namespace(&self, name: &str) -> &Labels {
        self.namespaces.get(name).unwrap_or(&NO_LABELS)
    }

    /// The pods for which room is made on a node.
    pub fn nominated(&self, node: &str) -> impl Iterator<Item = &Arc<PodFacts>> {
        self.nominated.get(node).into_iter().flat_map(BTreeMap::values)
    }

    /// The nodes on which room is made.
    pub fn nominated_nodes(&self) -> impl Iterator<Item = &SmolStr> {
        self.nominated.keys()
    }

    /// The selectors of a kind of workload in a namespace, by name.
    pub fn selectors(
        &self,
        namespace: &str,
        kind: Workload,
    ) -> impl Iterator<Item = (&SmolStr, &Selector)> {
        self.workloads.get(&(namespace.into(), kind)).into_iter().flatten()
    }

    /// A claim.
    pub fn claim(&self, key: &ObjectKey) -> Option<&Claim> {
        self.claims.get(key)
    }

    /// Takes up a claim; `None` forgets it. Whether it is different now.
    pub fn put_claim(&mut self, key: &ObjectKey, claim: Option<Claim>) -> bool {
        let old = match claim.clone() {
            Some(claim) => self.claims.insert(key.clone(), claim),
            None => self.claims.remove(key),
        };
        old != claim
    }

    /// What a volume demands of nodes; `None` where it does not exist.
    pub fn volume(&self, name: &str) -> Option<&NodeAffinity> {
        self.volumes.get(name)
    }

    /// Takes up a volume; `None` forgets it. Whether it is different now.
    pub fn put_volume(&mut self, name: &str, demands: Option<NodeAffinity>) -> bool {
        let old = match demands.clone() {
            Some(demands) => self.volumes.insert(name.into(), demands),
            None => self.volumes.remove(name),
        };
        old != demands
    }

    /// The disruption budgets of a namespace, by name.
    pub fn budgets(&self, namespace: &str) -> impl Iterator<Item = (&SmolStr, &Budget)> {
        self.budgets.get(namespace).into_iter().flatten()
    }

    /// Takes up a disruption budget; `None` forgets it.
    pub fn put_budget(&mut self, key: &ObjectKey, budget: Option<Budget>) {
        let all = self.budgets.entry(key.namespace.clone()).or_default();
        match budget {
            Some(budget) => all.insert(key.name.clone(), budget),
            None => all.remove(&key.name),
        };
        if all.is_empty() {
            self.budgets.remove(&key.namespace);
        }
    }

    /// Takes up a node, new or changed; gives its former facts.
    pub fn put_node(&mut self, facts: NodeFacts) -> Option<Arc<NodeFacts>> {
        let name = facts.name.clone();
        for image in facts.images.keys() {
            *self.images.entry(image.clone()).or_default() += 1;
        }
        if let Some(i) = self.index.get(&name) {
            let state = Arc::make_mut(&mut self.nodes[*i]);
            let old = core::mem::replace(&mut state.facts, Arc::new(facts));
            self.forget_images(&old);
            return Some(old);
        }
        let mut state = NodeState::new(facts);
        for key in self.by_node.get(&name).into_iter().flatten() {
            if let Some(pod) = self.pods.get(key) {
                state.add(pod.clone());
            }
        }
        self.index.insert(name, self.nodes.len());
        self.nodes.push(Arc::new(state));
        None
    }

    /// Forgets a node, and gives what it was. Its pods stay known, should it come back.
    pub fn remove_node(&mut self, name: &str) -> Option<Arc<NodeFacts>> {
        let at = self.index.remove(name)?;
        let state = self.nodes.remove(at);
        self.forget_images(&state.facts);
        for i in self.index.values_mut().filter(|i| **i > at) {
            *i -= 1;
        }
        Some(state.facts.clone())
    }

    /// Puts a pod on the node that it names, in place of its former state.
    pub fn put_pod(&mut self, pod: Arc<PodFacts>) -> Option<Arc<PodFacts>> {
        let old = self.remove_pod(&pod.key);
        self.with_affinity += usize::from(pod.has_affinity());
        self.by_node.entry(pod.node.clone()).or_default().insert(pod.key.clone());
        if let Some(i) = self.index.get(&pod.node) {
            Arc::make_mut(&mut self.nodes[*i]).add(pod.clone());
        }
        self.pods.insert(pod.key.clone(), pod);
        old
    }

    /// Takes a pod off its node.
    pub fn remove_pod(&mut self, key: &ObjectKey) -> Option<Arc<PodFacts>> {
        let pod = self.pods.remove(key)?;
        self.with_affinity -= usize::from(pod.has_affinity());
        if let Some(keys) = self.by_node.get_mut(&pod.node) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_node.remove(&pod.node);
            }
        }
        if let Some(i) = self.index.get(&pod.node) {
            Arc::make_mut(&mut self.nodes[*i]).remove(key);
        }
        Some(pod)
    }

    /// The pod's state, where it has a node.
    pub fn pod(&self, key: &ObjectKey) -> Option<&Arc<PodFacts>> {
        self.pods.get(key)
    }

    /// Remembers that room is made for a pod on a node; an empty name forgets it.
    pub fn nominate(&mut self, pod: &Arc<PodFacts>, node: &str) {
        self.forget_nomination(&pod.key);
        if !node.is_empty() {
            let pods = self.nominated.entry(node.into()).or_default();
            pods.insert(pod.key.clone(), pod.clone());
        }
    }

    /// Forgets where room was made for a pod.
    pub fn forget_nomination(&mut self, key: &ObjectKey) {
        self.nominated.retain(|_, pods| {
            pods.remove(key);
            !pods.is_empty()
        });
    }

    /// Takes up a workload's selector; `None` forgets the workload.
    pub fn put_selector(&mut self, kind: Workload, key: &ObjectKey, selector: Option<Selector>) {
        let all = self.workloads.entry((key.namespace.clone(), kind)).or_default();
        match selector {
            Some(selector) => all.insert(key.name.clone(), selector),
            None => all.remove(&key.name),
        };
        if all.is_empty() {
            self.workloads.remove(&(key.namespace.clone(), kind));
        }
    }

    /// Takes up a namespace's labels; `None` forgets the namespace.
    pub fn put_namespace(&mut self, name: &str, labels: Option<Labels>) {
        match labels {
            Some(labels) => self.namespaces.insert(name.into(), labels),
            None => self.namespaces.remove(name),
        };
    }

    /// Runs `f` with another state of one node, to see what would be.
    pub fn with_node<T>(
        &mut self,
        state: NodeState,
        f: impl FnOnce(&mut Cluster) -> T,
    ) -> Option<T> {
        let at = *self.index.get(&state.facts.name)?;
        let real = core::mem::replace(&mut self.nodes[at], Arc::new(state));
        let others = self.with_affinity - real.with_affinity;
        let before =
            core::mem::replace(&mut self.with_affinity, others + self.nodes[at].with_affinity);
        let result = f(self);
        self.with_affinity = before;
        self.nodes[at] = real;
        Some(result)
    }

    fn forget_images(&mut self, facts: &NodeFacts) {
        for image in facts.images.keys() {
            if let Some(n) = self.images.get_mut(image) {
                *n -= 1;
                if *n == 0 {
                    self.images.remove(image);
                }
            }
        }
    }
}
