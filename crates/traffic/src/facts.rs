//! What the rules and answers need to know of Services, EndpointSlices and Nodes.

use alloc::vec::Vec;
use core::net::IpAddr;

use smol_str::SmolStr;
use timonier_meta::ObjectKey;
use timonier_object::Value;

use crate::Cidr;

/// A transport protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// Reads `TCP`, `UDP` or `SCTP`; empty means TCP.
    pub fn parse(text: &str) -> Option<Protocol> {
        match text {
            "" | "TCP" => Some(Protocol::Tcp),
            "UDP" => Some(Protocol::Udp),
            "SCTP" => Some(Protocol::Sctp),
            _ => None,
        }
    }

    /// The number in an IP header.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// The name in DNS (`_tcp`) without its underscore.
    pub fn lower(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

/// One port of a Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServicePort {
    pub name: SmolStr,
    pub protocol: Protocol,
    pub port: u16,
    /// 0 for none.
    pub node_port: u16,
}

/// A Service as far as traffic and names go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    pub key: ObjectKey,
    /// The addresses; empty for a headless Service.
    pub cluster_ips: Vec<IpAddr>,
    pub headless: bool,
    /// The name that an `ExternalName` Service stands for.
    pub external_name: Option<SmolStr>,
    pub external_ips: Vec<IpAddr>,
    /// Load balancer addresses whose traffic arrives with the address as destination
    /// (`ipMode` VIP).
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may use the load balancer addresses; empty for everybody.
    pub source_ranges: Vec<Cidr>,
    pub ports: Vec<ServicePort>,
    /// Seconds that a client stays with its endpoint (`sessionAffinity: ClientIP`).
    pub affinity: Option<u32>,
    /// `externalTrafficPolicy: Local`.
    pub external_local: bool,
    /// `internalTrafficPolicy: Local`.
    pub internal_local: bool,
    /// The port of the load balancers' health check; 0 for none.
    pub health_check_node_port: u16,
    /// Whether another proxy takes care of it (`service.kubernetes.io/service-proxy-name`).
    pub foreign: bool,
}

impl Service {
    /// Extracts the facts. Malformed parts are left out, as upstream's proxy skips them.
    pub fn from_value(v: &Value) -> Service {
        let spec = v.at("spec");
        let kind = spec.at("type").str();
        let cluster_ip = spec.at("clusterIP").str();
        let mut cluster_ips = addresses(spec.at("clusterIPs"));
        if cluster_ips.is_empty() {
            cluster_ips.extend(cluster_ip.parse::<IpAddr>());
        }
        let affinity = (spec.at("sessionAffinity").str() == "ClientIP").then(|| {
            let seconds = spec.at("sessionAffinityConfig.clientIP.timeoutSeconds").int_or(10_800);
            u32::try_from(seconds.clamp(1, 86_400)).unwrap_or(10_800)
        });
        let external = matches!(kind, "NodePort" | "LoadBalancer");
        let balancers = v.at("status.loadBalancer.ingress").items().iter();
        Service {
            key: v.key(),
            headless: cluster_ip == "None",
            external_name: (kind == "ExternalName").then(|| spec.at("externalName").smol()),
            external_ips: addresses(spec.at("externalIPs")),
            load_balancer_ips: balancers
                .filter(|i| kind == "LoadBalancer" && i.at("ipMode").str() != "Proxy")
                .filter_map(|i| i.at("ip").str().parse().ok())
                .collect(),
            source_ranges: spec
                .at("loadBalancerSourceRanges")
                .items()
                .iter()
                .filter_map(|r| Cidr::parse(r.str()))
                .collect(),
            ports: spec.at("ports").items().iter().filter_map(service_port).collect(),
            affinity,
            external_local: spec.at("externalTrafficPolicy").str() == "Local"
                && (external || !spec.at("externalIPs").items().is_empty()),
            internal_local: spec.at("internalTrafficPolicy").str() == "Local",
            health_check_node_port: port(spec.at("healthCheckNodePort")).unwrap_or(0),
            foreign: v.label("service.kubernetes.io/service-proxy-name").is_some(),
            cluster_ips,
        }
    }
}

fn service_port(v: &Value) -> Option<ServicePort> {
    Some(ServicePort {
        name: v.at("name").smol(),
        protocol: Protocol::parse(v.at("protocol").str())?,
        port: port(v.at("port"))?,
        node_port: port(v.at("nodePort")).unwrap_or(0),
    })
}

fn port(v: &Value) -> Option<u16> {
    v.as_i64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n != 0)
}

fn addresses(v: &Value) -> Vec<IpAddr> {
    v.items().iter().filter_map(|a| a.str().parse().ok()).collect()
}

/// One port of an EndpointSlice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlicePort {
    pub name: SmolStr,
    pub protocol: Protocol,
    /// `None` means every port, which only headless Services may have.
    pub port: Option<u16>,
}

/// One endpoint of an EndpointSlice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    pub addresses: Vec<IpAddr>,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
    pub hostname: SmolStr,
    /// The node's name; empty where unknown.
    pub node: SmolStr,
    /// The zones that should use this endpoint; empty without hints.
    pub for_zones: Vec<SmolStr>,
    /// The nodes that should use this endpoint; empty without hints.
    pub for_nodes: Vec<SmolStr>,
}

/// An EndpointSlice as far as traffic and names go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slice {
    pub key: ObjectKey,
    /// The Service it belongs to.
    pub service: ObjectKey,
    pub ports: Vec<SlicePort>,
    pub endpoints: Vec<Endpoint>,
}

impl Slice {
    /// Extracts the facts; `None` for a slice that belongs to no Service.
    pub fn from_value(v: &Value) -> Option<Slice> {
        let service = v.label("kubernetes.io/service-name").filter(|s| !s.is_empty())?;
        Some(Slice {
            key: v.key(),
            service: ObjectKey::new(v.namespace(), service),
            ports: v.at("ports").items().iter().filter_map(slice_port).collect(),
            endpoints: v.at("endpoints").items().iter().map(endpoint).collect(),
        })
    }
}

fn slice_port(v: &Value) -> Option<SlicePort> {
    Some(SlicePort {
        name: v.at("name").smol(),
        protocol: Protocol::parse(v.at("protocol").str())?,
        port: port(v.at("port")),
    })
}

/// A missing `ready` counts as true; a missing `serving` as `ready` (upstream's
/// `discovery.EndpointConditions`).
fn endpoint(v: &Value) -> Endpoint {
    let conditions = v.at("conditions");
    let ready = conditions.at("ready").as_bool().unwrap_or(true);
    let names = |path: &str| -> Vec<SmolStr> {
        v.at(path).items().iter().map(|h| h.at("name").smol()).collect()
    };
    Endpoint {
        addresses: addresses(v.at("addresses")),
        ready,
        serving: conditions.at("serving").as_bool().unwrap_or(ready),
        terminating: conditions.at("terminating").bool(),
        hostname: v.at("hostname").smol(),
        node: v.at("nodeName").smol(),
        for_zones: names("hints.forZones"),
        for_nodes: names("hints.forNodes"),
    }
}
