//! The cluster's names.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use smol_str::SmolStr;
use timonier_meta::ObjectKey;

use super::reverse::address_of;
use super::{Answer, Data, Kind, Record, Zone};
use crate::{Endpoint, Service, Slice, SlicePort};

/// The version of the specification that `dns-version` names.
const VERSION: &str = "1.1.0";

/// Services, slices and namespaces, arranged for questions.
pub struct Index {
    zone: Zone,
    /// Grows with every change, as a zone's serial number does.
    serial: u32,
    namespaces: BTreeSet<SmolStr>,
    services: BTreeMap<ObjectKey, Service>,
    slices: BTreeMap<ObjectKey, BTreeMap<SmolStr, Slice>>,
    /// Which Services have an address.
    by_cluster_ip: BTreeMap<IpAddr, ObjectKey>,
    /// Which Services have a named endpoint of an address.
    by_endpoint: BTreeMap<IpAddr, BTreeSet<ObjectKey>>,
}

/// The labels before the namespace.
enum Part<'a> {
    /// The Service itself.
    Whole,
    /// `_port._protocol`.
    Port {
        name: &'a str,
        protocol: &'a str,
    },
    Endpoint(&'a str),
}

impl Index {
    /// An empty cluster.
    pub fn new(zone: Zone) -> Index {
        Index {
            zone,
            serial: 1,
            namespaces: BTreeSet::new(),
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            by_cluster_ip: BTreeMap::new(),
            by_endpoint: BTreeMap::new(),
        }
    }

    /// The zone it answers for.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Takes in a namespace.
    pub fn set_namespace(&mut self, name: &str) {
        self.serial = self.serial.wrapping_add(1);
        self.namespaces.insert(name.into());
    }

    /// Takes in that a namespace is gone.
    pub fn remove_namespace(&mut self, name: &str) {
        self.serial = self.serial.wrapping_add(1);
        self.namespaces.remove(name);
    }

    /// Takes in a new or changed Service.
    pub fn set_service(&mut self, service: Service) {
        self.remove_service(&service.key);
        for address in &service.cluster_ips {
            self.by_cluster_ip.insert(*address, service.key.clone());
        }
        self.services.insert(service.key.clone(), service);
    }

    /// Takes in that a Service is gone.
    pub fn remove_service(&mut self, key: &ObjectKey) {
        self.serial = self.serial.wrapping_add(1);
        for address in self.services.remove(key).map(|s| s.cluster_ips).unwrap_or_default() {
            if self.by_cluster_ip.get(&address) == Some(key) {
                self.by_cluster_ip.remove(&address);
            }
        }
    }

    /// Takes in a new or changed slice.
    pub fn set_slice(&mut self, slice: Slice) {
        self.remove_slice(&slice.service, &slice.key.name);
        for address in named_addresses(&slice) {
            self.by_endpoint.entry(address).or_default().insert(slice.service.clone());
        }
        let of_service = self.slices.entry(slice.service.clone()).or_default();
        of_service.insert(slice.key.name.clone(), slice);
    }

    /// Takes in that a slice is gone.
    pub fn remove_slice(&mut self, service: &ObjectKey, name: &str) {
        self.serial = self.serial.wrapping_add(1);
        let Some(of_service) = self.slices.get_mut(service) else { return };
        let Some(old) = of_service.remove(name) else { return };
        let kept: BTreeSet<IpAddr> = of_service.values().flat_map(named_addresses).collect();
        for address in named_addresses(&old).filter(|a| !kept.contains(a)) {
            if let Some(services) = self.by_endpoint.get_mut(&address) {
                services.remove(service);
                if services.is_empty() {
                    self.by_endpoint.remove(&address);
                }
            }
        }
        if of_service.is_empty() {
            self.slices.remove(service);
        }
    }

