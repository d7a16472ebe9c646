//! The cluster's DNS server: names of the cluster from the watch cache, all others from the
//! host's resolvers.
//!
//! ```text
//! Caches ──► Index (timonier_traffic) ◄── Handler ──► Forwarder ──► resolvers of resolv.conf
//!                                            ▲
//!                              UDP and TCP sockets on the cluster's DNS address
//! ```
//!
//! The address belongs to the node itself (`timonier_network` holds it on an interface), so that
//! pods, pods on the host's network and the node reach the server of their own node. Beside it the
//! node answers at the first address of its pod range, which the endpoints of `kube-dns` name.

mod feed;
mod forward;
mod handler;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use hickory_server::Server;
use timonier_client::cache::Caches;
use timonier_traffic::Cidr;
use timonier_traffic::dns::{Index, Zone};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

use forward::Forwarder;
use handler::Handler;

/// A TCP client that asks nothing for so long is dismissed.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Answers that wait for a slow TCP client, at most.
const TCP_ANSWERS: usize = 128;

/// The settings of the server.
#[derive(Clone, Debug)]
pub struct DnsConfig {
    /// The cluster's DNS address.
    pub address: IpAddr,
    /// A further address of the node, by which other nodes reach this very server.
    pub own_address: Option<IpAddr>,
    /// 53; tests take 0 for any.
    pub port: u16,
    /// For example `cluster.local`.
    pub domain: String,
    /// Seconds that clients may keep an answer; 5 is the default of upstream's plug-in.
    pub ttl: u32,
    /// The host's resolver configuration.
    pub resolv_conf: PathBuf,
    /// Who is answered beside the machine itself: pods, nodes, Services.
    pub clients: Vec<Cidr>,
}

impl DnsConfig {
    /// The usual settings.
    pub fn new(address: IpAddr, domain: impl Into<String>) -> DnsConfig {
        let resolv_conf = "/etc/resolv.conf".into();
        DnsConfig {
            address,
            own_address: None,
            port: 53,
            domain: domain.into(),
            ttl: 5,
            resolv_conf,
            clients: Vec::new(),
        }
    }
}

/// The names of the cluster, as far as they are known.
pub struct Names {
    index: RwLock<Index>,
    ready: AtomicBool,
}

impl Names {
    fn new(config: &DnsConfig) -> Names {
        let zone = Zone {
            domain: config.domain.to_ascii_lowercase().into(),
            server: config.address,
            ttl: config.ttl,
        };
        Names { index: RwLock::new(Index::new(zone)), ready: AtomicBool::new(false) }
    }

    /// A change of the index is a single call, so a holder that panicked left it usable.
    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Whether the cluster's names were listed once. Before, questions for them fail.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
}

/// Opens the sockets of one address; port 0 becomes the same one for both.
async fn open(wanted: SocketAddr) -> io::Result<(UdpSocket, TcpListener, SocketAddr)> {
    let explain = |e: io::Error| {
        let (address, port) = (wanted.ip(), wanted.port());
        io::Error::new(e.kind(), format!("cluster DNS on {address} port {port}: {e}"))
    };
    let udp = UdpSocket::bind(wanted).await.map_err(explain)?;
    let address = udp.local_addr().map_err(explain)?;
    let tcp = TcpListener::bind(address).await.map_err(explain)?;
    Ok((udp, tcp, address))
}

/// The answer to one message, as the server makes it before it has seen anything of the cluster;
/// gives how many records it has, and `None` where the message cannot be read.
pub(crate) async fn answer(config: DnsConfig, message: &[u8], from: SocketAddr) -> Option<usize> {
    let names = Arc::new(Names::new(&config));
    names.ready.store(true, Ordering::Release);
    let nowhere = std::path::PathBuf::from("/nonexistent");
    let handler = Handler::new(names, Forwarder::new(nowhere, config.address), config.clients);
    let protocol = hickory_server::net::xfer::Protocol::Udp;
    let request = hickory_server::server::Request::from_bytes(message.to_vec(), from, protocol);
    Some(handler.records(&request.ok()?).await)
}

/// A server whose sockets are open.
pub struct DnsServer {
    names: Arc<Names>,
    server: Server<Handler>,
    address: SocketAddr,
}

impl DnsServer {
    /// Opens the sockets. Fails where the address is not the node's or the port is taken.
    pub async fn bind(config: &DnsConfig) -> io::Result<DnsServer> {
        let (udp, tcp, address) = open(SocketAddr::new(config.address, config.port)).await?;
        let names = Arc::new(Names::new(config));
        let forwarder = Forwarder::new(config.resolv_conf.clone(), config.address);
        let mut clients = config.clients.clone();
        clients.extend([config.address].into_iter().chain(config.own_address).map(Cidr::host));
        let mut server = Server::new(Handler::new(names.clone(), forwarder, clients));
        server.register_socket(udp);
        server.register_listener(tcp, TCP_IDLE, TCP_ANSWERS);
        if let Some(own) = config.own_address {
            let (udp, tcp, _) = open(SocketAddr::new(own, config.port)).await?;
            server.register_socket(udp);
            server.register_listener(tcp, TCP_IDLE, TCP_ANSWERS);
        }
        Ok(DnsServer { names, server, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it knows.
    pub fn names(&self) -> Arc<Names> {
        self.names.clone()
    }

    /// Follows the caches and answers until `stop`.
    pub async fn run(mut self, caches: Arc<Caches>, stop: CancellationToken) {
        tokio::select! {
            () = feed::run(&caches, &self.names) => {}
            () = stop.cancelled() => {}
            ended = self.server.block_until_done() => {
                tracing::error!(result = ?ended, "the DNS server's sockets are gone");
            }
        }
    }
}
