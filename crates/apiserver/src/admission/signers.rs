//! Who may do what for a signer of certificates: what the plug-ins about certificate requests ask.

use timonier_policy::{Attributes, Authorizer, Decision};

use super::Request;

/// The resource group of certificate requests.
pub const GROUP: &str = "certificates.k8s.io";

/// Whether the request is about a subresource of certificate requests.
pub fn is_request(request: &Request<'_>, subresource: &str) -> bool {
    let gvr = &request.call.row.gvr;
    gvr.group == GROUP
        && gvr.resource == "certificatesigningrequests"
        && request.subresource == subresource
}

/// Whether the user may do `verb` for the signer, or for all signers of its domain.
pub fn may(request: &Request<'_>, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or("");
    let all = format!("{domain}/*");
    [signer, all.as_str()].into_iter().any(|name| {
        let attributes = Attributes {
            user: request.call.user,
            verb,
            is_resource: true,
            group: GROUP,
            version: "*",
            resource: "signers",
            subresource: "",
            namespace: "",
            name,
            path: "",
            fields: None,
        };
        matches!(request.call.server.authorize(&attributes), Decision::Allow(_))
    })
}
