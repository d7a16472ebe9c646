//! The hand that signs certificate requests of the API, with the cluster's authority.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use timonier_cli::pki::KeyPairPem;
use timonier_controllers::Certifier;
use timonier_controllers::certificates::{Facts, Terms};
use timonier_meta::Time;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

/// Certificates are good from so long ago, for clocks that are behind (upstream's backdate).
const BACKDATE: Duration = Duration::from_secs(300);
/// The shortest and the longest life, seconds (upstream's).
const SHORTEST: i64 = 600;
const LONGEST: i64 = 365 * 86_400;

/// Signs with the cluster's authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ends: SystemTime,
}

impl Authority {
    /// Reads the authority.
    pub fn new(pair: &KeyPairPem) -> Result<Self> {
        let key = KeyPair::from_pem(&pair.key).context("the authority's key")?;
        let issuer = Issuer::from_ca_cert_pem(&pair.certificate, key)
            .context("the authority's certificate")?;
        let ends = not_after(pair.certificate.as_bytes()).context("the authority's certificate")?;
        Ok(Authority { issuer, ends: system_time(ends) })
    }
}

/// The key stays where it is.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

impl Certifier for Authority {
    fn read(&self, request: &str) -> Result<Facts, String> {
        read(request).map_err(|e| format!("unable to parse csr: {e:#}"))
    }

    fn sign(&self, request: &str, terms: &Terms<'_>) -> Result<String, String> {
        self.make(request, terms).map_err(|e| format!("unable to sign csr: {e:#}"))
    }

    fn ends(&self, certificate: &str) -> Option<Time> {
        not_after(&STANDARD.decode(certificate).ok()?)
    }
}

impl Authority {
    fn make(&self, request: &str, terms: &Terms<'_>) -> Result<String> {
        let facts = read(request)?;
        let csr = CertificateSigningRequestParams::from_der(&der(request)?.into())?;
        // Only these go from the request into the certificate, whatever else it asks for.
        let mut params = CertificateParams::default();
        params.distinguished_name = csr.params.distinguished_name;
        params.subject_alt_names = names(&facts)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        for usage in &terms.usages {
            set_usage(&mut params, usage)?;
        }
        let seconds = terms.seconds.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST);
        let now = system_time(terms.now);
        let end = (now + Duration::from_secs(seconds as u64)).min(self.ends);
        params.not_before = (now - BACKDATE).into();
        params.not_after = end.into();
        let certificate = params.signed_by(&csr.public_key, &self.issuer)?;
        Ok(STANDARD.encode(certificate.pem()))
    }
}

fn names(facts: &Facts) -> Result<Vec<SanType>> {
    let mut out = Vec::new();
    for name in &facts.dns_names {
        out.push(SanType::DnsName(name.as_str().try_into()?));
    }
    out.extend(facts.addresses.iter().map(|a| SanType::IpAddress(*a)));
    for email in &facts.emails {
        out.push(SanType::Rfc822Name(email.as_str().try_into()?));
    }
    for uri in &facts.uris {
        out.push(SanType::URI(uri.as_str().try_into()?));
    }
    Ok(out)
}

/// `spec.usages`, as upstream reads them (`pkg/apis/certificates`).
fn set_usage(params: &mut CertificateParams, usage: &str) -> Result<()> {
    use ExtendedKeyUsagePurpose as Extended;
    use KeyUsagePurpose as Key;
    let key = match usage {
        "signing" | "digital signature" => Some(Key::DigitalSignature),
        "content commitment" => Some(Key::ContentCommitment),
        "key encipherment" => Some(Key::KeyEncipherment),
        "key agreement" => Some(Key::KeyAgreement),
        "data encipherment" => Some(Key::DataEncipherment),
        "encipher only" => Some(Key::EncipherOnly),
        "decipher only" => Some(Key::DecipherOnly),
        _ => None,
    };
    let extended = match usage {
        "any" => Some(Extended::Any),
        "server auth" => Some(Extended::ServerAuth),
        "client auth" => Some(Extended::ClientAuth),
        "code signing" => Some(Extended::CodeSigning),
        "email protection" | "s/mime" => Some(Extended::EmailProtection),
        "timestamping" => Some(Extended::TimeStamping),
        "ocsp signing" => Some(Extended::OcspSigning),
        _ => None,
    };
    match (key, extended) {
        (Some(key), _) if !params.key_usages.contains(&key) => params.key_usages.push(key),
        (_, Some(e)) if !params.extended_key_usages.contains(&e) => {
            params.extended_key_usages.push(e);
        }
        (None, None) => bail!("unrecognized usage {usage:?}"),
        _ => {}
    }
    Ok(())
}

/// The bytes of a request in the API.
fn der(request: &str) -> Result<Vec<u8>> {
    let pem = STANDARD.decode(request).context("it is not base64")?;
    let (_, block) = x509_parser::pem::parse_x509_pem(&pem)
        .map_err(|_| anyhow::anyhow!("PEM block type must be CERTIFICATE REQUEST"))?;
    if block.label != "CERTIFICATE REQUEST" {
        bail!("PEM block type must be CERTIFICATE REQUEST");
    }
    Ok(block.contents)
}

