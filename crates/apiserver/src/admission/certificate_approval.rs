//! Who approves a certificate request may do so for its signer. Upstream's plug-in
//! `CertificateApproval`.

use timonier_meta::ApiError;
use timonier_object::Value;

use super::{Request, signers};

/// Refuses approvals for signers that the user has nothing to do with.
pub fn check(request: &Request<'_>, object: &Value) -> Result<(), ApiError> {
    let Some(old) = request.old.filter(|_| signers::is_request(request, "approval")) else {
        return Ok(());
    };
    // The signer that was asked for, whatever the writer says now.
    let signer = old.at("spec.signerName").str();
    if signers::may(request, "approve", signer) {
        return Ok(());
    }
    let why = format!("user not permitted to approve requests with signerName {signer:?}");
    Err(request.forbidden(object, &why))
}
