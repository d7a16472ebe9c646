//! A pod's volumes: exactly one source each, and what each source needs.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;

use timonier_meta::names;
use timonier_object::Value;

use super::super::at::{At, Errors};
use super::super::common::{
    check, demand, descending_path, label_selector, local_path, mode, no_backsteps, quantity,
};
use super::super::storage::{claim_template, sources};
use super::env::{VOLUME_FIELDS, field_ref, resource_field_ref};

/// Checks volumes; gives those without errors by name.
pub fn volumes<'a>(
    e: &mut Errors,
    at: &At<'a>,
    pod_name: &str,
    is_pod: bool,
) -> BTreeMap<&'a str, &'a Value> {
    let mut good = BTreeMap::new();
    let made: BTreeSet<alloc::string::String> = at
        .items()
        .filter(|v| !pod_name.is_empty() && v.get("ephemeral").is_set())
        .map(|v| format!("{pod_name}-{}", v.get("name").str()))
        .collect();
    for volume in at.items() {
        let before = e.len();
        source(e, &volume, pod_name, is_pod);
        let name = volume.get("name");
        demand(e, &name, names::dns1123_label);
        if good.contains_key(name.str()) {
            name.bad_duplicate(e, name.str());
        }
        if e.len() == before {
            good.insert(name.str(), volume.value);
        }
        let claim = volume.get("persistentVolumeClaim.claimName");
        if made.contains(claim.str()) {
            claim.bad_str(e, "must not reference a PVC that gets created for an ephemeral volume");
        }
    }
    good
}

