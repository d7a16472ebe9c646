//! What each kind of volume source needs, in pods and in persistent volumes.

use alloc::format;

use timonier_meta::{FieldError, names};

use super::super::at::{At, Errors};
use super::super::common::{check, show_str};

/// Demands each of the fields: a text or a list.
pub fn all_of(e: &mut Errors, at: &At<'_>, fields: &[&str]) {
    for field in fields {
        let field = at.get(field);
        if field.is_empty() {
            field.required(e, "");
        }
    }
}

/// A path of the host.
pub fn host_path(e: &mut Errors, at: &At<'_>) {
    let (path, kind) = (at.get("path"), at.get("type"));
    if !path.demand(e) {
        return;
    }
    super::super::common::no_backsteps(e, &path);
    if kind.is_set() {
        kind.one_of(
            e,
            &[
                "",
                "BlockDevice",
                "CharDevice",
                "Directory",
                "DirectoryOrCreate",
                "File",
                "FileOrCreate",
                "Socket",
            ],
        );
    }
}

/// A disk with partitions: Google's.
pub fn gce_disk(e: &mut Errors, at: &At<'_>) {
    partitioned(e, at, "pdName");
}

/// A disk with partitions: Amazon's.
pub fn aws_disk(e: &mut Errors, at: &At<'_>) {
    partitioned(e, at, "volumeID");
}

fn partitioned(e: &mut Errors, at: &At<'_>, name: &str) {
    at.get(name).demand(e);
    let partition = at.get("partition");
    if !(0..=255).contains(&partition.int()) {
        partition.bad_int(e, "must be between 1 and 255, inclusive");
    }
}

/// A network file system.
pub fn nfs(e: &mut Errors, at: &At<'_>) {
    all_of(e, at, &["server", "path"]);
    let path = at.get("path");
    if !path.str().starts_with('/') {
        path.bad_str(e, "must be an absolute path");
    }
}

/// The complaint about names that together are too long for a session.
pub const ISCSI_TOO_LONG: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";

/// A block device reached by iSCSI.
pub fn iscsi(e: &mut Errors, at: &At<'_>) {
    at.get("targetPortal").demand(e);
    let iqn = at.get("iqn");
    if iqn.demand(e) {
        qualified(e, &iqn, "must be valid format starting with iqn, eui, or naa");
    }
    iscsi_rest(e, at, "must be valid format starting with iqn, eui, or naa");
}

/// The same in a persistent volume, whose texts are others.
pub fn iscsi_persistent(e: &mut Errors, at: &At<'_>, name: &str) {
    let portal = at.get("targetPortal");
    portal.demand(e);
    let long = name.len() + 1 + portal.str().len() > 64;
    if at.get("initiatorName").is_set() && long {
        portal.named(at.path.child("targetportal")).bad_str(e, ISCSI_TOO_LONG);
    }
    let iqn = at.get("iqn");
    if iqn.demand(e) {
        qualified(e, &iqn, "must be valid format");
    }
    let secret = at.get("secretRef");
    if secret.is_set() {
        secret.get("name").demand(e);
    }
    iscsi_rest(e, at, "must be valid format");
}

fn iscsi_rest(e: &mut Errors, at: &At<'_>, unknown: &str) {
    at.get("lun").within(e, 0, 255);
    let chap = at.get("chapAuthDiscovery").bool() || at.get("chapAuthSession").bool();
    if chap && !at.get("secretRef").is_set() {
        at.get("secretRef").required(e, "");
    }
    let initiator = at.get("initiatorName");
    if initiator.is_set() {
        qualified(e, &initiator.named(at.path.child("initiatorname")), unknown);
    }
}

fn qualified(e: &mut Errors, at: &At<'_>, unknown: &str) {
    let text = at.str();
    let hex = |rest: &str, n: usize| {
        rest.len() == n + 1 && rest[1..].bytes().all(|c| c.is_ascii_alphanumeric())
    };
    let ok = if text.starts_with("iqn") {
        is_iqn(text)
    } else if let Some(rest) = text.strip_prefix("eui") {
        rest.is_ascii() && hex(rest, 16)
    } else if let Some(rest) = text.strip_prefix("naa") {
        rest.is_ascii() && hex(rest, 32)
    } else {
        at.bad_str(e, unknown);
        return;
    };
    if !ok {
        at.bad_str(e, "must be valid format");
    }
}

/// `iqn.2001-04.com.example:name`.
fn is_iqn(text: &str) -> bool {
    let Some((date, rest)) = text.strip_prefix("iqn.").and_then(|t| t.split_once('.')) else {
        return false;
    };
    let b = date.as_bytes();
    let dated = b.len() == 7
        && b[4] == b'-'
        && b.iter().enumerate().all(|(i, c)| i == 4 || c.is_ascii_digit());
    let Some((authority, name)) = rest.split_once(':') else { return false };
    dated
        && !authority.is_empty()
        && authority.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'.')
        && !name.is_empty()
        && !name.chars().any(|c| ",;*&$|".contains(c) || c.is_whitespace())
}

