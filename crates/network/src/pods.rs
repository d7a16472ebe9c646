//! Pod namespaces: made, found again, removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use timonier_traffic::{Cidr, Protocol};

use crate::error::Context;
use crate::netlink::Socket;
use crate::route::{self, Mac, Path, Veth};
use crate::{Error, NetworkConfig, Result, host, netns, pod_rules, record};

/// The hardware address of the host's end of every pod's interface. The link has two ends, so it
/// need not be unique.
const HOST_MAC: Mac = [0xee; 6];
/// The interface's name inside the pod.
const POD_INTERFACE: &str = "eth0";

/// A port of the host that leads to a pod.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct HostPort {
    /// The host's address; unspecified (0.0.0.0) for all.
    pub host_ip: Ipv4Addr,
    pub protocol: Protocol,
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
#[derive(Clone)]
pub struct PodNetwork {
    inner: Arc<Inner>,
}

struct Inner {
    config: NetworkConfig,
    /// The host's namespace.
    host: fs::File,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pods: BTreeMap<String, PodNet>,
    /// Pods that a thread is working on.
    busy: BTreeSet<String>,
    /// Addresses in use, as offsets into the node's range.
    used: BTreeSet<u32>,
    /// The offset given last. Addresses go round, so that one is not used again at once.
    last: u32,
}

impl PodNetwork {
    /// Prepares the host (forwarding, routes, packet rules) and finds the pods of before a
    /// restart again. What a crash left half-made is removed, and so is what a reboot left of
    /// pods. Needs root.
    pub async fn open(config: NetworkConfig) -> Result<PodNetwork> {
        config.check()?;
        let host = fs::File::open("/proc/thread-self/ns/net")
            .what(|| "open the host's namespace".into())?;
        let inner = Arc::new(Inner { config, host, state: Mutex::default() });
        let shared = inner.clone();
        netns::on_thread("open", move || shared.recover()).await?;
        Ok(PodNetwork { inner })
    }

    /// The configuration it was opened with.
    pub fn config(&self) -> &NetworkConfig {
        &self.inner.config
    }

    /// Gives a pod its namespace, interface and address, in about a millisecond. A pod that has
    /// them keeps them.
    pub async fn attach(&self, request: PodRequest) -> Result<PodNet> {
        let inner = self.inner.clone();
        netns::on_thread("attach", move || inner.attach(&request)).await
    }

    /// Takes a pod's network away. No error where there is none.
    pub async fn detach(&self, uid: &str) -> Result<()> {
        let (inner, uid) = (self.inner.clone(), uid.to_owned());
        netns::on_thread("detach", move || inner.detach(&uid)).await
    }

    /// Puts the host's part right where other programs have changed it: forwarding, the gateway's
    /// interface, addresses and route, the packet rules of pods. Changes nothing where all is as
    /// it should be.
    pub async fn repair(&self) -> Result<()> {
        let inner = self.inner.clone();
        netns::on_thread("repair", move || inner.repair()).await
    }

    /// The pods that have a namespace, by uid.
    pub fn list(&self) -> Vec<PodNet> {
        self.inner.lock().pods.values().cloned().collect()
    }

