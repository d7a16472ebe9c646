//! One Service and its slices to what the kernel is to hold for it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::rules::{Backend, Block, Chain, Element, Frontend, LOCAL_LIST, Masquerade};
use crate::select::{NodeFacts, Selected, select};
use crate::{Cidr, Protocol, Service, ServicePort, Slice};

/// Where a frontend leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lead {
    To(Chain),
    Blocked(Block),
}

/// What the kernel is to hold for one frontend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Rules {
    pub lead: Lead,
    /// Endpoints by index.
    pub all: Arc<[Backend]>,
    pub local: Arc<[Backend]>,
    /// Who may use the frontend; `None` for everybody.
    pub sources: Option<Arc<[Cidr]>>,
}

impl Rules {
    fn affinity(&self) -> bool {
        match self.lead {
            Lead::To(Chain::Balance { affinity, .. } | Chain::Split { affinity, .. }) => {
                affinity.is_some()
            }
            Lead::Blocked(_) => false,
        }
    }

    /// Whether connections can get through.
    pub fn is_open(&self) -> bool {
        matches!(self.lead, Lead::To(_))
    }

    /// The elements of a frontend with these rules.
    pub fn elements(&self, frontend: Frontend) -> Vec<Element> {
        let mut elements = Vec::with_capacity(self.all.len() + self.local.len() + 1);
        elements.push(match self.lead {
            Lead::To(chain) => Element::Service { frontend, chain },
            Lead::Blocked(block) => Element::Blocked { frontend, block },
        });
        for (list, offset) in [(&self.all, 0), (&self.local, LOCAL_LIST)] {
            elements.extend(list.iter().zip(offset..).map(|(backend, index)| Element::Endpoint {
                frontend,
                index,
                backend: *backend,
            }));
        }
        if self.affinity() {
            let both: BTreeSet<Backend> =
                self.all.iter().chain(self.local.iter()).copied().collect();
            elements.extend(both.into_iter().map(|backend| Element::Sticky { frontend, backend }));
        }
        if let Some(sources) = &self.sources {
            elements.push(Element::Guarded(frontend));
            elements
                .extend(sources.iter().map(|range| Element::Source { frontend, range: *range }));
        }
        elements
    }
}

/// What the kernel is to hold for one Service.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Compiled {
    pub frontends: BTreeMap<Frontend, Rules>,
    pub cluster_ips: BTreeSet<IpAddr>,
    /// This node's endpoints.
    pub hairpins: BTreeSet<IpAddr>,
    /// Those of them that take traffic, where a policy says local.
    pub local: BTreeSet<IpAddr>,
}

/// Compiles a Service. `before` is what it was compiled to last; endpoints that stay keep their
/// index where possible. `held` are addresses that the node answers itself.
pub(crate) fn compile(
    service: &Service,
    slices: &[&Slice],
    node: &NodeFacts,
    held: &BTreeSet<Frontend>,
    before: Option<&Compiled>,
) -> Compiled {
    let mut compiled = Compiled::default();
    if service.headless || service.foreign || service.external_name.is_some() {
        return compiled;
    }
    let cluster_ips = || service.cluster_ips.iter().filter(|a| a.is_ipv4()).copied();
    if cluster_ips().next().is_none() {
        return compiled;
    }
    compiled.cluster_ips.extend(cluster_ips());
    for port in &service.ports {
        let selected = select(service, port, slices, node);
        compiled.local.extend(selected.local.iter().map(|b| b.address));
        let mut old = before.into_iter().flat_map(|c| &c.frontends).filter(|(f, _)| {
            f.protocol == port.protocol && (f.port == port.port || f.port == port.node_port)
        });
        let old = old.find(|(_, rules)| !rules.all.is_empty() || !rules.local.is_empty());
        let lists = Lists::new(&selected, old.map(|(_, rules)| rules));
        for (frontend, rules) in frontends(service, port, &selected, &lists) {
            if !held.contains(&frontend) {
                compiled.frontends.entry(frontend).or_insert(rules);
            }
        }
    }
    for slice in slices {
        let here = slice.endpoints.iter().filter(|e| !e.node.is_empty() && e.node == node.name);
        compiled.hairpins.extend(here.filter_map(|e| e.addresses.first()).filter(|a| a.is_ipv4()));
    }
    compiled
}

/// A port's endpoint lists, with stable indices.
struct Lists {
    all: Arc<[Backend]>,
    local: Arc<[Backend]>,
    none: Arc<[Backend]>,
}

impl Lists {
    fn new(selected: &Selected, old: Option<&Rules>) -> Lists {
        Lists {
            all: keep_places(old.map_or(&[], |r| &r.all), &selected.all),
            local: keep_places(old.map_or(&[], |r| &r.local), &selected.local),
            none: Arc::from([]),
        }
    }
}

/// The wanted endpoints in an order that keeps the old places: a place that falls empty is taken
/// by a newcomer or by the last.
fn keep_places(old: &[Backend], wanted: &[Backend]) -> Arc<[Backend]> {
    let set: BTreeSet<&Backend> = wanted.iter().collect();
    let had: BTreeSet<&Backend> = old.iter().collect();
    let mut newcomers = wanted.iter().filter(|b| !had.contains(b)).copied();
    let mut places: Vec<Option<Backend>> =
        old.iter().map(|b| if set.contains(b) { Some(*b) } else { newcomers.next() }).collect();
    places.extend(newcomers.map(Some));
    let mut index = 0;
    while index < places.len() {
        if places[index].is_none() {
            places.swap_remove(index);
        } else {
            index += 1;
        }
    }
    places.into_iter().flatten().collect()
}

