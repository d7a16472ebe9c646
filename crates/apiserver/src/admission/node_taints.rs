//! A new node is not ready, whatever it says. Upstream's plug-in `TaintNodesByCondition`.

use timonier_object::{Value, value};

use super::{Operation, Request};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// Adds the taint that keeps pods away until the node is found ready.
pub fn mutate(request: &Request<'_>, node: &mut Value) {
    if request.operation != Operation::Create || !request.is("", "nodes") {
        return;
    }
    let has = |t: &Value| t.at("key").str() == NOT_READY && t.at("effect").str() == "NoSchedule";
    if !node.at("spec.taints").items().iter().any(has) {
        node.entry("spec.taints")
            .make_array()
            .push(value!({ "key": NOT_READY, "effect": "NoSchedule" }));
    }
}
