//! What changed from one object to another, field by field.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use timonier_object::Value;

use super::path::Step;
use super::set::FieldSet;
use super::typed::{Form, Typ};

/// The fields that differ.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    pub added: FieldSet,
    pub modified: FieldSet,
    pub removed: FieldSet,
}

impl Comparison {
    /// Leaves out fields of the top that a writer does not decide.
    pub fn without(mut self, fields: &[&str]) -> Self {
        for field in fields {
            self.added.without_field(field);
            self.modified.without_field(field);
            self.removed.without_field(field);
        }
        self
    }
}

/// Compares two objects.
pub fn compare(typ: Typ<'_>, old: &Value, new: &Value) -> Comparison {
    let mut out = Comparison::default();
    at(typ, Some(old), Some(new), &mut Vec::new(), &mut out);
    out
}

type Side<'a> = Option<&'a Value>;

fn at(typ: Typ<'_>, old: Side<'_>, new: Side<'_>, path: &mut Vec<Step>, out: &mut Comparison) {
    let form = |v: &Value| typ.form(v);
    let leaf = match (old, new) {
        (None, None) => return,
        (Some(v), None) | (None, Some(v)) => parts(typ, form(v), old, new, path, out),
        (Some(a), Some(b)) if form(a) == form(b) => parts(typ, form(b), old, new, path, out),
        (Some(a), Some(b)) => {
            parts(typ, form(a), old, new, path, out);
            parts(typ, form(b), old, new, path, out)
        }
    };
    if !leaf && old.is_none() {
        out.added.insert(path);
    } else if !leaf && new.is_none() {
        out.removed.insert(path);
    }
}

/// Compares the parts of values of one form; whether they were one piece.
fn parts(
    typ: Typ<'_>,
    form: Form,
    old: Side<'_>,
    new: Side<'_>,
    path: &mut Vec<Step>,
    out: &mut Comparison,
) -> bool {
    let as_map = |v: Side<'_>| v.is_none_or(|v| v.as_object().is_none_or(|m| m.is_empty()));
    let empty = match form {
        Form::Map => as_map(old) && as_map(new),
        Form::List => [old, new].iter().all(|v| v.is_none_or(|v| v.items().is_empty())),
        Form::Leaf => true,
    };
    if empty {
        match (old, new) {
            (None, _) => out.added.insert(path),
            (_, None) => out.removed.insert(path),
            (Some(a), Some(b)) if a != b => out.modified.insert(path),
            _ => {}
        }
        return true;
    }
    if form == Form::Map {
        let names: BTreeSet<&str> = [old, new]
            .iter()
            .flat_map(|v| v.iter().flat_map(|v| v.entries()))
            .map(|(k, _)| k)
            .collect();
        for name in names {
            let step = Step::Field(name.into());
            let (a, b) = (old.and_then(|v| v.get(name)), new.and_then(|v| v.get(name)));
            path.push(step.clone());
            at(typ.below(&step), a, b, path, out);
            path.pop();
        }
    } else {
        items(typ, old, new, path, out);
    }
    false
}

fn items(typ: Typ<'_>, old: Side<'_>, new: Side<'_>, path: &mut Vec<Step>, out: &mut Comparison) {
    let mut all: BTreeMap<Step, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
    for (step, item) in old.map(|v| typ.steps(v)).unwrap_or_default() {
        all.entry(step).or_default().0.push(item);
    }
    for (step, item) in new.map(|v| typ.steps(v)).unwrap_or_default() {
        all.entry(step).or_default().1.push(item);
    }
    for (step, (before, after)) in all {
        let below = typ.below(&step);
        path.push(step);
        match (before.len(), after.len()) {
            (0..=1, 0..=1) => {
                at(below, before.first().copied(), after.first().copied(), path, out);
            }
            // Several of one key are one piece.
            (2.., 2..) if before != after => out.modified.insert(path),
            (2.., 2..) => {}
            (2.., _) => {
                at(below, None, after.first().copied(), path, out);
                out.removed.insert(path);
            }
            _ => {
                at(below, before.first().copied(), None, path, out);
                out.added.insert(path);
            }
        }
        path.pop();
    }
}
