//! Nobody becomes a master of the cluster by a certificate request. Upstream's plug-in
//! `CertificateSubjectRestriction`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use timonier_meta::ApiError;
use timonier_object::Value;
use timonier_policy::groups;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use super::{Operation, Request, signers};

const SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Refuses client certificates for `system:masters`.
pub fn check(request: &Request<'_>, object: &Value) -> Result<(), ApiError> {
    let applies = request.operation == Operation::Create
        && signers::is_request(request, "")
        && object.at("spec.signerName").str() == SIGNER;
    if !applies {
        return Ok(());
    }
    let organizations = organizations(object.at("spec.request").str())
        .map_err(|why| request.forbidden(object, &format!("failed to parse CSR: {why}")))?;
    if organizations.iter().any(|name| name == groups::MASTERS) {
        let why = format!("use of {SIGNER} signer with system:masters group is not allowed");
        return Err(request.forbidden(object, &why));
    }
    Ok(())
}

/// The organizations in the subject of a request: PEM in base64, as the API holds it.
fn organizations(text: &str) -> Result<Vec<String>, String> {
    let pem = STANDARD.decode(text).map_err(|e| e.to_string())?;
    let (_, pem) = parse_x509_pem(&pem)
        .map_err(|_| "PEM block type must be CERTIFICATE REQUEST".to_string())?;
    if pem.label != "CERTIFICATE REQUEST" {
        return Err("PEM block type must be CERTIFICATE REQUEST".into());
    }
    let (_, csr) =
        X509CertificationRequest::from_der(&pem.contents).map_err(|e| format!("x509: {e}"))?;
    let subject = &csr.certification_request_info.subject;
    Ok(subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn organizations_are_read() {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "system:masters");
        let key = KeyPair::generate().unwrap();
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        assert_eq!(organizations(&STANDARD.encode(pem)).unwrap(), ["system:masters"]);
        assert_eq!(
            organizations(&STANDARD.encode("x")).unwrap_err(),
            "PEM block type must be CERTIFICATE REQUEST"
        );
    }
}
