//! What is settled once for a cluster and kept in its data directory.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::files;

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
    pub fn lock(&self) -> PathBuf {
        self.data.join("run/server.lock")
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
    pub fn load_or_create(
        paths: &Paths,
        name: Option<&str>,
        api_port: Option<u16>,
    ) -> Result<Self> {
        if let Some(config) = Self::load(paths)? {
            if let Some(name) = name.filter(|n| *n != config.name) {
                bail!("{} holds the cluster {:?}, not {name:?}", paths.data.display(), config.name);
            }
            if let Some(port) = api_port.filter(|p| *p != config.api_port) {
                bail!(
                    "the cluster's API server is on port {}, and stays there; port {port} would need a new cluster",
                    config.api_port
                );
            }
            return Ok(config);
        }
        let name = name.unwrap_or(DEFAULT_NAME);
        if !timonier_meta::names::dns1123_label(name).is_empty() || name.len() > 32 {
            bail!(
                "{name:?} cannot name a cluster: use at most 32 lower case letters, digits and '-'"
            );
        }
        let config = Self::choose(name, api_port)?;
        files::create_private_dir(&paths.data)?;
        files::write_private(&paths.config(), &serde_json::to_vec_pretty(&config)?)?;
        Ok(config)
    }

    fn choose(name: &str, api_port: Option<u16>) -> Result<Self> {
        let (service_cidr, pod_cidr) = free_ranges(&used_routes()?)?;
        let node_ip = node_address();
        let api_port = match api_port {
            Some(port) => {
                check_port(port)?;
                port
            }
            None => free_port(6443)?,
        };
        let kubelet_port = free_port(10250)?;
        let hostname = nix::unistd::gethostname().ok().and_then(|h| h.into_string().ok());
        let host = hostname.unwrap_or_default().to_ascii_lowercase();
        let node_name =
            if !host.is_empty() && timonier_meta::names::dns1123_subdomain(&host).is_empty() {
                host
            } else {
                "node".to_owned()
            };
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
        })
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
        format!("https://127.0.0.1:{}", self.api_port)
    }
}

/// Fails with the reason if the port cannot be listened on.
pub fn check_port(port: u16) -> Result<()> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
        .map(drop)
        .with_context(|| format!("port {port} cannot be used"))
}

fn free_port(first: u16) -> Result<u16> {
    (first..first + 100)
        .find(|p| check_port(*p).is_ok())
        .with_context(|| format!("no free port from {first} to {}", first + 99))
}

/// The address that the host uses towards the outside; without a network, loopback.
fn node_address() -> Ipv4Addr {
    let probe = || -> std::io::Result<IpAddr> {
        // Connecting a datagram socket sends nothing; it asks the kernel for the route.
        let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        Ok(socket.local_addr()?.ip())
    };
    match probe() {
        Ok(IpAddr::V4(ip)) if !ip.is_unspecified() && !ip.is_loopback() => ip,
        _ => first_interface_address().unwrap_or(Ipv4Addr::LOCALHOST),
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
    fn settings_are_chosen_once() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths { data: dir.path().join("d") };
        let first = ClusterConfig::load_or_create(&paths, Some("a"), None).unwrap();
        assert_eq!(ClusterConfig::load_or_create(&paths, None, None).unwrap(), first);
        assert!(ClusterConfig::load_or_create(&paths, Some("b"), None).is_err());
        assert!(ClusterConfig::load_or_create(&paths, None, Some(first.api_port + 1)).is_err());
        assert!(
            ClusterConfig::load_or_create(&Paths { data: dir.path().join("e") }, Some("A b"), None)
                .is_err()
        );
    }
}
