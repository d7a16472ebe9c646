//! Group-versions that servers behind Services answer for. What is decided about them is
//! `timonier_schema::aggregation`; here their requests are passed on and they are kept an eye on.
//!
//! ```text
//! handle ─► Aggregator::current ─► route? ─► proxy ─► tls + X-Remote-* ─► the server behind
//!                 ▲
//! follow: APIServices, Services, EndpointSlices ─► check ─► condition, discovery, OpenAPI
//! ```

mod ask;
mod check;
mod follow;
mod identity;
pub mod proxy;
mod trust;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::ClientConfig;
use rustls::client::ResolvesClientCert;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use smol_str::SmolStr;
use timonier_schema::aggregation::{Aggregation, Remote};

use crate::config::FrontProxy;
use crate::outgoing::Target;

pub use follow::follow;

/// Who answers for what, as it is now.
pub struct Aggregator {
    current: RwLock<Arc<Current>>,
    /// This server's certificate for those behind; `None` where it has none.
    certificate: Option<Arc<dyn ResolvesClientCert>>,
}

/// The group-versions of others, and how each of their servers is reached.
#[derive(Default)]
pub struct Current {
    pub aggregation: Aggregation,
    /// By the name of the APIService; an error says what is wrong with its `caBundle`.
    tls: BTreeMap<SmolStr, Result<Arc<ClientConfig>, String>>,
}

impl Aggregator {
    /// Prepares the client certificate. The error says what is wrong with the configuration.
    pub fn new(front_proxy: Option<&FrontProxy>) -> Result<Self, String> {
        let certificate = match front_proxy {
            None => None,
            Some(tls) => {
                let key = PrivateKeyDer::from_pem_slice(&tls.key_pem)
                    .map_err(|e| format!("front proxy's key: {e}"))?;
                let chain = timonier_trust::certificates(&tls.certificate_pem)?;
                let config = timonier_trust::builder()
                    .with_root_certificates(rustls::RootCertStore::empty())
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| format!("front proxy's certificate: {e}"))?;
                Some(config.client_auth_cert_resolver)
            }
        };
        Ok(Aggregator { current: RwLock::default(), certificate })
    }

    /// The state of the moment.
    pub fn current(&self) -> Arc<Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, aggregation: Aggregation) {
        let before = self.current();
        if before.aggregation == aggregation {
            return;
        }
        let tls = aggregation.remotes().map(|(remote, _)| {
            let same = |(old, _): &&(Remote, _)| {
                old.ca_bundle == remote.ca_bundle && old.insecure == remote.insecure
            };
            let known = before.aggregation.get(&remote.gv).filter(same);
            let known = known.and_then(|(old, _)| before.tls.get(&old.name).cloned());
            (remote.name.clone(), known.unwrap_or_else(|| self.tls(remote)))
        });
        let tls = tls.collect();
        let next = Arc::new(Current { aggregation, tls });
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    /// Whom to believe at a server, and this server's own certificate.
    fn tls(&self, remote: &Remote) -> Result<Arc<ClientConfig>, String> {
        let base = match (remote.insecure, remote.ca_bundle.as_str()) {
            (true, _) => timonier_trust::anybody(),
            (false, "") => timonier_trust::system(None)?,
            (false, encoded) => {
                let pem = STANDARD.decode(encoded).map_err(|e| format!("caBundle: {e}"))?;
                timonier_trust::only(timonier_trust::roots(&pem)?)
            }
        };
        Ok(self.with_certificate(base))
    }

    /// Any server, for the question whether it is there at all.
    fn tls_of_anybody(&self) -> Arc<ClientConfig> {
        self.with_certificate(timonier_trust::anybody())
    }

    fn with_certificate(&self, base: Arc<ClientConfig>) -> Arc<ClientConfig> {
        let Some(certificate) = &self.certificate else { return base };
        let mut config = (*base).clone();
        config.client_auth_cert_resolver = certificate.clone();
        Arc::new(config)
    }
}

impl Current {
    /// How the server of a group-version is reached.
    fn target(&self, remote: &Remote) -> Result<Target, String> {
        let tls = match self.tls.get(&remote.name) {
            Some(tls) => tls.clone()?,
            None => return Err("no TLS configuration".into()),
        };
        Ok(Target::of_service(&remote.namespace, &remote.service, remote.port, tls))
    }
}
