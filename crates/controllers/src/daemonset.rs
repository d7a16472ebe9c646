//! DaemonSet: one pod on every node that suits (upstream `pkg/controller/daemon`).

mod backoff;
mod nodes;
mod rollout;
mod status;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::gvk::resources::{CONTROLLERREVISIONS, DAEMONSETS, NODES, PODS};
use timonier_meta::{Duration, GroupVersionResource, ObjectKey, Selector, Time};
use timonier_object::{Value, label_selector};
use timonier_reconcile::{Change, Context, Plan, Reason, Reconciler, World, Write};

use crate::common::claim::claim;
use crate::common::pods;
use crate::common::revisions::{self, history};
use backoff::Backoff;
use nodes::{fits, node_of, pod_for};

/// Most pods created and most deleted by one plan.
const BURST: usize = 250;

/// The controller of DaemonSets.
pub struct DaemonSets;

impl Reconciler for DaemonSets {
    fn name(&self) -> &'static str {
        "daemonset-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![DAEMONSETS, PODS, NODES, CONTROLLERREVISIONS]
    }

    fn concerns(&self, change: &Change, world: &World) -> Vec<ObjectKey> {
        if change.is(&DAEMONSETS) {
            return vec![change.key.clone()];
        }
        if change.is(&NODES) {
            let matters = |n: &Option<Arc<Value>>| n.as_ref().map(|n| nodes::facts(n));
            if matters(&change.old) == matters(&change.new) {
                return Vec::new();
            }
            return world.table(&DAEMONSETS).keys().cloned().collect();
        }
        let mut keys = change.controllers("apps", "DaemonSet");
        if let Some(object) = change.new.as_ref().filter(|o| o.controller().is_none()) {
            let sets = world.table(&DAEMONSETS).in_namespace(object.namespace());
            keys.extend(sets.filter(|s| matches(s, object)).map(|s| s.key()));
        }
        keys
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        let Some(set) = world.get(&DAEMONSETS, key).filter(|s| !s.is_deleting()) else {
            return Plan::nothing();
        };
        let Ok(selector) = label_selector(set.at("spec.selector")) else { return Plan::nothing() };
        if selector.is_everything() {
            let text = "This daemon set is selecting all pods. A non-empty selector is required.";
            let because = vec![Reason::warning(set, "SelectingAll", text)];
            return Plan { because, ..Plan::default() };
        }
        decide(set, &selector, world, context)
    }
}

fn matches(set: &Value, object: &Value) -> bool {
    label_selector(set.at("spec.selector")).is_ok_and(|s| s.matches(|k| object.label(k)))
}

fn decide(set: &Value, selector: &Selector, world: &World, context: &Context<'_>) -> Plan {
    let claimed_history = claim(world, &CONTROLLERREVISIONS, set, selector, |_| true);
    let past = history(set, claimed_history.objects, world);
    let mut plan = Plan { writes: claimed_history.writes, ..Plan::default() };
    if past.collision {
        plan.writes.push(status::count_collision(set));
        return plan;
    }
    plan.writes.extend(past.writes);
    let claimed = claim(world, &PODS, set, selector, |_| true);
    plan.writes.extend(claimed.writes);
    let hash = SmolStr::new(revisions::hash_of(&past.current));
    let mut step = Step::new(set, hash, &claimed.objects, world, context);
    step.manage();
    if step.settled() && set.at("spec.updateStrategy.type").str() != "OnDelete" {
        rollout::update(&mut step);
    }
    let settled = step.settled();
    step.finish(&mut plan);
    if settled {
        let limit = set.at("spec.revisionHistoryLimit").int_or(10);
        let live = |r: &Value| {
            let hash = revisions::hash_of(r);
            claimed.objects.iter().any(|p| p.label(revisions::HASH_LABEL) == Some(hash))
        };
        plan.writes.extend(revisions::surplus(&past.old, limit, live));
    }
    plan
}

/// The pods of a set by node, and what is to be done about them.
struct Step<'a> {
    set: &'a Value,
    hash: SmolStr,
    world: &'a World,
    context: &'a Context<'a>,
    nodes: Vec<&'a Arc<Value>>,
    by_node: BTreeMap<SmolStr, Vec<Arc<Value>>>,
    create_on: Vec<SmolStr>,
    delete: Vec<Arc<Value>>,
    backoff: Backoff,
    because: Vec<Reason>,
    requeue_at: Option<Time>,
}

impl<'a> Step<'a> {
    fn new(
        set: &'a Value,
        hash: SmolStr,
        all: &[Arc<Value>],
        world: &'a World,
        context: &'a Context<'a>,
    ) -> Self {
        let mut by_node: BTreeMap<SmolStr, Vec<Arc<Value>>> = BTreeMap::new();
        for pod in all {
            by_node.entry(node_of(pod)).or_default().push(pod.clone());
        }
        let nodes = world.table(&NODES).iter().collect();
        Step {
            set,
            hash,
            world,
            context,
            nodes,
            by_node,
            create_on: Vec::new(),
            delete: Vec::new(),
            backoff: Backoff::of(set, context),
            because: Vec::new(),
            requeue_at: None,
        }
    }

