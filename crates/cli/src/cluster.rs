//! What is settled once for a cluster and kept in its data directory.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::registry::Registry;
use crate::{files, port};

/// The settings of a cluster: chosen at the first `up`, the same ever after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterConfig {
    pub name: String,
    pub node_name: String,
    /// The node's address: what pods and the API server reach the kubelet on.
    pub node_ip: Ipv4Addr,
    pub api_port: u16,
    pub kubelet_port: u16,
    /// `10.96.0.0/16` and the like.
    pub service_cidr: Cidr,
    pub pod_cidr: Cidr,
    /// The part of `pod_cidr` that this node gives out.
    pub node_pod_cidr: Cidr,
    pub domain: String,
    /// Set where this is a node that joined a cluster whose control plane is elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<Joined>,
}

/// What a node that joined knows of its cluster's control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// Such as `https://192.0.2.2:6443`.
    pub server: String,
    /// The identifier of the network between nodes.
    pub overlay_id: u32,
}

/// An IPv4 range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    pub base: Ipv4Addr,
    pub bits: u8,
}

impl Cidr {
    /// The n-th address of the range.
    pub fn address(&self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.base) + n)
    }

    fn overlaps(&self, other: &Cidr) -> bool {
        let bits = self.bits.min(other.bits);
        let mask = if bits == 0 { 0 } else { u32::MAX << (32 - bits) };
        u32::from(self.base) & mask == u32::from(other.base) & mask
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

impl From<Cidr> for String {
    fn from(c: Cidr) -> String {
        c.to_string()
    }
}

impl TryFrom<String> for Cidr {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let parse = || {
            let (base, bits) = text.split_once('/')?;
            let bits: u8 = bits.parse().ok().filter(|b| *b <= 32)?;
            Some(Cidr { base: base.parse().ok()?, bits })
        };
        parse().ok_or_else(|| format!("{text:?} is not an IPv4 range such as 10.96.0.0/16"))
    }
}

/// Where everything of a cluster lies.
#[derive(Clone, Debug)]
pub struct Paths {
    pub data: PathBuf,
}

impl Paths {
    /// The default directory of a cluster of this name.
    pub fn default_dir(name: &str) -> PathBuf {
        if name == DEFAULT_NAME {
            PathBuf::from("/var/lib/timonier")
        } else {
            PathBuf::from(format!("/var/lib/timonier-{name}"))
        }
    }

    pub fn config(&self) -> PathBuf {
        self.data.join("cluster.json")
    }
    pub fn pki(&self) -> PathBuf {
        self.data.join("pki")
    }
    pub fn store(&self) -> PathBuf {
        self.data.join("store")
    }
    pub fn images(&self) -> PathBuf {
        self.data.join("images")
    }
    pub fn run(&self) -> PathBuf {
        self.data.join("run")
    }
    /// Volumes of pods.
    pub fn pods(&self) -> PathBuf {
        self.data.join("pods")
    }
    pub fn lock(&self) -> PathBuf {
        self.data.join("run/server.lock")
    }
    /// The node's network namespace, where it is not the host's.
    pub fn network_namespace(&self) -> PathBuf {
        self.data.join("run/network")
    }
    pub fn log(&self) -> PathBuf {
        self.data.join("server.log")
    }
    pub fn kubeconfig(&self) -> PathBuf {
        self.data.join("admin.kubeconfig")
    }
}

/// The name of a cluster that is given none.
pub const DEFAULT_NAME: &str = "timonier";

