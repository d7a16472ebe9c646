//! Namespaces: they go only when they are empty.

use timonier_object::{Value, value};

const FINALIZER: &str = "kubernetes";

/// Adds the finalizer of the namespace controller.
pub fn on_create(namespace: &mut Value) {
    let has = |f: &Value| f.str() == FINALIZER;
    if !namespace.at("spec.finalizers").items().iter().any(has) {
        namespace.entry("spec.finalizers").make_array().push(FINALIZER.into());
    }
}

/// Finalizers of the specification change through the subresource `finalize` only.
pub fn on_update(new: &mut Value, old: &Value) {
    match old.find("spec.finalizers") {
        Some(finalizers) => new.set("spec.finalizers", finalizers.clone()),
        None => new.set("spec", value!({})),
    }
}
