//! Deletes certificate requests that nobody needs any more
//! (upstream `pkg/controller/certificates/cleaner`).

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::CERTIFICATESIGNINGREQUESTS;
use timonier_meta::{Duration, GroupVersionResource, ObjectKey, Time};
use timonier_object::Value;
use timonier_reconcile::{Change, Context, Plan, Reconciler, World, Write};

use crate::certificates::{Certifier, has};

/// How long requests stay after they were answered, and how long unanswered ones wait.
const ANSWERED: Duration = Duration::from_secs(3600);
const WAITING: Duration = Duration::from_secs(24 * 3600);

/// The controller that cleans up.
pub struct CsrCleaner {
    pub certifier: Arc<dyn Certifier>,
}

impl Reconciler for CsrCleaner {
    fn name(&self) -> &'static str {
        "certificatesigningrequest-cleaner-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![CERTIFICATESIGNINGREQUESTS]
    }

    fn concerns(&self, change: &Change, _: &World) -> Vec<ObjectKey> {
        if change.new.is_some() { vec![change.key.clone()] } else { Vec::new() }
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        let Some(csr) = world.get(&CERTIFICATESIGNINGREQUESTS, key).filter(|c| !c.is_deleting())
        else {
            return Plan::nothing();
        };
        let ends = self.ends(csr);
        if ends > context.now {
            return Plan { requeue_at: Some(ends), ..Plan::default() };
        }
        Plan::write(Write::delete(&CERTIFICATESIGNINGREQUESTS, csr).unchanged(csr))
    }
}

impl CsrCleaner {
    fn ends(&self, csr: &Value) -> Time {
        let certificate = csr.at("status.certificate").str();
        let since = |kind: &str| csr.condition(kind)?.time("lastUpdateTime");
        let created = csr.created().unwrap_or_default();
        let mut ends = created + WAITING;
        for kind in ["Denied", "Failed"] {
            if let Some(at) = since(kind) {
                ends = ends.min(at + ANSWERED);
            }
        }
        if !certificate.is_empty() {
            if let Some(at) = since("Approved") {
                ends = ends.min(at + ANSWERED);
            }
            ends = ends.min(self.certifier.ends(certificate).unwrap_or(ends));
        }
        // Approved by an administrator for a signer of his own: it waits for that.
        let waits = has(csr, "Approved") && certificate.is_empty() && !has(csr, "Failed");
        if waits { ends.max(since("Approved").unwrap_or(created) + WAITING) } else { ends }
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;
    use crate::certificates::testing::Plain;
    use crate::common::testing::{now, plan_key, short, world};

    fn ends(status: Value) -> Option<Time> {
        let csr = value!({ "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": { "name": "c", "creationTimestamp": "2026-01-01T00:30:00Z" },
            "spec": {}, "status": status });
        let cleaner = CsrCleaner { certifier: Arc::new(Plain) };
        let plan = plan_key(&cleaner, &world([csr]), &ObjectKey::new("", "c"));
        if plan.requeue_at.is_none() {
            assert_eq!(short(&plan), ["delete certificatesigningrequests c"]);
        }
        plan.requeue_at
    }

    #[test]
    fn requests_go_when_they_are_answered_or_forgotten() {
        let minutes = |n: i64| now() + Duration::from_secs(60 * n);
        assert_eq!(ends(value!({})), Some(minutes(23 * 60 + 30)));
        let answered = |kind: &str, at: &str, certificate: &str| {
            ends(value!({ "certificate": certificate,
                          "conditions": [{ "type": kind, "lastUpdateTime": at }] }))
        };
        assert_eq!(answered("Denied", "2026-01-01T00:40:00Z", ""), Some(minutes(40)));
        assert_eq!(answered("Denied", "2026-01-01T00:00:00Z", ""), None);
        assert_eq!(answered("Approved", "2026-01-01T00:40:00Z", "x"), Some(minutes(40)));
        let ended = "2026-01-01T00:59:00Z";
        assert_eq!(answered("Approved", "2026-01-01T00:40:00Z", ended), None);
        assert_eq!(answered("Approved", "2026-01-01T00:40:00Z", ""), Some(minutes(23 * 60 + 40)));
    }
}
