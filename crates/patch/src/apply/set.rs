//! Sets of fields.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use timonier_object::Value;

use super::path::Step;
use super::typed::Typ;

/// A set of paths into objects of one kind.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FieldSet {
    pub members: BTreeSet<Step>,
    pub children: BTreeMap<Step, FieldSet>,
}

impl FieldSet {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(FieldSet::is_empty)
    }

    /// Adds a path; the empty one is none.
    pub fn insert(&mut self, path: &[Step]) {
        match path {
            [] => {}
            [last] => drop(self.members.insert(last.clone())),
            [first, rest @ ..] => self.children.entry(first.clone()).or_default().insert(rest),
        }
    }

    /// Adds what another set has.
    pub fn union(&self, other: &FieldSet) -> FieldSet {
        let mut out = self.clone();
        out.members.extend(other.members.iter().cloned());
        for (step, child) in &other.children {
            let both = out.children.get(step).map(|mine| mine.union(child));
            out.children.insert(step.clone(), both.unwrap_or_else(|| child.clone()));
        }
        out
    }

    /// What both have.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        let children = self.children.iter().filter_map(|(step, child)| {
            let both = child.intersection(other.children.get(step)?);
            (!both.is_empty()).then(|| (step.clone(), both))
        });
        FieldSet {
            members: self.members.intersection(&other.members).cloned().collect(),
            children: children.collect(),
        }
    }

    /// What the other has not.
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        let children = self.children.iter().filter_map(|(step, child)| {
            let rest = match other.children.get(step) {
                Some(theirs) => child.difference(theirs),
                None => child.clone(),
            };
            (!rest.is_empty()).then(|| (step.clone(), rest))
        });
        FieldSet {
            members: self.members.difference(&other.members).cloned().collect(),
            children: children.collect(),
        }
    }

    /// Leaves out a field of the top and everything below it.
    pub fn without_field(&mut self, name: &str) {
        let step = Step::Field(name.into());
        self.members.remove(&step);
        self.children.remove(&step);
    }

    /// Adds the fields of structs that lie on the way to what is in the set.
    pub fn with_named(&self, typ: Typ<'_>) -> FieldSet {
        let mut out = FieldSet { members: self.members.clone(), children: BTreeMap::new() };
        for (step, child) in &self.children {
            if let Step::Field(name) = step
                && typ.declares(name)
            {
                out.members.insert(step.clone());
            }
            out.children.insert(step.clone(), child.with_named(typ.below(step)));
        }
        out
    }

    /// All paths.
    pub fn paths(&self) -> Vec<Vec<Step>> {
        fn walk(set: &FieldSet, at: &mut Vec<Step>, out: &mut Vec<Vec<Step>>) {
            for step in &set.members {
                let mut path = at.clone();
                path.push(step.clone());
                out.push(path);
            }
            for (step, child) in &set.children {
                at.push(step.clone());
                walk(child, at, out);
                at.pop();
            }
        }
        let mut out = Vec::new();
        walk(self, &mut Vec::new(), &mut out);
        out
    }

    /// Reads `fieldsV1`. `None` where it is none.
    pub fn parse(fields: &Value) -> Option<FieldSet> {
        let mut set = FieldSet::default();
        for (key, value) in fields.entries() {
            if key == "." {
                continue;
            }
            let step = Step::parse(key)?;
            value.as_object()?;
            let child = FieldSet::parse(value)?;
            if value.is_empty() || value.get(".").is_some() {
                set.members.insert(step.clone());
            }
            if !child.is_empty() {
                set.children.insert(step, child);
            }
        }
        Some(set)
    }

    /// Writes `fieldsV1`.
    pub fn to_value(&self) -> Value {
        self.write(false)
    }

    fn write(&self, is_member: bool) -> Value {
        let mut out = Value::object();
        let map = out.make_object();
        if is_member {
            map.insert(".", Value::object());
        }
        let steps: BTreeSet<&Step> = self.members.iter().chain(self.children.keys()).collect();
        for step in steps {
            let is_member = self.members.contains(step);
            let value = match self.children.get(step).filter(|c| !c.is_empty()) {
                Some(child) => child.write(is_member),
                None if is_member => Value::object(),
                None => continue,
            };
            map.insert(step.key(), value);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn fields_are_read_and_written() {
        let fields = value!({ "f:metadata": { "f:labels": { ".": {}, "f:a": {} } },
            "f:spec": { "f:containers": { "k:{\"name\":\"x\"}": { ".": {}, "f:image": {} } },
                        "f:set": { "v:\"a\"": {}, "v:3": {} } } });
        let set = FieldSet::parse(&fields).unwrap();
        assert_eq!(FieldSet::parse(&set.to_value()).unwrap(), set);
        assert_eq!(set.to_value().to_string_len(), fields.to_string_len());
        assert_eq!(set.paths().len(), 6);
        assert!(set.difference(&set).is_empty());
        assert_eq!(set.intersection(&set), set);
        assert_eq!(FieldSet::default().union(&set), set);
        assert!(FieldSet::parse(&value!({ "x": {} })).is_none());
    }

    trait Len {
        fn to_string_len(&self) -> usize;
    }

    impl Len for Value {
        fn to_string_len(&self) -> usize {
            timonier_object::json::to_string(self).len()
        }
    }
}
