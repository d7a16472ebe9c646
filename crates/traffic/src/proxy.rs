//! The state of a node's packet rules, and the changes that events bring.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use smol_str::SmolStr;
use timonier_meta::ObjectKey;

use crate::compile::{Compiled, Lead, Rules, compile, is_stale};
use crate::rules::{Backend, Chain, Changes, Element, Frontend};
use crate::{NodeFacts, Protocol, Service, Slice};

/// Services and slices of a cluster as packet rules of one node. Every `set` and `remove` only
/// notes what is touched; [`Proxy::changes`] compiles that and gives the difference, so a burst of
/// events costs one compilation per Service.
#[derive(Default)]
pub struct Proxy {
    node: NodeFacts,
    /// Frontends that the node answers itself, such as cluster DNS.
    held: BTreeSet<Frontend>,
    services: BTreeMap<ObjectKey, Entry>,
    touched: BTreeSet<ObjectKey>,
    /// Who wants a frontend; the first has it.
    claims: BTreeMap<Frontend, BTreeSet<ObjectKey>>,
    chains: BTreeMap<Chain, usize>,
    cluster_ips: Shared,
    hairpins: Shared,
}

/// Addresses that several Services may want in one set.
#[derive(Default)]
struct Shared {
    wanted: BTreeMap<IpAddr, usize>,
    touched: BTreeSet<IpAddr>,
    /// What the kernel holds.
    active: BTreeSet<IpAddr>,
}

impl Shared {
    fn replace(&mut self, old: &BTreeSet<IpAddr>, new: &BTreeSet<IpAddr>) {
        for address in new.difference(old) {
            *self.wanted.entry(*address).or_default() += 1;
            self.touched.insert(*address);
        }
        for address in old.difference(new) {
            if let Some(count) = self.wanted.get_mut(address) {
                *count -= 1;
                if *count == 0 {
                    self.wanted.remove(address);
                }
            }
            self.touched.insert(*address);
        }
    }

    fn drain(&mut self, changes: &mut Changes, element: fn(IpAddr) -> Element) {
        for address in core::mem::take(&mut self.touched) {
            match (self.wanted.contains_key(&address), self.active.contains(&address)) {
                (true, false) => {
                    self.active.insert(address);
                    changes.add.push(element(address));
                }
                (false, true) => {
                    self.active.remove(&address);
                    changes.remove.push(element(address));
                }
                _ => {}
            }
        }
    }
}

#[derive(Default)]
struct Entry {
    service: Option<Arc<Service>>,
    slices: BTreeMap<SmolStr, Arc<Slice>>,
    compiled: Compiled,
    /// What of `compiled` the kernel holds: the frontends that this Service has won.
    active: BTreeMap<Frontend, Rules>,
}

impl Proxy {
    /// No rules yet. `held` frontends are left to the node itself.
    pub fn new(node: NodeFacts, held: impl IntoIterator<Item = Frontend>) -> Proxy {
        Proxy { node, held: held.into_iter().collect(), ..Proxy::default() }
    }

    /// Notes a new or changed Service.
    pub fn set_service(&mut self, service: Service) {
        let key = service.key.clone();
        let entry = self.services.entry(key.clone()).or_default();
        if entry.service.as_deref() != Some(&service) {
            entry.service = Some(Arc::new(service));
            self.touched.insert(key);
        }
    }

    /// Notes that a Service is gone.
    pub fn remove_service(&mut self, key: &ObjectKey) {
        if self.services.get_mut(key).is_some_and(|e| e.service.take().is_some()) {
            self.touched.insert(key.clone());
        }
    }

    /// Notes a new or changed slice. A slice that moved to another Service must be removed from
    /// the old one first.
    pub fn set_slice(&mut self, slice: Slice) {
        let entry = self.services.entry(slice.service.clone()).or_default();
        if entry.slices.get(&slice.key.name).map(|s| &**s) != Some(&slice) {
            self.touched.insert(slice.service.clone());
            entry.slices.insert(slice.key.name.clone(), Arc::new(slice));
        }
    }

    /// Notes that a slice is gone.
    pub fn remove_slice(&mut self, service: &ObjectKey, name: &str) {
        if self.services.get_mut(service).is_some_and(|e| e.slices.remove(name).is_some()) {
            self.touched.insert(service.clone());
        }
    }

