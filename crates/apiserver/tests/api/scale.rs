//! `scale`: one subresource for every kind that has replicas.

use timonier_object::{Value, json, value};

use crate::common::Api;

#[tokio::test(start_paused = true)]
async fn replicas_are_read_set_and_patched() {
    let mut api = Api::start().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = value!({ "metadata": { "name": "d" }, "spec": { "replicas": 2,
        "selector": { "matchLabels": { "a": "b" }, "matchExpressions": [{ "key": "c", "operator": "Exists" }] },
        "template": { "metadata": { "labels": { "a": "b", "c": "d" } }, "spec": { "containers": [{ "name": "c", "image": "x" }] } } } });
    api.create(path, deployment).await;
    let scale = api.get(&format!("{path}/d/scale")).await;
    assert_eq!((scale.kind(), scale.api_version()), ("Scale", "autoscaling/v1"));
    assert_eq!(scale.at("spec.replicas").as_i64(), Some(2));
    assert_eq!(scale.at("status.selector").str(), "a=b,c");
    let mut five = scale.clone();
    five.set("spec.replicas", 5);
    let (code, set) = api.call("PUT", &format!("{path}/d/scale"), &five).await;
    assert_eq!((code, set.at("spec.replicas").as_i64()), (200, Some(5)));
    assert_eq!(
        api.call("PUT", &format!("{path}/d/scale"), &five).await.0,
        409,
        "the version is old"
    );
    let (code, set) =
        api.call("PATCH", &format!("{path}/d/scale"), &value!({ "spec": { "replicas": 7 } })).await;
    assert_eq!((code, set.at("spec.replicas").as_i64()), (200, Some(7)));
    let whole = api.get(&format!("{path}/d")).await;
    assert_eq!((whole.at("spec.replicas").as_i64(), whole.generation()), (Some(7), 3));
    assert_eq!(
        api.fails(
            "PATCH",
            &format!("{path}/d/scale"),
            &value!({ "spec": { "replicas": (-1i64) } }),
            422
        )
        .await,
        "Scale.autoscaling \"d\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
    );
    assert_eq!(api.call("GET", &format!("{path}/x/scale"), &Value::Null).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn scales_are_applied() {
    let mut api = Api::start().await;
    let path = "/apis/apps/v1/namespaces/default/deployments/d";
    let apply = [("content-type", "application/apply-patch+yaml")];
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: d\nspec:\n  replicas: 2\n  selector:\n    matchLabels: {a: b}\n  template:\n    metadata:\n      labels: {a: b}\n    spec:\n      containers:\n      - {name: c, image: x}\n";
    let scale = |n: i64| {
        format!(
            "apiVersion: autoscaling/v1\nkind: Scale\nmetadata:\n  name: d\nspec:\n  replicas: {n}\n"
        )
    };
    let target = format!("{path}/scale?fieldManager=scaler");
    let (code, _) = api.raw("PATCH", &target, &apply, scale(3)).await;
    assert_eq!(code, 404, "a scale makes no object");
    let (code, _) =
        api.raw("PATCH", &format!("{path}?fieldManager=owner"), &apply, deployment).await;
    assert_eq!(code, 201);
    let (code, body) = api.raw("PATCH", &target, &apply, scale(3)).await;
    let refused = json::decode(&body).unwrap();
    assert_eq!(
        (code, refused.at("message").str()),
        (409, "Apply failed with 1 conflict: conflict with \"owner\": .spec.replicas")
    );
    let (code, body) = api.raw("PATCH", &format!("{target}&force=true"), &apply, scale(3)).await;
    let scaled = json::decode(&body).unwrap();
    assert_eq!((code, scaled.at("spec.replicas").as_i64()), (200, Some(3)), "{scaled}");
    let whole = api.get(path).await;
    assert_eq!(whole.at("spec.replicas").as_i64(), Some(3));
    let entry = |manager: &str| {
        let entries = whole.at("metadata.managedFields").items();
        entries.iter().find(|e| e.at("manager").str() == manager).unwrap().clone()
    };
    let own = entry("scaler");
    assert_eq!(own.at("fieldsV1").to_string(), r#"{"f:spec":{"f:replicas":{}}}"#);
    assert_eq!(
        (own.at("operation").str(), own.at("apiVersion").str(), own.at("subresource").str()),
        ("Apply", "apps/v1", "scale")
    );
    assert!(entry("owner").at("fieldsV1").get("f:spec").unwrap().get("f:replicas").is_none());
    let (_, again) = api.raw("PATCH", &target, &apply, scale(3)).await;
    let again = json::decode(&again).unwrap();
    assert_eq!(again.resource_version(), whole.resource_version(), "nothing was stored");
    let (code, _) = api.raw("PATCH", &target, &apply, scale(-1)).await;
    assert_eq!(code, 422);
    let wrong = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: d\n";
    let (code, _) = api.raw("PATCH", &target, &apply, wrong).await;
    assert_eq!(code, 400);
}
