//! `scale`: one subresource for every kind that has replicas.

use timonier_object::{Value, value};

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
