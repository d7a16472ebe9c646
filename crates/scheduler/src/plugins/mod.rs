//! The plug-ins, one a file.

mod balanced_allocation;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_fit;
mod node_unschedulable;
pub(crate) mod pod_topology_spread;
mod taint_toleration;
#[cfg(test)]
pub(crate) mod testing;
mod volume_binding;

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use crate::Plugin;

/// Upstream's default plug-ins in upstream's order: a node is told off by the first that minds.
pub fn default() -> Vec<Box<dyn Plugin>> {
    vec![
        Box::new(node_unschedulable::NodeUnschedulable),
        Box::new(node_name::NodeName),
        Box::new(taint_toleration::TaintToleration),
        Box::new(node_affinity::NodeAffinity),
        Box::new(node_ports::NodePorts),
        Box::new(node_resources_fit::NodeResourcesFit),
        Box::new(volume_binding::VolumeBinding),
        Box::new(pod_topology_spread::PodTopologySpread),
        Box::new(inter_pod_affinity::InterPodAffinity),
        Box::new(balanced_allocation::BalancedAllocation),
        Box::new(image_locality::ImageLocality),
    ]
}
