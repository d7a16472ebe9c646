//! An Ingress without a class gets the default one. Upstream's plug-in `DefaultIngressClass`.

use timonier_meta::GroupVersionResource;
use timonier_object::Value;

use super::{Operation, Request};

const CLASSES: GroupVersionResource =
    GroupVersionResource::new_static("networking.k8s.io", "v1", "ingressclasses");
const IS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
const OLD_CLASS: &str = "kubernetes.io/ingress.class";

/// Fills in the class: of several defaults the newest.
pub fn mutate(request: &Request<'_>, ingress: &mut Value) {
    let applies = request.operation == Operation::Create
        && request.is("networking.k8s.io", "ingresses")
        && ingress.at("spec.ingressClassName").is_null()
        && ingress.annotation(OLD_CLASS).is_none();
    if !applies {
        return;
    }
    let all = request.call.server.peek_all(&CLASSES, "");
    let newest = all
        .iter()
        .filter(|class| class.annotation(IS_DEFAULT) == Some("true"))
        .max_by_key(|class| (class.created(), std::cmp::Reverse(class.name().to_string())));
    if let Some(class) = newest {
        ingress.set("spec.ingressClassName", class.name());
    }
}
