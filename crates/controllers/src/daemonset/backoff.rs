//! How long a node waits for the next pod of a set whose pods fail there (upstream's
//! `failedPodsBackoff`).

use alloc::collections::BTreeMap;

use smol_str::SmolStr;
use timonier_meta::{Duration, Time};
use timonier_object::{Value, value};
use timonier_reconcile::Context;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// By node: the wait, and since when.
pub struct Backoff {
    /// The set and its generation, for another one of either starts anew.
    of: SmolStr,
    nodes: BTreeMap<SmolStr, (Duration, Time)>,
}

impl Backoff {
    /// What is remembered of the set at its observed generation.
    pub fn of(set: &Value, context: &Context<'_>) -> Self {
        let of = SmolStr::new(alloc::format!(
            "{}/{}",
            set.uid(),
            set.at("status.observedGeneration").int_or(0)
        ));
        let mut nodes = BTreeMap::new();
        let memory = context.memory.filter(|m| m.at("of").str() == of);
        for (node, entry) in memory.into_iter().flat_map(|m| m.at("nodes").entries()) {
            let at = Time(entry.at("at").int_or(0));
            // Who did well for long starts anew.
            if at + LONGEST + LONGEST >= context.now {
                nodes.insert(SmolStr::new(node), (Duration(entry.at("wait").int_or(0)), at));
            }
        }
        Backoff { of, nodes }
    }

    /// Notes that a pod failed on this node, and gives nothing: it may be replaced now. Or gives
    /// when it may, where the last one was replaced just before.
    pub fn failed(&mut self, node: &str, now: Time) -> Option<Time> {
        let wait = match self.nodes.get(node) {
            Some((wait, at)) if *at + *wait > now => return Some(*at + *wait),
            Some((wait, _)) => Duration(wait.0.saturating_mul(2).min(LONGEST.0)),
            None => FIRST,
        };
        self.nodes.insert(node.into(), (wait, now));
        None
    }

    /// What the next run has to know.
    pub fn memory(&self) -> Option<Value> {
        if self.nodes.is_empty() {
            return None;
        }
        let entry = |(wait, at): &(Duration, Time)| value!({ "wait": (wait.0), "at": (at.0) });
        let nodes: Value = self.nodes.iter().map(|(n, e)| (n.clone(), entry(e))).collect();
        Some(value!({ "of": (self.of.as_str()), "nodes": nodes }))
    }
}
