//! The life of a namespace.

use timonier_object::{Value, value};

use crate::common::{Api, config_map};

#[tokio::test(start_paused = true)]
async fn a_namespace_goes_when_it_is_empty() {
    let mut api = Api::start().await;
    let made = api.create("/api/v1/namespaces", value!({ "metadata": { "name": "a" } })).await;
    assert_eq!(made.label("kubernetes.io/metadata.name"), Some("a"));
    assert_eq!(made.at("status.phase").str(), "Active");
    let maps = "/api/v1/namespaces/a/configmaps";
    api.create(maps, config_map("m")).await;
    let (code, going) = api.call("DELETE", "/api/v1/namespaces/a", &Value::Null).await;
    assert_eq!((code, going.at("status.phase").str()), (200, "Terminating"));
    assert!(going.is_deleting());
    let (code, status) = api.call("POST", maps, &config_map("n")).await;
    assert_eq!(code, 403);
    assert_eq!(
        status.at("message").str(),
        "configmaps \"n\" is forbidden: unable to create new content in namespace a because it is being terminated"
    );
    assert_eq!(status.at("details.causes").items()[0].at("reason").str(), "NamespaceTerminating");
    // What is there can still be changed and deleted.
    assert_eq!(api.call("PUT", &format!("{maps}/m"), &config_map("m")).await.0, 200);
    let mut empty = going.clone();
    empty.set("spec.finalizers", value!([]));
    let (code, _) = api.call("PUT", "/api/v1/namespaces/a", &empty).await;
    assert_eq!(code, 200);
    assert_eq!(
        api.call("GET", "/api/v1/namespaces/a", &Value::Null).await.0,
        200,
        "only finalize ends it"
    );
    let (code, _) = api.call("PUT", "/api/v1/namespaces/a/finalize", &empty).await;
    assert_eq!(code, 200);
    assert_eq!(api.call("GET", "/api/v1/namespaces/a", &Value::Null).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_created_where_there_is_no_namespace() {
    let mut api = Api::start().await;
    let maps = "/api/v1/namespaces/nope/configmaps";
    assert_eq!(
        api.fails("POST", maps, &config_map("m"), 404).await,
        "namespaces \"nope\" not found"
    );
    assert!(api.get(maps).await.at("items").items().is_empty());
    assert_eq!(
        api.fails("DELETE", "/api/v1/namespaces/kube-system", &Value::Null, 403).await,
        "namespaces \"kube-system\" is forbidden: this namespace may not be deleted"
    );
}
