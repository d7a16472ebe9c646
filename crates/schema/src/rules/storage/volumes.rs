//! Persistent volumes.

use alloc::format;

use timonier_meta::{FieldError, names};
use timonier_object::Value;

use super::super::at::{At, Errors, NOT_POSITIVE, immutable, same, show_map};
use super::super::common::{bad_quantity, check, no_backsteps, quantity};
use super::super::pod::{diff::unified, node_selector};
use super::sources;

type Rule = fn(&mut Errors, &At<'_>);

/// Field, name in the complaint about a second source, name in the complaints of its rule, rule.
const SOURCES: [(&str, &str, &str, Rule); 22] = [
    ("hostPath", "hostPath", "hostPath", sources::host_path),
    ("gcePersistentDisk", "gcePersistentDisk", "persistentDisk", sources::gce_disk),
    ("awsElasticBlockStore", "awsElasticBlockStore", "awsElasticBlockStore", sources::aws_disk),
    ("glusterfs", "glusterfs", "glusterfs", glusterfs),
    ("flocker", "flocker", "flocker", sources::flocker),
    ("nfs", "nfs", "nfs", sources::nfs),
    ("rbd", "rbd", "rbd", |e, at| sources::all_of(e, at, &["monitors", "image"])),
    ("quobyte", "quobyte", "quobyte", sources::quobyte),
    ("cephfs", "cephFS", "cephfs", |e, at| sources::all_of(e, at, &["monitors"])),
    // Its rule needs the volume's name.
    ("iscsi", "iscsi", "iscsi", |_, _| {}),
    ("cinder", "cinder", "cinder", |e, at| with_secret(e, at, "volumeID")),
    ("fc", "fc", "fc", sources::fibre_channel),
    ("flexVolume", "flexVolume", "flexVolume", sources::flex_volume),
    ("azureFile", "azureFile", "azureFile", azure_file),
    ("vsphereVolume", "vsphereVolume", "vsphereVolume", |e, at| {
        sources::all_of(e, at, &["volumePath"]);
    }),
    ("photonPersistentDisk", "photonPersistentDisk", "photonPersistentDisk", |e, at| {
        sources::all_of(e, at, &["pdID"]);
    }),
    ("portworxVolume", "portworxVolume", "portworxVolume", |e, at| {
        sources::all_of(e, at, &["volumeID"]);
    }),
    ("azureDisk", "azureDisk", "azureDisk", sources::azure_disk),
    ("scaleIO", "scaleIO", "scaleIO", |e, at| {
        sources::all_of(e, at, &["gateway", "system", "volumeName"]);
    }),
    ("local", "local", "local", |e, at| {
        if at.get("path").demand(e) {
            no_backsteps(e, &at.get("path"));
        }
    }),
    ("storageos", "storageos", "storageos", sources::storage_os),
    ("csi", "csi", "csi", csi),
];

fn with_secret(e: &mut Errors, at: &At<'_>, name: &str) {
    at.get(name).demand(e);
    let secret = at.get("secretRef");
    if secret.is_set() {
        secret.get("name").demand(e);
        secret.get("namespace").demand(e);
    }
}

fn glusterfs(e: &mut Errors, at: &At<'_>) {
    sources::all_of(e, at, &["endpoints", "path"]);
    let namespace = at.get("endpointsNamespace");
    if namespace.is_set() && namespace.is_empty() {
        let why = "if the endpointnamespace is set, it must be a valid namespace name";
        namespace.bad_str(e, why);
    } else if namespace.is_set() {
        check(e, &namespace, names::dns1123_label);
    }
}

fn azure_file(e: &mut Errors, at: &At<'_>) {
    sources::all_of(e, at, &["secretName", "shareName"]);
    let namespace = at.get("secretNamespace");
    if namespace.is_set() {
        namespace.demand(e);
    }
}

fn csi(e: &mut Errors, at: &At<'_>) {
    sources::csi_driver_name(e, &at.get("driver"));
    at.get("volumeHandle").demand(e);
    for secret in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        sources::secret_reference(e, &at.get(secret));
    }
}

/// Checks a volume.
pub fn volume(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let spec = At::top(new).get("spec");
    let modes = spec.get("accessModes");
    if modes.is_empty() {
        modes.required(e, "");
    }
    sources::modes(e, &modes);
    capacity(e, &spec.get("capacity"));
    let reclaim = spec.get("persistentVolumeReclaimPolicy");
    if !reclaim.is_empty() {
        reclaim.one_of(e, &["Delete", "Recycle", "Retain"]);
    }
    let affinity = spec.get("nodeAffinity");
    if affinity.is_set() {
        if affinity.get("required").is_set() {
            node_selector(e, &affinity.get("required"));
        } else {
            affinity.get("required").required(e, "must specify required node constraints");
        }
    }
    source(e, &spec, new.name());
    let path = spec.get("hostPath.path").str();
    let root = !path.is_empty() && path.split('/').all(|part| matches!(part, "" | "."));
    if root && path.starts_with('/') && reclaim.str() == "Recycle" {
        reclaim.forbidden(e, "may not be 'recycle' for a hostPath mount of '/'");
    }
    let (class, mode) = (spec.get("storageClassName"), spec.get("volumeMode"));
    if !class.is_empty() {
        check(e, &class, names::dns1123_subdomain);
    }
    if mode.is_set() {
        mode.one_of(e, &["Block", "Filesystem"]);
    }
    let attributes = spec.get("volumeAttributesClassName");
    if attributes.is_set() {
        if attributes.is_empty() {
            attributes.required(e, "an empty string is disallowed");
        } else {
            check(e, &attributes, names::dns1123_subdomain);
        }
        if !spec.get("csi").is_set() {
            let why = "has to be specified when using volumeAttributesClassName";
            spec.get("csi").required(e, why);
        }
    }
    if let Some(old) = old {
        changes(e, &spec, &At::top(old).get("spec"));
    }
}

