//! The root CA in every namespace, for pods to verify the API server with
//! (upstream `pkg/controller/certificates/rootcacertpublisher`).

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::{CONFIGMAPS, NAMESPACES};
use timonier_meta::{GroupVersionResource, ObjectKey};
use timonier_object::{Value, value};
use timonier_reconcile::{Change, Context, Plan, Reconciler, World, Write};

const NAME: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const DESCRIPTION_TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// Publishes a CA bundle as the ConfigMap `kube-root-ca.crt`.
pub struct RootCaPublisher {
    /// The bundle in PEM form.
    pub bundle: String,
}

impl Reconciler for RootCaPublisher {
    fn name(&self) -> &'static str {
        "root-ca-certificate-publisher-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![NAMESPACES, CONFIGMAPS]
    }

    fn concerns(&self, change: &Change, _: &World) -> Vec<ObjectKey> {
        if change.is(&NAMESPACES) {
            return vec![change.key.clone()];
        }
        let ours = change.key.name == NAME;
        ours.then(|| ObjectKey::new("", change.key.namespace.clone())).into_iter().collect()
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, _: &Context<'_>) -> Plan {
        let terminating =
            |n: &Value| n.is_deleting() || n.at("status.phase").str() == "Terminating";
        if world.get(&NAMESPACES, key).is_none_or(|n| terminating(n)) {
            return Plan::nothing();
        }
        let data = value!({ "ca.crt": (&self.bundle) });
        let Some(map) = world.get(&CONFIGMAPS, &ObjectKey::new(key.name.clone(), NAME)) else {
            return Plan::write(Write::create(
                &CONFIGMAPS,
                value!({ "kind": "ConfigMap", "apiVersion": "v1",
                         "metadata": { "name": NAME, "namespace": (&key.name),
                                       "annotations": { (DESCRIPTION): DESCRIPTION_TEXT } },
                         "data": data }),
            ));
        };
        if map.at("data") == &data && map.annotation(DESCRIPTION).is_some_and(|d| !d.is_empty()) {
            return Plan::nothing();
        }
        let mut changed = Value::clone(map);
        changed.set("data", data);
        let notes = changed.entry("metadata.annotations").make_object();
        notes.insert(DESCRIPTION, DESCRIPTION_TEXT.into());
        Plan::write(Write::update(&CONFIGMAPS, changed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{body, plan_key, short, world};

    #[test]
    fn it_is_published_and_kept_true() {
        let key = ObjectKey::new("", "ns");
        let publisher = RootCaPublisher { bundle: "PEM".into() };
        let ns = value!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "ns" } });
        let first = plan_key(&publisher, &world([ns.clone()]), &key);
        let made = body(&first, &CONFIGMAPS).clone();
        assert_eq!(made.at("data").get("ca.crt").unwrap().str(), "PEM");
        assert_eq!(plan_key(&publisher, &world([ns.clone(), made.clone()]), &key), Plan::nothing());
        let mut spoilt = made;
        spoilt.set("data", value!({ "ca.crt": "x" }));
        let plan = plan_key(&publisher, &world([ns, spoilt]), &key);
        assert_eq!(short(&plan), ["update configmaps kube-root-ca.crt"]);
    }
}
