//! The certificates of a node that joined, renewed through the API while it runs.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use timonier_cli::pki::Request;
use timonier_client::HttpsClient;
use timonier_meta::Environment;
use timonier_node::server::{NodeServer, ServerTls};

use super::certificates::{Files, Pair};
use super::join::{KUBELET_CLIENT, KUBELET_SERVING, client_request, serving_request, user};
use crate::renewal::keep_young;

/// A request that is not signed by then is made anew (upstream's).
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// What is needed to renew, and where the new certificates go.
pub struct Renewals {
    pub files: Files,
    /// The node's name and address.
    pub name: String,
    pub address: Ipv4Addr,
    /// The cluster's authority, PEM.
    pub ca: String,
    pub transport: Arc<HttpsClient>,
    pub server: NodeServer,
}

impl Renewals {
    /// Renews both, whose present ones (PEM) are given, for ever.
    pub async fn run(self, client: String, serving: String, env: Arc<dyn Environment>) {
        let own = keep_young("the client certificate", client, env.clone(), || self.client());
        let kubelets = keep_young("the serving certificate", serving, env, || self.serving());
        tokio::join!(own, kubelets);
    }

    async fn client(&self) -> Result<String> {
        let user = user(&self.name);
        let (certificate, key) = self.ask(KUBELET_CLIENT, &client_request(&user)).await?;
        self.transport.set_certificate(&certificate, &key)?;
        Ok(certificate)
    }

    async fn serving(&self) -> Result<String> {
        let user = user(&self.name);
        let request = serving_request(&user, &self.name, self.address);
        let (certificate, key) = self.ask(KUBELET_SERVING, &request).await?;
        self.server.set_tls(&ServerTls {
            certificate_pem: certificate.clone().into_bytes(),
            key_pem: key.into_bytes(),
            client_ca_pem: self.ca.clone().into_bytes(),
        })?;
        Ok(certificate)
    }

    async fn ask(&self, signer: &str, request: &Request<'_>) -> Result<Pair> {
        let asked = self.files.ask(&*self.transport, signer, request);
        tokio::time::timeout(PATIENCE, asked).await.context("the request was not signed in time")?
    }
}
