//! Deployments and their ReplicaSets.

use smol_str::SmolStr;
use timonier_controllers::hash;
use timonier_meta::gvk::resources::{DEPLOYMENTS, REPLICASETS};
use timonier_object::{OwnerReference, Value};

use super::{Checks, Write};

impl Checks {
    pub(super) fn deployment(&mut self, write: &Write<'_>) -> Vec<String> {
        let Some(new) = write.new else { return Vec::new() };
        let wanted = new.at("spec.replicas").int_or(1);
        let rolling = |field: &str| {
            let value = new.at("spec.strategy.rollingUpdate").at(field);
            match value.str().strip_suffix('%').and_then(|n| n.parse::<i64>().ok()) {
                Some(n) if field == "maxSurge" => (wanted * n + 99) / 100,
                Some(n) => wanted * n / 100,
                None => value.int_or(0),
            }
        };
        let recreate = new.at("spec.strategy.type").str() == "Recreate";
        let (surge, unavailable) = match (rolling("maxSurge"), rolling("maxUnavailable")) {
            _ if recreate => (0, wanted),
            (0, 0) => (0, 1),
            both => both,
        };
        let uid = SmolStr::new(new.uid());
        self.most.entry(uid.clone()).or_default().note(wanted + surge, write.now);
        self.fewest.entry(uid).or_default().note(wanted - unavailable, write.now);
        Vec::new()
    }

    pub(super) fn replica_set(&mut self, write: &Write<'_>) -> Vec<String> {
        let Some(set) = write.new else { return Vec::new() };
        let uid = SmolStr::new(set.uid());
        self.most.entry(uid.clone()).or_default().note(replicas(set), write.now);
        let available = set.at("status.availableReplicas").int_or(0);
        self.available.entry(uid).or_default().note(available, write.now);
        let mut found = Vec::new();
        if set.owners().iter().filter(|o| o.controller).count() > 1 {
            found.push(format!("ReplicaSet {} has two controllers", set.key()));
        }
        let Some(owner) = set.controller() else { return found };
        let siblings = || {
            write.all(&REPLICASETS).filter(|s| s.controller().is_some_and(|o| o.uid == owner.uid))
        };
        let grew = write.old.is_none_or(|old| replicas(set) > replicas(old));
        let total: i64 = siblings().map(|s| replicas(s)).sum();
        let bound = self.most.get(&owner.uid).and_then(|h| h.most(write.now));
        if grew && bound.is_some_and(|b| total > b) {
            found.push(format!(
                "Deployment {} has {total} replicas over all where {bound:?} were allowed",
                owner.name
            ));
        }
        if write.old.is_none() {
            let template = plain_template(set);
            let same = siblings().filter(|s| plain_template(s) == template).count();
            if same > 1 {
                found.push(format!("Deployment {} has {same} sets of one template", owner.name));
            }
        }
        found.extend(self.shrank_too_far(write, set, &owner));
        found
    }

    /// A rollout takes available pods away only as far as enough stay.
    fn shrank_too_far(
        &self,
        write: &Write<'_>,
        set: &Value,
        owner: &OwnerReference,
    ) -> Option<String> {
        let old = write.old?;
        let deployment = write.find(&DEPLOYMENTS, set.namespace(), &owner.name)?;
        if deployment.uid() != owner.uid || deployment.is_deleting() {
            return None;
        }
        let believed =
            |s: &Value| self.available.get(s.uid()).and_then(|h| h.most(write.now)).unwrap_or(0);
        let (before, after) = (replicas(old), replicas(set));
        if after >= before || after >= believed(set) {
            return None;
        }
        let siblings =
            write.all(&REPLICASETS).filter(|s| s.controller().is_some_and(|o| o.uid == owner.uid));
        let left: i64 = siblings.map(|s| believed(s).min(replicas(s))).sum();
        let needed = self.fewest.get(&owner.uid).and_then(|h| h.fewest(write.now))?;
        (left < needed).then(|| {
            format!(
                "ReplicaSet {} went from {before} to {after}: {left} available pods stay of {needed}",
                set.key()
            )
        })
    }
}

fn replicas(set: &Value) -> i64 {
    set.at("spec.replicas").int_or(1)
}

fn plain_template(set: &Value) -> Value {
    let mut template = set.at("spec.template").clone();
    if let Some(labels) = template.find_mut("metadata.labels") {
        labels.make_object().remove("pod-template-hash");
    }
    hash::canonical(&template)
}