    /// Answers a question.
    pub fn answer(&self, name: &str, kind: Kind) -> Answer {
        if let Some(address) = address_of(name) {
            return self.reverse(name, address, kind);
        }
        let Some(rest) = name.strip_suffix(&*self.zone.domain) else { return Answer::Elsewhere };
        if rest.is_empty() {
            return self.apex(name, kind);
        }
        let Some(rest) = rest.strip_suffix('.') else { return Answer::Elsewhere };
        let labels: Vec<&str> = rest.split('.').collect();
        match labels[..] {
            ["dns-version"] => {
                let record = self.record(name, Data::Txt(VERSION.into()));
                Answer::of(if accepts(kind, &record) { vec![record] } else { Vec::new() })
            }
            ["ns", "dns"] => Answer::of(self.of_address(name, self.zone.server, kind)),
            ["dns"] | ["svc"] | ["pod"] => Answer::NoData,
            [namespace, "svc" | "pod"] => self.namespace(namespace),
            [address, namespace, "pod"] => self.pod(name, address, namespace, kind),
            [service, namespace, "svc"] => {
                self.service(name, service, namespace, Part::Whole, kind)
            }
            [endpoint, service, namespace, "svc"] => {
                self.service(name, service, namespace, Part::Endpoint(endpoint), kind)
            }
            [port, protocol, service, namespace, "svc"] => {
                match (port.strip_prefix('_'), protocol.strip_prefix('_')) {
                    (Some(name_of_port), Some(protocol)) => {
                        let part = Part::Port { name: name_of_port, protocol };
                        self.service(name, service, namespace, part, kind)
                    }
                    _ => Answer::NoName,
                }
            }
            _ => Answer::NoName,
        }
    }

    /// The record that goes with negative answers.
    pub fn authority(&self) -> Record {
        let domain = &self.zone.domain;
        Record {
            name: domain.to_string(),
            ttl: self.zone.ttl,
            data: Data::Soa {
                server: format!("ns.dns.{domain}"),
                contact: format!("hostmaster.{domain}"),
                serial: self.serial,
                minimum: self.zone.ttl,
            },
        }
    }

    fn apex(&self, name: &str, kind: Kind) -> Answer {
        let server = self.record(name, Data::Ns(format!("ns.dns.{name}")));
        let all = [self.authority(), server];
        Answer::of(all.into_iter().filter(|r| accepts(kind, r)).collect())
    }

    fn namespace(&self, namespace: &str) -> Answer {
        if self.namespaces.contains(namespace) { Answer::NoData } else { Answer::NoName }
    }

    /// `10-244-0-5.default.pod`: the address, whether there is such a pod or not.
    fn pod(&self, name: &str, label: &str, namespace: &str, kind: Kind) -> Answer {
        if !self.namespaces.contains(namespace) {
            return Answer::NoName;
        }
        let dotted = label.replace('-', ".");
        let colons = label.replace('-', ":");
        let address = dotted.parse().map(IpAddr::V4).or_else(|_| colons.parse().map(IpAddr::V6));
        match address {
            Ok(address) => Answer::of(self.of_address(name, address, kind)),
            Err(_) => Answer::NoName,
        }
    }

    fn service(
        &self,
        name: &str,
        service: &str,
        namespace: &str,
        part: Part<'_>,
        kind: Kind,
    ) -> Answer {
        let key = ObjectKey::new(namespace, service);
        let Some(service) = self.services.get(&key) else { return Answer::NoName };
        if let Some(target) = &service.external_name {
            return self.external(name, target, &part, kind);
        }
        if service.headless || matches!(part, Part::Endpoint(_)) {
            return self.endpoints(name, &key, &part, kind);
        }
        let ports: Vec<_> = service
            .ports
            .iter()
            .filter(|p| part.matches(&p.name, p.protocol.lower()))
            .map(|p| p.port)
            .collect();
        if ports.is_empty() || service.cluster_ips.is_empty() {
            return Answer::NoName;
        }
        let own = self.service_name(&key);
        let addresses = |name: &str, kind| -> Vec<Record> {
            let all = service.cluster_ips.iter();
            all.flat_map(|address| self.of_address(name, *address, kind)).collect()
        };
        if kind != Kind::Srv {
            return Answer::of(addresses(name, kind));
        }
        let targets = ports.iter().map(|port| (*port, own.clone())).collect();
        Answer::Found { answers: self.srv(name, targets), additionals: addresses(&own, Kind::Any) }
    }

    fn external(&self, name: &str, target: &str, part: &Part<'_>, kind: Kind) -> Answer {
        if !matches!(part, Part::Whole) {
            return Answer::NoName;
        }
        let target = target.trim_end_matches('.').to_ascii_lowercase();
        match (target.parse::<IpAddr>(), kind) {
            (Ok(address), _) => Answer::of(self.of_address(name, address, kind)),
            (Err(_), Kind::A | Kind::Aaaa | Kind::Cname | Kind::Any) => {
                Answer::of(vec![self.record(name, Data::Cname(target))])
            }
            (Err(_), _) => Answer::NoData,
        }
    }