    /// What changes in the kernel through everything noted since the last call.
    pub fn changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        let mut keys = core::mem::take(&mut self.touched);
        for key in keys.clone() {
            keys.extend(self.recompile(&key));
        }
        for key in &keys {
            self.emit(key, &mut changes);
        }
        self.cluster_ips.drain(&mut changes, Element::ClusterIp);
        self.hairpins.drain(&mut changes, Element::Hairpin);
        changes
    }

    /// The endpoints of a frontend as the kernel holds them, both lists; empty for an unknown one.
    pub fn backends(&self, frontend: &Frontend) -> Vec<Backend> {
        let owner = self.claims.get(frontend).and_then(|c| c.first());
        let rules = owner.and_then(|o| self.services.get(o)?.active.get(frontend));
        rules.map_or(Vec::new(), |r| r.all.iter().chain(r.local.iter()).copied().collect())
    }

    /// Load balancer health checks to answer: port, Service and how many endpoints this node has.
    pub fn health_checks(&self) -> BTreeMap<u16, (ObjectKey, usize)> {
        let mut checks = BTreeMap::new();
        for (key, entry) in &self.services {
            let Some(service) = entry.service.as_ref().filter(|s| s.external_local) else {
                continue;
            };
            if service.health_check_node_port != 0 {
                checks.insert(
                    service.health_check_node_port,
                    (key.clone(), entry.compiled.local.len()),
                );
            }
        }
        checks
    }

    /// Everything that the kernel is to hold, for a load from nothing.
    pub fn everything(&self) -> Changes {
        let mut all = Changes::default();
        for (frontend, rules) in self.services.values().flat_map(|e| &e.active) {
            all.add.extend(rules.elements(*frontend));
            if frontend.protocol == Protocol::Udp {
                all.stale.push(*frontend);
            }
        }
        all.add.extend(self.cluster_ips.active.iter().map(|a| Element::ClusterIp(*a)));
        all.add.extend(self.hairpins.active.iter().map(|a| Element::Hairpin(*a)));
        // A chain sorts after those it leads to.
        all.add_chains.extend(self.chains.keys());
        all
    }

    /// Compiles a Service and enters its claims; gives the Services that win or lose by that.
    fn recompile(&mut self, key: &ObjectKey) -> BTreeSet<ObjectKey> {
        let mut others = BTreeSet::new();
        let Some(entry) = self.services.get_mut(key) else { return others };
        let slices: Vec<&Slice> = entry.slices.values().map(|s| &**s).collect();
        let new = match &entry.service {
            Some(s) => compile(s, &slices, &self.node, &self.held, Some(&entry.compiled)),
            None => Compiled::default(),
        };
        let old = core::mem::replace(&mut entry.compiled, new);
        for frontend in old.frontends.keys() {
            if entry.compiled.frontends.contains_key(frontend) {
                continue;
            }
            if let Some(claim) = self.claims.get_mut(frontend) {
                claim.remove(key);
                others.extend(claim.first().cloned());
                if claim.is_empty() {
                    self.claims.remove(frontend);
                }
            }
        }
        for frontend in entry.compiled.frontends.keys() {
            let claim = self.claims.entry(*frontend).or_default();
            others.extend(claim.first().filter(|first| *first > key).cloned());
            claim.insert(key.clone());
        }
        self.cluster_ips.replace(&old.cluster_ips, &entry.compiled.cluster_ips);
        self.hairpins.replace(&old.hairpins, &entry.compiled.hairpins);
        others
    }

    /// Adds one Service's difference to the changes and takes it as done.
    fn emit(&mut self, key: &ObjectKey, changes: &mut Changes) {
        let Some(entry) = self.services.get_mut(key) else { return };
        let wins = |f: &Frontend| self.claims.get(f).and_then(|c| c.first()) == Some(key);
        let new: BTreeMap<Frontend, Rules> = entry
            .compiled
            .frontends
            .iter()
            .filter(|(f, _)| wins(f))
            .map(|(f, rules)| (*f, rules.clone()))
            .collect();
        let old = core::mem::replace(&mut entry.active, new);
        if entry.service.is_none() && entry.slices.is_empty() {
            let gone = self.services.remove(key);
            self.difference(&old, &gone.map(|e| e.active).unwrap_or_default(), changes);
        } else {
            let new = entry.active.clone();
            self.difference(&old, &new, changes);
        }
    }

    fn difference(
        &mut self,
        old: &BTreeMap<Frontend, Rules>,
        new: &BTreeMap<Frontend, Rules>,
        changes: &mut Changes,
    ) {
        for (frontend, rules) in new {
            if old.get(frontend) == Some(rules) {
                continue;
            }
            if let Lead::To(chain) = rules.lead {
                self.hold(chain, changes);
            }
            let after: BTreeSet<Element> = rules.elements(*frontend).into_iter().collect();
            match old.get(frontend) {
                None => {
                    changes.add.extend(after);
                    if frontend.protocol == Protocol::Udp {
                        changes.stale.push(*frontend);
                    }
                }
                Some(previous) => {
                    let before: BTreeSet<Element> =
                        previous.elements(*frontend).into_iter().collect();
                    changes.remove.extend(before.difference(&after).copied());
                    changes.add.extend(after.difference(&before).copied());
                }
            }
        }
        for (frontend, rules) in old {
            let now = new.get(frontend);
            if now == Some(rules) {
                continue;
            }
            if now.is_none() {
                changes.remove.extend(rules.elements(*frontend));
            }
            if is_stale(frontend, rules, now) {
                changes.stale.push(*frontend);
            }
            if let Lead::To(chain) = rules.lead {
                self.release(chain, changes);
            }
        }
    }

    fn hold(&mut self, chain: Chain, changes: &mut Changes) {
        for needed in chain.needs() {
            self.hold(needed, changes);
        }
        let count = self.chains.entry(chain).or_default();
        *count += 1;
        if *count == 1 {
            // A chain that another Service of the same change let go stays.
            match changes.remove_chains.iter().position(|c| *c == chain) {
                Some(at) => drop(changes.remove_chains.remove(at)),
                None => changes.add_chains.push(chain),
            }
        }
    }

    fn release(&mut self, chain: Chain, changes: &mut Changes) {
        let Some(count) = self.chains.get_mut(&chain) else { return };
        *count -= 1;
        if *count == 0 {
            self.chains.remove(&chain);
            match changes.add_chains.iter().position(|c| *c == chain) {
                Some(at) => drop(changes.add_chains.remove(at)),
                None => changes.remove_chains.push(chain),
            }
        }
        for needed in chain.needs() {
            self.release(needed, changes);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use timonier_object::{Value, value};

    use super::*;
    use crate::rules::{Block, Masquerade};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn service(name: &str, address: &str, extra: Value) -> Service {
        let mut v = value!({
            "metadata": { "name": name, "namespace": "d" },
            "spec": { "clusterIP": address, "clusterIPs": [address], "type": "ClusterIP",
                      "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }] },
        });
        for (key, field) in extra.entries() {
            v.entry("spec").make_object().insert(key, field.clone());
        }
        Service::from_value(&v)
    }

    /// Endpoints as `address@node`, with `!` for not ready and `~` for serving while terminating.
    fn slice(service: &str, endpoints: &[&str]) -> Slice {
        let endpoints: Vec<Value> = endpoints
            .iter()
            .map(|text| {
                let (address, node) = text.split_once('@').unwrap_or((text, ""));
                let bare = address.trim_end_matches(['!', '~']);
                value!({ "addresses": [bare], "nodeName": node, "conditions": {
                    "ready": (bare == address), "serving": (!address.ends_with('!')),
                    "terminating": (address.ends_with('~')),
                } })
            })
            .collect();
        Slice::from_value(&value!({
            "metadata": { "name": (alloc::format!("{service}-x")), "namespace": "d",
                          "labels": { "kubernetes.io/service-name": service } },
            "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
            "endpoints": endpoints,
        }))
        .unwrap()
    }

    fn proxy() -> Proxy {
        Proxy::new(NodeFacts { name: "n1".into(), zone: "z1".into() }, [])
    }

    fn vip(address: &str) -> Frontend {
        Frontend { address: ip(address), protocol: Protocol::Tcp, port: 80 }
    }

    fn balance(count: u32) -> Chain {
        Chain::Balance {
            node_port: false,
            local: false,
            count,
            affinity: None,
            masquerade: Masquerade::OffCluster,
        }
    }

    /// Applies changes to a model of the kernel, which refuses what nf_tables refuses.
    #[derive(Default)]
    struct Kernel {
        chains: BTreeSet<Chain>,
        elements: BTreeSet<Element>,
    }

    impl Kernel {
        fn apply(&mut self, c: &Changes) {
            for chain in &c.add_chains {
                assert!(chain.needs().iter().all(|n| self.chains.contains(n)), "{chain:?}");
                assert!(self.chains.insert(*chain), "{chain:?} exists");
            }
            for element in &c.remove {
                assert!(self.elements.remove(element), "{element:?} is not there");
            }
            for element in &c.add {
                assert!(self.elements.insert(*element), "{element:?} exists");
                if let Element::Service { chain, .. } = element {
                    assert!(self.chains.contains(chain), "{chain:?} is not there");
                }
            }
            for chain in &c.remove_chains {
                let used =
                    |e: &Element| matches!(e, Element::Service { chain: c, .. } if c == chain);
                assert!(!self.elements.iter().any(used), "{chain:?} is in use");
                assert!(self.chains.remove(chain));
                assert!(!self.chains.iter().any(|c| c.needs().contains(chain)), "{chain:?}");
            }
        }
    }

    #[test]
    fn one_endpoint_that_goes_costs_a_handful_of_elements() {
        let mut p = proxy();
        p.set_service(service("a", "10.96.0.5", value!({})));
        p.set_slice(slice("a", &["10.1.0.1", "10.1.0.2", "10.1.0.3"]));
        let mut kernel = Kernel::default();
        kernel.apply(&p.changes());
        assert_eq!(kernel.chains, BTreeSet::from([balance(3)]));
        assert!(p.changes().is_empty());

        p.set_slice(slice("a", &["10.1.0.2", "10.1.0.3"]));
        let c = p.changes();
        kernel.apply(&c);
        let end = |index, n: &str| Element::Endpoint {
            frontend: vip("10.96.0.5"),
            index,
            backend: Backend { address: ip(n), port: 8080 },
        };
        let lead = |n| Element::Service { frontend: vip("10.96.0.5"), chain: balance(n) };
        assert_eq!(c.remove, [lead(3), end(0, "10.1.0.1"), end(2, "10.1.0.3")]);
        assert_eq!(c.add, [lead(2), end(0, "10.1.0.3")]);
        assert_eq!((c.add_chains, c.remove_chains), (vec![balance(2)], vec![balance(3)]));
    }

    #[test]
    fn without_endpoints_a_service_is_refused_and_policies_drop() {
        let mut p = proxy();
        p.set_service(service("a", "10.96.0.5", value!({})));
        p.set_service(service("b", "10.96.0.6", value!({ "internalTrafficPolicy": "Local" })));
        p.set_slice(slice("b", &["10.1.0.1@n2"]));
        let mut kernel = Kernel::default();
        kernel.apply(&p.changes());
        let blocked = |a: &str, block| Element::Blocked { frontend: vip(a), block };
        assert!(kernel.elements.contains(&blocked("10.96.0.5", Block::Reject)));
        assert!(kernel.elements.contains(&blocked("10.96.0.6", Block::Drop)));
        // Serving while terminating is better than nothing; not serving is not.
        p.set_slice(slice("a", &["10.1.0.1!", "10.1.0.2~"]));
        kernel.apply(&p.changes());
        assert_eq!(
            p.backends(&vip("10.96.0.5")),
            [Backend { address: ip("10.1.0.2"), port: 8080 }]
        );
        p.remove_service(&ObjectKey::new("d", "a"));
        p.remove_service(&ObjectKey::new("d", "b"));
        kernel.apply(&p.changes());
        assert!(kernel.elements.is_empty() && kernel.chains.is_empty());
    }

    #[test]
    fn external_traffic_local_splits_by_source() {
        let mut p = proxy();
        let extra = value!({
            "type": "NodePort", "externalTrafficPolicy": "Local",
            "ports": [{ "name": "http", "port": 80, "nodePort": 30080 }],
        });
        p.set_service(service("a", "10.96.0.5", extra));
        p.set_slice(slice("a", &["10.1.0.1@n1", "10.1.0.2@n2", "10.1.0.3!@n1"]));
        let mut kernel = Kernel::default();
        kernel.apply(&p.changes());
        let frontend = Frontend::node_port(Protocol::Tcp, 30080);
        let chain = Chain::Split { node_port: true, all: 2, local: 1, affinity: None };
        assert!(kernel.elements.contains(&Element::Service { frontend, chain }));
        assert!(kernel.elements.contains(&Element::Endpoint {
            frontend,
            index: LOCAL,
            backend: Backend { address: ip("10.1.0.1"), port: 8080 }
        }));
        assert!(kernel.elements.contains(&Element::Hairpin(ip("10.1.0.1"))));
        p.set_slice(slice("a", &["10.1.0.2@n2"]));
        kernel.apply(&p.changes());
        let chain = Chain::Split { node_port: true, all: 1, local: 0, affinity: None };
        assert!(kernel.elements.contains(&Element::Service { frontend, chain }));
        assert!(!kernel.elements.iter().any(|e| matches!(e, Element::Hairpin(_))));
    }

    const LOCAL: u32 = crate::rules::LOCAL_LIST;

    #[test]
    fn the_first_claim_to_a_frontend_wins_and_the_next_inherits() {
        let mut p = proxy();
        let extra = value!({ "externalIPs": ["192.0.2.1"] });
        p.set_service(service("b", "10.96.0.6", extra.clone()));
        p.set_slice(slice("b", &["10.1.0.2"]));
        let mut kernel = Kernel::default();
        kernel.apply(&p.changes());
        p.set_service(service("a", "10.96.0.5", extra));
        p.set_slice(slice("a", &["10.1.0.1"]));
        kernel.apply(&p.changes());
        assert_eq!(p.backends(&vip("192.0.2.1"))[0].address, ip("10.1.0.1"));
        p.remove_service(&ObjectKey::new("d", "a"));
        kernel.apply(&p.changes());
        assert_eq!(p.backends(&vip("192.0.2.1"))[0].address, ip("10.1.0.2"));
    }

    #[test]
    fn hints_keep_traffic_near_only_where_all_have_them() {
        let mut p = proxy();
        p.set_service(service("a", "10.96.0.5", value!({})));
        let mut s = slice("a", &["10.1.0.1", "10.1.0.2"]);
        s.endpoints[0].for_zones = vec!["z1".into()];
        p.set_slice(s.clone());
        p.changes();
        assert_eq!(p.backends(&vip("10.96.0.5")).len(), 2);
        s.endpoints[1].for_zones = vec!["z2".into()];
        p.set_slice(s.clone());
        p.changes();
        assert_eq!(p.backends(&vip("10.96.0.5")).len(), 1);
        s.endpoints.iter_mut().for_each(|e| e.for_zones = vec!["z9".into()]);
        p.set_slice(s);
        p.changes();
        assert_eq!(p.backends(&vip("10.96.0.5")).len(), 2);
    }

    /// Any walk through states gives the same kernel as loading the last state at once, but for
    /// the order of endpoints.
    #[test]
    fn differences_add_up_to_a_load_from_nothing() {
        let mut seed = 0x2545_F491_4F6C_DD1Du64;
        let mut random = move |n: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % n
        };
        let (mut p, mut kernel) = (proxy(), Kernel::default());
        for round in 0..400 {
            let name = ["a", "b", "c"][random(3) as usize];
            match random(5) {
                0 => p.remove_service(&ObjectKey::new("d", name)),
                1 => p.remove_slice(&ObjectKey::new("d", name), &alloc::format!("{name}-x")),
                2 => {
                    let local = ["Cluster", "Local"][random(2) as usize];
                    let affinity = ["None", "ClientIP"][random(2) as usize];
                    let extra = value!({
                        "type": "NodePort", "externalTrafficPolicy": local,
                        "sessionAffinity": affinity, "externalIPs": ["192.0.2.1"],
                        "internalTrafficPolicy": (["Cluster", "Local"][random(2) as usize]),
                        "ports": [{ "name": "http", "port": 80, "nodePort": 30080 }],
                    });
                    p.set_service(service(name, &alloc::format!("10.96.0.{}", name.len()), extra));
                }
                _ => {
                    let ends: Vec<alloc::string::String> = (1..6)
                        .filter_map(|i| {
                            let mark = ["", "!", "~", "", "-", "-"][random(6) as usize];
                            let node = 1 + i % 2;
                            (mark != "-").then(|| alloc::format!("10.1.0.{i}{mark}@n{node}"))
                        })
                        .collect();
                    p.set_slice(slice(name, &ends.iter().map(|s| &**s).collect::<Vec<_>>()));
                }
            }
            if round % 3 == 0 {
                kernel.apply(&p.changes());
                let mut fresh = Kernel::default();
                fresh.apply(&p.everything());
                assert_eq!(kernel.elements, fresh.elements);
                assert_eq!(kernel.chains, fresh.chains);
            }
        }
    }
}