    /// Whether a pod has a namespace.
    pub fn has(&self, uid: &str) -> bool {
        self.inner.lock().pods.contains_key(uid)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn recover(&self) -> Result<()> {
        let config = &self.config;
        for directory in [record::directory(&config.state_dir), config.state_dir.join("netns")] {
            fs::create_dir_all(&directory).what(|| format!("create {}", directory.display()))?;
        }
        let mut socket = Socket::route().what(|| "netlink socket".into())?;
        host::prepare(&mut socket, config)?;

        let links = route::links(&mut socket).what(|| "list interfaces".into())?;
        let mut alive = BTreeMap::new();
        let records = record::read_all(&config.state_dir).what(|| "read address records".into())?;
        for (pod, complete) in records {
            if !complete || !netns::is_live(&pod.netns_path) {
                remove(&mut socket, config, &pod)?;
                continue;
            }
            match links.iter().find(|link| link.name == pod.interface) {
                Some(link) => from_loopback(&mut socket, link.index, &pod)?,
                None => wire_again(config, &pod)?,
            }
            alive.insert(pod.uid.clone(), pod);
        }
        for link in links.iter().filter(|l| is_pod_interface(config, &l.name)) {
            if !alive.values().any(|pod: &PodNet| pod.interface == link.name) {
                route::delete_link(&mut socket, &link.name)
                    .what(|| format!("delete interface {}", link.name))?;
            }
        }
        for (uid, path) in namespaces(config)? {
            if !alive.contains_key(&uid) {
                netns::remove(&path).what(|| format!("remove {}", path.display()))?;
            }
        }
        let mut netfilter = Socket::netfilter().what(|| "netlink socket".into())?;
        let pods: Vec<PodNet> = alive.values().cloned().collect();
        pod_rules::load(&mut netfilter, config, &pods)?;

        let mut state = self.lock();
        state.used =
            pods.iter().filter_map(|pod| offset_of(config.node_pod_cidr, pod.ip)).collect();
        state.last = state.used.last().copied().unwrap_or(0);
        state.pods = alive;
        Ok(())
    }

    fn repair(&self) -> Result<()> {
        let mut socket = Socket::route().what(|| "netlink socket".into())?;
        host::prepare(&mut socket, &self.config)?;
        let mut netfilter = Socket::netfilter().what(|| "netlink socket".into())?;
        let table = &self.config.table;
        let chains = crate::nft::chains(&mut netfilter, table)
            .what(|| format!("list the chains of {table}"))?;
        // Held meanwhile, so that no pod comes or goes unnoticed.
        let state = self.lock();
        // The routes go with the gateway's address, which is their source.
        let routes = route::routes(&mut socket).what(|| "list routes".into())?;
        let lost = |pod: &&PodNet| !routes.iter().any(|r| r.destination == Cidr::host(pod.ip));
        for pod in state.pods.values().filter(lost) {
            tracing::warn!(pod = %pod.uid, "the route to a pod is gone; making it again");
            route_to(&mut socket, &self.config, pod)?;
        }
        if chains.is_empty() {
            tracing::warn!(%table, "the packet rules of pods are gone; making them again");
            let pods: Vec<PodNet> = state.pods.values().cloned().collect();
            pod_rules::load(&mut netfilter, &self.config, &pods)?;
        }
        Ok(())
    }

    fn attach(&self, request: &PodRequest) -> Result<PodNet> {
        check_uid(&request.uid)?;
        let (pod, offset) = {
            let mut state = self.lock();
            if let Some(pod) = state.pods.get(&request.uid) {
                return Ok(pod.clone());
            }
            let pod = self.reserve(&mut state, request)?;
            (pod, state.last)
        };
        let config = &self.config;
        let done = make(config, &pod);
        let mut state = self.lock();
        state.busy.remove(&pod.uid);
        match done {
            Ok(()) => {
                state.pods.insert(pod.uid.clone(), pod.clone());
                Ok(pod)
            }
            Err(error) => {
                state.used.remove(&offset);
                drop(state);
                // The error that matters is the first.
                if let Err(e) = self.remove_after_failure(&pod) {
                    tracing::warn!(pod = %pod.uid, error = %e, "cannot clean up after a failed attach");
                }
                Err(error)
            }
        }
    }

    /// The thread of a failed attach may be in the pod's namespace already.
    fn remove_after_failure(&self, pod: &PodNet) -> Result<()> {
        netns::enter_file(&self.host).what(|| "enter the host's namespace".into())?;
        let mut socket = Socket::route().what(|| "netlink socket".into())?;
        remove(&mut socket, &self.config, pod)
    }

    /// Takes an address and notes that the pod is in the making.
    fn reserve(&self, state: &mut State, request: &PodRequest) -> Result<PodNet> {
        let config = &self.config;
        if state.busy.contains(&request.uid) {
            return Err(Error::Busy(request.uid.clone()));
        }
        for port in &request.host_ports {
            let taken = |other: &HostPort| {
                other.protocol == port.protocol
                    && other.host_port == port.host_port
                    && (other.host_ip == port.host_ip
                        || other.host_ip.is_unspecified()
                        || port.host_ip.is_unspecified())
            };
            if state.pods.values().flat_map(|p| &p.host_ports).any(taken) {
                return Err(Error::PortTaken(format!(
                    "{}/{}",
                    port.host_port,
                    port.protocol.lower()
                )));
            }
        }
        let offset = next_offset(config.node_pod_cidr, &state.used, state.last)
            .ok_or(Error::Exhausted(config.node_pod_cidr))?;
        let ip = config.node_pod_cidr.nth(offset).ok_or(Error::Exhausted(config.node_pod_cidr))?;
        state.used.insert(offset);
        state.last = offset;
        state.busy.insert(request.uid.clone());
        Ok(PodNet {
            uid: request.uid.clone(),
            netns_path: record::namespace(&config.state_dir, &request.uid),
            ip,
            interface: format!("{}{offset:04x}", config.interface_prefix),
            host_ports: request.host_ports.clone(),
        })
    }

    fn detach(&self, uid: &str) -> Result<()> {
        let pod = {
            let mut state = self.lock();
            if state.busy.contains(uid) {
                return Err(Error::Busy(uid.to_owned()));
            }
            let Some(pod) = state.pods.remove(uid) else { return Ok(()) };
            state.busy.insert(uid.to_owned());
            pod
        };
        let done = Socket::route()
            .what(|| "netlink socket".into())
            .and_then(|mut socket| remove(&mut socket, &self.config, &pod));
        let mut state = self.lock();
        state.busy.remove(uid);
        match done {
            Ok(()) => {
                if let Some(offset) = offset_of(self.config.node_pod_cidr, pod.ip) {
                    state.used.remove(&offset);
                }
                Ok(())
            }
            Err(error) => {
                state.pods.insert(uid.to_owned(), pod);
                Err(error)
            }
        }
    }
}

/// Removes everything of a cluster; see [`crate::teardown_all`].
pub(crate) fn teardown(config: &NetworkConfig) -> Result<()> {
    let mut socket = Socket::route().what(|| "netlink socket".into())?;
    let links = route::links(&mut socket).what(|| "list interfaces".into())?;
    let others = [host::interface(config), crate::overlay::interface(config)];
    let doomed: Vec<&route::Link> = links
        .iter()
        .filter(|l| is_pod_interface(config, &l.name) || others.contains(&l.name))
        .collect();
    route::delete_links(&mut socket, &doomed).what(|| "delete interfaces".into())?;
    for (_, path) in namespaces(config)? {
        netns::remove(&path).what(|| format!("remove {}", path.display()))?;
    }
    for directory in [record::directory(&config.state_dir), config.state_dir.join("netns")] {
        match fs::remove_dir_all(&directory) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(e).what(|| format!("remove {}", directory.display()));
            }
            _ => {}
        }
    }
    // Only where it is empty: the caller may keep other things there.
    let _ = fs::remove_dir(&config.state_dir);
    let mut netfilter = Socket::netfilter().what(|| "netlink socket".into())?;
    for table in [config.table.clone(), crate::services::table_name(config)] {
        let mut batch = crate::nft::Batch::new(&table);
        batch.add_table();
        batch.delete_table();
        batch.commit(&mut netfilter)?;
    }
    host::restore(config)?;
    crate::conntrack::flush_addresses(|a| {
        config.service_cidr.contains(a.into()) || config.node_pod_cidr.contains(a.into())
    })
    .map(drop)
}

