//! ConfigMaps, Secrets, volumes and what they are made by.

use alloc::vec;
use alloc::vec::Vec;

use timonier_object::Value;

use super::cells::{self, NONE};
use super::{Column, age, count, path, text, wide};

/// The columns after the name.
pub(super) fn columns(key: (&str, &str)) -> Option<Vec<Column>> {
    Some(match key {
        ("", "configmaps") => {
            vec![text("Data", |o, _| (len(o.at("data")) + len(o.at("binaryData"))).into()), age()]
        }
        ("", "secrets") => {
            vec![path("Type", "type"), count("Data", |o, _| len(o.at("data")).into()), age()]
        }
        ("", "persistentvolumes") => vec![
            path("Capacity", "spec.capacity.storage"),
            text("Access Modes", |o, _| access_modes(o.at("spec.accessModes"))),
            path("Reclaim Policy", "spec.persistentVolumeReclaimPolicy"),
            text("Status", |o, _| {
                if o.is_deleting() { "Terminating".into() } else { o.at("status.phase").clone() }
            }),
            text("Claim", |o, _| {
                let claim = o.at("spec.claimRef");
                if claim.is_null() {
                    return "".into();
                }
                alloc::format!("{}/{}", claim.at("namespace").str(), claim.at("name").str()).into()
            }),
            path("StorageClass", "spec.storageClassName"),
            text("VolumeAttributesClass", |o, _| unset(o, "spec.volumeAttributesClassName")),
            path("Reason", "status.reason"),
            age(),
            wide(text("VolumeMode", |o, _| unset(o, "spec.volumeMode"))),
        ],
        ("", "persistentvolumeclaims") => vec![
            text("Status", |o, _| {
                if o.is_deleting() { "Terminating".into() } else { o.at("status.phase").clone() }
            }),
            path("Volume", "spec.volumeName"),
            text("Capacity", |o, _| bound(o, o.at("status.capacity.storage").clone())),
            text("Access Modes", |o, _| bound(o, access_modes(o.at("status.accessModes")))),
            path("StorageClass", "spec.storageClassName"),
            text("VolumeAttributesClass", |o, _| unset(o, "spec.volumeAttributesClassName")),
            age(),
            wide(text("VolumeMode", |o, _| unset(o, "spec.volumeMode"))),
        ],
        ("storage.k8s.io", "storageclasses") => vec![
            path("Provisioner", "provisioner"),
            text("ReclaimPolicy", |o, _| o.at("reclaimPolicy").as_str().unwrap_or("Delete").into()),
            text("VolumeBindingMode", |o, _| {
                o.at("volumeBindingMode").as_str().unwrap_or("Immediate").into()
            }),
            text("AllowVolumeExpansion", |o, _| o.at("allowVolumeExpansion").bool().into()),
            age(),
        ],
        ("storage.k8s.io", "volumeattachments") => vec![
            path("Attacher", "spec.attacher"),
            path("PV", "spec.source.persistentVolumeName"),
            path("Node", "spec.nodeName"),
            text("Attached", |o, _| o.at("status.attached").bool().into()),
            age(),
        ],
        ("storage.k8s.io", "volumeattributesclasses") => {
            vec![path("DriverName", "driverName"), age()]
        }
        ("storage.k8s.io", "csidrivers") => vec![
            text("AttachRequired", |o, _| {
                o.at("spec.attachRequired").as_bool().unwrap_or(true).into()
            }),
            text("PodInfoOnMount", |o, _| o.at("spec.podInfoOnMount").bool().into()),
            text("StorageCapacity", |o, _| o.at("spec.storageCapacity").bool().into()),
            text("TokenRequests", |o, _| {
                let list: Vec<&str> = o
                    .at("spec.tokenRequests")
                    .items()
                    .iter()
                    .map(|t| t.at("audience").str())
                    .collect();
                if list.is_empty() { "<unset>".into() } else { list.join(",").into() }
            }),
            text("RequiresRepublish", |o, _| o.at("spec.requiresRepublish").bool().into()),
            text("Modes", |o, _| {
                let list: Vec<&str> =
                    o.at("spec.volumeLifecycleModes").items().iter().map(Value::str).collect();
                cells::or_none(list.join(",")).into()
            }),
            age(),
        ],
        ("storage.k8s.io", "csinodes") => {
            vec![count("Drivers", |o, _| o.at("spec.drivers").items().len().into()), age()]
        }
        ("storage.k8s.io", "csistoragecapacities") => {
            vec![path("StorageClassName", "storageClassName"), path("Capacity", "capacity")]
        }
        _ => return None,
    })
}

fn len(map: &Value) -> usize {
    map.as_object().map_or(0, timonier_object::Map::len)
}

fn unset(object: &Value, path: &str) -> Value {
    object.at(path).as_str().unwrap_or("<unset>").into()
}

fn bound(claim: &Value, value: Value) -> Value {
    if claim.at("spec.volumeName").str().is_empty() || value.is_null() { "".into() } else { value }
}

fn access_modes(modes: &Value) -> Value {
    let mut list = Vec::new();
    for mode in modes.items() {
        let short = match mode.str() {
            "ReadWriteOnce" => "RWO",
            "ReadOnlyMany" => "ROX",
            "ReadWriteMany" => "RWX",
            "ReadWriteOncePod" => "RWOP",
            _ => NONE,
        };
        if !list.contains(&short) {
            list.push(short);
        }
    }
    list.join(",").into()
}
