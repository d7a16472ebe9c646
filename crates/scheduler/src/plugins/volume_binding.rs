//! Keeps a pod back until its claims are bound, and off nodes that its volumes cannot reach.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::ObjectKey;

use crate::cluster::Cluster;
use crate::facts::{ClaimUse, NodeAffinity, PodFacts};
use crate::{Filter, Happening, NodeState, Plugin, Verdict};

/// See the file's text.
pub struct VolumeBinding;

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn narrow(
        &self,
        pod: &PodFacts,
        cluster: &Cluster,
    ) -> Result<Option<BTreeSet<SmolStr>>, SmolStr> {
        for used in &pod.claims {
            check(used, pod, cluster)?;
        }
        Ok(None)
    }

    fn filter<'a>(&'a self, pod: &'a PodFacts, cluster: &'a Cluster) -> Option<Filter<'a>> {
        let volumes = pod.claims.iter().filter_map(|used| {
            let claim =
                cluster.claim(&ObjectKey::new(pod.key.namespace.clone(), used.name.clone()))?;
            Some((claim.volume.clone(), cluster.volume(&claim.volume)))
        });
        let volumes: Vec<(SmolStr, Option<&'a NodeAffinity>)> = volumes.collect();
        (!volumes.is_empty()).then(|| {
            Box::new(move |node: &NodeState| {
                if volumes.iter().any(|(_, affinity)| affinity.is_none()) {
                    return Verdict::unresolvable(
                        "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
                    );
                }
                let mut reach = volumes.iter().filter_map(|(_, affinity)| *affinity);
                match reach.all(|affinity| affinity.matches(&node.facts)) {
                    true => Verdict::Fits,
                    false => Verdict::unresolvable(
                        "node(s) didn't match PersistentVolume's node affinity",
                    ),
                }
            }) as Filter<'a>
        })
    }

    fn wakes(&self, pod: &PodFacts, change: &Happening<'_>) -> bool {
        match change {
            Happening::Claim(key) => {
                key.namespace == pod.key.namespace && pod.claims.iter().any(|c| c.name == key.name)
            }
            Happening::Volume(_) | Happening::NodeAdded(_) => true,
            Happening::NodeChanged { old, new } => old.labels != new.labels,
            _ => false,
        }
    }
}

fn check(used: &ClaimUse, pod: &PodFacts, cluster: &Cluster) -> Result<(), SmolStr> {
    let name = &used.name;
    let Some(claim) = cluster.claim(&ObjectKey::new(pod.key.namespace.clone(), name.clone()))
    else {
        return Err(match used.ephemeral {
            true => format!(
                "waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"
            ),
            false => format!("persistentvolumeclaim {name:?} not found"),
        }
        .into());
    };
    if claim.lost {
        return Err(format!(
            "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {:?}",
            claim.volume
        )
        .into());
    }
    if claim.deleting {
        return Err(format!("persistentvolumeclaim {name:?} is being deleted").into());
    }
    if !claim.bound {
        return Err(SmolStr::new_static("pod has unbound immediate PersistentVolumeClaims"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Claim;
    use crate::plugins::testing::{cluster, fits, node, pod, verdicts};
    use timonier_object::value;

    fn user() -> PodFacts {
        pod(
            "p",
            value!({ "volumes": [
            { "name": "a", "emptyDir": {} },
            { "name": "d", "persistentVolumeClaim": { "claimName": "data" } }] }),
        )
    }

    fn key() -> ObjectKey {
        ObjectKey::new("ns", "data")
    }

    #[test]
    fn waits_for_its_claims() {
        let mut c = cluster([node("a", |_| {})], &[]);
        let said = |c: &Cluster| VolumeBinding.narrow(&user(), c).unwrap_err();
        assert_eq!(said(&c), "persistentvolumeclaim \"data\" not found");
        let claim = |v| Some(Claim::read(&v));
        c.put_claim(&key(), claim(value!({ "status": { "phase": "Pending" } })));
        assert_eq!(said(&c), "pod has unbound immediate PersistentVolumeClaims");
        let bound = value!({ "spec": { "volumeName": "v" }, "status": { "phase": "Bound" } });
        c.put_claim(&key(), claim(bound));
        assert_eq!(VolumeBinding.narrow(&user(), &c), Ok(None));
        let lost = value!({ "spec": { "volumeName": "v" }, "status": { "phase": "Lost" } });
        c.put_claim(&key(), claim(lost));
        assert_eq!(
            said(&c),
            "persistentvolumeclaim \"data\" bound to non-existent persistentvolume \"v\""
        );
        assert!(VolumeBinding.wakes(&user(), &Happening::Claim(&key())));
        assert!(!VolumeBinding.wakes(&user(), &Happening::Claim(&ObjectKey::new("ns", "x"))));
        assert_eq!(VolumeBinding.narrow(&pod("p", value!({})), &c), Ok(None));
        let own = pod("p", value!({ "volumes": [{ "name": "e", "ephemeral": {} }] }));
        assert_eq!(
            VolumeBinding.narrow(&own, &c).unwrap_err(),
            "waiting for ephemeral volume controller to create the persistentvolumeclaim \"p-e\""
        );
    }

    #[test]
    fn stays_where_its_volumes_are() {
        let mut c = cluster([node("a", |_| {}), node("b", |_| {})], &[]);
        let bound = value!({ "spec": { "volumeName": "v" }, "status": { "phase": "Bound" } });
        c.put_claim(&key(), Some(Claim::read(&bound)));
        let gone = Verdict::unresolvable(
            "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
        );
        assert_eq!(verdicts(&VolumeBinding, &user(), &c), [gone.clone(), gone]);
        let local = value!({ "spec": { "nodeAffinity": { "required": { "nodeSelectorTerms": [
            { "matchExpressions": [
                { "key": "kubernetes.io/hostname", "operator": "In", "values": ["b"] }] }] } } } });
        c.put_volume("v", Some(NodeAffinity::of_volume(&local)));
        assert_eq!(fits(&VolumeBinding, &user(), &c), [false, true]);
        c.put_volume("v", Some(NodeAffinity::of_volume(&value!({ "spec": {} }))));
        assert_eq!(fits(&VolumeBinding, &user(), &c), [true, true]);
    }
}