/// Makes a namespace with its interface. The calling thread stays in the namespace.
fn make(config: &NetworkConfig, pod: &PodNet) -> Result<()> {
    let mut socket = Socket::route().what(|| "netlink socket".into())?;
    let mut netfilter = match pod.host_ports.is_empty() {
        true => None,
        false => Some(Socket::netfilter().what(|| "netlink socket".into())?),
    };
    record::begin(&config.state_dir, pod).what(|| format!("record pod {}", pod.uid))?;
    let namespace = netns::create(&pod.netns_path)
        .what(|| format!("create namespace {}", pod.netns_path.display()))?;
    netns::allow_unprivileged().what(|| format!("set up the namespace of pod {}", pod.uid))?;
    wire(&mut socket, config, pod, &namespace)?;
    if let Some(netfilter) = &mut netfilter {
        pod_rules::add(netfilter, config, pod)?;
    }
    record::finish(&config.state_dir, &pod.uid).what(|| format!("record pod {}", pod.uid))
}

/// Gives a pod that lost its interface a new one.
fn wire_again(config: &NetworkConfig, pod: &PodNet) -> Result<()> {
    tracing::warn!(pod = %pod.uid, interface = %pod.interface, "the pod's interface is gone; making it again");
    std::thread::scope(|scope| {
        let work = || {
            let mut socket = Socket::route().what(|| "netlink socket".into())?;
            let file = fs::File::open(&pod.netns_path).what(|| "open namespace".into())?;
            netns::enter(&pod.netns_path).what(|| "enter namespace".into())?;
            wire(&mut socket, config, pod, &file)
        };
        let panicked = || Err(Error::Protocol("the thread panicked".into()));
        scope.spawn(work).join().unwrap_or_else(|_| panicked())
    })
}

