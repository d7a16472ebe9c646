//! Pods have the zone and region of their node as labels. Upstream's plug-in `PodTopologyLabels`.

use timonier_meta::gvk::resources::NODES;
use timonier_object::Value;

use super::{Operation, Request};
use crate::call::Call;

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// Copies the labels onto a pod that is made on its node.
pub fn mutate(request: &Request<'_>, pod: &mut Value) {
    if request.operation == Operation::Create && request.is("", "pods") {
        on_node(request.call, pod);
    }
}

/// Copies the labels of the pod's node, where it has one: a binding gives it that.
pub fn on_node(call: &Call<'_>, pod: &mut Value) {
    let name = pod.at("spec.nodeName").smol();
    if name.is_empty() {
        return;
    }
    if let Some(node) = call.server.peek(&NODES, "", &name) {
        copy(&node, pod);
    }
}

fn copy(node: &Value, pod: &mut Value) {
    for key in LABELS {
        if let Some(value) = node.at("metadata.labels").get(key) {
            pod.entry("metadata.labels").make_object().insert(key, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn only_zone_and_region_are_copied() {
        let node = value!({ "metadata": { "labels": { "topology.kubernetes.io/zone": "z", "other": "o" } } });
        let mut pod = value!({ "metadata": { "labels": { "topology.kubernetes.io/zone": "old", "a": "b" } } });
        copy(&node, &mut pod);
        let labels = value!({ "topology.kubernetes.io/zone": "z", "a": "b" });
        assert_eq!(pod.at("metadata.labels"), &labels);
    }
}
