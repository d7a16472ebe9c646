//! What holds for every object from its creation to its end.

use smol_str::SmolStr;
use timonier_meta::gvk::resources::NAMESPACES;
use timonier_object::Value;

use super::{Checks, Write};

impl Checks {
    pub(super) fn life(&mut self, write: &Write<'_>) -> Vec<String> {
        match (write.old, write.new) {
            (None, Some(new)) => self.born(write, new),
            (Some(old), Some(new)) => self.changed(write, old, new),
            (Some(old), None) => self.ended(write, old),
            (None, None) => vec!["what is not there was removed".into()],
        }
    }

    fn born(&mut self, write: &Write<'_>, new: &Value) -> Vec<String> {
        let mut found = Vec::new();
        let (resource, key) = (write.resource, new.key());
        if new.uid().is_empty() || !self.uids.insert(new.uid().into()) {
            found.push(format!("{resource} {key} has the uid {:?}", new.uid()));
        }
        if new.created().is_none() {
            found.push(format!("{resource} {key} does not know when it was made"));
        }
        let namespace = new.namespace();
        if !namespace.is_empty() && write.find(&NAMESPACES, "", namespace).is_none() {
            found.push(format!("{resource} {key} is in a namespace that is not there"));
        }
        found
    }

    fn changed(&mut self, write: &Write<'_>, old: &Value, new: &Value) -> Vec<String> {
        let mut found = Vec::new();
        let (resource, key) = (write.resource, new.key());
        for field in ["uid", "creationTimestamp", "name", "namespace"] {
            if old.at("metadata").at(field) != new.at("metadata").at(field) {
                found.push(format!("{resource} {key} has another {field}"));
            }
        }
        if old.is_deleting() {
            if old.deleted() < new.deleted() || !new.is_deleting() {
                found.push(format!("{resource} {key} came back from its deletion"));
            }
            // The collector's own may come with a second delete.
            let mut had: Vec<&str> = old.finalizers().collect();
            had.extend(["orphan", "foregroundDeletion"]);
            if new.finalizers().any(|f| !had.contains(&f)) {
                found.push(format!("{resource} {key} got a finalizer on its way out"));
            }
        } else if new.is_deleting() {
            found.extend(self.unwanted(write, new));
        }
        let (before, after) = (old.generation(), new.generation());
        if after < before || after > before + 1 {
            found.push(format!("{resource} {key} went from generation {before} to {after}"));
        }
        // Of a pod, binding changes the specification and counts as no change of it.
        let counted = before > 0 && resource.resource != "pods";
        if counted && before == after && old.at("spec") != new.at("spec") {
            found.push(format!("{resource} {key} changed at generation {after}"));
        }
        found
    }

    fn ended(&mut self, write: &Write<'_>, old: &Value) -> Vec<String> {
        let mut found = Vec::from_iter(self.unwanted(write, old));
        if *write.resource == NAMESPACES.group_resource() {
            let left = write.tables.iter().flat_map(|(r, t)| t.values().map(move |o| (r, o)));
            let left = left.filter(|(_, o)| o.namespace() == old.name());
            for (resource, object) in left {
                found.push(format!("{resource} {} outlives its namespace", object.key()));
            }
        }
        found
    }

    /// What users made stays until they, or the end of its namespace, take it away.
    fn unwanted(&self, write: &Write<'_>, object: &Value) -> Option<String> {
        let made_by_users = matches!(
            &*write.resource.resource,
            "deployments"
                | "statefulsets"
                | "daemonsets"
                | "jobs"
                | "cronjobs"
                | "services"
                | "namespaces"
                | "poddisruptionbudgets"
        );
        let asked = self.asked.contains(&SmolStr::new(object.uid()));
        let namespace = write.find(&NAMESPACES, "", object.namespace());
        let with_namespace =
            namespace.is_none_or(Value::is_deleting) && !object.namespace().is_empty();
        let wanted = made_by_users && object.owners().is_empty() && !asked && !with_namespace;
        wanted.then(|| format!("{} {} was deleted, and nobody asked", write.resource, object.key()))
    }
}
