//! Who writes a certificate may sign for the request's signer. Upstream's plug-in
//! `CertificateSigning`.

use timonier_meta::ApiError;
use timonier_object::Value;

use super::{Request, signers};

/// Refuses certificates and conditions of signers that the user has nothing to do with.
pub fn check(request: &Request<'_>, object: &Value) -> Result<(), ApiError> {
    let Some(old) = request.old.filter(|_| signers::is_request(request, "status")) else {
        return Ok(());
    };
    let same = |field: &str| {
        let (new, old) = (object.at(field), old.at(field));
        new == old || (new.is_empty() && old.is_empty())
    };
    let signer = old.at("spec.signerName").str();
    if same("status.certificate") && same("status.conditions")
        || signers::may(request, "sign", signer)
    {
        return Ok(());
    }
    let why = format!("user not permitted to sign requests with signerName {signer:?}");
    Err(request.forbidden(object, &why))
}