/// Connects host and pod. `socket` serves the host's namespace, the thread is in the pod's.
fn wire(
    socket: &mut Socket,
    config: &NetworkConfig,
    pod: &PodNet,
    namespace: &fs::File,
) -> Result<()> {
    let IpAddr::V4(ip) = pod.ip else {
        return Err(Error::Config(format!("{} is no IPv4 address", pod.ip)));
    };
    let octets = ip.octets();
    let mac: Mac = [0x0a, 0x58, octets[0], octets[1], octets[2], octets[3]];
    let veth = Veth {
        name: &pod.interface,
        mac: HOST_MAC,
        peer_name: POD_INTERFACE,
        peer_mac: mac,
        peer_namespace: Some(namespace.as_fd()),
        mtu: config.mtu,
    };
    route::add_veth(socket, &veth).what(|| format!("create interface {}", pod.interface))?;
    let what_inside = || format!("set up the interface of pod {}", pod.uid);
    let (mut inner, inner_link) = inside(config, ip).what(what_inside)?;

    let what = || format!("set up interface {}", pod.interface);
    let link = route::link_index(socket, &pod.interface).what(what)?;
    from_loopback(socket, link, pod)?;
    route::set_up(socket, link, true).what(what)?;
    route::set_neighbour(socket, link, ip, mac).what(what)?;
    route_to(socket, config, pod)?;
    route::wait_until_running(&mut inner, inner_link).what(what_inside)
}

/// Opens the way from 127.0.0.1 of the host to the host ports of a pod: without it the kernel lets
/// nothing of the loopback range leave. The packet rules keep the pod from using it by itself.
fn from_loopback(socket: &mut Socket, link: u32, pod: &PodNet) -> Result<()> {
    if pod.host_ports.is_empty() {
        return Ok(());
    }
    route::allow_loopback(socket, link).what(|| format!("set up interface {}", pod.interface))
}

/// Makes the host's route to a pod.
fn route_to(socket: &mut Socket, config: &NetworkConfig, pod: &PodNet) -> Result<()> {
    let what = || format!("add the route to pod {}", pod.uid);
    let link = route::link_index(socket, &pod.interface).what(what)?;
    let path = Path { link, gateway: None, source: Some(config.gateway()) };
    route::replace_route(socket, Cidr::host(pod.ip), &path).what(what)
}