fn read(request: &str) -> Result<Facts> {
    let der = der(request)?;
    let (_, csr) = X509CertificationRequest::from_der(&der)?;
    csr.verify_signature().context("its signature is wrong")?;
    let subject = &csr.certification_request_info.subject;
    let mut seen = Vec::new();
    for attribute in subject.iter_attributes() {
        if seen.contains(attribute.attr_type()) {
            bail!("a subject with the same attribute twice cannot be signed");
        }
        seen.push(attribute.attr_type().clone());
    }
    let text = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| a.as_str().map(str::to_owned);
    let mut facts = Facts {
        common_name: subject.iter_common_name().next().map(text).transpose()?.unwrap_or_default(),
        organizations: subject.iter_organization().map(text).collect::<Result<_, _>>()?,
        ..Facts::default()
    };
    for extension in csr.requested_extensions().into_iter().flatten() {
        if let ParsedExtension::SubjectAlternativeName(names) = extension {
            for name in &names.general_names {
                add_name(&mut facts, name)?;
            }
        }
    }
    Ok(facts)
}

fn add_name(facts: &mut Facts, name: &GeneralName<'_>) -> Result<()> {
    match name {
        GeneralName::DNSName(n) => facts.dns_names.push((*n).to_owned()),
        GeneralName::RFC822Name(n) => facts.emails.push((*n).to_owned()),
        GeneralName::URI(n) => facts.uris.push((*n).to_owned()),
        GeneralName::IPAddress(bytes) => facts.addresses.push(match bytes.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(*bytes)?),
            16 => IpAddr::from(<[u8; 16]>::try_from(*bytes)?),
            n => bail!("an address of {n} bytes"),
        }),
        _ => bail!("a subject alternative name of an unknown kind"),
    }
    Ok(())
}

fn not_after(pem: &[u8]) -> Option<Time> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem).ok()?;
    let certificate = block.parse_x509().ok()?;
    Some(Time::from_unix(certificate.validity().not_after.timestamp()))
}

fn system_time(at: Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(at.unix().max(0) as u64)
}

#[cfg(test)]
mod tests {
    use rcgen::{DistinguishedName, DnType};
    use timonier_cli::pki::{Pki, Request, certificate_request};

    use super::*;

    fn authority() -> (tempfile::TempDir, Authority) {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path(), "t").unwrap();
        let authority = Authority::new(pki.authority()).unwrap();
        (dir, authority)
    }

    #[test]
    fn a_request_becomes_a_certificate_of_the_authority() {
        let (_dir, authority) = authority();
        let request = Request {
            file: "",
            common_name: "system:node:a",
            organizations: &["system:nodes"],
            dns_names: vec!["a".into()],
            addresses: vec!["192.0.2.9".parse().unwrap()],
            server: true,
        };
        let (csr, key) = certificate_request(&request).unwrap();
        let csr = STANDARD.encode(csr);
        let facts = authority.read(&csr).unwrap();
        assert_eq!(
            (facts.common_name.as_str(), &*facts.dns_names),
            ("system:node:a", &["a".to_owned()][..])
        );
        assert_eq!(facts.organizations, ["system:nodes"]);
        let now =
            Time::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64);
        let usages = vec!["digital signature", "server auth"];
        let terms = Terms { usages, seconds: Some(3600), now };
        let signed = authority.sign(&csr, &terms).unwrap();
        assert_eq!(authority.ends(&signed), Some(now + timonier_meta::Duration::from_secs(3600)));
        let pem = String::from_utf8(STANDARD.decode(&signed).unwrap()).unwrap();
        assert!(timonier_cli::pki::carries(&pem, &key, &request));
        let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        let certificate = block.parse_x509().unwrap();
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && !usage.client_auth);
        assert!(!certificate.is_ca());
        let terms = Terms { usages: vec!["world domination"], ..terms };
        assert!(authority.sign(&csr, &terms).unwrap_err().contains("unrecognized usage"));
    }

    #[test]
    fn a_request_to_be_an_authority_does_not_make_one() {
        let (_dir, authority) = authority();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "x");
        params.distinguished_name = name;
        let csr = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
        let csr = STANDARD.encode(csr.pem().unwrap());
        let now = Time::from_unix(1_800_000_000);
        let signed =
            authority.sign(&csr, &Terms { usages: vec!["client auth"], seconds: None, now });
        let pem = STANDARD.decode(signed.unwrap()).unwrap();
        let (_, block) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
        let certificate = block.parse_x509().unwrap();
        assert!(!certificate.is_ca());
        assert!(certificate.key_usage().unwrap().is_none());
        for bad in ["", "!", &STANDARD.encode("x"), &signed_twice(&csr)] {
            assert!(authority.read(bad).is_err(), "{bad}");
        }
    }

    /// A request whose signature does not fit.
    fn signed_twice(csr: &str) -> String {
        let pem = String::from_utf8(STANDARD.decode(csr).unwrap()).unwrap();
        let mut der = der(&STANDARD.encode(&pem)).unwrap();
        let last = der.len() - 1;
        der[last] ^= 1;
        let lines: Vec<String> = STANDARD
            .encode(der)
            .as_bytes()
            .chunks(64)
            .map(|l| String::from_utf8_lossy(l).into_owned())
            .collect();
        let text = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            lines.join("\n")
        );
        STANDARD.encode(text)
    }
}
