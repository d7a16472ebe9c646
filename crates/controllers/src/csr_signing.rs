//! Signs approved certificate requests of the signers that are the cluster's own
//! (upstream `pkg/controller/certificates/signer`).

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::CERTIFICATESIGNINGREQUESTS;
use timonier_meta::{GroupVersionResource, ObjectKey};
use timonier_object::{Value, value};
use timonier_reconcile::{Change, Context, Plan, Reconciler, World, Write};

use crate::certificates::{
    CLIENT, Certifier, KUBELET_CLIENT, KUBELET_SERVING, LEGACY, Terms, check, has, usages,
};
use crate::common::conditions;

/// The controller that signs. What it writes is as random as a signature is; everything else of
/// its decision rests on the world.
pub struct CsrSigning {
    pub certifier: Arc<dyn Certifier>,
}

impl Reconciler for CsrSigning {
    fn name(&self) -> &'static str {
        "certificatesigningrequest-signing-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![CERTIFICATESIGNINGREQUESTS]
    }

    fn concerns(&self, change: &Change, _: &World) -> Vec<ObjectKey> {
        if change.new.is_some() { vec![change.key.clone()] } else { Vec::new() }
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        let Some(request) = world.get(&CERTIFICATESIGNINGREQUESTS, key) else {
            return Plan::nothing();
        };
        let signer = request.at("spec.signerName").str();
        let waits = has(request, "Approved")
            && !has(request, "Denied")
            && !has(request, "Failed")
            && request.at("status.certificate").str().is_empty();
        if !waits || ![CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY].contains(&signer) {
            return Plan::nothing();
        }
        let mut signed = Value::clone(request);
        match self.sign(request, signer, context) {
            Ok(certificate) => signed.set("status.certificate", certificate),
            Err(why) => {
                let now = context.now.rfc3339();
                let condition = value!({ "type": "Failed", "status": "True",
                    "reason": "SignerValidationFailure", "message": why,
                    "lastUpdateTime": (&now), "lastTransitionTime": (&now) });
                conditions::put(signed.entry("status.conditions"), "Failed", condition);
            }
        }
        Plan::write(Write::update_status(&CERTIFICATESIGNINGREQUESTS, signed))
    }
}

impl CsrSigning {
    fn sign(&self, csr: &Value, signer: &str, context: &Context<'_>) -> Result<String, String> {
        let request = csr.at("spec.request").str();
        let usages = usages(csr);
        let facts = self.certifier.read(request)?;
        check(signer, &facts, &usages)?;
        let seconds = csr.at("spec.expirationSeconds").as_i64();
        self.certifier.sign(request, &Terms { usages, seconds, now: context.now })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::testing::Plain;
    use crate::common::testing::{body, plan_key, world};

    fn request(text: &str, signer: &str, condition: &str) -> Value {
        value!({ "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": { "name": "c" },
            "spec": { "request": text, "signerName": signer, "expirationSeconds": 700,
                "usages": ["digital signature", "client auth"] },
            "status": { "conditions": [{ "type": condition, "status": "True" }] } })
    }

    fn plan(csr: Value) -> Plan {
        let controller = CsrSigning { certifier: Arc::new(Plain) };
        plan_key(&controller, &world([csr]), &ObjectKey::new("", "c"))
    }

    #[test]
    fn what_is_approved_is_signed() {
        let node = "system:node:a|system:nodes||";
        let signed = plan(request(node, KUBELET_CLIENT, "Approved"));
        let status = body(&signed, &CERTIFICATESIGNINGREQUESTS).at("status").clone();
        assert_eq!(status.at("certificate").str(), "system:node:a|system:nodes|| Some(700)");
        let mut done = request(node, KUBELET_CLIENT, "Approved");
        done.set("status.certificate", "x");
        for other in [
            request(node, KUBELET_CLIENT, "Denied"),
            request(node, "example.com/x", "Approved"),
            done,
        ] {
            assert_eq!(plan(other), Plan::nothing());
        }
    }

    #[test]
    fn what_breaks_the_rules_fails() {
        let failed = plan(request("a|b||", KUBELET_CLIENT, "Approved"));
        let csr = body(&failed, &CERTIFICATESIGNINGREQUESTS);
        let condition = csr.condition("Failed").unwrap();
        assert_eq!(condition.at("message").str(), "organization in subject is not system:nodes");
        assert!(csr.at("status.certificate").is_null());
    }
}
