//! `resize`: other resources for the containers of a running pod.

use timonier_meta::{FieldError, FieldPath};
use timonier_object::Value;

/// Makes the change of a pod that the subresource allows: resources and resize policies.
pub fn change(old: &Value, body: &Value) -> Result<Value, Vec<FieldError>> {
    let mut new = old.clone();
    for list in ["spec.containers", "spec.initContainers"] {
        let wanted = body.at(list).items();
        let Some(containers) = new.find_mut(list).and_then(Value::as_array_mut) else { continue };
        if wanted.len() != containers.len() {
            let text = "containers may not be added or removed on resize";
            return Err(vec![FieldError::forbidden(&FieldPath::new(list), text)]);
        }
        for container in containers.iter_mut() {
            let name = container.at("name").smol();
            let Some(same) = wanted.iter().find(|c| c.at("name").str() == name) else {
                let text = "containers may not be renamed or reordered on resize";
                return Err(vec![FieldError::forbidden(&FieldPath::new(list), text)]);
            };
            for field in ["resources", "resizePolicy"] {
                match same.get(field) {
                    Some(value) => container.set(field, value.clone()),
                    None => {
                        container.remove(field);
                    }
                }
            }
        }
    }
    new.set("metadata.resourceVersion", body.resource_version());
    new.set("metadata.uid", body.uid());
    Ok(new)
}
