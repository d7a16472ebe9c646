//! How server-side apply sees a value: what is one piece, what has parts, and which parts.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use timonier_object::{Value, json};
use timonier_schema::{ListType, Schema, Type};

use super::path::{Step, show};
use super::set::FieldSet;

/// What is known of a value.
#[derive(Clone, Copy)]
pub enum Typ<'a> {
    Known(Schema<'a>),
    /// Nothing: objects have parts, all else is one piece.
    Deduced,
}

/// The form of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// One piece.
    Leaf,
    Map,
    List,
}

impl<'a> Typ<'a> {
    /// The form of a value of this type.
    pub fn form(self, value: &Value) -> Form {
        let Typ::Known(schema) = self else {
            return if value.as_object().is_some() { Form::Map } else { Form::Leaf };
        };
        match (schema.kind(), value) {
            (Type::Any, _) => Typ::Deduced.form(value),
            (Type::Struct | Type::Map, Value::Object(_) | Value::Null) if !schema.is_atomic() => {
                Form::Map
            }
            (Type::Array, Value::Array(_) | Value::Null)
                if schema.list_type() != ListType::Atomic =>
            {
                Form::List
            }
            _ => Form::Leaf,
        }
    }

    /// Whether the type is a struct with this field.
    pub fn declares(self, name: &str) -> bool {
        matches!(self, Typ::Known(s) if s.kind() == Type::Struct && s.field(name).is_some())
    }

    /// The type of a part.
    pub fn below(self, step: &Step) -> Typ<'a> {
        let Typ::Known(schema) = self else { return Typ::Deduced };
        let part = match step {
            Step::Field(name) => schema.property(name),
            _ => schema.items(),
        };
        part.map_or(Typ::Deduced, Typ::Known)
    }

    /// The step to an item of a list; the error is upstream's, about an item without its keys.
    pub fn step(self, item: &Value) -> Result<Step, String> {
        let Typ::Known(schema) = self else { return Ok(Step::Value(item.clone())) };
        if schema.list_type() == ListType::Set {
            return Ok(Step::Value(item.clone()));
        }
        let of_items = schema.items();
        let mut keys = Vec::new();
        let mut missing = None;
        for name in schema.list_keys() {
            let default = || of_items?.property(name)?.default_value();
            match item.get(name).filter(|v| !v.is_null()).cloned().or_else(default) {
                Some(value) => keys.push((name.into(), value)),
                None => missing = Some(name),
            }
        }
        if let Some(name) = missing.filter(|_| item.as_object().is_none() || keys.is_empty()) {
            return Err(format!(
                "associative list with keys has an element that omits key field {name:?} (and doesn't have default value)"
            ));
        }
        keys.sort_by(|a: &(smol_str::SmolStr, Value), b| a.0.cmp(&b.0));
        Ok(Step::Key(keys))
    }

    /// The items of a list by their steps; of those without one nothing is known.
    pub fn steps(self, list: &Value) -> Vec<(Step, &Value)> {
        list.items().iter().filter_map(|item| Some((self.step(item).ok()?, item))).collect()
    }
}

/// The fields that a value sets.
pub fn fields(typ: Typ<'_>, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    match typ.form(value) {
        Form::Leaf => {}
        Form::Map => {
            for (name, child) in value.entries() {
                let step = Step::Field(name.into());
                let empty = child.is_null() || child.as_object().is_some_and(|m| m.is_empty());
                let also = empty || !typ.declares(name);
                put(&mut set, typ.below(&step), step, child, also);
            }
        }
        Form::List => {
            let steps = typ.steps(value);
            let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
            for (step, _) in &steps {
                if !seen.insert(step) {
                    twice.insert(step.clone());
                }
            }
            set.members.extend(twice.iter().cloned());
            for (step, item) in steps.iter().filter(|(step, _)| !twice.contains(step)) {
                put(&mut set, typ.below(step), step.clone(), item, true);
            }
        }
    }
    set
}

