//! Certificates: requests for them, and the names of signers.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;

use timonier_meta::names;
use timonier_object::Value;

use super::at::{At, Errors};
use super::common::show_str;
use crate::base64;

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

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// Checks a certificate request. `written` is the subresource that is written. That the request is
/// signed by its key is not checked here.
pub fn request(e: &mut Errors, new: &Value, old: Option<&Value>, written: &str) {
    let top = At::top(new);
    let spec = top.get("spec");
    let text = spec.get("request");
    let decoded = base64::decode(text.str()).unwrap_or_default();
    let pem = core::str::from_utf8(&decoded).unwrap_or("");
    if !pem.contains("-----BEGIN CERTIFICATE REQUEST-----") {
        text.bad_str(e, "PEM block type must be CERTIFICATE REQUEST");
    }
    let usages = spec.get("usages");
    if usages.is_empty() {
        usages.required(e, "");
    }
    for usage in usages.items() {
        usage.one_of(e, &USAGES);
    }
    let mut seen = BTreeSet::new();
    for usage in usages.items().filter(|usage| !seen.insert(usage.str())) {
        usage.bad_duplicate(e, usage.str());
    }
    let signer = spec.get("signerName");
    if signer.str() == "kubernetes.io/legacy-unknown" {
        signer.bad_str(e, "the legacy signerName is not allowed via this API version");
    } else {
        signer_name(e, &signer);
    }
    let seconds = spec.get("expirationSeconds");
    if seconds.is_set() && seconds.int() < 600 {
        seconds.bad_int(e, "may not specify a duration less than 600 seconds (10 minutes)");
    }
    conditions(e, &top.get("status.conditions"));
    certificate(e, &top.get("status.certificate"));
    if let Some(old) = old {
        changes(e, new, old, written);
    }
}

fn conditions(e: &mut Errors, at: &At<'_>) {
    let mut seen = BTreeSet::new();
    for condition in at.items() {
        let (kind, status) = (condition.get("type"), condition.get("status"));
        kind.demand(e);
        let decides = matches!(kind.str(), "Approved" | "Denied" | "Failed");
        let all = ["False", "True", "Unknown"];
        status.required_one_of(e, if decides { &all[1..2] } else { &all });
        let other = match kind.str() {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !other.is_empty() && seen.contains(other) {
            let why = "Approved and Denied conditions are mutually exclusive";
            at.bad(e, show_str(kind.str()), why);
        }
        if !seen.insert(kind.str()) {
            kind.bad_duplicate(e, kind.str());
        }
    }
}

fn certificate(e: &mut Errors, at: &At<'_>) {
    if at.is_empty() {
        return;
    }
    let decoded = base64::decode(at.str()).unwrap_or_default();
    let pem = core::str::from_utf8(&decoded).unwrap_or("");
    let mut blocks = pem.split("-----BEGIN ").skip(1).peekable();
    if blocks.peek().is_none() {
        let why = "must contain at least one CERTIFICATE PEM block";
        at.bad(e, show_str("<certificate data>"), why);
    }
    for block in blocks {
        let kind = block.split("-----").next().unwrap_or("");
        if kind != "CERTIFICATE" {
            let why = format!("only CERTIFICATE PEM blocks are allowed, found {kind:?}");
            at.bad(e, show_str("<certificate data>"), why);
            return;
        }
    }
}

fn changes(e: &mut Errors, new: &Value, old: &Value, written: &str) {
    let at = At::top(new).get("status.conditions");
    let of = |object: &Value, kind: &str| -> Vec<Value> {
        let all = object.at("status.conditions").items().iter();
        all.filter(|c| c.at("type").str() == kind).cloned().collect()
    };
    for kind in ["Approved", "Denied", "Failed"] {
        if of(new, kind).len() < of(old, kind).len() {
            at.forbidden(e, format!("updates may not remove a condition of type {kind:?}"));
        }
    }
    for kind in ["Approved", "Denied"].iter().filter(|_| written != "approval") {
        let (now, was) = (of(new, kind), of(old, kind));
        if now.len() > was.len() {
            at.forbidden(e, format!("updates may not add a condition of type {kind:?}"));
        } else if now.len() == was.len() && now != was {
            at.forbidden(e, format!("updates may not modify a condition of type {kind:?}"));
        }
    }
    let certificate = At::top(new).get("status.certificate");
    let was = old.at("status.certificate");
    if super::at::same(certificate.value, was) {
        return;
    }
    if written != "status" {
        certificate.forbidden(e, "updates may not set certificate content");
    } else if !was.is_empty() {
        certificate.forbidden(e, "updates may not modify existing certificate content");
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use timonier_object::value;

    use super::*;

    fn texts(new: &Value, old: Option<&Value>, written: &str) -> Vec<String> {
        let mut e = Errors::new();
        request(&mut e, new, old, written);
        e.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn requests_are_approved_once() {
        // -----BEGIN CERTIFICATE REQUEST-----
        let good = value!({ "spec": { "request": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0=",
            "usages": ["client auth"], "signerName": "example.com/x" } });
        assert_eq!(texts(&good, None, ""), [""; 0]);
        let mut approved = good.clone();
        approved.set("status.conditions", value!([{ "type": "Approved", "status": "True" }]));
        assert_eq!(texts(&approved, Some(&good), "approval"), [""; 0]);
        assert_eq!(
            texts(&approved, Some(&good), "status"),
            ["status.conditions: Forbidden: updates may not add a condition of type \"Approved\""]
        );
        assert_eq!(
            texts(&good, Some(&approved), "approval"),
            [
                "status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""
            ]
        );
        let mut bad = good.clone();
        bad.set("spec.usages", value!(["flying"]));
        bad.set("spec.expirationSeconds", 5);
        assert!(
            texts(&bad, None, "")[0].starts_with("spec.usages[0]: Unsupported value: \"flying\"")
        );
        assert!(texts(&bad, None, "")[1].contains("less than 600 seconds"));
    }
}
