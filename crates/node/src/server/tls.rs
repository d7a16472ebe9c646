//! Who may talk to the node: holders of a certificate of the cluster's authority, with the right
//! name or group in it.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use timonier_trust::{certificates, roots};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The server's side of TLS, all PEM.
#[derive(Clone, Debug)]
pub struct ServerTls {
    pub certificate_pem: Vec<u8>,
    pub key_pem: Vec<u8>,
    /// The authorities of clients' certificates.
    pub client_ca_pem: Vec<u8>,
}

/// The names in a client's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The common name.
    pub user: String,
    /// The organizations.
    pub groups: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("the node server's TLS: {0}")]
pub struct TlsError(String);

/// Prepares TLS that demands a client certificate. The error says what is wrong.
pub fn configure(tls: &ServerTls) -> Result<Arc<ServerConfig>, TlsError> {
    let fail = |what: &str, error: &dyn std::fmt::Display| TlsError(format!("{what}: {error}"));
    let roots = roots(&tls.client_ca_pem).map_err(|e| fail("client authority", &e))?;
    let chain = certificates(&tls.certificate_pem).map_err(|e| fail("certificate", &e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|e| fail("client authority", &e))?;
    let key = PrivateKeyDer::from_pem_slice(&tls.key_pem).map_err(|e| fail("key", &e))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| fail("versions", &e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|e| fail("certificate", &e))?;
    // Upgrades exist in this version only.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Reads the names of a verified certificate.
pub fn identity(certificate: &CertificateDer) -> Identity {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return Identity::default();
    };
    let subject = parsed.subject();
    let text = |value: &x509_parser::x509::AttributeTypeAndValue| {
        value.as_str().unwrap_or_default().to_string()
    };
    Identity {
        user: subject.iter_common_name().next().map(text).unwrap_or_default(),
        groups: subject.iter_organization().map(text).collect(),
    }
}
