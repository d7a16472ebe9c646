//! The cluster's own certificates: one authority, and what it signs.
//!
//! Keys are ECDSA P-256, files 0600. The authority lives ten years, the rest one. `ensure` renews
//! at every start whatever has less than a quarter of its life left or lacks a name; what runs on
//! renews when [`renewal_due`] says.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use timonier_meta::Time;

use crate::files;

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// What a certificate is for.
pub struct Request<'a> {
    /// File name without extension below `pki/`.
    pub file: &'a str,
    pub common_name: &'a str,
    pub organizations: &'a [&'a str],
    pub dns_names: Vec<String>,
    pub addresses: Vec<IpAddr>,
    /// Serves TLS; else it is a client's.
    pub server: bool,
}

/// A certificate and its key, both PEM.
#[derive(Clone)]
pub struct KeyPairPem {
    pub certificate: String,
    pub key: String,
}

/// The certificates of a cluster in a directory.
pub struct Pki {
    dir: PathBuf,
    ca: KeyPairPem,
}

impl Pki {
    /// Opens the directory and makes the authority where there is none.
    pub fn open(dir: &Path, cluster: &str) -> Result<Self> {
        files::create_private_dir(dir)?;
        let (certificate, key) = (dir.join("ca.crt"), dir.join("ca.key"));
        if !certificate.exists() || !key.exists() {
            let ca = new_authority(cluster)?;
            // The key first: a certificate without its key would look complete.
            files::write_private(&key, ca.key.as_bytes())?;
            files::write_private(&certificate, ca.certificate.as_bytes())?;
        }
        let ca = KeyPairPem {
            certificate: fs::read_to_string(&certificate)
                .with_context(|| format!("read {}", certificate.display()))?,
            key: fs::read_to_string(&key).with_context(|| format!("read {}", key.display()))?,
        };
        Ok(Pki { dir: dir.to_owned(), ca })
    }

    /// The authority's certificate, PEM.
    pub fn ca(&self) -> &str {
        &self.ca.certificate
    }

    /// The authority of those who speak for users, apart from the cluster's own: who has a
    /// certificate of the cluster may not speak for others.
    pub fn front_proxy(&self, cluster: &str) -> Result<Pki> {
        Pki::open(&self.dir.join("front-proxy"), &format!("{cluster}-front-proxy"))
    }

    /// The certificate for a request: the one on disk if it is still good, else a new one.
    pub fn ensure(&self, request: &Request<'_>) -> Result<KeyPairPem> {
        let certificate = self.dir.join(format!("{}.crt", request.file));
        let key = self.dir.join(format!("{}.key", request.file));
        if let (Ok(c), Ok(k)) = (fs::read_to_string(&certificate), fs::read_to_string(&key))
            && is_good(&c, &k, request)
        {
            return Ok(KeyPairPem { certificate: c, key: k });
        }
        self.renew(request)
    }

    /// A new certificate for a request, in the place of the one on disk.
    pub fn renew(&self, request: &Request<'_>) -> Result<KeyPairPem> {
        let file = |extension: &str| self.dir.join(format!("{}.{extension}", request.file));
        let pair = self.sign(request)?;
        files::write_private(&file("key"), pair.key.as_bytes())?;
        files::write_private(&file("crt"), pair.certificate.as_bytes())?;
        Ok(pair)
    }

    /// The key that signs service account tokens, PEM; made at the first call.
    pub fn service_account_key(&self) -> Result<String> {
        let path = self.dir.join("sa.key");
        if let Ok(key) = fs::read_to_string(&path) {
            return Ok(key);
        }
        let key = KeyPair::generate()?.serialize_pem();
        files::write_private(&path, key.as_bytes())?;
        Ok(key)
    }

    /// The authority's certificate and key, for what signs on the API's behalf.
    pub fn authority(&self) -> &KeyPairPem {
        &self.ca
    }