type Rule = fn(&mut Errors, &At<'_>);

/// Field, name in the complaint about a second source, name in the complaints of its rule, rule.
const SOURCES: [(&str, &str, &str, Rule); 30] = [
    ("hostPath", "hostPath", "hostPath", sources::host_path),
    ("gitRepo", "gitRepo", "gitRepo", git_repo),
    ("gcePersistentDisk", "gcePersistentDisk", "persistentDisk", sources::gce_disk),
    ("awsElasticBlockStore", "awsElasticBlockStore", "awsElasticBlockStore", sources::aws_disk),
    ("secret", "secret", "secret", |e, at| keyed(e, at, "secretName")),
    ("nfs", "nfs", "nfs", sources::nfs),
    ("iscsi", "iscsi", "iscsi", sources::iscsi),
    ("glusterfs", "glusterfs", "glusterfs", |e, at| sources::all_of(e, at, &["endpoints", "path"])),
    ("flocker", "flocker", "flocker", sources::flocker),
    ("persistentVolumeClaim", "persistentVolumeClaim", "persistentVolumeClaim", |e, at| {
        sources::all_of(e, at, &["claimName"]);
    }),
    ("rbd", "rbd", "rbd", |e, at| sources::all_of(e, at, &["monitors", "image"])),
    ("cinder", "cinder", "cinder", sources::cinder),
    ("cephfs", "cephFS", "cephfs", |e, at| sources::all_of(e, at, &["monitors"])),
    ("quobyte", "quobyte", "quobyte", sources::quobyte),
    ("downwardAPI", "downwarAPI", "downwardAPI", downward_api),
    ("fc", "fc", "fc", sources::fibre_channel),
    ("flexVolume", "flexVolume", "flexVolume", sources::flex_volume),
    ("configMap", "configMap", "configMap", |e, at| keyed(e, at, "name")),
    ("azureFile", "azureFile", "azureFile", |e, at| {
        sources::all_of(e, at, &["secretName", "shareName"]);
    }),
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
    ("storageos", "storageos", "storageos", sources::storage_os),
    ("projected", "projected", "projected", projected),
    ("scaleIO", "scaleIO", "scaleIO", |e, at| {
        sources::all_of(e, at, &["gateway", "system", "volumeName"]);
    }),
    ("csi", "csi", "csi", csi),
    ("ephemeral", "ephemeral", "ephemeral", |e, at| {
        claim_template(e, &at.get("volumeClaimTemplate"));
    }),
    ("image", "image", "image", |e, at| {
        at.get("pullPolicy").required_one_of(e, &["Always", "IfNotPresent", "Never"]);
    }),
    ("emptyDir", "emptyDir", "emptyDir", |_, _| {}),
];

fn source(e: &mut Errors, volume: &At<'_>, pod_name: &str, is_pod: bool) {
    let mut found = volume.get("emptyDir").is_set();
    let limit = volume.get("emptyDir.sizeLimit");
    if found && quantity(limit.value).is_negative() {
        limit.forbidden(e, "SizeLimit field must be a valid resource quantity");
    }
    for (field, again, inside, rule) in SOURCES {
        let at = volume.get(field);
        if field == "emptyDir" || !at.is_set() {
            continue;
        }
        if found {
            let again = at.named(volume.path.child(again));
            again.forbidden(e, "may not specify more than 1 volume type");
            continue;
        }
        found = true;
        if field == "image" && is_pod {
            at.get("reference").demand(e);
        }
        rule(e, &at.named(volume.path.child(inside)));
        if field == "ephemeral" {
            made_claim_name(e, volume, pod_name);
        }
    }
    let portal = volume.get("iscsi.targetPortal").str();
    let name = volume.get("name");
    if volume.get("iscsi.initiatorName").is_set() && name.str().len() + 1 + portal.len() > 64 {
        name.bad_str(e, sources::ISCSI_TOO_LONG);
    }
    if !found {
        volume.required(e, "must specify a volume type");
    }
}

/// The claim made for an ephemeral volume is named after pod and volume.
fn made_claim_name(e: &mut Errors, volume: &At<'_>, pod_name: &str) {
    let name = volume.get("name");
    if pod_name.is_empty() || name.is_empty() {
        return;
    }
    let claim = format!("{pod_name}-{}", name.str());
    for why in names::dns1123_subdomain(&claim) {
        name.bad_str(e, format!("PVC name {claim:?}: {why}"));
    }
}

fn git_repo(e: &mut Errors, at: &At<'_>) {
    at.get("repository").demand(e);
    descending_path(e, &at.get("directory"));
}

/// Secrets and config maps: a name, a mode, keys to paths.
fn keyed(e: &mut Errors, at: &At<'_>, name: &str) {
    at.get(name).demand(e);
    mode(e, &at.get("defaultMode"));
    for item in at.get("items").items() {
        key_to_path(e, &item);
    }
}

fn key_to_path(e: &mut Errors, item: &At<'_>) {
    item.get("key").demand(e);
    item.get("path").demand(e);
    local_path(e, &item.get("path"));
    mode(e, &item.get("mode"));
}

fn downward_api(e: &mut Errors, at: &At<'_>) {
    mode(e, &at.get("defaultMode"));
    for file in at.get("items").items() {
        downward_file(e, &file.named(at.path.clone()));
    }
}

fn downward_file(e: &mut Errors, file: &At<'_>) {
    file.get("path").demand(e);
    local_path(e, &file.get("path"));
    let (field, resource) = (file.get("fieldRef"), file.get("resourceFieldRef"));
    if field.is_set() {
        field_ref(e, &field, &VOLUME_FIELDS);
        if resource.is_set() {
            let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
            file.bad(e, "\"resource\"", why);
        }
    } else if resource.is_set() {
        resource_field_ref(e, &resource, true);
    } else {
        file.required(e, "one of fieldRef and resourceFieldRef is required");
    }
    mode(e, &file.get("mode"));
}

fn projected(e: &mut Errors, at: &At<'_>) {
    mode(e, &at.get("defaultMode"));
    let mut paths = BTreeSet::new();
    for source in at.get("sources").items() {
        let mut kinds = 0;
        for kind in ["secret", "configMap"] {
            let one = source.get(kind);
            if one.is_set() {
                kinds += 1;
                one.get("name").demand(e);
                for item in one.get("items").items() {
                    key_to_path(e, &item);
                    let name = one.get("name").str();
                    take_path(e, at, &mut paths, item.get("path").str(), name);
                }
            }
        }
        let files = source.get("downwardAPI");
        if files.is_set() {
            kinds += 1;
            for file in files.get("items").items() {
                downward_file(e, &file.named(files.path.clone()));
                let path = file.get("path").str();
                take_path(e, at, &mut paths, path, path);
            }
        }
        for (kind, rule) in [
            ("serviceAccountToken", token as ProjectedRule),
            ("clusterTrustBundle", trust_bundle),
            ("podCertificate", pod_certificate),
        ] {
            let one = source.get(kind);
            if one.is_set() {
                kinds += 1;
                rule(e, at, &one, &mut paths);
            }
        }
        if kinds > 1 {
            source.forbidden(e, "may not specify more than 1 volume type per source");
        }
    }
}

type ProjectedRule = for<'a> fn(&mut Errors, &At<'a>, &At<'a>, &mut BTreeSet<&'a str>);

