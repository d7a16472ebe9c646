//! What a cluster is called on its host: its interfaces, packet rules, cgroups and directories.
//! The server makes them by these names and `down` finds them by the same.

use std::net::Ipv4Addr;

use timonier_network::NetworkConfig;
use timonier_runtime::Config as RuntimeConfig;

use crate::cluster::{Cidr, ClusterConfig, DEFAULT_NAME, Paths};

/// Where the clusters of a host agree on shared kernel settings.
const SHARED_DIR: &str = "/run/timonier";
const MTU: u32 = 1500;

/// The network of the cluster on this host.
pub fn network(paths: &Paths, config: &ClusterConfig) -> NetworkConfig {
    NetworkConfig {
        state_dir: paths.run().join("netns"),
        shared_dir: SHARED_DIR.into(),
        node_name: config.node_name.clone(),
        node_ip: Some(config.node_ip).filter(|ip| *ip != Ipv4Addr::LOCALHOST),
        node_pod_cidr: cidr(&config.node_pod_cidr),
        cluster_pod_cidr: cidr(&config.pod_cidr),
        service_cidr: cidr(&config.service_cidr),
        dns_ip: Some(config.dns_ip()),
        interface_prefix: interface_prefix(&config.name),
        table: group(&config.name),
        mtu: MTU,
    }
}

/// The containers of the cluster on this host.
pub fn runtime(paths: &Paths, config: &ClusterConfig) -> RuntimeConfig {
    RuntimeConfig::new(paths.run().join("pods"), format!("/{}/shims", group(&config.name)))
}

/// The cgroup above all others of the cluster.
pub fn cgroup(config: &ClusterConfig) -> String {
    format!("/{}", group(&config.name))
}

fn cidr(range: &Cidr) -> timonier_traffic::Cidr {
    timonier_traffic::Cidr::parse(&range.to_string()).expect("a range prints as one that parses")
}

fn group(name: &str) -> String {
    if name == DEFAULT_NAME { name.to_owned() } else { format!("timonier-{name}") }
}

/// Interfaces have 15 characters: a letter and seven digits of the name's hash (FNV-1a) tell
/// clusters apart.
fn interface_prefix(name: &str) -> String {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let text = format!("{hash:016x}");
    format!("t{}", &text[11..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_differ_in_every_name() {
        assert_ne!(interface_prefix("a"), interface_prefix("b"));
        assert!(interface_prefix("timonier").len() <= 8);
        assert_ne!(group("timonier"), group("timonier2"));
    }
}
