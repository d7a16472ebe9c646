//! The user in a client certificate: common name and organizations, as upstream reads them.

use smol_str::SmolStr;
use timonier_policy::User;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Reads the user out of a certificate that TLS has verified against the client CA. `None` where
/// the certificate cannot be read or names nobody.
pub fn user(der: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?;
    if name.is_empty() {
        return None;
    }
    let organizations = subject.iter_organization().filter_map(|o| o.as_str().ok());
    let mut user = User::authenticated(name, organizations.map(SmolStr::new));
    user.extra.insert(
        SmolStr::new_static("authentication.kubernetes.io/credential-id"),
        vec![format!("X509SHA256={}", fingerprint(der)).into()],
    );
    Some(user)
}

fn fingerprint(der: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(der).iter().map(|b| format!("{b:02x}")).collect()
}