    fn sign(&self, request: &Request<'_>) -> Result<KeyPairPem> {
        let issuer =
            Issuer::from_ca_cert_pem(&self.ca.certificate, KeyPair::from_pem(&self.ca.key)?)
                .context("the cluster's certificate authority is damaged")?;
        let mut params = names(request)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![if request.server {
            ExtendedKeyUsagePurpose::ServerAuth
        } else {
            ExtendedKeyUsagePurpose::ClientAuth
        }];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, YEAR);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(KeyPairPem { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// A new key, and the request that the certificate for it is signed by; both PEM. The usages are
/// not in it: the API's request tells them.
pub fn certificate_request(request: &Request<'_>) -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    let csr = names(request)?.serialize_request(&key)?;
    Ok((csr.pem()?, key.serialize_pem()))
}

/// Subject and alternative names of a certificate.
fn names(request: &Request<'_>) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(request.dns_names.clone())?;
    for address in &request.addresses {
        params.subject_alt_names.push(SanType::IpAddress(*address));
    }
    let mut name = DistinguishedName::new();
    for organization in request.organizations {
        name.push(DnType::OrganizationName, *organization);
    }
    name.push(DnType::CommonName, request.common_name);
    params.distinguished_name = name;
    Ok(params)
}

/// Whether the certificate (PEM) is one that [`Pki::open`] made for a cluster of this name.
pub fn is_authority_of(certificate: &[u8], cluster: &str) -> bool {
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(certificate) else { return false };
    let Ok(parsed) = pem.parse_x509() else { return false };
    let name = parsed.subject().iter_common_name().next().and_then(|n| n.as_str().ok());
    name.is_some_and(|n| n == authority_name(cluster))
}

fn authority_name(cluster: &str) -> String {
    format!("{cluster}-ca")
}

fn new_authority(cluster: &str) -> Result<KeyPairPem> {
    let mut params = CertificateParams::new(Vec::new())?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, authority_name(cluster));
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    set_validity(&mut params, YEAR * 10);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(KeyPairPem { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// Valid from an hour ago, so that a peer whose clock is a little behind accepts it at once.
fn set_validity(params: &mut CertificateParams, lifetime: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(3600)).into();
    params.not_after = (now + lifetime).into();
}

/// Whether the certificate has time left and carries every name that is asked for.
fn is_good(certificate: &str, key: &str, request: &Request<'_>) -> bool {
    is_young(certificate) && carries(certificate, key, request)
}

/// Whether the certificate need not be renewed at a start: a quarter of its life is left.
pub fn is_young(certificate: &str) -> bool {
    life(certificate).is_some_and(|(from, to)| (to - now()) * 4 >= to - from)
}

/// Whether the certificate still holds.
pub fn is_valid(certificate: &str) -> bool {
    life(certificate).is_some_and(|(_, to)| to > now())
}

/// When to renew a certificate: after 70 to 90 % of its life, where `random` says, so that nodes
/// that joined together do not all ask at once (upstream's `nextRotationDeadline`). `None` where
/// the certificate cannot be read.
pub fn renewal_due(certificate: &str, random: u64) -> Option<Time> {
    let (from, to) = life(certificate)?;
    let life = to.saturating_sub(from).max(0);
    // In thousandths of the life.
    let share = 700 + i64::try_from(random % 201).unwrap_or(0);
    Some(Time((from * 1000 + life * share) * 1000))
}

/// From when to when the certificate holds, Unix seconds.
fn life(certificate: &str) -> Option<(i64, i64)> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).ok()?;
    let parsed = pem.parse_x509().ok()?;
    let validity = parsed.validity();
    Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() as i64
}

/// Whether the certificate names what is asked for, and the key can be read.
pub fn carries(certificate: &str, key: &str, request: &Request<'_>) -> bool {
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()) else {
        return false;
    };
    let Ok(parsed) = pem.parse_x509() else { return false };
    if KeyPair::from_pem(key).is_err() {
        return false;
    }
    let subject = parsed.subject();
    let cn = subject.iter_common_name().next().and_then(|n| n.as_str().ok());
    let organizations: Vec<&str> =
        subject.iter_organization().filter_map(|o| o.as_str().ok()).collect();
    if cn != Some(request.common_name) || organizations != request.organizations {
        return false;
    }
    let mut names = Vec::new();
    let mut addresses = Vec::new();
    if let Ok(Some(san)) = parsed.subject_alternative_name() {
        for name in &san.value.general_names {
            match name {
                x509_parser::extensions::GeneralName::DNSName(n) => names.push((*n).to_owned()),
                x509_parser::extensions::GeneralName::IPAddress(b) => match b.len() {
                    4 => addresses.push(IpAddr::from(<[u8; 4]>::try_from(*b).expect("4 bytes"))),
                    16 => addresses.push(IpAddr::from(<[u8; 16]>::try_from(*b).expect("16 bytes"))),
                    _ => return false,
                },
                _ => {}
            }
        }
    }
    request.dns_names.iter().all(|n| names.contains(n))
        && request.addresses.iter().all(|a| addresses.contains(a))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request<'static> {
        Request {
            file: "apiserver",
            common_name: "kube-apiserver",
            organizations: &["o"],
            dns_names: vec!["localhost".into()],
            addresses: vec!["127.0.0.1".parse().unwrap()],
            server: true,
        }
    }

    #[test]
    fn certificates_are_due_after_most_of_their_life() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path(), "t").unwrap();
        let first = pki.ensure(&request()).unwrap().certificate;
        let (from, to) = life(&first).unwrap();
        assert_eq!(to - from, YEAR.as_secs() as i64 + 3600);
        let due = |random| renewal_due(&first, random).unwrap().0 / 1_000_000 - from;
        let share = |n| (to - from) * n / 1000;
        assert_eq!((due(0), due(200), due(201 + 57)), (share(700), share(900), share(757)));
        assert!(is_young(&first) && is_valid(&first) && renewal_due("x", 0).is_none());
        let second = pki.renew(&request()).unwrap().certificate;
        assert_ne!(second, first);
        assert_eq!(pki.ensure(&request()).unwrap().certificate, second, "it is the one on disk");
    }

    #[test]
    fn a_good_certificate_is_kept_and_one_that_lacks_a_name_is_renewed() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path(), "t").unwrap();
        let first = pki.ensure(&request()).unwrap();
        assert_eq!(pki.ensure(&request()).unwrap().certificate, first.certificate);
        let mut more = request();
        more.addresses.push("10.96.0.1".parse().unwrap());
        assert_ne!(pki.ensure(&more).unwrap().certificate, first.certificate);
        assert_eq!(Pki::open(dir.path(), "t").unwrap().ca(), pki.ca());
        let mode = fs::metadata(dir.path().join("apiserver.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
