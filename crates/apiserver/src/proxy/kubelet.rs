//! Connections to kubelets, with this server's own certificate.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, ServerName};
use timonier_meta::ApiError;
use timonier_meta::gvk::resources;
use timonier_trust::{certificates, roots};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::call::Call;
use crate::config::KubeletTls;

/// A kubelet that does not answer is given up after this.
const CONNECT: Duration = Duration::from_secs(10);

/// Opens connections to kubelets.
pub struct KubeletDialer {
    connector: RwLock<TlsConnector>,
}

/// Where a node's kubelet listens.
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl KubeletDialer {
    /// Prepares TLS. The error says what is wrong with the configuration.
    pub fn new(tls: &KubeletTls) -> Result<Self, String> {
        Ok(KubeletDialer { connector: RwLock::new(connector(tls)?) })
    }

    /// Shows another certificate from now on.
    pub fn set(&self, tls: &KubeletTls) -> Result<(), String> {
        *self.connector.write().unwrap_or_else(PoisonError::into_inner) = connector(tls)?;
        Ok(())
    }

    async fn connect(&self, address: &Address) -> Result<TlsStream<TcpStream>, String> {
        let name = ServerName::try_from(address.host.clone()).map_err(|e| e.to_string())?;
        let target = (address.host.as_str(), address.port);
        let stream = TcpStream::connect(target).await.map_err(|e| e.to_string())?;
        let _ = stream.set_nodelay(true);
        let connector = self.connector.read().unwrap_or_else(PoisonError::into_inner).clone();
        connector.connect(name, stream).await.map_err(|e| e.to_string())
    }
}

fn connector(tls: &KubeletTls) -> Result<TlsConnector, String> {
    let key = PrivateKeyDer::from_pem_slice(&tls.key_pem).map_err(|e| format!("key: {e}"))?;
    let config = timonier_trust::builder()
        .with_root_certificates(roots(&tls.ca_pem)?)
        .with_client_auth_cert(certificates(&tls.certificate_pem)?, key)
        .map_err(|e| e.to_string())?;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Opens a connection to a node's kubelet.
pub async fn dial(call: &Call<'_>, node: &str) -> Result<TlsStream<TcpStream>, ApiError> {
    let address = address_of(call, node)?;
    let Some(dialer) = &call.server.kubelets else {
        return Err(dial_error("this server has no client certificate for kubelets"));
    };
    match tokio::time::timeout(CONNECT, dialer.connect(&address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(why)) => {
            Err(dial_error(&format!("dial tcp {}:{}: {why}", address.host, address.port)))
        }
        Err(_) => {
            Err(dial_error(&format!("dial tcp {}:{}: i/o timeout", address.host, address.port)))
        }
    }
}

/// Upstream's text for a backend that cannot be reached.
pub fn dial_error(why: &str) -> ApiError {
    let text = format!("error dialing backend: {why}");
    ApiError::new(500, timonier_meta::Reason::Unknown, text)
}

/// The address that a node's status tells.
fn address_of(call: &Call<'_>, name: &str) -> Result<Address, ApiError> {
    let gone = || ApiError::not_found(&resources::NODES.group_resource(), name);
    let node = call.server.peek(&resources::NODES, "", name).ok_or_else(gone)?;
    let find = |kind: &str| {
        let addresses = node.at("status.addresses").items();
        addresses.iter().find(|a| a.at("type").str() == kind).map(|a| a.at("address").str())
    };
    let host = ["InternalIP", "ExternalIP", "Hostname"].into_iter().find_map(find);
    let Some(host) = host else {
        return Err(dial_error(&format!(
            "no preferred addresses found; known addresses: {}",
            node.at("status.addresses")
        )));
    };
    let port = node.at("status.daemonEndpoints.kubeletEndpoint.Port").as_i64();
    let port = port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0).unwrap_or(10250);
    Ok(Address { host: host.to_string(), port })
}
