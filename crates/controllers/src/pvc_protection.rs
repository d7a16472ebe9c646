//! Claims that are deleted stay as long as a pod on a node uses them (upstream
//! `pkg/controller/volume/pvcprotection`).

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::{PERSISTENTVOLUMECLAIMS, PODS};
use timonier_meta::{GroupVersionResource, ObjectKey};
use timonier_object::Value;
use timonier_reconcile::{Change, Context, Plan, Reconciler, World};

use crate::common::finalizers;

const FINALIZER: &str = "kubernetes.io/pvc-protection";

/// The controller of the finalizer of claims.
pub struct PvcProtection;

impl Reconciler for PvcProtection {
    fn name(&self) -> &'static str {
        "persistentvolumeclaim-protection-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![PERSISTENTVOLUMECLAIMS, PODS]
    }

    fn concerns(&self, change: &Change, _: &World) -> Vec<ObjectKey> {
        if change.is(&PERSISTENTVOLUMECLAIMS) {
            return if change.new.is_some() { vec![change.key.clone()] } else { Vec::new() };
        }
        let namespace = &change.key.namespace;
        let claims = change.states().flat_map(|pod| {
            let volumes = pod.at("spec.volumes").items().iter();
            volumes
                .filter_map(|v| claim_name(pod, v))
                .map(|name| ObjectKey::new(namespace.clone(), &name))
        });
        let mut keys: Vec<ObjectKey> = claims.collect();
        keys.dedup();
        keys
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, _: &Context<'_>) -> Plan {
        let Some(claim) = world.get(&PERSISTENTVOLUMECLAIMS, key) else { return Plan::nothing() };
        let wait = finalizers::behind(world, claim, &[PODS]);
        if !wait.is_empty() {
            return Plan { wait, ..Plan::default() };
        }
        let is_used = || {
            let mut pods = world.table(&PODS).in_namespace(&key.namespace);
            pods.any(|pod| uses(pod, claim))
        };
        finalizers::protect(&PERSISTENTVOLUMECLAIMS, claim, FINALIZER, is_used)
    }
}

/// The claim of a volume of either kind.
fn claim_name(pod: &Value, volume: &Value) -> Option<alloc::string::String> {
    if !volume.at("persistentVolumeClaim").is_null() {
        return Some(volume.at("persistentVolumeClaim.claimName").str().into());
    }
    let ephemeral = !volume.at("ephemeral").is_null();
    ephemeral.then(|| format!("{}-{}", pod.name(), volume.at("name").str()))
}

/// Only pods that have a node count: no other pod starts with a claim that is being deleted.
fn uses(pod: &Value, claim: &Value) -> bool {
    if pod.at("spec.nodeName").str().is_empty() {
        return false;
    }
    // Its kubelet is done with it, or it was deleted by force.
    let gone =
        pod.is_deleting() && pod.at("metadata.deletionGracePeriodSeconds").as_i64() == Some(0);
    let owned = || claim.controller().is_some_and(|owner| owner.uid == pod.uid());
    pod.at("spec.volumes").items().iter().any(|volume| {
        claim_name(pod, volume).is_some_and(|name| name == claim.name())
            && (volume.at("ephemeral").is_null() || (!gone && owned()))
    })
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;
    use crate::common::testing::{body, plan, short, world};

    fn claim(finalizers: Value, deleted: bool) -> Value {
        let mut claim = value!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": { "name": "c", "namespace": "ns", "finalizers": finalizers } });
        if deleted {
            claim.set("metadata.deletionTimestamp", "2026-01-01T00:00:00Z");
        }
        claim
    }

    fn user(node: &str) -> Value {
        value!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "namespace": "ns" },
            "spec": { "nodeName": node, "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "c" } }] } })
    }

    #[test]
    fn a_deleted_claim_waits_for_its_pods() {
        let deleted = claim(value!(["x/y", FINALIZER]), true);
        let of = |objects: Vec<Value>| plan(&PvcProtection, &world(objects), "c");
        assert!(short(&of(vec![deleted.clone(), user("n1")])).is_empty());
        let gone = of(vec![deleted.clone()]);
        assert_eq!(
            body(&gone, &PERSISTENTVOLUMECLAIMS).at("metadata.finalizers"),
            &value!(["x/y"])
        );
        // Without a node it does not start any more.
        assert_eq!(short(&of(vec![deleted, user("")])), ["patch persistentvolumeclaims c"]);
        assert!(short(&of(vec![claim(value!([FINALIZER]), false)])).is_empty());
        let old = of(vec![claim(value!([]), false)]);
        assert_eq!(
            body(&old, &PERSISTENTVOLUMECLAIMS).at("metadata.finalizers"),
            &value!([FINALIZER])
        );
    }

    #[test]
    fn pods_that_are_not_seen_yet_are_waited_for() {
        let mut claim = claim(value!([FINALIZER]), true);
        claim.set("metadata.resourceVersion", "9");
        let plan = plan(&PvcProtection, &world([claim]), "c");
        assert_eq!((plan.writes.len(), plan.wait), (0, vec![(PODS.group_resource(), 9)]));
    }

    #[test]
    fn an_ephemeral_claim_waits_for_its_own_pod_only() {
        let mut pod = user("n1");
        pod.set("metadata.uid", "u");
        pod.set("spec.volumes", value!([{ "name": "v", "ephemeral": {} }]));
        let mut claim = claim(value!([FINALIZER]), true);
        claim.set("metadata.name", "p-v");
        let of = |claim: &Value, pod: &Value| {
            short(&plan(&PvcProtection, &world([claim.clone(), pod.clone()]), "p-v")).len()
        };
        assert_eq!(of(&claim, &pod), 1, "not the pod's own");
        claim.set("metadata.ownerReferences", value!([{ "uid": "u", "controller": true, "kind": "Pod", "name": "p", "apiVersion": "v1" }]));
        assert_eq!(of(&claim, &pod), 0);
        pod.set("metadata.deletionTimestamp", "2026-01-01T00:00:00Z");
        pod.set("metadata.deletionGracePeriodSeconds", 0);
        assert_eq!(of(&claim, &pod), 1, "the kubelet is done with it");
    }
}
