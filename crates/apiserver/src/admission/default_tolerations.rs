//! Pods outlive a short failure of their node. Upstream's plug-in `DefaultTolerationSeconds`.

use timonier_object::{Value, value};

use super::{Operation, Request};

const KEYS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const SECONDS: i64 = 300;

/// Adds the two tolerations where the pod says nothing of them itself.
pub fn mutate(request: &Request<'_>, pod: &mut Value) {
    if request.operation == Operation::Delete || !request.is("", "pods") {
        return;
    }
    for key in KEYS {
        let covers = |t: &Value| {
            let effect = t.at("effect").str();
            let of = t.at("key").str();
            (of == key || of.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        };
        if !pod.at("spec.tolerations").items().iter().any(covers) {
            pod.entry("spec.tolerations").make_array().push(value!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS,
            }));
        }
    }
}
