//! The rolling update of a DaemonSet.

use alloc::sync::Arc;
use alloc::vec::Vec;

use timonier_object::Value;

use super::Step;
use super::nodes::fits;
use crate::common::intstr::scaled;
use crate::common::pods;

/// The pods that may be on top during an update, of so many nodes.
pub fn surge(set: &Value, nodes: usize) -> i64 {
    scaled(set.at("spec.updateStrategy.rollingUpdate.maxSurge"), nodes as i64, true, 0)
}

/// Deletes old pods within `maxUnavailable`, or starts new ones beside them within `maxSurge`.
pub fn update(step: &mut Step<'_>) {
    let wanted: Vec<&Arc<Value>> =
        step.nodes.iter().filter(|n| fits(step.set, n).run).copied().collect();
    let most_surge = surge(step.set, wanted.len());
    let share = step.set.at("spec.updateStrategy.rollingUpdate.maxUnavailable");
    let most_unavailable = scaled(share, wanted.len() as i64, true, 1);
    if most_surge > 0 {
        return surging(step, &wanted, most_surge);
    }
    // Both at zero would never get on.
    replacing(step, &wanted, most_unavailable.max(1));
}

/// The new and the old pod of a node; `None` where there are two of a kind.
type Pair = (Option<Arc<Value>>, Option<Arc<Value>>);

fn pair(step: &Step<'_>, node: &str) -> Option<Pair> {
    let mut found: Pair = (None, None);
    for pod in step.pods_on(node).iter().filter(|p| !p.is_deleting()) {
        let slot = if step.is_updated(pod) { &mut found.0 } else { &mut found.1 };
        if slot.replace(pod.clone()).is_some() {
            return None;
        }
    }
    Some(found)
}

fn serves(step: &Step<'_>, pod: &Value) -> bool {
    pods::is_available(pod, step.min_ready(), step.context.now)
}

fn replacing(step: &mut Step<'_>, nodes: &[&Arc<Value>], most: i64) {
    let mut unavailable = 0;
    let (mut at_once, mut in_turn) = (Vec::new(), Vec::new());
    for node in nodes {
        match pair(step, node.name()) {
            None | Some((None, None)) => unavailable += 1,
            Some((Some(new), _)) => unavailable += i64::from(!serves(step, &new)),
            Some((None, Some(old))) if serves(step, &old) => in_turn.push(old),
            Some((None, Some(old))) => {
                unavailable += 1;
                at_once.push(old);
            }
        }
    }
    let room = usize::try_from(most - unavailable).unwrap_or(0);
    step.delete.extend(at_once);
    step.delete.extend(in_turn.into_iter().take(room));
}

fn surging(step: &mut Step<'_>, nodes: &[&Arc<Value>], most: i64) {
    let mut surging = 0;
    let (mut at_once, mut in_turn) = (Vec::new(), Vec::new());
    for node in nodes {
        match pair(step, node.name()) {
            None => surging += 1,
            Some((Some(new), old)) if serves(step, &new) => step.delete.extend(old),
            Some((Some(_), Some(_))) => surging += 1,
            Some((None, Some(old))) if serves(step, &old) => in_turn.push(node.name().into()),
            Some((None, Some(_))) => at_once.push(node.name().into()),
            Some((_, None)) => {}
        }
    }
    let room = usize::try_from(most - surging).unwrap_or(0);
    step.create_on.extend(at_once);
    step.create_on.extend(in_turn.into_iter().take(room));
}