/// Notes a path; a second use of it is refused at the volume, with `shown` as the value.
fn take_path<'a>(
    e: &mut Errors,
    at: &At<'_>,
    paths: &mut BTreeSet<&'a str>,
    path: &'a str,
    shown: &str,
) {
    if !path.is_empty() && !paths.insert(path) {
        at.bad(e, super::super::common::show_str(shown), "conflicting duplicate paths");
    }
}

fn token<'a>(e: &mut Errors, volume: &At<'a>, at: &At<'a>, _: &mut BTreeSet<&'a str>) {
    let seconds = at.get("expirationSeconds");
    if seconds.int() < 600 {
        seconds.bad_int(e, "may not specify a duration less than 10 minutes");
    }
    if seconds.int() > 1 << 32 {
        seconds.bad_int(e, "may not specify a duration larger than 2^32 seconds");
    }
    let path = at.get("path").named(volume.path.child("path"));
    if path.demand(e) {
        local_path(e, &path);
    }
}

fn trust_bundle<'a>(e: &mut Errors, volume: &At<'a>, at: &At<'a>, paths: &mut BTreeSet<&'a str>) {
    let (name, signer, selector) = (at.get("name"), at.get("signerName"), at.get("labelSelector"));
    match (name.is_set(), signer.is_set()) {
        (true, true) => at.invalid(e, "only one of name and signerName may be used"),
        (true, false) => {
            if name.is_empty() {
                name.required(e, "must be a valid object name");
            }
            for why in names::dns1123_subdomain(name.str().rsplit(':').next().unwrap_or("")) {
                name.bad_str(e, format!("not a valid clustertrustbundlename: {why}"));
            }
            if selector.is_set() {
                selector.invalid(e, "labelSelector must be unset if name is specified");
            }
        }
        (false, true) => {
            if signer.is_empty() {
                signer.required(e, "must be a valid signer name");
            }
            super::super::certificates::signer_name(e, &signer);
            label_selector(e, &selector);
        }
        (false, false) => at.required(e, "either name or signerName must be specified"),
    }
    let path = at.get("path");
    path.demand(e);
    local_path(e, &path);
    take_path(e, volume, paths, path.str(), path.str());
}

const KEY_TYPES: [&str; 6] =
    ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];

fn pod_certificate<'a>(
    e: &mut Errors,
    volume: &At<'a>,
    at: &At<'a>,
    paths: &mut BTreeSet<&'a str>,
) {
    let signer = at.get("signerName");
    super::super::certificates::signer_name(e, &signer);
    at.get("keyType").one_of(e, &KEY_TYPES);
    let seconds = at.get("maxExpirationSeconds");
    let domain = signer.str().split('/').next().unwrap_or("");
    let own = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
    let most = if own { 24 * 60 * 60 } else { 91 * 24 * 60 * 60 };
    if seconds.is_set() && seconds.int() < 3600 {
        seconds.bad_int(e, "if provided, maxExpirationSeconds must be >= 3600");
    }
    if seconds.int() > most {
        seconds.bad_int(e, format!("if provided, maxExpirationSeconds must be <= {most}"));
    }
    let mut any = false;
    for field in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
        let path = at.get(field);
        if !path.is_empty() {
            any = true;
            local_path(e, &path);
            take_path(e, volume, paths, path.str(), path.str());
        }
    }
    if !any {
        let why = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        at.required(e, why);
    }
}

fn csi(e: &mut Errors, at: &At<'_>) {
    sources::csi_driver_name(e, &at.get("driver"));
    let secret = at.get("nodePublishSecretRef");
    if secret.is_set() {
        let name = secret.get("name");
        if name.demand(e) {
            check(e, &name.named(at.path.child("name")), names::dns1123_subdomain);
        }
    }
}

/// Checks a container's `volumeMounts` and `volumeDevices` against the pod's volumes.
pub fn mounts(e: &mut Errors, container: &At<'_>, volumes: &BTreeMap<&str, &Value>) {
    let (mounts, devices) = (container.get("volumeMounts"), container.get("volumeDevices"));
    let mut seen = BTreeSet::new();
    for mount in mounts.items() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        name.demand(e);
        if !volumes.contains_key(name.str()) {
            name.not_found(e);
        }
        path.demand(e);
        if !seen.insert(path.str()) {
            path.bad_str(e, "must be unique");
        }
        if devices.items().any(|d| d.get("name").str() == name.str()) {
            name.bad_str(e, "must not already exist in volumeDevices");
        }
        if devices.items().any(|d| d.get("devicePath").str() == path.str()) {
            path.bad_str(e, "must not already exist as a path in volumeDevices");
        }
        mount_options(e, &mounts, &mount, container);
    }
    volume_devices(e, &mounts, &devices, volumes);
}