fn frontends(
    service: &Service,
    port: &ServicePort,
    selected: &Selected,
    lists: &Lists,
) -> Vec<(Frontend, Rules)> {
    let at = |address, number| Frontend { address, protocol: port.protocol, port: number };
    let mut found = Vec::new();
    for address in &service.cluster_ips {
        found.push((at(*address, port.port), internal(service, selected, lists)));
    }
    for address in &service.external_ips {
        found.push((at(*address, port.port), external(service, false, selected, lists)));
    }
    for address in &service.load_balancer_ips {
        let mut rules = external(service, false, selected, lists);
        rules.sources = sources(&service.source_ranges);
        found.push((at(*address, port.port), rules));
    }
    if port.node_port != 0 {
        let frontend = Frontend::node_port(port.protocol, port.node_port);
        found.push((frontend, external(service, true, selected, lists)));
    }
    found.retain(|(f, _)| f.address.is_ipv4());
    found
}

/// The ranges without those that lie in others: the kernel refuses overlaps. `None` where there
/// are none, which admits everybody.
fn sources(ranges: &[Cidr]) -> Option<Arc<[Cidr]>> {
    let outer = |r: &&Cidr| {
        let wider = |o: &Cidr| o.length() < r.length() && o.contains(r.network());
        r.is_ipv4() && !ranges.iter().any(wider)
    };
    let distinct: BTreeSet<Cidr> = ranges.iter().filter(outer).copied().collect();
    (!ranges.is_empty()).then(|| distinct.into_iter().collect())
}

fn blocked(selected: &Selected, lists: &Lists) -> Rules {
    let block = if selected.any { Block::Drop } else { Block::Reject };
    Rules {
        lead: Lead::Blocked(block),
        all: lists.none.clone(),
        local: lists.none.clone(),
        sources: None,
    }
}

/// The rules of a cluster address.
fn internal(service: &Service, selected: &Selected, lists: &Lists) -> Rules {
    let list = if service.internal_local { &lists.local } else { &lists.all };
    if list.is_empty() {
        return blocked(selected, lists);
    }
    let chain = Chain::Balance {
        node_port: false,
        local: service.internal_local,
        count: count(list),
        affinity: service.affinity,
        masquerade: Masquerade::OffCluster,
    };
    let (all, local) = match service.internal_local {
        true => (lists.none.clone(), list.clone()),
        false => (list.clone(), lists.none.clone()),
    };
    Rules { lead: Lead::To(chain), all, local, sources: None }
}

/// The rules of an address or port that the outside uses.
fn external(service: &Service, node_port: bool, selected: &Selected, lists: &Lists) -> Rules {
    if lists.all.is_empty() {
        return blocked(selected, lists);
    }
    let affinity = service.affinity;
    let (chain, local) = if service.external_local {
        let (all, local) = (count(&lists.all), count(&lists.local));
        (Chain::Split { node_port, all, local, affinity }, lists.local.clone())
    } else {
        let masquerade = Masquerade::Always;
        let count = count(&lists.all);
        let chain = Chain::Balance { node_port, local: false, count, affinity, masquerade };
        (chain, lists.none.clone())
    };
    Rules { lead: Lead::To(chain), all: lists.all.clone(), local, sources: None }
}

fn count(list: &[Backend]) -> u32 {
    u32::try_from(list.len()).unwrap_or(LOCAL_LIST - 1)
}

/// UDP frontends whose remembered connections may be stale after a change: an endpoint went, or
/// the first came.
pub(crate) fn is_stale(frontend: &Frontend, old: &Rules, new: Option<&Rules>) -> bool {
    if frontend.protocol != Protocol::Udp {
        return false;
    }
    let Some(new) = new else { return true };
    let gone = |old: &[Backend], new: &[Backend]| old.iter().any(|b| !new.contains(b));
    old.is_open() != new.is_open() || gone(&old.all, &new.all) || gone(&old.local, &new.local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_goes_is_replaced_by_the_last() {
        let b = |n: u8| Backend { address: IpAddr::from([10, 0, 0, n]), port: 80 };
        let keep = |old: &[u8], new: &[u8]| -> Vec<u8> {
            let old: Vec<Backend> = old.iter().map(|n| b(*n)).collect();
            let new: Vec<Backend> = new.iter().map(|n| b(*n)).collect();
            keep_places(&old, &new)
                .iter()
                .map(|b| match b.address {
                    IpAddr::V4(a) => a.octets()[3],
                    IpAddr::V6(_) => 0,
                })
                .collect()
        };
        assert_eq!(keep(&[1, 2, 3, 4], &[1, 3, 4]), [1, 4, 3]);
        assert_eq!(keep(&[1, 2, 3, 4], &[1, 2, 3]), [1, 2, 3]);
        assert_eq!(keep(&[4, 1], &[1, 2, 4]), [4, 1, 2]);
        assert_eq!(keep(&[1, 2, 3], &[2, 9]), [9, 2]);
        assert!(keep(&[1, 2], &[]).is_empty());
        assert_eq!(keep(&[], &[3, 2]), [3, 2]);
    }
}
