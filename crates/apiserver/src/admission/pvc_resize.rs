//! Claims grow only where their class lets them. Upstream's plug-in `PersistentVolumeClaimResize`.

use timonier_meta::gvk::resources::STORAGECLASSES;
use timonier_meta::{ApiError, Quantity};
use timonier_object::Value;

use super::{Operation, Request};

const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// Refuses a bigger claim of a class without expansion.
pub fn check(request: &Request<'_>, claim: &Value) -> Result<(), ApiError> {
    let applies =
        request.operation == Operation::Update && request.is("", "persistentvolumeclaims");
    let Some(old) = request.old.filter(|_| applies) else { return Ok(()) };
    if size(claim) <= size(old) {
        return Ok(());
    }
    if old.at("status.phase").str() != "Bound" {
        let why = "Only bound persistent volume claims can be expanded";
        return Err(request.forbidden(claim, why));
    }
    let (class, was) = (class_of(claim), class_of(old));
    let found = request.call.server.peek(&STORAGECLASSES, "", class);
    let expands = found.is_some_and(|class| class.at("allowVolumeExpansion").bool());
    if class.is_empty() || class != was || !expands {
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        return Err(request.forbidden(claim, why));
    }
    Ok(())
}

fn size(claim: &Value) -> Quantity {
    let size = claim.at("spec.resources.requests.storage");
    Quantity::parse(size.to_string().trim_matches('"')).unwrap_or_default()
}

fn class_of(claim: &Value) -> &str {
    claim.annotation(OLD_CLASS).unwrap_or_else(|| claim.at("spec.storageClassName").str())
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn sizes_and_classes_are_read() {
        let claim = value!({ "spec": { "storageClassName": "c", "resources": { "requests": { "storage": "1Gi" } } } });
        assert!(size(&claim) > size(&Value::Null));
        assert_eq!(class_of(&claim), "c");
    }
}
