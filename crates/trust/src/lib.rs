//! Which certificates a TLS client believes: an authority's, the system's, or everybody's.
//!
//! ```text
//! PEM ──► roots ──► only(roots)    webhooks, kubelets, the API server
//! /etc/ssl … ─────► system(extra)  registries, webhooks without a bundle
//! nothing ────────► anybody()      probes, proxied https, registries called insecure
//! ```
//!
//! Invariants: TLS 1.2 at least; no configuration sends a client certificate.
//! Deliberately absent: serving, and connections.

mod anybody;
mod roots;
mod system;

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

pub use anybody::anybody;
pub use roots::{certificates, roots};
pub use system::system;

/// Believes certificates of these authorities only.
pub fn only(roots: Arc<RootCertStore>) -> Arc<ClientConfig> {
    Arc::new(builder().with_root_certificates(roots).with_no_client_auth())
}

/// What all configurations have in common.
pub fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring's provider has the suites of TLS 1.2 and 1.3")
}
