//! The authorities that the machine trusts.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Where distributions keep the bundle of authorities.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs/ca-bundle.crt",
];

/// Believes the system's authorities (or those of `SSL_CERT_FILE`) and those of a given file.
/// The error names the file and what is wrong with it.
pub fn system(extra: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let given = std::env::var_os("SSL_CERT_FILE");
    let candidates = given.iter().map(Path::new).chain(BUNDLES.iter().map(Path::new));
    for bundle in candidates {
        if let Ok(certificates) = CertificateDer::pem_file_iter(bundle) {
            // A certificate that rustls cannot read must not hide the others.
            roots.add_parsable_certificates(certificates.flatten());
            break;
        }
    }
    if let Some(path) = extra {
        let bad = |e: String| format!("CA file {}: {e}", path.display());
        for certificate in CertificateDer::pem_file_iter(path).map_err(|e| bad(e.to_string()))? {
            let certificate = certificate.map_err(|e| bad(e.to_string()))?;
            roots.add(certificate).map_err(|e| bad(e.to_string()))?;
        }
    }
    Ok(crate::only(Arc::new(roots)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named() {
        let error = system(Some(Path::new("/no/such/file"))).unwrap_err();
        assert!(error.starts_with("CA file /no/such/file: "), "{error}");
    }
}