impl ClusterConfig {
    /// The settings in the data directory, if there are any.
    pub fn load(paths: &Paths) -> Result<Option<Self>> {
        let path = paths.config();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .with_context(|| format!("{} is damaged", path.display())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("read {}", path.display())),
        }
    }

    /// The settings in the data directory; chosen and written where there are none.
    ///
    /// # Errors
    /// A name or port that is not the cluster's, or is another cluster's of this host.
    pub fn load_or_create(
        paths: &Paths,
        name: Option<&str>,
        api_port: Option<u16>,
    ) -> Result<Self> {
        Self::load_or_create_in(&Registry::host(), paths, name, api_port)
    }

    /// The same among the clusters of a registry.
    pub fn load_or_create_in(
        registry: &Registry,
        paths: &Paths,
        name: Option<&str>,
        api_port: Option<u16>,
    ) -> Result<Self> {
        let registry = registry.lock()?;
        if let Some(config) = Self::load(paths)? {
            config.check(paths, name, api_port)?;
            registry.claim(&config.name, &paths.data)?;
            return Ok(config);
        }
        let name = name.unwrap_or(DEFAULT_NAME);
        if !timonier_meta::names::dns1123_label(name).is_empty() || name.len() > 32 {
            bail!(
                "{name:?} cannot name a cluster: use at most 32 lower case letters, digits and '-'"
            );
        }
        registry.claim(name, &paths.data)?;
        let config = Self::choose(name, api_port, &registry.others(name))?;
        config.save(paths)?;
        Ok(config)
    }

    /// Writes the settings into the data directory.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        files::create_private_dir(&paths.data)?;
        files::write_private(&paths.config(), &serde_json::to_vec_pretty(self)?)
    }

    fn check(&self, paths: &Paths, name: Option<&str>, api_port: Option<u16>) -> Result<()> {
        if let Some(joined) = &self.joined {
            bail!(
                "{} holds a node of the cluster at {}; `timonier agent` runs it",
                paths.data.display(),
                joined.server
            );
        }
        if let Some(name) = name.filter(|n| *n != self.name) {
            bail!("{} holds the cluster {:?}, not {name:?}", paths.data.display(), self.name);
        }
        if let Some(port) = api_port.filter(|p| *p != self.api_port) {
            bail!(
                "the cluster's API server is on port {}, and stays there; port {port} would need a new cluster",
                self.api_port
            );
        }
        Ok(())
    }

    fn choose(name: &str, api_port: Option<u16>, others: &[ClusterConfig]) -> Result<Self> {
        let mut used = used_routes()?;
        used.extend(others.iter().flat_map(|c| [c.service_cidr, c.pod_cidr]));
        let (service_cidr, pod_cidr) = free_ranges(&used)?;
        let node_ip = node_address();
        let api_port = match api_port {
            Some(port) => {
                if let Some(other) = others.iter().find(|c| c.uses(port)) {
                    bail!("port {port} belongs to the cluster {:?} of this host", other.name);
                }
                port::check(port)?;
                port
            }
            None => free_port(6443, others)?,
        };
        let kubelet_port = free_port(10250, others)?;
        let node_name = host_name().unwrap_or_else(|| "node".to_owned());
        let node_pod_cidr = Cidr { base: pod_cidr.base, bits: 24 };
        Ok(ClusterConfig {
            name: name.to_owned(),
            node_name,
            node_ip,
            api_port,
            kubelet_port,
            service_cidr,
            pod_cidr,
            node_pod_cidr,
            domain: "cluster.local".to_owned(),
            joined: None,
        })
    }

    /// What it is, for people.
    pub fn title(&self) -> String {
        match &self.joined {
            Some(_) => format!("the node {} of the cluster {}", self.node_name, self.name),
            None => format!("the cluster {}", self.name),
        }
    }

    fn uses(&self, port: u16) -> bool {
        self.api_port == port || self.kubelet_port == port
    }

    /// The address of the `kubernetes` Service.
    pub fn api_service_ip(&self) -> Ipv4Addr {
        self.service_cidr.address(1)
    }

    /// The address of the cluster's DNS.
    pub fn dns_ip(&self) -> Ipv4Addr {
        self.service_cidr.address(10)
    }

    /// Where a client on this host reaches the API server.
    pub fn server_url(&self) -> String {
        match &self.joined {
            Some(joined) => joined.server.clone(),
            None => format!("https://127.0.0.1:{}", self.api_port),
        }
    }
}

/// The host's name, where it can name a Node.
pub fn host_name() -> Option<String> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?.to_ascii_lowercase();
    (!name.is_empty() && timonier_meta::names::dns1123_subdomain(&name).is_empty()).then_some(name)
}

/// The first port from `first` on that can be listened on and is no other cluster's.
pub fn free_port(first: u16, others: &[ClusterConfig]) -> Result<u16> {
    (first..first + 100)
        .find(|p| !others.iter().any(|c| c.uses(*p)) && port::check(*p).is_ok())
        .with_context(|| format!("no free port from {first} to {}", first + 99))
}

