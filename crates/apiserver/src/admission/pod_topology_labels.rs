//! Pods have the zone and region of their node as labels. Upstream's plug-in `PodTopologyLabels`.

use timonier_meta::gvk::resources::{NODES, PODS};
use timonier_object::Value;

use super::{Operation, Request};

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// Copies the labels onto a pod that is bound, or is made on its node.
pub fn mutate(request: &Request<'_>, pod: &mut Value) {
    let made = request.operation == Operation::Create && request.subresource.is_empty();
    if request.call.row.gvr != PODS || !(made || request.subresource == "binding") {
        return;
    }
    let name = pod.at("spec.nodeName").smol();
    if name.is_empty() {
        return;
    }
    if let Some(node) = request.call.server.peek(&NODES, "", &name) {
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