/// The pod's own view: loopback, address, and everything by way of the gateway, whose hardware
/// address is given so that nothing needs to be asked for.
fn inside(config: &NetworkConfig, ip: Ipv4Addr) -> io::Result<(Socket, u32)> {
    let mut socket = Socket::route()?;
    let gateway = config.gateway();
    route::set_up(&mut socket, route::link_by_name("lo")?, false)?;
    let link = route::link_by_name(POD_INTERFACE)?;
    route::add_address(&mut socket, link, ip, 32)?;
    route::set_up(&mut socket, link, false)?;
    route::set_neighbour(&mut socket, link, gateway, HOST_MAC)?;
    let direct = Path { link, gateway: None, source: None };
    route::add_route(&mut socket, Cidr::host(gateway.into()), &direct)?;
    let everything = Cidr::new(Ipv4Addr::UNSPECIFIED.into(), 0).expect("a range");
    route::add_route(&mut socket, everything, &Path { gateway: Some(gateway), ..direct })?;
    Ok((socket, link))
}

/// Removes what there is of a pod, as far as it came.
fn remove(socket: &mut Socket, config: &NetworkConfig, pod: &PodNet) -> Result<()> {
    if !pod.host_ports.is_empty() {
        let mut netfilter = Socket::netfilter().what(|| "netlink socket".into())?;
        match pod_rules::remove(&mut netfilter, config, pod) {
            // Never added, or the table is gone.
            Err(Error::Io { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => {}
            other => other?,
        }
    }
    route::delete_link(socket, &pod.interface)
        .what(|| format!("delete interface {}", pod.interface))?;
    netns::remove(&pod.netns_path).what(|| format!("remove {}", pod.netns_path.display()))?;
    record::remove(&config.state_dir, &pod.uid).what(|| format!("forget pod {}", pod.uid))
}

/// Names and paths of the namespace files.
fn namespaces(config: &NetworkConfig) -> Result<Vec<(String, PathBuf)>> {
    let directory = config.state_dir.join("netns");
    let entries = match fs::read_dir(&directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.what(|| format!("read {}", directory.display()))?,
    };
    let named = |e: io::Result<fs::DirEntry>| {
        let e = e.ok()?;
        Some((e.file_name().into_string().ok()?, e.path()))
    };
    Ok(entries.filter_map(named).collect())
}

/// The prefix and four hexadecimal digits, and nothing else: another cluster's prefix may begin
/// with this one's.
fn is_pod_interface(config: &NetworkConfig, name: &str) -> bool {
    let digits = name.strip_prefix(config.interface_prefix.as_str());
    digits.is_some_and(|d| d.len() == 4 && d.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn offset_of(range: Cidr, ip: IpAddr) -> Option<u32> {
    match (range.network(), ip) {
        (IpAddr::V4(first), IpAddr::V4(ip)) if range.contains(ip.into()) => {
            Some(ip.to_bits() - first.to_bits())
        }
        _ => None,
    }
}

/// The next free offset after `last`, going round. The first address is the network's, the second
/// the gateway's, the last is left for broadcast.
fn next_offset(range: Cidr, used: &BTreeSet<u32>, last: u32) -> Option<u32> {
    let end = offset_of(range, range.last())?;
    let free = |offset: &u32| !used.contains(offset);
    (last.saturating_add(1).max(2)..end).find(free).or_else(|| (2..end).find(free))
}

/// A uid is a file name.
fn check_uid(uid: &str) -> Result<()> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if uid.is_empty() || uid.len() > 128 || !uid.bytes().all(fine) {
        return Err(Error::Config(format!("{uid:?} cannot be a pod's uid")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_round_and_end() {
        let range = Cidr::parse("10.0.0.0/29").unwrap();
        let mut used = BTreeSet::new();
        let mut last = 0;
        for expected in [2, 3, 4, 5, 6] {
            last = next_offset(range, &used, last).unwrap();
            assert_eq!(last, expected);
            used.insert(last);
        }
        assert_eq!(next_offset(range, &used, last), None);
        used.remove(&3);
        used.remove(&5);
        assert_eq!(next_offset(range, &used, 4), Some(5));
        assert_eq!(next_offset(range, &used, 6), Some(3));
    }

    #[test]
    fn a_uid_that_leaves_the_directory_is_refused() {
        for bad in ["", "..", "a/b", "a.b", "a\0b"] {
            assert!(check_uid(bad).is_err(), "{bad:?}");
        }
        assert!(check_uid("0b8f4d9e-1c2d-4a5b-9e8f-001122334455").is_ok());
    }
}
