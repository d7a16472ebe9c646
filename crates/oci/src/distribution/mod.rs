//! A registry: the server's side of OCI's distribution protocol, version 1.1.
//!
//! ```text
//! request ─► Route ─► access ─► blobs | uploads | manifests | lists ─► Storage (files)
//! ```
//!
//! Content is verified before it is visible, a repository serves only blobs that were pushed or
//! mounted into it, and a manifest is taken only when all it names is there.

mod answer;
mod blobs;
mod collect;
mod lists;
pub(crate) mod manifests;
pub(crate) mod route;
mod storage;
mod uploads;

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Request, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

pub use collect::Collected;

use crate::error::Result;
use answer::{Answer, Refusal};
use route::Route;
use storage::Storage;

/// What somebody wants to do with a repository.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Nothing yet: a client looks whether its credentials are good. There is no repository.
    Login,
    Pull,
    Push,
    Delete,
    /// List the repositories.
    Catalog,
}

/// What a registry thinks of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    Allow,
    /// There are no credentials, or they are wrong.
    Unauthenticated,
    /// It is known who asks, and they may not.
    Forbidden,
}

/// Decides by user and password (if any were sent), repository and action.
pub type AccessFn = Arc<dyn Fn(Option<(&str, &str)>, &str, Action) -> Decision + Send + Sync>;

/// How a registry behaves.
#[derive(Clone)]
pub struct RegistryConfig {
    /// Everybody may do everything if there is none.
    pub access: Option<AccessFn>,
    /// Bytes of the largest blob.
    pub blob_limit: u64,
    /// Connections at the same time; more wait.
    pub connections: usize,
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        RegistryConfig { access: None, blob_limit: 64 << 30, connections: 256, tls: None }
    }
}

/// A registry over a directory of its own. One process at a time.
#[derive(Clone)]
pub struct RegistryServer {
    storage: Arc<Storage>,
    config: RegistryConfig,
}

/// A client may take this long to send the head of a request.
const HEAD_LIMIT: Duration = Duration::from_secs(30);

impl RegistryServer {
    pub fn open(dir: &Path, config: RegistryConfig) -> Result<RegistryServer> {
        Ok(RegistryServer { storage: Arc::new(Storage::open(dir)?), config })
    }

    /// Serves until the future is dropped; connections then end with their requests.
    pub async fn serve(&self, listener: TcpListener) -> std::io::Result<()> {
        let places = Arc::new(Semaphore::new(self.config.connections));
        loop {
            let place = places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
            let tcp = match listener.accept().await {
                Ok((tcp, _)) => tcp,
                Err(e) => {
                    // Out of descriptors, mostly: it passes.
                    tracing::warn!("registry: accept: {e}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let _ = tcp.set_nodelay(true);
            let server = self.clone();
            tokio::spawn(async move {
                let _place = place;
                match server.config.tls.clone() {
                    None => server.converse(tcp).await,
                    Some(tls) => {
                        let accept = tokio_rustls::TlsAcceptor::from(tls).accept(tcp);
                        if let Ok(Ok(tls)) = tokio::time::timeout(HEAD_LIMIT, accept).await {
                            server.converse(tls).await;
                        }
                    }
                }
            });
        }
    }

    async fn converse<T>(&self, io: T)
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let service = hyper::service::service_fn(|request| async {
            Ok::<_, Infallible>(self.answer(request).await)
        });
        let result = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_LIMIT)
            .serve_connection(TokioIo::new(io), service)
            .await;
        if let Err(e) = result {
            tracing::debug!("registry connection: {e}");
        }
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Incoming>) -> Answer {
        match self.handle(request).await {
            Ok(answer) => answer,
            Err(refusal) => refusal.into_answer(),
        }
    }

    async fn handle(&self, request: Request<Incoming>) -> Result<Answer, Refusal> {
        let route = Route::parse(request.method(), request.uri().path())?;
        self.check_access(request.headers(), &route)?;
        match route {
            Route::Root => Ok(answer::json(http::StatusCode::OK, b"{}".to_vec())),
            Route::Catalog => self.catalog(&request).await,
            Route::Tags { repository } => self.tags(&repository, &request).await,
            Route::Referrers { repository, digest } => {
                self.referrers(&repository, &digest, &request).await
            }
            Route::Manifest { repository, name, .. } => {
                self.manifest(&repository, &name, request).await
            }
            Route::Blob { repository, digest, .. } => {
                self.blob(&repository, &digest, request).await
            }
            Route::StartUpload { repository } => self.start_upload(&repository, request).await,
            Route::Upload { repository, id } => self.upload(&repository, &id, request).await,
        }
    }

    fn check_access(&self, headers: &HeaderMap, route: &Route) -> Result<(), Refusal> {
        let Some(access) = &self.config.access else { return Ok(()) };
        let sent = credentials(headers);
        let who = sent.as_deref().and_then(|text| text.split_once(':'));
        match access(who, route.repository(), route.action()) {
            Decision::Allow => Ok(()),
            Decision::Unauthenticated => Err(Refusal::unauthorized()),
            Decision::Forbidden => {
                Err(Refusal::new(403, "DENIED", "requested access to the resource is denied"))
            }
        }
    }
}

/// `user:password` of a Basic header.
fn credentials(headers: &HeaderMap) -> Option<String> {
    let sent = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let bytes = STANDARD.decode(sent.strip_prefix("Basic ")?.trim()).ok()?;
    String::from_utf8(bytes).ok()
}
