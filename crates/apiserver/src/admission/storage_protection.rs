//! Volumes, claims and their classes go only when nothing uses them. Upstream's plug-in
//! `StorageObjectInUseProtection`; controllers of the same names take the finalizers off again.

use timonier_object::Value;

use super::{Operation, Request};

/// Adds the finalizer of the kind.
pub fn mutate(request: &Request<'_>, object: &mut Value) {
    if request.operation != Operation::Create || !request.subresource.is_empty() {
        return;
    }
    let gvr = &request.call.row.gvr;
    let Some(finalizer) = finalizer(&gvr.group, &gvr.resource) else { return };
    if !object.finalizers().any(|f| f == finalizer) {
        object.entry("metadata.finalizers").make_array().push(finalizer.into());
    }
}

fn finalizer(group: &str, resource: &str) -> Option<&'static str> {
    match (group, resource) {
        ("", "persistentvolumes") => Some("kubernetes.io/pv-protection"),
        ("", "persistentvolumeclaims") => Some("kubernetes.io/pvc-protection"),
        ("storage.k8s.io", "volumeattributesclasses") => Some("kubernetes.io/vac-protection"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own() {
        assert_eq!(finalizer("", "persistentvolumeclaims"), Some("kubernetes.io/pvc-protection"));
        assert_eq!(finalizer("", "pods"), None);
    }
}
