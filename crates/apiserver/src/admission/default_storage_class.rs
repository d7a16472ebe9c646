//! A claim without a class gets the default one. Upstream's plug-in `DefaultStorageClass`.

use timonier_meta::gvk::resources;
use timonier_object::Value;

use super::{Operation, Request};

const IS_DEFAULT: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// Fills in the class: of several defaults the newest. An empty name is a name: no class.
pub fn mutate(request: &Request<'_>, claim: &mut Value) {
    let applies = request.operation == Operation::Create
        && request.is("", "persistentvolumeclaims")
        && claim.at("spec.storageClassName").is_null()
        && claim.annotation(OLD_CLASS).is_none();
    if !applies {
        return;
    }
    let all = request.call.server.peek_all(&resources::STORAGECLASSES, "");
    let newest = all
        .iter()
        .filter(|class| IS_DEFAULT.iter().any(|key| class.annotation(key) == Some("true")))
        .max_by_key(|class| (class.created(), std::cmp::Reverse(class.name().to_string())));
    if let Some(class) = newest {
        claim.set("spec.storageClassName", class.name());
    }
}