    /// The endpoints of a headless Service, or one by its name.
    fn endpoints(&self, name: &str, key: &ObjectKey, part: &Part<'_>, kind: Kind) -> Answer {
        let mut answers = Vec::new();
        let mut targets: Vec<(u16, String)> = Vec::new();
        let mut additionals = Vec::new();
        let mut any = false;
        for slice in self.slices.get(key).into_iter().flat_map(BTreeMap::values) {
            let ports: Vec<u16> = ports_of(slice, part);
            // A slice without ports belongs to a Service without ports.
            let portless = slice.ports.is_empty() && !matches!(part, Part::Port { .. });
            if ports.is_empty() && !portless {
                continue;
            }
            for endpoint in slice.endpoints.iter().filter(|e| e.ready) {
                for address in &endpoint.addresses {
                    let label = label_of(endpoint, *address);
                    if let Part::Endpoint(wanted) = part
                        && !label.eq_ignore_ascii_case(wanted)
                    {
                        continue;
                    }
                    any = true;
                    answers.extend(self.of_address(name, *address, kind));
                    if kind == Kind::Srv {
                        let target = format!("{label}.{}", self.service_name(key));
                        additionals.extend(self.of_address(&target, *address, Kind::Any));
                        targets.extend(ports.iter().map(|port| (*port, target.clone())));
                    }
                }
            }
        }
        if !any {
            return Answer::NoName;
        }
        if kind != Kind::Srv {
            answers.dedup();
            return Answer::of(distinct(answers));
        }
        let answers = self.srv(name, targets);
        match answers.is_empty() {
            true => Answer::NoData,
            false => Answer::Found { answers, additionals: distinct(additionals) },
        }
    }

    /// Addresses of Services, then those of endpoints that have a name. Unknown ones may be known
    /// elsewhere.
    fn reverse(&self, name: &str, address: IpAddr, kind: Kind) -> Answer {
        let mut targets = Vec::new();
        if let Some(key) = self.by_cluster_ip.get(&address) {
            targets.push(self.service_name(key));
        } else {
            for key in self.by_endpoint.get(&address).into_iter().flatten() {
                let slices = self.slices.get(key).into_iter().flat_map(BTreeMap::values);
                let endpoints = slices.flat_map(|s| &s.endpoints).filter(|e| {
                    e.ready && !e.hostname.is_empty() && e.addresses.contains(&address)
                });
                targets.extend(
                    endpoints.map(|e| format!("{}.{}", e.hostname, self.service_name(key))),
                );
            }
        }
        targets.dedup();
        match (targets.is_empty(), kind) {
            (true, _) => Answer::Elsewhere,
            (false, Kind::Ptr | Kind::Any) => {
                Answer::of(targets.into_iter().map(|t| self.record(name, Data::Ptr(t))).collect())
            }
            (false, _) => Answer::NoData,
        }
    }

    fn srv(&self, name: &str, targets: Vec<(u16, String)>) -> Vec<Record> {
        // All the same weight, together 100, as upstream has it.
        let weight = u16::try_from(100 / targets.len().max(1)).unwrap_or(1).max(1);
        let record =
            |(port, target)| self.record(name, Data::Srv { priority: 0, weight, port, target });
        distinct(targets.into_iter().map(record).collect())
    }

    /// The record of an address where the question accepts its family.
    fn of_address(&self, name: &str, address: IpAddr, kind: Kind) -> Vec<Record> {
        let data = match address {
            IpAddr::V4(a) => Data::A(a),
            IpAddr::V6(a) => Data::Aaaa(a),
        };
        let record = self.record(name, data);
        if accepts(kind, &record) { vec![record] } else { Vec::new() }
    }

    fn record(&self, name: &str, data: Data) -> Record {
        Record { name: name.to_owned(), ttl: self.zone.ttl, data }
    }

    fn service_name(&self, key: &ObjectKey) -> String {
        format!("{}.{}.svc.{}", key.name, key.namespace, self.zone.domain)
    }
}

impl Part<'_> {
    fn matches(&self, port: &str, protocol: &str) -> bool {
        match self {
            Part::Port { name, protocol: wanted } => {
                name.eq_ignore_ascii_case(port) && wanted.eq_ignore_ascii_case(protocol)
            }
            Part::Whole | Part::Endpoint(_) => true,
        }
    }
}

fn ports_of(slice: &Slice, part: &Part<'_>) -> Vec<u16> {
    let matches = |p: &&SlicePort| part.matches(&p.name, p.protocol.lower());
    slice.ports.iter().filter(matches).map(|p| p.port.unwrap_or(0)).collect()
}

