//! The control plane's own certificates, renewed while it runs. The authority signs here, so that
//! no request of the API is needed.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use timonier_apiserver::ApiServer;
use timonier_cli::cluster::{ClusterConfig, Paths};
use timonier_meta::Environment;
use timonier_node::server::NodeServer;

use super::certificates::{Certificates, Which};
use crate::renewal::keep_young;

/// What is needed to renew, and where the new certificates go.
pub struct Renewals {
    pub paths: Paths,
    pub config: ClusterConfig,
    pub certificates: Mutex<Certificates>,
    pub api: Arc<ApiServer>,
    pub kubelet: NodeServer,
}

impl Renewals {
    /// Renews them all, for ever.
    pub async fn run(self, env: Arc<dyn Environment>) {
        let renewals = Arc::new(self);
        let keep = |which: Which, what: &'static str| {
            let (renewals, env) = (renewals.clone(), env.clone());
            async move {
                let first = renewals.lock().of(which).certificate.clone();
                let renew = || {
                    let renewals = renewals.clone();
                    // Keys are made and files written.
                    async move { tokio::task::spawn_blocking(move || renewals.renew(which)).await? }
                };
                keep_young(what, first, env, renew).await;
            }
        };
        tokio::join!(
            keep(Which::ApiServer, "the API server's certificate"),
            keep(Which::Kubelet, "the kubelet's certificate"),
            keep(Which::KubeletClient, "the API server's certificate for kubelets"),
            keep(Which::Admin, "the administrator's certificate"),
        );
    }

    /// Renews one and puts it in use.
    fn renew(&self, which: Which) -> Result<String> {
        let mut certificates = self.lock();
        certificates.renew(which, &self.paths, &self.config)?;
        match which {
            Which::ApiServer => self.api.set_serving_tls(&certificates.serving_tls())?,
            Which::Kubelet => self.kubelet.set_tls(&certificates.node_tls())?,
            Which::KubeletClient => self.api.set_kubelet_tls(&certificates.kubelet_tls())?,
            Which::Admin => {
                if let Some(note) = certificates.write_kubeconfigs(&self.paths, &self.config)? {
                    tracing::info!("{note}");
                }
            }
        }
        Ok(certificates.of(which).certificate.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Certificates> {
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
