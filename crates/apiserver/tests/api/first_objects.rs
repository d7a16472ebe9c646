//! The server starts and has what every cluster has.

use crate::common::{Api, MAPS, config_map};
use timonier_object::Value;

#[tokio::test(start_paused = true)]
async fn a_new_cluster_has_its_first_objects() {
    let mut api = Api::start().await;
    let list = api.get("/api/v1/namespaces").await;
    let names: Vec<&str> = list.at("items").items().iter().map(Value::name).collect();
    assert_eq!(names, ["default", "kube-node-lease", "kube-public", "kube-system"]);
    assert_eq!(list.at("items").items()[0].at("spec.finalizers").to_string(), "[\"kubernetes\"]");
    let service = api.get("/api/v1/namespaces/default/services/kubernetes").await;
    assert_eq!(service.at("spec.clusterIP").str(), "10.96.0.1");
    assert_eq!(service.at("spec.ipFamilyPolicy").str(), "SingleStack");
    let classes = api.get("/apis/scheduling.k8s.io/v1/priorityclasses").await;
    assert_eq!(classes.at("items").items().len(), 2);
    let address = api.get("/apis/networking.k8s.io/v1/ipaddresses/10.96.0.1").await;
    assert_eq!(address.at("spec.parentRef.name").str(), "kubernetes");
    let endpoints = api.get("/api/v1/namespaces/default/endpoints/kubernetes").await;
    assert_eq!(
        endpoints.at("subsets").items()[0].at("ports").items()[0].at("port").as_i64(),
        Some(6443)
    );
}

#[tokio::test(start_paused = true)]
async fn an_object_lives_and_dies() {
    let mut api = Api::start().await;
    let made = api.create(MAPS, config_map("a")).await;
    assert_eq!(made.kind(), "ConfigMap");
    assert_eq!(made.uid().len(), 36);
    assert!(made.revision() > 0 && made.created().is_some());
    let read = api.get(&format!("{MAPS}/a")).await;
    assert_eq!(read, made);
    let (code, status) = api.call("DELETE", &format!("{MAPS}/a"), &Value::Null).await;
    assert_eq!((code, status.at("status").str()), (200, "Success"));
    assert_eq!(status.at("details.uid").str(), made.uid());
    assert_eq!(
        api.fails("GET", &format!("{MAPS}/a"), &Value::Null, 404).await,
        "configmaps \"a\" not found"
    );
}
