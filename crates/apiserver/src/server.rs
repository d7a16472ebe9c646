//! The API server's state, shared by every request.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use timonier_client::Client;
use timonier_meta::{ApiError, Environment, GroupVersionResource};
use timonier_object::Value;
use timonier_policy::conditions::MatchConditions;
use timonier_policy::validating::Policy;
use timonier_policy::{Authorizer, Builtin, User};
use timonier_schema::Catalogue;
use timonier_store::Store;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::admission::policies::cache::Cache;
use crate::aggregation::{self, Aggregator};
use crate::auth::token::TokenKey;
use crate::bootstrap;
use crate::client::InProcess;
use crate::config::{Config, Error, KubeletTls};
use crate::extensions::Extensions;
use crate::limits::Limits;
use crate::network::{self, Network};
use crate::objects::Objects;
use crate::proxy::kubelet::KubeletDialer;
use crate::storage;

/// An API server over a store. Requests reach it over HTTP ([`ApiServer::serve`]) or in process
/// ([`ApiServer::client`]); both go the same way.
pub struct ApiServer {
    pub(crate) config: Config,
    pub(crate) store: Store,
    catalogue: RwLock<Arc<Catalogue>>,
    pub(crate) env: Arc<dyn Environment>,
    pub(crate) token_key: TokenKey,
    /// Who may do what, nodes aside.
    pub(crate) policy: Box<dyn Authorizer>,
    pub(crate) objects: Objects,
    pub(crate) policies: Cache<Policy>,
    pub(crate) conditions: Cache<MatchConditions>,
    pub(crate) network: Network,
    pub(crate) kubelets: Option<KubeletDialer>,
    pub(crate) aggregator: Aggregator,
    /// The serving side of TLS, while it serves.
    pub(crate) serving: RwLock<Option<TlsAcceptor>>,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
    stop: watch::Sender<bool>,
    rows_changed: watch::Sender<u64>,
}

/// What `/metrics` counts.
#[derive(Default)]
pub(crate) struct Metrics {
    pub requests: AtomicU64,
    pub errors: AtomicU64,
    pub in_flight: AtomicI64,
    pub watches: AtomicI64,
}

/// Counts one up while it lives.
pub(crate) struct Gauge<'a>(&'a AtomicI64);

impl<'a> Gauge<'a> {
    pub fn enter(counter: &'a AtomicI64) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Gauge(counter)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ApiServer {
    /// Opens an API server: makes the first namespaces, priority classes and the Service
    /// `kubernetes` where they are missing. The store must have been opened with
    /// [`storage::stamp`] as its stamp.
    pub async fn new(
        config: Config,
        store: Store,
        catalogue: Arc<Catalogue>,
        env: Arc<dyn Environment>,
    ) -> Result<Arc<Self>, Error> {
        let token_key =
            TokenKey::from_pem(&config.service_account_key_pem).map_err(Error::Config)?;
        let network = Network::new(&config).map_err(Error::Config)?;
        let kubelets = match &config.kubelet {
            Some(tls) => Some(KubeletDialer::new(tls).map_err(Error::Tls)?),
            None => None,
        };
        let aggregator = Aggregator::new(config.front_proxy.as_ref()).map_err(Error::Tls)?;
        let server = Arc::new(ApiServer {
            token_key,
            aggregator,
            network,
            kubelets,
            serving: RwLock::new(None),
            config,
            store,
            catalogue: RwLock::new(catalogue),
            env,
            policy: Box::new(Builtin),
            objects: Objects::default(),
            policies: Cache::default(),
            conditions: Cache::default(),
            metrics: Metrics::default(),
            limits: Limits::default(),
            stop: watch::Sender::new(false),
            rows_changed: watch::Sender::new(0),
        });
        let extensions = Extensions::load(&server);
        bootstrap::run(&server).await.map_err(Error::Bootstrap)?;
        tokio::spawn(extensions.follow(Arc::downgrade(&server)));
        tokio::spawn(network::keep(Arc::downgrade(&server)));
        tokio::spawn(aggregation::follow(Arc::downgrade(&server)));
        Ok(server)
    }

    /// A client that reaches this server without HTTP, as `identity`.
    pub fn client(self: &Arc<Self>, identity: User) -> Arc<dyn Client> {
        Arc::new(InProcess::new(self.clone(), identity))
    }

    /// Shows another certificate to kubelets from now on.
    pub fn set_kubelet_tls(&self, tls: &KubeletTls) -> Result<(), Error> {
        self.kubelets.as_ref().map_or(Ok(()), |dialer| dialer.set(tls)).map_err(Error::Tls)
    }

    /// The rows served at the moment.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.catalogue.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves other rows from now on.
    pub fn set_catalogue(&self, catalogue: Arc<Catalogue>) {
        *self.catalogue.write().unwrap_or_else(PoisonError::into_inner) = catalogue;
        self.rows_changed.send_modify(|n| *n += 1);
    }

    /// Changes with the catalogue.
    pub(crate) fn rows_changed(&self) -> watch::Receiver<u64> {
        self.rows_changed.subscribe()
    }

    /// Ends watches and lets [`ApiServer::serve`] return when the open requests are done.
    pub fn shutdown(&self) {
        self.stop.send_replace(true);
    }

    /// Whether the server is going down.
    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Becomes true when the server goes down.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// 503 where the store's disk failed: what it shows may lack writes that a restart will find,
    /// and a client that lists to learn what became of a write would be misled.
    pub(crate) fn check_store(&self) -> Result<(), ApiError> {
        match self.store.failure() {
            None => Ok(()),
            Some(why) => Err(ApiError::unavailable(format!(
                "the store's disk failed, the server must be restarted: {why}"
            ))),
        }
    }

    /// An object as it is stored now, read past authorization by the server itself. The resource
    /// must be one that is stored in its own version.
    pub(crate) fn peek(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Value>> {
        if name.is_empty() {
            return None;
        }
        let key = storage::resource_key(resource, namespace, name);
        self.store.snapshot().get(&key).map(|item| self.objects.of(item))
    }

    /// All objects of a resource in a namespace (or everywhere), read by the server itself.
    pub(crate) fn peek_all(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
    ) -> Vec<Arc<Value>> {
        let prefix = storage::resource_key(resource, namespace, "");
        let snapshot = self.store.snapshot();
        snapshot.range(&prefix, None).map(|item| self.objects.of(item)).collect()
    }
}
