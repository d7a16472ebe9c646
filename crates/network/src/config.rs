//! What distinguishes one cluster's network on a host from another's.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use timonier_traffic::Cidr;

use crate::{Error, Result};

/// The network of one cluster on one node. Two clusters of a host must differ in every name and
/// range.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Where the bind mounts of pod namespaces and the address records live; ours alone.
    pub state_dir: PathBuf,
    /// Where the clusters of a host agree on shared kernel settings: `/run/timonier`.
    pub shared_dir: PathBuf,
    pub node_name: String,
    /// The node's address towards other nodes; the source of the node's own calls to Services.
    pub node_ip: Option<Ipv4Addr>,
    /// The node's part of the pod range, such as 10.244.0.0/24.
    pub node_pod_cidr: Cidr,
    /// The pod range of the whole cluster.
    pub cluster_pod_cidr: Cidr,
    pub service_cidr: Cidr,
    /// The cluster DNS address, held by the node itself.
    pub dns_ip: Option<Ipv4Addr>,
    /// The start of every interface name: unique per cluster on a host, 1 to 8 characters.
    pub interface_prefix: String,
    /// The nf_tables table; unique per cluster on a host.
    pub table: String,
    /// The MTU of pods and of the overlay, in bytes: [`crate::pod_mtu`] knows it. Pods keep the
    /// one that they began with.
    pub mtu: u32,
}

impl NetworkConfig {
    /// The address that pods see as their gateway and the node uses towards pods: the first of
    /// the node's range.
    pub fn gateway(&self) -> Ipv4Addr {
        match self.node_pod_cidr.nth(1) {
            Some(std::net::IpAddr::V4(address)) => address,
            _ => Ipv4Addr::UNSPECIFIED,
        }
    }

    /// Whether it can work at all.
    pub(crate) fn check(&self) -> Result<()> {
        let ranges = [self.node_pod_cidr, self.cluster_pod_cidr, self.service_cidr];
        if let Some(range) = ranges.iter().find(|r| !r.is_ipv4()) {
            return Err(Error::Config(format!("{range}: only IPv4 ranges are supported")));
        }
        if !(16..=29).contains(&self.node_pod_cidr.length()) {
            let range = self.node_pod_cidr;
            return Err(Error::Config(format!("{range}: a node's range is between /16 and /29")));
        }
        let prefix = &self.interface_prefix;
        let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if prefix.is_empty() || prefix.len() > 8 || !prefix.bytes().all(fine) {
            return Err(Error::Config(format!("{prefix:?} cannot begin an interface's name")));
        }
        if self.table.is_empty() || self.table.len() > 64 || self.table.contains(['/', '\0']) {
            return Err(Error::Config(format!("{:?} cannot be a table's name", self.table)));
        }
        Ok(())
    }
}
