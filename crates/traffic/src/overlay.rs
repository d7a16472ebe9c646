//! The other nodes, as far as the way to their pods goes. Everything follows from a Node's
//! `podCIDR` and `InternalIP`, so nodes need not tell each other anything.

use core::net::{IpAddr, Ipv4Addr};

use smol_str::SmolStr;
use timonier_object::Value;

use crate::Cidr;

/// A node and the pods behind it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Peer {
    pub name: SmolStr,
    /// `InternalIP`.
    pub address: Ipv4Addr,
    pub pod_cidr: Cidr,
}

impl Peer {
    /// The peer of a Node; `None` as long as it lacks an IPv4 address or pod range.
    pub fn from_node(node: &Value) -> Option<Peer> {
        let ranges = node.at("spec.podCIDRs").items().iter().map(Value::str);
        let mut ranges = ranges.chain([node.at("spec.podCIDR").str()]).filter_map(Cidr::parse);
        let mut addresses = node
            .at("status.addresses")
            .items()
            .iter()
            .filter(|a| a.at("type").str() == "InternalIP")
            .filter_map(|a| a.at("address").str().parse().ok());
        Some(Peer {
            name: node.name().into(),
            address: addresses.next()?,
            pod_cidr: ranges.find(Cidr::is_ipv4)?,
        })
    }

    /// The next hop towards its pods: the first address of its range, which no pod has.
    pub fn next_hop(&self) -> Ipv4Addr {
        next_hop(self.pod_cidr)
    }

    /// The hardware address of its overlay interface.
    pub fn mac(&self) -> [u8; 6] {
        mac(self.pod_cidr)
    }
}

/// The hardware address of the overlay interface of the node with a range: locally administered,
/// and different for different ranges.
pub fn mac(pod_cidr: Cidr) -> [u8; 6] {
    let [a, b, c, d] = next_hop(pod_cidr).octets();
    [0x0a, 0x59, a, b, c, d]
}

fn next_hop(pod_cidr: Cidr) -> Ipv4Addr {
    match pod_cidr.network() {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn a_node_becomes_a_peer_when_it_has_all() {
        let mut node = value!({ "metadata": { "name": "n2" }, "spec": {}, "status": {
            "addresses": [{ "type": "Hostname", "address": "n2" },
                          { "type": "InternalIP", "address": "192.0.2.7" }] } });
        assert_eq!(Peer::from_node(&node), None);
        node.set("spec.podCIDR", "10.244.7.0/24");
        let peer = Peer::from_node(&node).unwrap();
        assert_eq!(peer.address, Ipv4Addr::new(192, 0, 2, 7));
        assert_eq!(peer.next_hop(), Ipv4Addr::new(10, 244, 7, 0));
        assert_eq!(peer.mac(), [0x0a, 0x59, 10, 244, 7, 0]);
        node.set("status.addresses", Value::Null);
        assert_eq!(Peer::from_node(&node), None);
    }
}
