//! VolumeAttachments and CSINodes.

use alloc::collections::BTreeSet;
use alloc::format;

use timonier_meta::names;
use timonier_object::Value;

use super::super::at::{At, Errors, IMMUTABLE, immutable, same};
use super::driver_name;

/// The most bytes of what a driver notes of an attachment.
const METADATA: usize = 256 * 1024;
const MESSAGE: usize = 1024;
const NODE_ID: usize = 256;

/// Checks the attachment of a volume to a node.
pub fn attachment(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let top = At::top(new);
    let (attacher, source) = (top.get("spec.attacher"), top.get("spec.source"));
    attacher.demand(e);
    let (inline, name) = (source.get("inlineVolumeSpec"), source.get("persistentVolumeName"));
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (inline.is_set(), name.is_set()) {
        (false, false) => source.required(e, ONE),
        (true, true) => source.forbidden(e, ONE),
        (false, true) if name.is_empty() => {
            name.required(e, "must specify non empty persistentVolumeName");
        }
        (true, false) => super::volumes::inline(e, &inline),
        _ => {}
    }
    let node = top.get("spec.nodeName");
    node.each(e, names::dns1123_subdomain(node.str()));
    attachment_status(e, new);
    match old {
        Some(old) => immutable(e, &top.get("spec"), &At::top(old).get("spec")),
        None => {
            driver_name(e, &attacher);
            if !name.is_empty() {
                name.each(e, names::dns1123_subdomain(name.str()));
            }
        }
    }
}

/// Checks a written status of an attachment.
pub fn attachment_status(e: &mut Errors, new: &Value) {
    let status = At::top(new).get("status");
    let metadata = status.get("attachmentMetadata");
    let size: usize = metadata.value.entries().map(|(k, v)| k.len() + v.str().len()).sum();
    if size > METADATA {
        metadata.too_long(e, METADATA);
    }
    for field in ["attachError", "detachError"] {
        let error = status.get(field);
        if error.get("message").str().len() > MESSAGE {
            error.get("message").too_long(e, METADATA);
        }
        let code = error.get("errorCode");
        if code.int() < 0 {
            code.bad_int(e, "must be between 0 and 2147483647, inclusive");
        }
    }
}

/// Checks what a node says of its drivers.
pub fn node(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let drivers = At::top(new).get("spec.drivers");
    let mut seen = BTreeSet::new();
    for driver in drivers.items() {
        one_driver(e, &driver);
        let name = driver.get("name");
        if !seen.insert(name.str()) {
            name.bad_duplicate(e, name.str());
        }
        topology(e, &driver);
    }
    let plain = |driver: &Value| {
        let mut driver = driver.clone();
        driver.remove("allocatable");
        driver
    };
    for was in old.map(|old| old.at("spec.drivers").items()).unwrap_or_default() {
        for now in drivers.value.items().iter().filter(|n| n.at("name") == was.at("name")) {
            if !same(&plain(now), &plain(was)) {
                drivers.bad(e, plain(now), IMMUTABLE);
            }
        }
    }
}

fn one_driver(e: &mut Errors, driver: &At<'_>) {
    driver_name(e, &driver.get("name"));
    let id = driver.get("nodeID");
    id.demand(e);
    if id.str().len() > NODE_ID {
        id.bad_str(e, format!("must be {NODE_ID} characters or less"));
    }
    driver.get("allocatable.count").non_negative(e);
}

fn topology(e: &mut Errors, driver: &At<'_>) {
    let mut seen = BTreeSet::new();
    for key in driver.get("topologyKeys").items() {
        let at = key.named(driver.path.clone());
        at.demand(e);
        if !seen.insert(key.str()) {
            at.bad_duplicate(e, key.str());
        }
        at.each(e, names::qualified_name(key.str()));
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use timonier_object::value;

    use super::*;

    fn texts(check: impl Fn(&mut Errors)) -> Vec<String> {
        let mut e = Errors::new();
        check(&mut e);
        e.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn attachments_name_one_volume() {
        let good = value!({ "spec": { "attacher": "csi.example", "nodeName": "n",
            "source": { "persistentVolumeName": "pv" } } });
        assert_eq!(texts(|e| attachment(e, &good, None)), [""; 0]);
        let mut other = good.clone();
        other.set("spec.nodeName", "m");
        assert!(texts(|e| attachment(e, &other, Some(&good)))[0].ends_with("field is immutable"));
        other.set("spec.source", value!({}));
        assert_eq!(
            texts(|e| attachment(e, &other, None)),
            [
                "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"
            ]
        );
    }

    #[test]
    fn a_volume_of_its_own_is_csi() {
        let of = |spec: Value| {
            let attached = value!({ "spec": { "attacher": "csi.example", "nodeName": "n",
                "source": { "inlineVolumeSpec": (spec) } } });
            texts(|e| attachment(e, &attached, None))
        };
        let good = value!({ "accessModes": ["ReadWriteOnce"], "csi": { "driver": "csi.example", "volumeHandle": "h" } });
        assert_eq!(of(good), [""; 0]);
        assert_eq!(
            of(
                value!({ "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "storageClassName": "c",
                "persistentVolumeReclaimPolicy": "Delete", "hostPath": { "path": "/a" } })
            ),
            [
                "spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes",
                "spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes",
                "spec.source.inlineVolumeSpec.persistentVolumeReclaimPolicy: Forbidden: may only be Retain in the context of inline volumes",
                "spec.source.inlineVolumeSpec.storageClassName: Forbidden: may not be specified in the context of inline volumes",
            ]
        );
    }

    #[test]
    fn drivers_of_nodes_stay() {
        let of = |id: &str, count: i64| {
            value!({ "spec": { "drivers": [{ "name": "csi.example", "nodeID": id,
                "topologyKeys": ["a/b"], "allocatable": { "count": count } }] } })
        };
        assert_eq!(texts(|e| node(e, &of("x", 2), Some(&of("x", 1)))), [""; 0]);
        let changed = texts(|e| node(e, &of("y", 1), Some(&of("x", 1))));
        assert!(changed[0].starts_with("spec.drivers: Invalid value:"), "{changed:?}");
        assert_eq!(
            texts(|e| node(e, &of("", 1), None)),
            ["spec.drivers[0].nodeID: Required value"]
        );
    }
}