/// The name of an endpoint within its Service: its host name, or its address with dashes.
fn label_of(endpoint: &Endpoint, address: IpAddr) -> String {
    if endpoint.hostname.is_empty() {
        address.to_string().replace(['.', ':'], "-")
    } else {
        endpoint.hostname.to_string()
    }
}

fn named_addresses(slice: &Slice) -> impl Iterator<Item = IpAddr> {
    let named = slice.endpoints.iter().filter(|e| !e.hostname.is_empty());
    named.flat_map(|e| e.addresses.iter().copied())
}

fn accepts(kind: Kind, record: &Record) -> bool {
    matches!(
        (kind, &record.data),
        (Kind::Any, _)
            | (Kind::A, Data::A(_))
            | (Kind::Aaaa, Data::Aaaa(_))
            | (Kind::Cname, Data::Cname(_))
            | (Kind::Srv, Data::Srv { .. })
            | (Kind::Ptr, Data::Ptr(_))
            | (Kind::Txt, Data::Txt(_))
            | (Kind::Ns, Data::Ns(_))
            | (Kind::Soa, Data::Soa { .. })
    )
}

/// The records without repetitions, in order.
fn distinct(records: Vec<Record>) -> Vec<Record> {
    let mut seen: Vec<Record> = Vec::with_capacity(records.len());
    for record in records {
        if !seen.contains(&record) {
            seen.push(record);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    fn index() -> Index {
        let server = "10.96.0.10".parse().unwrap();
        let mut index = Index::new(Zone { domain: "cluster.local".into(), server, ttl: 5 });
        index.set_namespace("d");
        let service = |v| Service::from_value(&v);
        let slice = |v| Slice::from_value(&v).unwrap();
        index.set_service(service(value!({
            "metadata": { "name": "web", "namespace": "d" },
            "spec": { "type": "ClusterIP", "clusterIP": "10.96.0.7",
                      "clusterIPs": ["10.96.0.7", "fd00::7"],
                      "ports": [{ "name": "http", "port": 80 }, { "name": "dns", "port": 53,
                                  "protocol": "UDP" }] },
        })));
        index.set_service(service(value!({
            "metadata": { "name": "db", "namespace": "d" },
            "spec": { "clusterIP": "None", "ports": [{ "name": "sql", "port": 5432 }] },
        })));
        index.set_slice(slice(value!({
            "metadata": { "name": "db-1", "namespace": "d",
                          "labels": { "kubernetes.io/service-name": "db" } },
            "ports": [{ "name": "sql", "port": 5432, "protocol": "TCP" }],
            "endpoints": [
                { "addresses": ["10.244.0.5"], "hostname": "db-0" },
                { "addresses": ["10.244.0.6"] },
                { "addresses": ["10.244.0.7"], "conditions": { "ready": false } },
            ],
        })));
        index.set_service(service(value!({
            "metadata": { "name": "ext", "namespace": "d" },
            "spec": { "type": "ExternalName", "externalName": "Example.org." },
        })));
        index.set_service(service(value!({
            "metadata": { "name": "empty", "namespace": "d" },
            "spec": { "clusterIP": "None", "ports": [{ "port": 1 }] },
        })));
        index
    }

    /// Contents of the answer, each record as text.
    fn ask(name: &str, kind: Kind) -> Vec<String> {
        match index().answer(name, kind) {
            Answer::Found { answers, .. } => answers.iter().map(|r| text(&r.data)).collect(),
            other => vec![format!("{other:?}")],
        }
    }

    fn text(data: &Data) -> String {
        match data {
            Data::A(a) => a.to_string(),
            Data::Aaaa(a) => a.to_string(),
            Data::Cname(s) | Data::Ptr(s) | Data::Txt(s) | Data::Ns(s) => s.clone(),
            Data::Srv { priority, weight, port, target } => {
                format!("{priority} {weight} {port} {target}")
            }
            Data::Soa { server, .. } => server.clone(),
        }
    }

    #[test]
    fn services_answer_by_family_and_port() {
        let web = "web.d.svc.cluster.local";
        assert_eq!(ask(web, Kind::A), ["10.96.0.7"]);
        assert_eq!(ask(web, Kind::Aaaa), ["fd00::7"]);
        assert_eq!(ask(web, Kind::Txt), ["NoData"]);
        assert_eq!(ask(web, Kind::Srv), [format!("0 50 80 {web}"), format!("0 50 53 {web}")]);
        assert_eq!(ask(&format!("_http._tcp.{web}"), Kind::Srv), [format!("0 100 80 {web}")]);
        assert_eq!(ask(&format!("_dns._udp.{web}"), Kind::Srv), [format!("0 100 53 {web}")]);
        assert_eq!(ask(&format!("_http._udp.{web}"), Kind::Srv), ["NoName"]);
        assert_eq!(ask(&format!("http.tcp.{web}"), Kind::Srv), ["NoName"]);
        let Answer::Found { additionals, .. } = index().answer(web, Kind::Srv) else { panic!() };
        assert_eq!(additionals.len(), 2);
    }

    #[test]
    fn headless_services_answer_with_ready_endpoints() {
        let db = "db.d.svc.cluster.local";
        assert_eq!(ask(db, Kind::A), ["10.244.0.5", "10.244.0.6"]);
        assert_eq!(ask(db, Kind::Aaaa), ["NoData"]);
        assert_eq!(ask(&format!("db-0.{db}"), Kind::A), ["10.244.0.5"]);
        assert_eq!(ask(&format!("10-244-0-6.{db}"), Kind::A), ["10.244.0.6"]);
        assert_eq!(ask(&format!("10-244-0-5.{db}"), Kind::A), ["NoName"]);
        assert_eq!(
            ask(&format!("_sql._tcp.{db}"), Kind::Srv),
            [format!("0 50 5432 db-0.{db}"), format!("0 50 5432 10-244-0-6.{db}")]
        );
        assert_eq!(ask("empty.d.svc.cluster.local", Kind::A), ["NoName"]);
    }

    #[test]
    fn names_that_are_there_differ_from_names_that_are_not() {
        for (name, expected) in [
            ("d.svc.cluster.local", "NoData"),
            ("x.svc.cluster.local", "NoName"),
            ("svc.cluster.local", "NoData"),
            ("web.x.svc.cluster.local", "NoName"),
            ("web.d.cluster.local", "NoName"),
            ("example.org", "Elsewhere"),
            ("mycluster.local", "Elsewhere"),
            ("web.d.svc.cluster.local.example.org", "Elsewhere"),
        ] {
            assert_eq!(ask(name, Kind::A), [expected], "{name}");
        }
        assert_eq!(ask("ext.d.svc.cluster.local", Kind::A), ["example.org"]);
        assert_eq!(ask("ext.d.svc.cluster.local", Kind::Srv), ["NoData"]);
        assert_eq!(ask("10-244-0-9.d.pod.cluster.local", Kind::A), ["10.244.0.9"]);
        assert_eq!(ask("10-244-0-9.x.pod.cluster.local", Kind::A), ["NoName"]);
        assert_eq!(ask("fd00--9.d.pod.cluster.local", Kind::Aaaa), ["fd00::9"]);
        assert_eq!(ask("nonsense.d.pod.cluster.local", Kind::A), ["NoName"]);
        assert_eq!(ask("dns-version.cluster.local", Kind::Txt), ["1.1.0"]);
        assert_eq!(ask("cluster.local", Kind::Ns), ["ns.dns.cluster.local"]);
        assert_eq!(ask("ns.dns.cluster.local", Kind::A), ["10.96.0.10"]);
    }

    #[test]
    fn addresses_lead_back_to_names() {
        assert_eq!(ask("7.0.96.10.in-addr.arpa", Kind::Ptr), ["web.d.svc.cluster.local"]);
        assert_eq!(ask("5.0.244.10.in-addr.arpa", Kind::Ptr), ["db-0.db.d.svc.cluster.local"]);
        // Without a host name there is no way back, and others may know.
        assert_eq!(ask("6.0.244.10.in-addr.arpa", Kind::Ptr), ["Elsewhere"]);
        assert_eq!(ask("7.0.96.10.in-addr.arpa", Kind::A), ["NoData"]);
    }

    #[test]
    fn what_is_removed_is_forgotten() {
        let mut index = index();
        let key = |n| ObjectKey::new("d", n);
        index.remove_slice(&key("db"), "db-1");
        assert_eq!(index.answer("db.d.svc.cluster.local", Kind::A), Answer::NoName);
        assert_eq!(index.answer("5.0.244.10.in-addr.arpa", Kind::Ptr), Answer::Elsewhere);
        index.remove_service(&key("web"));
        assert_eq!(index.answer("7.0.96.10.in-addr.arpa", Kind::Ptr), Answer::Elsewhere);
        index.remove_namespace("d");
        assert_eq!(index.answer("d.svc.cluster.local", Kind::A), Answer::NoName);
        assert!(index.by_endpoint.is_empty() && index.by_cluster_ip.is_empty());
    }
}
