//! What an applied object makes of the one that is there.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use timonier_object::Value;

use super::path::Step;
use super::typed::{Form, Typ};

/// Merges an applied object into the live one: what it says counts, what it does not say stays.
pub fn merge(typ: Typ<'_>, live: &Value, applied: &Value) -> Value {
    at(typ, Some(live), Some(applied)).unwrap_or_default()
}

fn at(typ: Typ<'_>, live: Option<&Value>, applied: Option<&Value>) -> Option<Value> {
    let given = applied.or(live)?;
    let form = typ.form(given);
    let empty = |v: Option<&Value>| {
        v.is_none_or(|v| match v {
            Value::Object(map) => map.is_empty() || form != Form::Map,
            Value::Array(items) => items.is_empty() || form != Form::List,
            _ => true,
        })
    };
    match form {
        Form::Leaf => Some(given.clone()),
        _ if empty(live) && empty(applied) => Some(given.clone()),
        Form::Map => map(typ, live, applied),
        Form::List => list(typ, live, applied),
    }
}

fn map(typ: Typ<'_>, live: Option<&Value>, applied: Option<&Value>) -> Option<Value> {
    let mut out = Value::object();
    let names = [live, applied].into_iter().flatten().flat_map(|v| v.entries().map(|(k, _)| k));
    let mut seen = BTreeSet::new();
    for name in names.filter(|name| seen.insert(*name)) {
        let of = |v: Option<&Value>| -> Option<Value> { v?.get(name).cloned() };
        let below = typ.below(&Step::Field(name.into()));
        if let Some(merged) = at(below, of(live).as_ref(), of(applied).as_ref()) {
            out.make_object().insert(name, merged);
        }
    }
    (!out.is_empty()).then_some(out)
}

/// Items keep the order in which they are applied; those of others stay where they stood among
/// them.
fn list(typ: Typ<'_>, live: Option<&Value>, applied: Option<&Value>) -> Option<Value> {
    let steps = |v: Option<&'_ Value>| -> Vec<(Step, Value)> {
        let all = v.map(|v| typ.steps(v)).unwrap_or_default();
        all.into_iter().map(|(step, item)| (step, item.clone())).collect()
    };
    let (left, right) = (steps(live), steps(applied));
    let mut of_live: BTreeMap<&Step, Option<&Value>> = BTreeMap::new();
    for (step, item) in &left {
        // Items that are there several times are not merged.
        let first = !of_live.contains_key(step);
        of_live.insert(step, first.then_some(item));
    }
    let of_applied: BTreeSet<&Step> = right.iter().map(|(step, _)| step).collect();
    let mut shared: VecDeque<&Step> =
        right.iter().map(|(s, _)| s).filter(|s| of_live.contains_key(s)).collect();
    let mut next = shared.pop_front();
    let mut out: Vec<Value> = Vec::new();
    let mut merged: BTreeSet<&Step> = BTreeSet::new();
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if let (Some((a, _)), Some((b, item))) = (left.get(l), right.get(r)) {
            if a == b {
                merged.insert(b);
                let before = of_live.get(b).copied().flatten();
                out.extend(at(typ.below(b), before, Some(item)));
                (l, r) = (l + 1, r + 1);
                next = shared.pop_front();
                continue;
            }
            if of_applied.contains(a) && next.is_some_and(|n| n != a) {
                // It comes where it is applied.
                l += 1;
                continue;
            }
        }
        if let Some((step, item)) = left.get(l) {
            if !of_applied.contains(step) {
                out.extend(at(typ.below(step), Some(item), None));
                l += 1;
                continue;
            }
            if merged.contains(step) {
                l += 1;
            }
        }
        if let Some((step, item)) = right.get(r) {
            merged.insert(step);
            let before = of_live.get(step).copied().flatten();
            out.extend(at(typ.below(step), before, Some(item)));
            r += 1;
            if next == Some(step) {
                next = shared.pop_front();
            }
        }
    }
    (!out.is_empty()).then(|| Value::array(out))
}
