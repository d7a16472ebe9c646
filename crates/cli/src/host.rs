//! What a cluster is called on its host: its interfaces, packet rules, cgroups and directories.
//! The server makes them by these names and `down` finds them by the same.

use std::net::Ipv4Addr;

use timonier_network::{NetworkConfig, OverlayConfig};
use timonier_runtime::Config as RuntimeConfig;

use crate::cluster::{Cidr, ClusterConfig, DEFAULT_NAME, Paths};
use crate::namespaces;

/// Where the clusters of a host agree on shared kernel settings.
const SHARED_DIR: &str = "/run/timonier";
/// For Ethernet; a node that starts asks the kernel instead.
const MTU: u32 = 1450;
/// The overlay's UDP port, Linux's own.
const OVERLAY_PORT: u16 = 8472;

/// The network of the cluster on this host.
pub fn network(paths: &Paths, config: &ClusterConfig) -> NetworkConfig {
    NetworkConfig {
        state_dir: paths.run().join("netns"),
        shared_dir: namespaces::shared_dir(SHARED_DIR),
        node_name: config.node_name.clone(),
        node_ip: Some(config.node_ip).filter(|ip| *ip != Ipv4Addr::LOCALHOST),
        node_pod_cidr: cidr(&config.node_pod_cidr),
        cluster_pod_cidr: cidr(&config.pod_cidr),
        service_cidr: cidr(&config.service_cidr),
        dns_ip: Some(config.dns_ip()),
        interface_prefix: interface_prefix(&group(config)),
        table: group(config),
        mtu: MTU,
    }
}

/// The containers of the cluster on this host.
pub fn runtime(paths: &Paths, config: &ClusterConfig) -> RuntimeConfig {
    RuntimeConfig::new(paths.run().join("pods"), format!("/{}/shims", group(config)))
}

/// The way to other nodes' pods; `None` on a host without a network.
pub fn overlay(config: &ClusterConfig, id: u32) -> Option<OverlayConfig> {
    (config.node_ip != Ipv4Addr::LOCALHOST).then_some(OverlayConfig {
        id,
        port: OVERLAY_PORT,
        local: config.node_ip,
    })
}

/// Whom the cluster's DNS answers on this host: pods, Services, and the host itself.
pub fn dns_clients(config: &ClusterConfig) -> Vec<timonier_traffic::Cidr> {
    let host = timonier_traffic::Cidr::host(config.node_ip.into());
    vec![cidr(&config.pod_cidr), cidr(&config.service_cidr), host]
}

/// The cgroup above all others of the cluster.
pub fn cgroup(config: &ClusterConfig) -> String {
    format!("/{}", group(config))
}

fn cidr(range: &Cidr) -> timonier_traffic::Cidr {
    timonier_traffic::Cidr::parse(&range.to_string()).expect("a range prints as one that parses")
}

/// What everything is named after. A cluster's name holds no dot, so a node that joined never has
/// the name of a cluster whose control plane is on the same host.
fn group(config: &ClusterConfig) -> String {
    let name = &config.name;
    match &config.joined {
        Some(_) => {
            let node = &config.node_name;
            let short = node.len() <= 24;
            let node = if short { node.clone() } else { format!("{:016x}", hash(node)) };
            format!("timonier-{name}.{node}")
        }
        None if name == DEFAULT_NAME => name.to_owned(),
        None => format!("timonier-{name}"),
    }
}

/// Interfaces have 15 characters: a letter and seven digits of the name's hash (FNV-1a) tell
/// clusters apart.
fn interface_prefix(name: &str) -> String {
    let text = format!("{:016x}", hash(name));
    format!("t{}", &text[11..])
}

/// FNV-1a.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Joined;

    fn config(name: &str, joined: Option<&str>) -> ClusterConfig {
        let range = |text: &str| Cidr::try_from(text.to_owned()).unwrap();
        ClusterConfig {
            name: name.into(),
            node_name: joined.unwrap_or("n").into(),
            node_ip: Ipv4Addr::LOCALHOST,
            api_port: 1,
            kubelet_port: 2,
            service_cidr: range("10.96.0.0/16"),
            pod_cidr: range("10.244.0.0/16"),
            node_pod_cidr: range("10.244.0.0/24"),
            domain: "x".into(),
            joined: joined.map(|_| Joined { server: "s".into(), overlay_id: 1 }),
        }
    }

    #[test]
    fn clusters_and_nodes_differ_in_every_name() {
        let long = "n".repeat(63);
        let all = [
            config("timonier", None),
            config("a", None),
            config("a", Some("b")),
            config("a", Some("c")),
            config("a", Some(&long)),
        ];
        let groups: std::collections::BTreeSet<String> = all.iter().map(group).collect();
        let prefixes: std::collections::BTreeSet<_> =
            groups.iter().map(|g| interface_prefix(g)).collect();
        assert_eq!((groups.len(), prefixes.len()), (5, 5));
        assert!(groups.iter().all(|g| g.len() <= 64) && prefixes.iter().all(|p| p.len() <= 8));
    }
}
