//! What pods mount.

use alloc::format;
use alloc::vec::Vec;

use timonier_object::Value;

use super::{Pod, Violation, Words, found, plural, quoted};

/// Directories of the node.
pub fn host_path(pod: &Pod<'_>) -> Option<Violation> {
    let bad = |v: &&Value| !v.at("hostPath").is_null();
    let volumes = pod.spec.at("volumes").items().iter();
    let names: Vec<&str> = volumes.filter(bad).map(|v| v.at("name").str()).collect();
    if names.is_empty() {
        return None;
    }
    let listed = quoted(names.iter().copied());
    found("hostPath volumes", format!("{} {listed}", plural("volume", names.len())))
}

const ALLOWED: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// In the order in which upstream looks for them.
const OTHERS: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

/// Volumes of other kinds than those that are the pod's own or a claim.
pub fn restricted(pod: &Pod<'_>) -> Option<Violation> {
    let (mut names, mut kinds) = (Vec::new(), Words::new());
    for volume in pod.spec.at("volumes").items() {
        let has = |kind: &&str| !volume.at(kind).is_null();
        if ALLOWED.iter().any(has) {
            continue;
        }
        names.push(volume.at("name").str());
        kinds.insert(OTHERS.into_iter().find(|kind| has(kind)).unwrap_or("unknown"));
    }
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {} {}",
        plural("volume", names.len()),
        quoted(names.iter().copied()),
        if names.len() == 1 { "uses" } else { "use" },
        plural("restricted volume type", kinds.len()),
        quoted(kinds.iter().copied())
    );
    found("restricted volume types", detail)
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::super::tests::text;
    use super::*;

    #[test]
    fn kinds_of_volumes() {
        let spec = value!({ "volumes": [{ "name": "a", "hostPath": { "path": "/" } }, { "name": "b", "secret": {} },
            { "name": "c", "nfs": {} }, { "name": "d" }] });
        assert_eq!(text(host_path, spec.clone()), "hostPath volumes (volume \"a\")");
        assert_eq!(
            text(restricted, spec),
            "restricted volume types (volumes \"a\", \"c\", \"d\" use restricted volume types \"hostPath\", \"nfs\", \"unknown\")"
        );
    }
}