fn put(set: &mut FieldSet, typ: Typ<'_>, step: Step, value: &Value, also: bool) {
    if typ.form(value) == Form::Leaf || also {
        set.members.insert(step.clone());
    }
    let child = fields(typ, value);
    if !child.is_empty() {
        set.children.insert(step, child);
    }
}

/// A value without some of its parts; nothing where no part is left.
pub fn remove(typ: Typ<'_>, value: &Value, set: &FieldSet) -> Option<Value> {
    let part = |step: &Step, child: &Value| -> Option<Value> {
        if set.members.contains(step) {
            return None;
        }
        match set.children.get(step).filter(|s| !s.is_empty()) {
            Some(below) => remove(typ.below(step), child, below),
            None => Some(child.clone()),
        }
    };
    match typ.form(value) {
        Form::Leaf if matches!(value, Value::Object(_) | Value::Array(_)) => None,
        Form::Leaf => Some(value.clone()),
        Form::Map => {
            let kept = value.entries().filter_map(|(name, child)| {
                Some((smol_str::SmolStr::new(name), part(&Step::Field(name.into()), child)?))
            });
            let kept: Value = kept.collect();
            (!kept.is_empty()).then_some(kept)
        }
        Form::List => {
            let items = value.items().iter().filter_map(|item| match typ.step(item) {
                Ok(step) => part(&step, item),
                Err(_) => Some(item.clone()),
            });
            let kept: Vec<Value> = items.collect();
            (!kept.is_empty()).then(|| Value::array(kept))
        }
    }
}

/// What is wrong with an applied object by its schema, as upstream says it.
pub fn check(typ: Typ<'_>, value: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    walk(typ, value, &mut Vec::new(), &mut errors);
    errors
}

fn walk(typ: Typ<'_>, value: &Value, path: &mut Vec<Step>, out: &mut Vec<String>) {
    let Typ::Known(schema) = typ else { return };
    let mut say = |what: String| out.push(format!("{}: {what}", show(path)));
    let shown = || json::to_string(value);
    match (schema.kind(), value) {
        (_, Value::Null) => {}
        (Type::Struct | Type::Map, Value::Object(_)) => {
            for (name, child) in value.entries() {
                let step = Step::Field(name.into());
                let own = schema.is_embedded_resource()
                    && matches!(name, "apiVersion" | "kind" | "metadata");
                let known = schema.property(name).is_some() || schema.preserves_unknown() || own;
                path.push(step.clone());
                if known {
                    walk(typ.below(&step), child, path, out);
                } else {
                    out.push(format!("{}: field not declared in schema", show(path)));
                }
                path.pop();
            }
        }
        (Type::Array, Value::Array(items)) => list(typ, schema, items, path, out),
        (Type::Struct | Type::Map, _) => say(format!("expected map, got {}", shown())),
        (Type::Array, _) => say(format!("expected list, got {}", shown())),
        (Type::String | Type::Bytes, v) if v.as_str().is_none() => {
            say(format!("expected string, got {}", shown()));
        }
        (Type::Bool, v) if v.as_bool().is_none() => {
            say(format!("expected boolean, got {}", shown()));
        }
        (Type::Int32 | Type::Int64 | Type::Float, v) if v.as_f64().is_none() => {
            say(format!("expected numeric (int or float), got {}", shown()));
        }
        _ => {}
    }
}

fn list(
    typ: Typ<'_>,
    schema: Schema<'_>,
    items: &[Value],
    path: &mut Vec<Step>,
    out: &mut Vec<String>,
) {
    let mut seen = BTreeSet::new();
    for (i, item) in items.iter().enumerate() {
        let step = match schema.list_type() {
            ListType::Atomic => Step::Index(i as i64),
            _ => match typ.step(item) {
                Ok(step) => step,
                Err(why) => {
                    out.push(format!("{}: element {i}: {why}", show(path)));
                    continue;
                }
            },
        };
        if !seen.insert(step.clone()) {
            out.push(format!("{}: duplicate entries for key {step}", show(path)));
        }
        path.push(step.clone());
        walk(typ.below(&step), item, path, out);
        path.pop();
    }
}