/// A data set of Flocker.
pub fn flocker(e: &mut Errors, at: &At<'_>) {
    let (name, id) = (at.get("datasetName"), at.get("datasetUUID"));
    if name.is_empty() && id.is_empty() {
        at.required(e, "one of datasetName and datasetUUID is required");
    }
    if !name.is_empty() && !id.is_empty() {
        let why = "datasetName and datasetUUID can not be specified simultaneously";
        at.bad(e, "\"resource\"", why);
    }
    if name.str().contains('/') {
        name.bad_str(e, "must not contain '/'");
    }
}

/// A volume of OpenStack.
pub fn cinder(e: &mut Errors, at: &At<'_>) {
    at.get("volumeID").demand(e);
    let secret = at.get("secretRef");
    if secret.is_set() {
        secret.get("name").demand(e);
    }
}

/// A volume of Quobyte.
pub fn quobyte(e: &mut Errors, at: &At<'_>) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = at.get("registry");
    if registry.is_empty() {
        registry.required(e, PAIRS);
    } else if at.get("tenant").str().len() >= 65 {
        let why = "must be a UUID and may not exceed a length of 64 characters";
        at.get("tenant").required(e, why);
    } else {
        for pair in registry.str().split(',') {
            let bracketed = pair.starts_with('[') && pair.contains("]:");
            if !bracketed && pair.matches(':').count() != 1 {
                registry.bad_str(e, PAIRS);
            }
        }
    }
    at.get("volume").demand(e);
}

/// A device reached by Fibre Channel.
pub fn fibre_channel(e: &mut Errors, at: &At<'_>) {
    let (names, ids, lun) = (at.get("targetWWNs"), at.get("wwids"), at.get("lun"));
    if names.is_empty() && ids.is_empty() {
        names.required(e, "must specify either targetWWNs or wwids, but not both");
    }
    if !names.is_empty() && !ids.is_empty() {
        names.invalid(e, "targetWWNs and wwids can not be specified simultaneously");
    }
    if !names.is_empty() {
        if lun.is_set() {
            lun.within(e, 0, 255);
        } else {
            lun.required(e, "lun is required if targetWWNs is specified");
        }
    }
}

/// A volume of a driver that is a program on the node.
pub fn flex_volume(e: &mut Errors, at: &At<'_>) {
    at.get("driver").demand(e);
    for (key, option) in at.get("options").entries() {
        let domain = key.split_once('/').map_or(key, |(domain, _)| domain).to_lowercase();
        let domain = format!(".{domain}");
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            option.bad(e, show_str(key), "kubernetes.io and k8s.io namespaces are reserved");
        }
    }
}

/// A disk of Azure.
pub fn azure_disk(e: &mut Errors, at: &At<'_>) {
    let (uri, caching, kind) = (at.get("diskURI"), at.get("cachingMode"), at.get("kind"));
    all_of(e, at, &["diskName", "diskURI"]);
    if caching.is_set() {
        caching.one_of(e, &["None", "ReadOnly", "ReadWrite"]);
    }
    if !kind.is_set() {
        return;
    }
    kind.one_of(e, &["Dedicated", "Managed", "Shared"]);
    if kind.str() == "Managed" {
        if !uri.str().starts_with("/subscriptions/") {
            uri.unsupported(e, &["/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"]);
        }
    } else if !uri.str().starts_with("https://") {
        uri.unsupported(
            e,
            &["https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"],
        );
    }
}

/// A volume of StorageOS.
pub fn storage_os(e: &mut Errors, at: &At<'_>) {
    super::super::common::demand(e, &at.get("volumeName"), names::dns1123_label);
    let namespace = at.get("volumeNamespace");
    if !namespace.is_empty() {
        check(e, &namespace, names::dns1123_label);
    }
    let secret = at.get("secretRef");
    if secret.is_set() {
        secret.get("name").demand(e);
    }
}

/// Demands the name of a CSI driver.
pub fn csi_driver_name(e: &mut Errors, at: &At<'_>) {
    if !at.demand(e) {
        return;
    }
    if at.str().len() > 63 {
        at.too_long(e, 63);
    }
    for why in names::dns1123_subdomain(&at.str().to_lowercase()) {
        at.bad_str(e, why);
    }
}

/// A secret named with its namespace.
pub fn secret_reference(e: &mut Errors, at: &At<'_>) {
    if at.is_set() {
        super::super::common::demand(e, &at.get("name"), names::dns1123_subdomain);
        super::super::common::demand(e, &at.get("namespace"), names::dns1123_label);
    }
}

/// Demands values of a list, each complaint at the list.
pub fn modes(e: &mut Errors, at: &At<'_>) {
    const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    let (mut single, mut other) = (false, false);
    for mode in at.value.items() {
        let text = mode.str();
        if !MODES.contains(&text) {
            e.push(FieldError::not_supported(&at.path, text, &MODES));
        }
        single |= text == "ReadWriteOncePod";
        other |= text != "ReadWriteOncePod" && MODES.contains(&text);
    }
    if single && other {
        at.forbidden(e, "may not use ReadWriteOncePod with other access modes");
    }
}
