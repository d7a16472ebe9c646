//! What makes a pod of a StatefulSet the one that it is: number, name, claims.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::PERSISTENTVOLUMECLAIMS;
use timonier_object::{OwnerReference, Value, value};
use timonier_reconcile::{PatchKind, Write};

use crate::common::pods;
use crate::common::revisions::{self, HASH_LABEL};

const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The name of a set's pod.
pub fn pod_name(set: &Value, ordinal: i64) -> String {
    format!("{}-{ordinal}", set.name())
}

/// The number in a pod's name, if it is one of this set's.
pub fn ordinal_of(set: &Value, pod: &Value) -> Option<i64> {
    let number = pod.name().strip_prefix(set.name())?.strip_prefix('-')?;
    let ordinal: i64 = number.parse().ok()?;
    (pod_name(set, ordinal) == pod.name()).then_some(ordinal)
}

/// The pod of an ordinal, in a revision.
pub fn pod(set: &Value, revision: &Value, ordinal: i64) -> Value {
    let mut pod = pods::from_template(&revisions::template(revision), set);
    let name = pod_name(set, ordinal);
    pod.entry("metadata").make_object().insert_first("name", name.as_str().into());
    let labels = pod.entry("metadata.labels").make_object();
    labels.insert(NAME_LABEL, name.as_str().into());
    labels.insert(INDEX_LABEL, format!("{ordinal}").into());
    labels.insert(HASH_LABEL, revision.name().into());
    pod.set("spec.hostname", name.as_str());
    pod.set("spec.subdomain", set.at("spec.serviceName"));
    let templates = set.at("spec.volumeClaimTemplates").items();
    if !templates.is_empty() {
        let volumes = pod.entry("spec.volumes").make_array();
        volumes.retain(|v| templates.iter().all(|t| t.name() != v.at("name").str()));
        for template in templates {
            let claim = claim_name(set, template, ordinal);
            volumes.push(value!({
                "name": (template.name()), "persistentVolumeClaim": { "claimName": claim },
            }));
        }
    }
    pod
}

/// The claims of an ordinal.
pub fn claims(set: &Value, ordinal: i64) -> Vec<Value> {
    let policy = set.at("spec.persistentVolumeClaimRetentionPolicy.whenDeleted").str();
    let make = |template: &Value| {
        let mut claim = value!({
            "kind": "PersistentVolumeClaim", "apiVersion": "v1",
            "metadata": { "name": (claim_name(set, template, ordinal)),
                          "namespace": (set.namespace()) },
            "spec": (template.at("spec")),
        });
        let labels = set.at("spec.selector.matchLabels").entries();
        let mut all = template.at("metadata.labels").clone();
        labels.for_each(|(k, v)| drop(all.make_object().insert(k, v.clone())));
        claim.set("metadata.labels", all);
        let notes = template.at("metadata.annotations");
        if !notes.is_empty() {
            claim.set("metadata.annotations", notes);
        }
        if policy == "Delete" {
            claim.set("metadata.ownerReferences", value!([(&reference(set))]));
        }
        claim
    };
    set.at("spec.volumeClaimTemplates").items().iter().map(make).collect()
}

/// Whether a claim of this name is one of the set's, as far as the name tells.
pub fn is_claim_of(set: &Value, name: &str) -> bool {
    let of = |template: &Value| {
        let rest = name.strip_prefix(template.name())?.strip_prefix('-')?;
        rest.strip_prefix(set.name())?.strip_prefix('-')?.parse::<i64>().ok()
    };
    set.at("spec.volumeClaimTemplates").items().iter().any(|t| of(t).is_some())
}

/// Makes a pod an owner of a claim, which then goes with it.
pub fn give_to(claim: &Value, pod: &Value) -> Write {
    let patch = value!({ "metadata": { "ownerReferences": [(&reference(pod))] } });
    Write::patch(&PERSISTENTVOLUMECLAIMS, claim, PatchKind::Strategic, patch)
}

fn claim_name(set: &Value, template: &Value, ordinal: i64) -> String {
    format!("{}-{}-{ordinal}", template.name(), set.name())
}

fn reference(owner: &Value) -> OwnerReference {
    OwnerReference {
        block_owner_deletion: false,
        controller: false,
        ..pods::controller_reference(owner)
    }
}