/// The address that the host uses towards the outside; without a network, loopback.
fn node_address() -> Ipv4Addr {
    address_towards((Ipv4Addr::new(192, 0, 2, 1), 9))
        .or_else(first_interface_address)
        .unwrap_or(Ipv4Addr::LOCALHOST)
}

/// The host's own address on the way to another; `None` where there is no such way.
pub fn address_towards(target: impl std::net::ToSocketAddrs) -> Option<Ipv4Addr> {
    // Connecting a datagram socket sends nothing; it asks the kernel for the route.
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(target).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(ip) if !ip.is_unspecified() && !ip.is_loopback() => Some(ip),
        _ => None,
    }
}

fn first_interface_address() -> Option<Ipv4Addr> {
    nix::ifaddrs::getifaddrs().ok()?.find_map(|i| {
        let ip = i.address?.as_sockaddr_in()?.ip();
        (!ip.is_loopback() && !ip.is_link_local()).then_some(ip)
    })
}

/// The IPv4 ranges that the host routes already, the default route aside.
fn used_routes() -> Result<Vec<Cidr>> {
    let text = fs::read_to_string("/proc/net/route").context("read /proc/net/route")?;
    Ok(parse_routes(&text))
}

fn parse_routes(text: &str) -> Vec<Cidr> {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let base = u32::from_str_radix(fields.get(1)?, 16).ok()?.swap_bytes();
            let mask = u32::from_str_radix(fields.get(7)?, 16).ok()?.swap_bytes();
            let bits = mask.leading_ones() as u8;
            (bits > 0).then_some(Cidr { base: base.into(), bits })
        })
        .collect()
}

/// The first pair of /16 for services and pods that nothing on the host routes yet.
fn free_ranges(used: &[Cidr]) -> Result<(Cidr, Cidr)> {
    let range = |second: u8| Cidr { base: Ipv4Addr::new(10, second, 0, 0), bits: 16 };
    (0..64u8)
        .map(|i| (range(96 + i), range(244 - i)))
        .find(|(s, p)| !used.iter().any(|u| u.overlaps(s) || u.overlaps(p)))
        .context("every candidate range for services and pods (10.96.0.0/16 …) is routed elsewhere on this host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_avoid_what_is_routed() {
        let (s, p) = free_ranges(&[]).unwrap();
        assert_eq!(
            (s.to_string().as_str(), p.to_string().as_str()),
            ("10.96.0.0/16", "10.244.0.0/16")
        );
        let routes = parse_routes(
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
             eth0\t00000000\t01FEA8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
             x\t0000600A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n",
        );
        assert_eq!(routes, [Cidr::try_from("10.96.0.0/16".to_owned()).unwrap()]);
        assert_eq!(free_ranges(&routes).unwrap().0.to_string(), "10.97.0.0/16");
    }

    #[test]
    fn settings_are_chosen_once_and_differ_from_those_of_other_clusters() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::at(&dir.path().join("registry"));
        let load = |data: &str, name, port| {
            let paths = Paths { data: dir.path().join(data) };
            ClusterConfig::load_or_create_in(&registry, &paths, name, port)
        };
        let first = load("d", Some("a"), None).unwrap();
        assert_eq!(load("d", None, None).unwrap(), first);
        assert!(load("d", Some("b"), None).is_err());
        assert!(load("d", None, Some(first.api_port + 1)).is_err());
        assert!(load("e", Some("A b"), None).is_err());
        assert!(load("e", Some("a"), None).unwrap_err().to_string().contains("--name"));
        let text = load("e", Some("b"), Some(first.api_port)).unwrap_err().to_string();
        assert!(text.contains("belongs to the cluster \"a\""), "{text}");
        let second = load("e", Some("b"), None).unwrap();
        assert!(!second.service_cidr.overlaps(&first.service_cidr));
        assert!(!second.pod_cidr.overlaps(&first.pod_cidr));
        for port in [second.api_port, second.kubelet_port] {
            assert!(!first.uses(port), "{port}");
        }
    }
}