    fn min_ready(&self) -> i64 {
        self.set.at("spec.minReadySeconds").int_or(0)
    }

    fn pods_on(&self, node: &str) -> &[Arc<Value>] {
        self.by_node.get(node).map_or(&[], Vec::as_slice)
    }

    fn settled(&self) -> bool {
        self.create_on.is_empty() && self.delete.is_empty()
    }

    /// Whether a pod has the present template.
    fn is_updated(&self, pod: &Value) -> bool {
        pod.label(revisions::HASH_LABEL) == Some(&self.hash)
    }

    /// One pod on each node that suits, none elsewhere.
    fn manage(&mut self) {
        for node in self.nodes.clone() {
            let name = node.name();
            let fit = fits(self.set, node);
            let here = self.pods_on(name).to_vec();
            if fit.run && here.is_empty() {
                self.create_on.push(name.into());
            } else if fit.keep {
                self.keep(here);
            } else {
                self.delete.extend(here.into_iter().filter(|p| !p.is_deleting()));
            }
        }
        // Pods for nodes that are gone before they were bound; the others are podgc's.
        let lost = self
            .by_node
            .iter()
            .filter(|(n, _)| self.world.get(&NODES, &ObjectKey::new("", (*n).clone())).is_none());
        let unbound = lost
            .flat_map(|(_, pods)| pods)
            .filter(|p| p.at("spec.nodeName").is_empty() && !p.is_deleting());
        let unbound: Vec<_> = unbound.cloned().collect();
        self.delete.extend(unbound);
    }

    /// The pods of a node that suits: what has ended goes, and what is too much.
    fn keep(&mut self, here: Vec<Arc<Value>>) {
        let mut running = Vec::new();
        for pod in here.into_iter().filter(|p| !p.is_deleting()) {
            match pod.at("status.phase").str() {
                "Failed" => self.replace_failed(pod),
                "Succeeded" => {
                    let text = alloc::format!(
                        "Found succeeded daemon pod {}/{} on node {}, will try to delete it",
                        pod.namespace(),
                        pod.name(),
                        node_of(&pod)
                    );
                    self.because.push(Reason::normal(self.set, "SucceededDaemonPod", text));
                    self.delete.push(pod);
                }
                _ => running.push(pod),
            }
        }
        if running.len() <= 1 {
            return;
        }
        // Bound ones before unbound ones, then the oldest.
        running.sort_by_key(|p| (p.at("spec.nodeName").is_empty(), p.created(), p.key()));
        if rollout::surge(self.set, 1) == 0 {
            self.delete.extend(running.into_iter().skip(1));
            return;
        }
        // A surging rollout has an old and a new pod on a node, until the new one is available.
        let (new, old): (Vec<_>, Vec<_>) = running.into_iter().partition(|p| self.is_updated(p));
        let serves = |p: &Arc<Value>| pods::is_available(p, self.min_ready(), self.context.now);
        let drop_old = new.first().is_some_and(serves);
        let old = old.into_iter().skip(usize::from(!drop_old));
        self.delete.extend(new.into_iter().skip(1).chain(old));
    }

    /// A failed pod goes, but not in a tight loop.
    fn replace_failed(&mut self, pod: Arc<Value>) {
        if let Some(due) = self.backoff.failed(&node_of(&pod), self.context.now) {
            self.requeue_at = Some(self.requeue_at.map_or(due, |t| t.min(due)));
            return;
        }
        let text = alloc::format!(
            "Found failed daemon pod {}/{} on node {}, will try to kill it",
            pod.namespace(),
            pod.name(),
            node_of(&pod)
        );
        self.because.push(Reason::warning(self.set, "FailedDaemonPod", text));
        self.delete.push(pod);
    }

    fn finish(mut self, plan: &mut Plan) {
        let set = self.set;
        let status = status::write(&self);
        let failed = self.context.failure.is_some();
        if failed {
            plan.writes.extend(status.clone());
        }
        let prefix = pods::name_prefix(set);
        for (n, node) in self.create_on.iter().take(BURST).enumerate() {
            let pod = pod_for(set, &self.hash, node);
            plan.writes.push(pods::create(pod, &prefix, set, self.context, n as u64));
        }
        for pod in self.delete.iter().take(BURST) {
            plan.writes.push(pods::delete(pod, set));
        }
        if !failed {
            plan.writes.extend(status);
        }
        plan.because.append(&mut self.because);
        plan.remember = self.backoff.memory();
        if let Some(at) = self.requeue_at.into_iter().chain(self.next_available()).min() {
            plan.requeue(at);
        }
    }

    /// When the next ready pod becomes available.
    fn next_available(&self) -> Option<Time> {
        let all = self.by_node.values().flatten();
        let times = all.filter_map(|p| pods::available_from(p, self.min_ready()));
        let next = times.filter(|at| *at > self.context.now).min();
        next.map(|at| at + Duration::from_millis(1))
    }
}

/// Replaces the status of a set.
fn status_write(set: &Value, status: Value) -> Option<Write> {
    if set.at("status") == &status {
        return None;
    }
    let mut set = set.clone();
    set.set("status", status);
    Some(Write::update_status(&DAEMONSETS, set))
}
