//! StatefulSets: an identity has one pod, and they come in order.

use smol_str::SmolStr;
use timonier_meta::ObjectKey;
use timonier_meta::gvk::resources::{PODS, STATEFULSETS};
use timonier_object::{OwnerReference, Value};

use super::{Checks, Write};

impl Checks {
    pub(super) fn stateful_set(&mut self, write: &Write<'_>) -> Vec<String> {
        if let Some(set) = write.new {
            let wanted = set.at("spec.replicas").int_or(1);
            self.most.entry(SmolStr::new(set.uid())).or_default().note(wanted, write.now);
        }
        Vec::new()
    }

    pub(super) fn stateful_pod(
        &self,
        write: &Write<'_>,
        pod: &Value,
        owner: &OwnerReference,
    ) -> Vec<String> {
        let mut found = Vec::new();
        let ordinal = pod
            .name()
            .rsplit_once('-')
            .and_then(|(set, n)| n.parse::<i64>().ok().filter(|_| set == owner.name));
        let Some(ordinal) = ordinal else {
            return vec![format!("StatefulSet {} made a pod {}", owner.name, pod.name())];
        };
        let bound = self.most.get(&owner.uid).and_then(|h| h.most(write.now));
        if bound.is_some_and(|b| ordinal >= b) {
            found.push(format!("StatefulSet {} made {ordinal} of {bound:?}", owner.name));
        }
        let set = write.find(&STATEFULSETS, pod.namespace(), &owner.name);
        let ordered = set.is_some_and(|s| s.at("spec.podManagementPolicy").str() != "Parallel");
        for before in (0..ordinal).filter(|_| ordered) {
            let key = ObjectKey::new(pod.namespace(), format!("{}-{before}", owner.name));
            if !self.was_there(write, &PODS, &key) {
                found.push(format!("pod {} came before {}", pod.key(), key.name));
            }
        }
        found
    }
}
