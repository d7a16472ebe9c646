//! `ephemeralcontainers`: containers for debugging, added to a running pod.

use timonier_meta::{FieldError, FieldPath};
use timonier_object::Value;

/// Makes the change of a pod that the subresource allows. Ephemeral containers are only added.
pub fn change(old: &Value, body: &Value) -> Result<Value, Vec<FieldError>> {
    let path = FieldPath::new("spec.ephemeralContainers");
    let wanted = body.at("spec.ephemeralContainers");
    let mut errors = Vec::new();
    for container in old.at("spec.ephemeralContainers").items() {
        let name = container.at("name").str();
        match wanted.items().iter().find(|c| c.at("name").str() == name) {
            None => errors.push(FieldError::forbidden(
                &path,
                format!("existing ephemeral containers {name:?} may not be removed\n"),
            )),
            Some(same) if same != container => errors.push(FieldError::forbidden(
                &path,
                format!("existing ephemeral containers {name:?} may not be changed\n"),
            )),
            Some(_) => {}
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut new = old.clone();
    if wanted.is_empty() {
        new.remove("spec.ephemeralContainers");
    } else {
        new.set("spec.ephemeralContainers", wanted.clone());
    }
    new.set("metadata.resourceVersion", body.resource_version());
    new.set("metadata.uid", body.uid());
    Ok(new)
}
