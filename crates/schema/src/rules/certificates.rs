//! Certificates: the names of signers.

use alloc::format;

use timonier_meta::names;

use super::at::{At, Errors};
use super::common::show_str;

/// Demands a signer's name: `example.com/name`.
pub fn signer_name(e: &mut Errors, at: &At<'_>) {
    let text = at.str();
    if text.is_empty() {
        at.required(e, "");
        return;
    }
    let Some((domain, path)) = text.split_once('/').filter(|(_, path)| !path.contains('/')) else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        at.bad_str(e, why);
        return;
    };
    if domain.len() > 253 {
        at.too_long(e, 253);
    }
    parts(e, at, domain, names::dns1123_label);
    if !domain.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        at.bad(e, show_str(domain), why);
    }
    parts(e, at, path, names::dns1123_subdomain);
    if path.len() > 253 + 63 + 1 {
        at.too_long(e, 253 + 63 + 1);
    }
}

/// Checks each part between dots; the first wrong one is enough.
fn parts(e: &mut Errors, at: &At<'_>, text: &str, rule: super::common::Check) {
    for part in text.split('.') {
        let wrong = rule(part);
        if wrong.is_empty() {
            continue;
        }
        for why in wrong {
            let why = format!("validating label {}: {why}", show_str(part));
            at.bad(e, show_str(text), why);
        }
        return;
    }
}