/// Checks the volume that an attachment carries itself.
pub fn inline(e: &mut Errors, spec: &At<'_>) {
    let why = "may not be specified in the context of inline volumes";
    for field in ["claimRef", "capacity"] {
        if !spec.get(field).is_empty() {
            spec.get(field).forbidden(e, why);
        }
    }
    if !spec.get("csi").is_set() {
        spec.get("csi").required(e, "has to be specified in the context of inline volumes");
    }
    let modes = spec.get("accessModes");
    if modes.is_empty() {
        modes.required(e, "");
    }
    sources::modes(e, &modes);
    let reclaim = spec.get("persistentVolumeReclaimPolicy");
    if !matches!(reclaim.str(), "" | "Retain") {
        reclaim.forbidden(e, "may only be Retain in the context of inline volumes");
    }
    if spec.get("nodeAffinity").is_set() {
        spec.get("nodeAffinity").forbidden(e, why);
    }
    source(e, spec, "");
    if !spec.get("storageClassName").is_empty() {
        spec.get("storageClassName").forbidden(e, why);
    }
    let mode = spec.get("volumeMode");
    if mode.is_set() && mode.str() != "Filesystem" {
        let why =
            "may not specify volumeMode other than Filesystem in the context of inline volumes";
        mode.forbidden(e, why);
    }
}

fn capacity(e: &mut Errors, at: &At<'_>) {
    if at.is_empty() {
        at.required(e, "");
    }
    if at.value.get("storage").is_none() || at.len() > 1 {
        let mut error = FieldError::not_supported(&at.path, "", &["storage"]);
        error.value = show_map(at.value);
        e.push(error);
    }
    for (_, amount) in at.entries() {
        let value = quantity(amount.value);
        if value.is_negative() {
            amount.bad(e, value.value(), "must be a valid resource quantity");
        }
        if value.is_negative() || value.is_zero() {
            bad_quantity(e, &amount, NOT_POSITIVE);
        }
    }
}

fn source(e: &mut Errors, spec: &At<'_>, name: &str) {
    let mut found = false;
    for (field, again, inside, rule) in SOURCES {
        let at = spec.get(field);
        if !at.is_set() {
            continue;
        }
        if found && field != "flexVolume" {
            let at = at.named(spec.path.child(again));
            at.forbidden(e, "may not specify more than 1 volume type");
            continue;
        }
        found = true;
        rule(e, &at.named(spec.path.child(inside)));
        if field == "iscsi" {
            sources::iscsi_persistent(e, &at, name);
        }
        if field == "local" && !spec.get("nodeAffinity").is_set() {
            spec.get("nodeAffinity").required(e, "Local volume requires node affinity");
        }
    }
    if !found {
        spec.required(e, "must specify a volume type");
    }
}

/// The source stays, but for a secret that was not there.
fn changes(e: &mut Errors, spec: &At<'_>, old: &At<'_>) {
    let only_source = |spec: &Value| -> Value {
        SOURCES
            .iter()
            .filter_map(|(field, ..)| spec.get(field).map(|value| (*field, value.clone())))
            .collect()
    };
    let (mut now, before) = (only_source(spec.value), only_source(old.value));
    if before.at("csi.controllerExpandSecretRef").is_null() && before.get("csi").is_some() {
        now.remove("csi.controllerExpandSecretRef");
    }
    if !same(&now, &before) {
        let at = spec.named("spec.persistentvolumesource".into());
        let why = "spec.persistentvolumesource is immutable after creation";
        at.forbidden(e, format!("{why}\n{}", unified(&before, &now)));
    }
    let mode = spec.get("volumeMode").named("volumeMode".into());
    immutable(e, &mode, &old.get("volumeMode"));
    let affinity = spec.get("nodeAffinity").named("nodeAffinity".into());
    if old.get("nodeAffinity").is_set() {
        immutable(e, &affinity, &old.get("nodeAffinity"));
    }
    let class = spec.get("volumeAttributesClassName");
    if old.get("volumeAttributesClassName").is_set() && !class.is_set() {
        class.forbidden(e, "update from non-nil value to nil is forbidden");
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn a_volume_keeps_its_source() {
        let of = |path: &str| {
            value!({ "spec": { "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Gi" },
            "persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem",
            "hostPath": { "path": path } } })
        };
        let mut e = Errors::new();
        volume(&mut e, &of("/a"), Some(&of("/a")));
        assert!(e.is_empty(), "{e:?}");
        volume(&mut e, &of("/b"), Some(&of("/a")));
        assert_eq!(e.len(), 1);
        assert_eq!(e[0].path.as_str(), "spec.persistentvolumesource");
    }
}
