//! What an API server is told when it starts.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The configuration of an API server. Nothing of it is hard-coded anywhere else, so that two
/// clusters live side by side.
#[derive(Clone)]
pub struct Config {
    /// The issuer of service account tokens, such as
    /// `https://kubernetes.default.svc.cluster.local`.
    pub issuer: String,
    /// The audiences of the API server; a token for none of them is refused.
    pub audiences: Vec<String>,
    /// The key that signs service account tokens: PKCS#8 PEM, ECDSA P-256.
    pub service_account_key_pem: Vec<u8>,
    /// Cluster IPs, such as `10.96.0.0/16`; the first is the primary family.
    pub service_cidrs: Vec<String>,
    /// The ports that Services get on nodes; upstream's are 30000–32767.
    pub node_ports: RangeInclusive<u16>,
    /// Where clients reach this server, for the Service `kubernetes`. `None` leaves that Service
    /// without endpoints.
    pub advertise: Option<(IpAddr, u16)>,
    /// How long Events are kept; upstream's is one hour.
    pub event_ttl: Duration,
    /// How this server proves to kubelets who it is. `None` where there are none to reach.
    pub kubelet: Option<KubeletTls>,
    /// How this server proves to those behind APIServices that it may speak for users. `None`
    /// leaves it without a certificate, and nobody is told whom to believe.
    pub front_proxy: Option<FrontProxy>,
}

/// What is needed to speak for users, all PEM.
#[derive(Clone)]
pub struct FrontProxy {
    pub certificate_pem: Vec<u8>,
    pub key_pem: Vec<u8>,
    /// The name in the certificate.
    pub common_name: String,
    /// The authority of the certificate: who has one of it may speak for users.
    pub ca_pem: Vec<u8>,
    /// The authorities of users' client certificates.
    pub client_ca_pem: Vec<u8>,
}

/// The client side of the connection to kubelets, all PEM.
#[derive(Clone)]
pub struct KubeletTls {
    pub certificate_pem: Vec<u8>,
    pub key_pem: Vec<u8>,
    /// The authorities of kubelets' serving certificates.
    pub ca_pem: Vec<u8>,
}

/// The serving side, all PEM.
#[derive(Clone)]
pub struct ServingTls {
    /// The certificate and its intermediates.
    pub certificate_pem: Vec<u8>,
    pub key_pem: Vec<u8>,
    /// The authorities of client certificates.
    pub client_ca_pem: Vec<u8>,
}

/// Why an API server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the configuration is wrong: {0}")]
    Config(String),
    #[error("TLS: {0}")]
    Tls(String),
    #[error("cannot prepare the cluster's first objects: {0}")]
    Bootstrap(timonier_meta::ApiError),
}
