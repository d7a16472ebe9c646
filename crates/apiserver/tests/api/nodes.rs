//! What a node may do, and what not.

use timonier_object::{Value, value};
use timonier_policy::User;

use crate::common::{Api, PODS, pod};

/// A cluster with the nodes `n` and `other` and a pod of the same name on each; the second
/// connection is the node `n`.
async fn with_nodes() -> (Api, Api) {
    let mut api = Api::start().await;
    api.account("default").await;
    for name in ["n", "other"] {
        api.create("/api/v1/nodes", value!({ "metadata": { "name": name } })).await;
        let mut on_node = pod(name);
        on_node.set("spec.nodeName", name);
        api.create(PODS, on_node).await;
    }
    let node = api.another(Some(User::authenticated("system:node:n", ["system:nodes".into()])));
    let node = node.await;
    (api, node)
}

#[tokio::test(start_paused = true)]
async fn a_node_reads_its_own_pods() {
    let (_api, mut node) = with_nodes().await;
    for (query, code) in [
        ("", 403),
        ("?watch=1", 403),
        ("?fieldSelector=spec.nodeName%3Dother", 403),
        ("?fieldSelector=spec.nodeName%3Dn", 200),
        ("/n", 200),
        ("/other", 403),
        ("/missing", 403),
        ("?fieldSelector=metadata.name%3Dother", 403),
        ("?fieldSelector=metadata.name%3Dn", 200),
    ] {
        let (got, text) = node.raw("GET", &format!("{PODS}{query}"), &[], "").await;
        assert_eq!(got, code, "{query}: {text:?}");
    }
    let own = node.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn").await;
    let names: Vec<&str> = own.at("items").items().iter().map(Value::name).collect();
    assert_eq!(names, ["n"]);
    assert_eq!(
        node.fails("GET", "/api/v1/pods", &Value::Null, 403).await,
        "pods is forbidden: User \"system:node:n\" cannot list resource \"pods\" in API group \"\" at the cluster scope: can only list/watch pods with spec.nodeName field selector"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_has_no_owner_of_its_choice() {
    let (_api, mut node) = with_nodes().await;
    let owner = value!({ "metadata": { "ownerReferences": [
        { "apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "gone" }] } });
    for path in ["/api/v1/nodes/n", "/api/v1/nodes/n/status"] {
        assert_eq!(
            node.fails("PATCH", path, &owner, 403).await,
            "nodes \"n\" is forbidden: node \"n\" is not allowed to modify ownerReferences"
        );
    }
    let fine = value!({ "metadata": { "annotations": { "a": "b" } } });
    assert_eq!(node.call("PATCH", "/api/v1/nodes/n", &fine).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_node_does_not_say_what_claims_a_pod_has() {
    let (mut api, mut node) = with_nodes().await;
    let mut claiming = pod("claiming");
    claiming.set("spec.nodeName", "n");
    claiming
        .set("spec.resourceClaims", value!([{ "name": "c", "resourceClaimTemplateName": "t" }]));
    api.create(PODS, claiming).await;
    let path = format!("{PODS}/claiming/status");
    let claims = value!({ "status": { "phase": "Running",
        "resourceClaimStatuses": [{ "name": "c", "resourceClaimName": "x" }] } });
    assert_eq!(
        node.fails("PATCH", &path, &claims, 403).await,
        "pods \"claiming\" is forbidden: node \"n\" cannot update resource claim statues"
    );
    let fine = value!({ "status": { "phase": "Running" } });
    assert_eq!(node.call("PATCH", &path, &fine).await.0, 200);
    assert_eq!(api.call("PATCH", &path, &claims).await.0, 200, "the controller may");
}

#[tokio::test(start_paused = true)]
async fn a_node_gets_tokens_for_what_its_pods_are_for() {
    let (mut api, mut node) = with_nodes().await;
    let mut vault = pod("vault");
    vault.set("spec.nodeName", "n");
    vault.set(
        "spec.volumes",
        value!([{ "name": "t", "projected": { "sources": [
            { "serviceAccountToken": { "path": "t", "audience": "vault" } }] } },
            { "name": "d", "csi": { "driver": "driver" } }]),
    );
    let uid = api.create(PODS, vault).await.uid().to_string();
    api.create(
        "/apis/storage.k8s.io/v1/csidrivers",
        value!({ "metadata": { "name": "driver" },
            "spec": { "tokenRequests": [{ "audience": "disks" }] } }),
    )
    .await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let request = |audiences: Value| {
        value!({ "spec": { "audiences": audiences, "boundObjectRef":
            { "apiVersion": "v1", "kind": "Pod", "name": "vault", "uid": (uid.as_str()) } } })
    };
    for fine in [value!(["vault"]), value!(["disks"]), value!([])] {
        let (code, answer) = node.call("POST", path, &request(fine)).await;
        assert_eq!(code, 201, "{answer}");
    }
    assert_eq!(
        node.fails("POST", path, &request(value!(["bank"])), 403).await,
        "serviceaccounts \"default\" is forbidden: audience \"bank\" not found in pod spec volume, system:node:n is not authorized to request tokens for this audience"
    );
    let text = node.fails("POST", path, &request(value!(["vault", "bank"])), 403).await;
    assert!(text.ends_with("node may only request 0 or 1 audiences"), "{text}");
    let (code, _) = api.call("POST", path, &request(value!(["bank"]))).await;
    assert_eq!(code, 201, "an administrator may");
}
