//! Which endpoints of a Service's port take traffic on this node.

use alloc::vec::Vec;

use smol_str::SmolStr;

use crate::rules::Backend;
use crate::{Endpoint, Service, ServicePort, Slice};

/// The node that the rules are for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeFacts {
    pub name: SmolStr,
    /// `topology.kubernetes.io/zone`; empty where unknown.
    pub zone: SmolStr,
}

/// The endpoints of one port.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Selected {
    /// Endpoints anywhere in the cluster.
    pub all: Vec<Backend>,
    /// Endpoints on this node.
    pub local: Vec<Backend>,
    /// Whether there is an endpoint anywhere, were it not for policies.
    pub any: bool,
}

/// How hints restrict the endpoints.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Topology {
    Everywhere,
    Zone,
    Node,
}

/// Chooses as upstream's `CategorizeEndpoints` does: ready endpoints, near ones where all carry
/// hints; else those that still serve while they terminate.
pub(crate) fn select(
    service: &Service,
    port: &ServicePort,
    slices: &[&Slice],
    node: &NodeFacts,
) -> Selected {
    let candidates = candidates(port, slices);
    let ready = |e: &Endpoint| e.ready;
    let leaving = |e: &Endpoint| e.serving && e.terminating;
    let is_local = |e: &Endpoint| !node.name.is_empty() && e.node == node.name;
    let mut selected = Selected::default();

    let topology = topology(&candidates, node);
    selected.all = pick(&candidates, |e| ready(e) && near(e, topology, node));
    if selected.all.is_empty() {
        selected.all = pick(&candidates, leaving);
    }
    if service.external_local || service.internal_local {
        selected.local = pick(&candidates, |e| is_local(e) && ready(e));
        if selected.local.is_empty() {
            selected.local = pick(&candidates, |e| is_local(e) && leaving(e));
        }
    }
    selected.any = candidates.iter().any(|(e, _)| ready(e) || leaving(e));
    selected
}

/// The endpoints whose slice has the port, in a fixed order. Only the first address of an
/// endpoint counts, as upstream's proxy has it.
fn candidates<'a>(port: &ServicePort, slices: &[&'a Slice]) -> Vec<(&'a Endpoint, Backend)> {
    let mut found = Vec::new();
    for slice in slices {
        let matches = slice
            .ports
            .iter()
            .filter(|p| p.name == port.name && p.protocol == port.protocol)
            .filter_map(|p| p.port);
        for number in matches {
            for endpoint in &slice.endpoints {
                // The rules are IPv4 for now, and so are all pods.
                if let Some(address) = endpoint.addresses.first().filter(|a| a.is_ipv4()) {
                    found.push((endpoint, Backend { address: *address, port: number }));
                }
            }
        }
    }
    found.sort_by_key(|(_, backend)| *backend);
    found
}

fn pick(candidates: &[(&Endpoint, Backend)], keep: impl Fn(&Endpoint) -> bool) -> Vec<Backend> {
    let mut picked: Vec<Backend> =
        candidates.iter().filter(|(e, _)| keep(e)).map(|(_, backend)| *backend).collect();
    picked.dedup();
    picked
}

/// Hints count only where every ready endpoint has them and one names this node or zone, as in
/// upstream's `topologyModeFromHints`.
fn topology(candidates: &[(&Endpoint, Backend)], node: &NodeFacts) -> Topology {
    let ready = || candidates.iter().map(|(e, _)| *e).filter(|e| e.ready);
    if ready().next().is_none() {
        return Topology::Everywhere;
    }
    if ready().all(|e| !e.for_nodes.is_empty()) && ready().any(|e| e.for_nodes.contains(&node.name))
    {
        return Topology::Node;
    }
    let zoned = !node.zone.is_empty() && ready().all(|e| !e.for_zones.is_empty());
    if zoned && ready().any(|e| e.for_zones.contains(&node.zone)) {
        return Topology::Zone;
    }
    Topology::Everywhere
}

fn near(endpoint: &Endpoint, topology: Topology, node: &NodeFacts) -> bool {
    match topology {
        Topology::Everywhere => true,
        Topology::Zone => endpoint.for_zones.contains(&node.zone),
        Topology::Node => endpoint.for_nodes.contains(&node.name),
    }
}
