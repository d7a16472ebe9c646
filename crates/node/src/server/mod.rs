//! The node's HTTPS server: logs, exec, attach and port-forward for the API server, and figures.
//!
//! ```text
//! TLS with a client certificate ─► who is it ─► route ─┬─ logs ─► files (rotated ones too)
//!                                                      ├─ exec, attach ─► SPDY | WebSocket ⇄ runtime
//!                                                      ├─ portForward ─► SPDY | WebSocket ⇄ pod
//!                                                      └─ pods, figures
//! ```
//!
//! It knows pods only through [`Lookup`] and containers only through the runtime.

mod answer;
mod figures;
mod handlers;
mod logs;
mod lookup;
mod query;
pub(crate) mod spdy;
mod stream;
mod tls;
pub(crate) mod websocket;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use timonier_meta::Environment;
use timonier_runtime::Runtime;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use figures::Figures;

pub use lookup::{KnownContainer, KnownPod, LogSource, Lookup, LookupError};
pub use tls::{Identity, ServerTls, TlsError};

/// Connections at one time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the server is told at its start.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    pub node_name: String,
    pub tls: ServerTls,
    /// Common names and organizations of certificates that may use the server; every other
    /// certificate of the cluster's authority is refused, because whoever reaches this server can
    /// run commands in every pod.
    pub allowed_users: Vec<String>,
    pub allowed_groups: Vec<String>,
}

impl ServerConfig {
    /// Serves the API server and administrators.
    pub fn new(node_name: impl Into<String>, tls: ServerTls) -> Self {
        Self {
            node_name: node_name.into(),
            tls,
            allowed_users: vec!["kube-apiserver-kubelet-client".into()],
            allowed_groups: vec!["system:masters".into()],
        }
    }

    fn allows(&self, who: &Identity) -> bool {
        self.allowed_users.contains(&who.user)
            || who.groups.iter().any(|g| self.allowed_groups.contains(g))
    }
}

/// The server. Cheap to clone.
#[derive(Clone)]
pub struct NodeServer {
    shared: Arc<Shared>,
}

struct Shared {
    config: ServerConfig,
    acceptor: RwLock<TlsAcceptor>,
    lookup: Arc<dyn Lookup>,
    runtime: Arc<dyn Runtime>,
    env: Arc<dyn Environment>,
    figures: Figures,
}

impl NodeServer {
    /// Prepares a server; a certificate or key that cannot be used is an error.
    pub fn new(
        config: ServerConfig,
        lookup: Arc<dyn Lookup>,
        runtime: Arc<dyn Runtime>,
        env: Arc<dyn Environment>,
    ) -> Result<Self, TlsError> {
        let acceptor = RwLock::new(TlsAcceptor::from(tls::configure(&config.tls)?));
        let name = config.node_name.clone();
        let figures = Figures::new(name, lookup.clone(), runtime.clone(), env.clone());
        let shared = Shared { config, acceptor, lookup, runtime, env, figures };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Shows another certificate from now on; connections stay. One that cannot be used is an
    /// error, and the one before stays.
    pub fn set_tls(&self, tls: &ServerTls) -> Result<(), TlsError> {
        let acceptor = TlsAcceptor::from(tls::configure(tls)?);
        *self.shared.acceptor.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
        Ok(())
    }

    /// Serves until it is dropped.
    pub async fn serve(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = self.clone();
                    tokio::spawn(async move {
                        server.connection(stream).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: others must end first.
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let acceptor = self.shared.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone();
        let handshake = acceptor.accept(stream);
        let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake"),
            Err(_) => return,
        };
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let who = certificates.first().map(tls::identity).unwrap_or_default();
        let service = service_fn(|request| {
            let (server, who) = (self.clone(), who.clone());
            async move { Ok::<_, std::convert::Infallible>(server.answer(request, &who).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(hyper_util::rt::TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection");
        }
    }
}
