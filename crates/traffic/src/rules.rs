//! The vocabulary of packet rules: frontends, chains, and the elements of sets and maps.
//!
//! The kernel holds one map `frontend → chain` and one map `frontend . index → endpoint`. A chain
//! depends only on how many endpoints there are and how they are chosen, so Services share them,
//! and a change of one endpoint is a handful of map elements.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use crate::{Cidr, Protocol};

/// Added to the index of an endpoint in the list of this node's endpoints, so that both lists of a
/// frontend live in one map.
pub const LOCAL_LIST: u32 = 0x8000_0000;

/// Where a Service answers. The unspecified address stands for all addresses of the node: a node
/// port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Frontend {
    pub address: IpAddr,
    pub protocol: Protocol,
    pub port: u16,
}

impl Frontend {
    /// A node port.
    pub fn node_port(protocol: Protocol, port: u16) -> Frontend {
        Frontend { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), protocol, port }
    }

    /// Whether this is a node port.
    pub fn is_node_port(&self) -> bool {
        self.address.is_unspecified()
    }
}

/// An endpoint's address and port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Backend {
    pub address: IpAddr,
    pub port: u16,
}

/// Whose packets get the node's own address as source, so that the answer comes back this way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Masquerade {
    Never,
    /// Packets from outside the pod range.
    OffCluster,
    Always,
}

/// A chain that sends a new connection on. Chains hold nothing that belongs to one Service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Chain {
    /// One of `count` endpoints of a list.
    Balance {
        node_port: bool,
        /// From the list of this node's endpoints.
        local: bool,
        /// At least 1.
        count: u32,
        /// Seconds that a client stays with its endpoint.
        affinity: Option<u32>,
        masquerade: Masquerade,
    },
    /// External traffic with `externalTrafficPolicy: Local`: pods and the node itself use all
    /// endpoints, others only this node's, with their source address kept; dropped where the
    /// node has none.
    Split {
        node_port: bool,
        /// At least 1.
        all: u32,
        local: u32,
        affinity: Option<u32>,
    },
}

impl Chain {
    /// The chain's name in the kernel; different for different chains.
    pub fn name(&self) -> String {
        let frontend = |node_port| if node_port { "node" } else { "vip" };
        let timeout = |affinity: Option<u32>| match affinity {
            Some(seconds) => format!("-sticky{seconds}"),
            None => String::new(),
        };
        match *self {
            Chain::Balance { node_port, local, count, affinity, masquerade } => format!(
                "{}-{}{count}{}{}",
                frontend(node_port),
                if local { "local" } else { "all" },
                match masquerade {
                    Masquerade::Never => "",
                    Masquerade::OffCluster => "-in",
                    Masquerade::Always => "-ext",
                },
                timeout(affinity)
            ),
            Chain::Split { node_port, all, local, affinity } => {
                format!("{}-split{local}of{all}{}", frontend(node_port), timeout(affinity))
            }
        }
    }

    /// The chains that this one leads to.
    pub fn needs(&self) -> Vec<Chain> {
        let Chain::Split { node_port, all, local, affinity } = *self else { return Vec::new() };
        let balance = |local, count, masquerade| Chain::Balance {
            node_port,
            local,
            count,
            affinity,
            masquerade,
        };
        let mut chains = Vec::from([
            balance(false, all, Masquerade::Never),
            balance(false, all, Masquerade::Always),
        ]);
        if local > 0 {
            chains.push(balance(true, local, Masquerade::Never));
        }
        chains
    }
}

/// What becomes of new connections to a frontend that leads nowhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Block {
    /// ICMP port unreachable: the Service has no endpoints at all.
    Reject,
    /// No answer: a policy says local, and the endpoints are elsewhere.
    Drop,
}

/// One element of a set or map in the kernel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Element {
    /// Connections to the frontend go to the chain.
    Service { frontend: Frontend, chain: Chain },
    /// The endpoint at an index, plus [`LOCAL_LIST`] in the local list.
    Endpoint { frontend: Frontend, index: u32, backend: Backend },
    /// A client may stay with this endpoint.
    Sticky { frontend: Frontend, backend: Backend },
    /// Connections to the frontend are refused.
    Blocked { frontend: Frontend, block: Block },
    /// A Service's cluster address, whose other ports are refused.
    ClusterIp(IpAddr),
    /// An endpoint of this node, which may reach itself through a Service.
    Hairpin(IpAddr),
    /// Only some sources may use the frontend.
    Guarded(Frontend),
    /// These may.
    Source { frontend: Frontend, range: Cidr },
}

/// The steps from the rules before to the rules after, in this order, in one transaction.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    pub add_chains: Vec<Chain>,
    pub remove: Vec<Element>,
    pub add: Vec<Element>,
    pub remove_chains: Vec<Chain>,
    /// UDP frontends that lost an endpoint or led nowhere before: connections that the kernel
    /// remembers for them may be stale.
    pub stale: Vec<Frontend>,
}

impl Changes {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.add_chains.is_empty()
            && self.remove.is_empty()
            && self.add.is_empty()
            && self.remove_chains.is_empty()
            && self.stale.is_empty()
    }
}