/// The rest of a mount. Upstream names the list in these errors, not the item.
fn mount_options(e: &mut Errors, mounts: &At<'_>, mount: &At<'_>, container: &At<'_>) {
    let (sub, expr) = (mount.get("subPath"), mount.get("subPathExpr"));
    if !sub.is_empty() {
        descending_path(e, &sub.named(mounts.path.child("subPath")));
    }
    if !expr.is_empty() {
        if !sub.is_empty() {
            expr.bad_str(e, "subPathExpr and subPath are mutually exclusive");
        }
        descending_path(e, &expr.named(mounts.path.child("subPathExpr")));
    }
    let propagation = mount.get("mountPropagation").named(mounts.path.child("mountPropagation"));
    if propagation.is_set() {
        propagation.one_of(e, &["Bidirectional", "HostToContainer", "None"]);
        let privileged = container.get("securityContext.privileged").bool();
        if propagation.str() == "Bidirectional" && !privileged {
            let why = "Bidirectional mount propagation is available only to privileged containers";
            propagation.forbidden(e, why);
        }
    }
    let recursive = mount.get("recursiveReadOnly").named(mounts.path.child("recursiveReadOnly"));
    match recursive.str() {
        "Enabled" | "IfPossible" => {
            if !mount.get("readOnly").bool() {
                recursive.forbidden(e, "may only be specified when readOnly is true");
            }
            if !matches!(propagation.str(), "" | "None") {
                let why = "may only be specified when mountPropagation is None or not specified";
                recursive.forbidden(e, why);
            }
        }
        "Disabled" => {}
        _ if recursive.is_set() => {
            recursive.unsupported(e, &["Disabled", "Enabled", "IfPossible"]);
        }
        _ => {}
    }
}

fn volume_devices(
    e: &mut Errors,
    mounts: &At<'_>,
    devices: &At<'_>,
    volumes: &BTreeMap<&str, &Value>,
) {
    let (mut paths, mut names) = (BTreeSet::new(), BTreeSet::new());
    for device in devices.items() {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        let volume = volumes.get(name.str());
        name.demand(e);
        if names.contains(name.str()) {
            name.bad_str(e, "must be unique");
        }
        let block = |v: &Value| v.get("persistentVolumeClaim").or(v.get("ephemeral")).is_some();
        match volume {
            None => name.not_found(e),
            Some(volume) if !block(volume) => name.bad_str(e, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"),
            Some(_) => {}
        }
        path.demand(e);
        if paths.contains(path.str()) {
            path.bad_str(e, "must be unique");
        }
        let mut climbs = Errors::new();
        no_backsteps(&mut climbs, &path);
        if climbs.is_empty() {
            paths.insert(path.str());
        } else {
            path.bad_str(e, "can not contain backsteps ('..')");
        }
        if mounts.items().any(|m| m.get("name").str() == name.str()) {
            name.bad_str(e, "must not already exist in volumeMounts");
        }
        if mounts.items().any(|m| m.get("mountPath").str() == path.str()) {
            path.bad_str(e, "must not already exist as a path in volumeMounts");
        }
        if !name.is_empty() {
            names.insert(name.str());
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use timonier_object::value;

    use super::*;

    #[test]
    fn one_source_per_volume() {
        let v = value!([
            { "name": "a", "emptyDir": {}, "hostPath": { "path": "/x" } },
            { "name": "b" },
            { "name": "c", "configMap": { "items": [{ "key": "k", "path": "../x" }] } },
            { "name": "d", "secret": { "secretName": "s" } },
            { "name": "d", "emptyDir": {} }
        ]);
        let mut e = Errors::new();
        let good = volumes(&mut e, &At::new(&v, "v"), "", true);
        let texts: Vec<String> = e.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "v[0].hostPath: Forbidden: may not specify more than 1 volume type",
                "v[1]: Required value: must specify a volume type",
                "v[2].configMap.name: Required value",
                "v[2].configMap.items[0].path: Invalid value: \"../x\": must not contain '..'",
                "v[4].name: Duplicate value: \"d\""
            ]
        );
        assert!(good.contains_key("d") && good.len() == 1);
    }
}
