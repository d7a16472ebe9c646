//! Listening: TLS, HTTP/1.1 and HTTP/2, and an orderly end.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use timonier_policy::User;
use timonier_trust::{certificates, roots};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::auth::x509;
use crate::config::{Error, ServingTls};
use crate::handle::handle;
use crate::limits::Room;
use crate::server::ApiServer;

/// A client has this long for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 8192;
/// Connections of one address; more are closed at once, so that others find room.
const MAX_OF_ONE: usize = 2048;
/// Open requests have this long to end when the server goes down.
const DRAIN: Duration = Duration::from_secs(5);

impl ApiServer {
    /// Shows another certificate from now on; connections stay. One that cannot be used is an
    /// error, and the one before stays.
    pub fn set_serving_tls(&self, tls: &ServingTls) -> Result<(), Error> {
        let acceptor = TlsAcceptor::from(Arc::new(server_config(tls).map_err(Error::Tls)?));
        *self.serving.write().unwrap_or_else(PoisonError::into_inner) = Some(acceptor);
        Ok(())
    }

    /// Serves HTTPS until [`ApiServer::shutdown`], then ends open requests in order. Returns when
    /// the last connection is closed or a few seconds are over.
    pub async fn serve(
        self: &Arc<Self>,
        listener: TcpListener,
        tls: &ServingTls,
    ) -> Result<(), Error> {
        self.set_serving_tls(tls)?;
        let graceful = GracefulShutdown::new();
        let mut stopping = self.stopping();
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let peers = Room::new(MAX_CONNECTIONS, MAX_OF_ONE);
        loop {
            let Ok(place) = room.clone().acquire_owned().await else { break };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopping.wait_for(|stop| *stop) => break,
            };
            let (stream, peer) = match accepted {
                Ok((stream, from)) => (stream, peers.enter(from.ip())),
                Err(error) => {
                    // Out of file descriptors, mostly: others will be closed.
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Ok(peer) = peer else { continue };
            let _ = stream.set_nodelay(true);
            let watcher = graceful.watcher();
            let serving = self.serving.read().unwrap_or_else(PoisonError::into_inner).clone();
            let Some(acceptor) = serving else { break };
            let server = self.clone();
            tokio::spawn(async move {
                let _places = (place, peer);
                let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await
                else {
                    return;
                };
                let peer = peer_user(&stream);
                let service = service(server, peer);
                let builder = builder();
                let connection =
                    builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
                if let Err(error) = watcher.watch(connection).await {
                    tracing::debug!(error, "connection");
                }
            });
        }
        drop(listener);
        let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
        Ok(())
    }

    /// Serves one connection that is a byte stream already, without TLS, for `peer`: tests and
    /// local sockets.
    pub async fn serve_stream<S>(self: &Arc<Self>, stream: S, peer: Option<User>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service(self.clone(), peer);
        let builder = builder();
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        if let Err(error) = connection.await {
            tracing::debug!(error, "connection");
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(hyper_util::rt::TokioTimer::new())
        .header_read_timeout(Duration::from_secs(180));
    builder
        .http2()
        .timer(hyper_util::rt::TokioTimer::new())
        .max_concurrent_streams(250)
        .keep_alive_interval(Duration::from_secs(30));
    builder
}

fn service(
    server: Arc<ApiServer>,
    peer: Option<User>,
) -> impl hyper::service::Service<
    http::Request<Incoming>,
    Response = http::Response<crate::http::respond::Body>,
    Error = std::convert::Infallible,
    Future: Send + 'static,
> {
    let peer = peer.map(Arc::new);
    service_fn(move |request| {
        let (server, peer) = (server.clone(), peer.clone());
        async move { Ok(handle(&server, peer.as_deref(), request).await) }
    })
}

fn peer_user<S>(stream: &tokio_rustls::server::TlsStream<S>) -> Option<User> {
    x509::user(stream.get_ref().1.peer_certificates()?.first()?)
}

fn server_config(tls: &ServingTls) -> Result<ServerConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificates = certificates(&tls.certificate_pem)?;
    let key = PrivateKeyDer::from_pem_slice(&tls.key_pem).map_err(|e| format!("key: {e}"))?;
    let roots = roots(&tls.client_ca_pem)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| format!("client CA: {e}"))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates, key)
        .map_err(|e| e.to_string())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
