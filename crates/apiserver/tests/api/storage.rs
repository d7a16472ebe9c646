//! Volumes and claims at admission: protection, classes, growth.

use timonier_object::value;

use crate::common::Api;

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

#[tokio::test(start_paused = true)]
async fn claims_are_protected_and_grow_where_their_class_lets_them() {
    let mut api = Api::start().await;
    for (name, expands) in [("fixed", false), ("free", true)] {
        let class = value!({ "metadata": { "name": name }, "provisioner": "p", "allowVolumeExpansion": expands });
        api.create("/apis/storage.k8s.io/v1/storageclasses", class).await;
    }
    for class in ["fixed", "free"] {
        let claim = value!({ "metadata": { "name": class }, "spec": { "storageClassName": class,
            "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } });
        let made = api.create(CLAIMS, claim).await;
        assert_eq!(made.at("metadata.finalizers"), &value!(["kubernetes.io/pvc-protection"]));
        let path = format!("{CLAIMS}/{class}");
        let bigger = value!({ "spec": { "resources": { "requests": { "storage": "2Gi" } } } });
        let waiting = api.fails("PATCH", &path, &bigger, 422).await;
        assert!(waiting.contains("spec is immutable after creation"), "{waiting}");
        let mut bound = made.clone();
        bound.set("status", value!({ "phase": "Bound", "capacity": { "storage": "1Gi" } }));
        assert_eq!(api.call("PUT", &format!("{path}/status"), &bound).await.0, 200);
        if class == "free" {
            assert_eq!(api.call("PATCH", &path, &bigger).await.0, 200);
            continue;
        }
        assert_eq!(
            api.fails("PATCH", &path, &bigger, 403).await,
            "persistentvolumeclaims \"fixed\" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
        );
    }
    let (code, deleted) = api.call("DELETE", &format!("{CLAIMS}/free"), &value!(null)).await;
    assert_eq!(code, 200);
    assert!(deleted.is_deleting(), "{deleted}");
    assert!(api.get(&format!("{CLAIMS}/free")).await.is_deleting(), "the finalizer holds it");
}
