//! The certificate authority of a server that is known by its hash only.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use timonier_meta::ApiError;
use tokio::net::TcpStream;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long it may take to connect and to shake hands.
const PATIENCE: Duration = Duration::from_secs(10);

/// The hash of a certificate: SHA-256 of its public key's `SubjectPublicKeyInfo`, as upstream's
/// `kubeadm` has it. `None` where the certificate cannot be read.
pub fn key_hash(certificate: &[u8]) -> Option<[u8; 32]> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(Sha256::digest(parsed.public_key().raw).into())
}

/// Connects to `https://HOST:PORT` and gives, as PEM, the authority with this hash that has
/// signed the server's certificate. Nothing but the handshake is sent. Fails where the server
/// cannot be reached (503), or shows no certificate of such an authority (401).
pub async fn authority_with_hash(server: &str, hash: [u8; 32]) -> Result<String, ApiError> {
    let bad = |why: String| ApiError::bad_request(format!("the server {server:?}: {why}"));
    let uri: Uri = server.parse().map_err(|e| bad(format!("{e}")))?;
    if uri.scheme_str() != Some("https") {
        return Err(bad("it must begin with https://".into()));
    }
    let host = uri.host().ok_or_else(|| bad("it names no host".into()))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host.clone()).map_err(|e| bad(e.to_string()))?;
    let port = uri.port_u16().unwrap_or(443);
    let provider = Arc::new(crypto::ring::default_provider());
    let pin = Arc::new(Pin { hash, provider: provider.clone(), found: OnceLock::new() });
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ApiError::internal)?
        .dangerous()
        .with_custom_certificate_verifier(pin.clone())
        .with_no_client_auth();
    let shake = async {
        let tcp = TcpStream::connect((host.as_str(), port)).await?;
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await
    };
    let unreachable = |why: String| {
        ApiError::unavailable(format!("the server {server} cannot be reached: {why}"))
    };
    match tokio::time::timeout(PATIENCE, shake).await {
        Err(_) => return Err(unreachable("it does not answer".into())),
        Ok(Err(error)) if error.get_ref().is_some_and(|e| e.is::<rustls::Error>()) => {
            let mut refused = ApiError::unauthorized();
            refused.message = format!("the server {server} cannot be trusted: {error}");
            return Err(refused);
        }
        Ok(Err(error)) => return Err(unreachable(error.to_string())),
        Ok(Ok(_)) => {}
    }
    let found =
        pin.found.get().ok_or_else(|| ApiError::internal("the handshake checked nothing"))?;
    Ok(pem(found))
}

fn pem(certificate: &[u8]) -> String {
    let text = STANDARD.encode(certificate);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// Trusts the authority with the hash, if the server shows it beside its own certificate.
#[derive(Debug)]
struct Pin {
    hash: [u8; 32],
    provider: Arc<CryptoProvider>,
    found: OnceLock<CertificateDer<'static>>,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authority = intermediates.iter().find(|c| key_hash(c) == Some(self.hash));
        let authority = authority.ok_or_else(|| {
            rustls::Error::General("it shows no certificate authority with the token's hash".into())
        })?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
                .build()
                .map_err(|e| rustls::Error::General(e.to_string()))?;
        let fine =
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp, now)?;
        self.found.get_or_init(|| authority.clone().into_owned());
        Ok(fine)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
