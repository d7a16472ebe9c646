//! What the controllers of certificate requests share: the signers, the facts of a request, and
//! the hand that signs.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::net::IpAddr;

use timonier_meta::Time;
use timonier_object::Value;

/// The signers that upstream's controller manager serves.
pub const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
pub const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
pub const LEGACY: &str = "kubernetes.io/legacy-unknown";

const NODE_PREFIX: &str = "system:node:";
const NODES_GROUP: &str = "system:nodes";

/// Whom a request asks a certificate for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub addresses: Vec<IpAddr>,
    pub emails: Vec<String>,
    pub uris: Vec<String>,
}

/// What a certificate shall be good for, besides what its request says.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    /// `spec.usages`.
    pub usages: Vec<&'a str>,
    /// `spec.expirationSeconds`; the signer has its own limits.
    pub seconds: Option<i64>,
    pub now: Time,
}

/// Reads and signs requests. Keys, randomness and ASN.1 are its business, not the controllers'.
/// Requests and certificates are as the API holds them: PEM in base64.
pub trait Certifier: Debug + Send + Sync {
    /// Reads a request and checks that its sender has its key.
    fn read(&self, request: &str) -> Result<Facts, String>;

    /// The certificate that a request asks for.
    fn sign(&self, request: &str, terms: &Terms<'_>) -> Result<String, String>;

    /// When a certificate ends; `None` where it cannot be read.
    fn ends(&self, certificate: &str) -> Option<Time>;
}

/// The node that a request of one of the kubelets' signers is about. The error is upstream's.
pub fn node_of(facts: &Facts) -> Result<&str, String> {
    if facts.organizations != [NODES_GROUP] {
        return Err("organization in subject is not system:nodes".into());
    }
    match facts.common_name.strip_prefix(NODE_PREFIX) {
        Some(name) if !name.is_empty() => Ok(name),
        _ => Err("subject common name does not begin with system:node:".into()),
    }
}

/// Whether a request keeps the rules of its signer (upstream
/// `pkg/apis/certificates/helpers.go`). The error is upstream's.
pub fn check(signer: &str, facts: &Facts, usages: &[&str]) -> Result<(), String> {
    let only = |needed: &str| {
        let known = ["key encipherment", "digital signature", needed];
        let fine = usages.iter().all(|u| known.contains(u))
            && usages.contains(&needed)
            && usages.contains(&"digital signature");
        let list = format!("[key encipherment, digital signature, {needed}]");
        if fine { Ok(()) } else { Err(format!("usages did not match {list}")) }
    };
    let none = |there: bool, what: &str| {
        if there { Err(format!("{what} SANs are not allowed")) } else { Ok(()) }
    };
    match signer {
        CLIENT => {
            let known = ["key encipherment", "digital signature", "client auth"];
            let fine = usages.contains(&"client auth") && usages.iter().all(|u| known.contains(u));
            let why = "usages did not match [key encipherment, digital signature, client auth]";
            if fine { Ok(()) } else { Err(why.into()) }
        }
        KUBELET_CLIENT => {
            node_of(facts)?;
            none(!facts.dns_names.is_empty(), "DNS")?;
            none(!facts.emails.is_empty(), "email")?;
            none(!facts.addresses.is_empty(), "IP")?;
            none(!facts.uris.is_empty(), "URI")?;
            only("client auth")
        }
        KUBELET_SERVING => {
            if facts.dns_names.is_empty() && facts.addresses.is_empty() {
                return Err("DNS or IP subjectAltName is required".into());
            }
            none(!facts.emails.is_empty(), "email")?;
            none(!facts.uris.is_empty(), "URI")?;
            only("server auth")?;
            node_of(facts).map(drop)
        }
        _ => Ok(()),
    }
}

/// `spec.usages`.
pub fn usages(request: &Value) -> Vec<&str> {
    request.at("spec.usages").items().iter().map(Value::str).collect()
}

/// Whether the condition of this type is there; all of a request's count as true.
pub fn has(request: &Value, kind: &str) -> bool {
    request.condition(kind).is_some()
}

#[cfg(test)]
pub mod testing {
    //! A certifier whose requests are facts in plain text: `CN|O|DNS|IP`.

    use super::*;

    /// Signs everything.
    #[derive(Debug)]
    pub struct Plain;

    impl Certifier for Plain {
        fn read(&self, request: &str) -> Result<Facts, String> {
            let parts: Vec<&str> = request.split('|').collect();
            let [name, group, dns, ip] = parts[..] else { return Err("no request".into()) };
            let list =
                |text: &str| text.split(',').filter(|t| !t.is_empty()).map(String::from).collect();
            Ok(Facts {
                common_name: name.into(),
                organizations: list(group),
                dns_names: list(dns),
                addresses: ip.split(',').filter_map(|a| a.parse().ok()).collect(),
                ..Facts::default()
            })
        }

        fn sign(&self, request: &str, terms: &Terms<'_>) -> Result<String, String> {
            Ok(format!("{request} {:?}", terms.seconds))
        }

        fn ends(&self, certificate: &str) -> Option<Time> {
            Time::parse(certificate)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Plain;
    use super::*;

    #[test]
    fn signers_have_rules() {
        let read = |text: &str| Plain.read(text).unwrap();
        let client = ["digital signature", "client auth"];
        let node = read("system:node:a|system:nodes||");
        assert_eq!(check(KUBELET_CLIENT, &node, &client), Ok(()));
        assert_eq!(node_of(&node), Ok("a"));
        for wrong in [
            "a|system:nodes||",
            "system:node:a|x||",
            "system:node:|system:nodes||",
            "system:node:a|system:nodes,x||",
        ] {
            assert!(check(KUBELET_CLIENT, &read(wrong), &client).is_err(), "{wrong}");
        }
        let with_name = read("system:node:a|system:nodes|a|");
        assert_eq!(
            check(KUBELET_CLIENT, &with_name, &client).unwrap_err(),
            "DNS SANs are not allowed"
        );
        let server = ["digital signature", "server auth"];
        assert_eq!(check(KUBELET_SERVING, &with_name, &server), Ok(()));
        assert!(check(KUBELET_SERVING, &with_name, &client).is_err());
        assert!(check(KUBELET_SERVING, &node, &server).is_err());
        assert!(check(CLIENT, &node, &["client auth"]).is_ok());
        assert!(check(CLIENT, &node, &["client auth", "server auth"]).is_err());
    }
}
