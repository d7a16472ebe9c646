//! `patch`: three forms, their errors, and the one that is not there yet.

use timonier_object::{Value, json, value};

use crate::common::{Api, MAPS, PODS, config_map, pod};

async fn patch(api: &mut Api, path: &str, kind: &str, body: &str) -> (u16, Value) {
    let kind = format!("application/{kind}");
    let (code, bytes) = api.raw("PATCH", path, &[("content-type", &kind)], body.to_string()).await;
    (code, json::decode(&bytes).unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_three_forms() {
    let mut api = Api::start().await;
    api.account("default").await;
    api.create(MAPS, config_map("a")).await;
    let path = format!("{MAPS}/a");
    let (_, v) = patch(&mut api, &path, "merge-patch+json", r#"{"data":{"k":null,"x":"y"}}"#).await;
    assert_eq!(v.at("data").to_string(), r#"{"x":"y"}"#);
    let operations =
        r#"[{"op":"test","path":"/data/x","value":"y"},{"op":"add","path":"/data/z","value":"1"}]"#;
    let (_, v) = patch(&mut api, &path, "json-patch+json", operations).await;
    assert_eq!(v.at("data.z").str(), "1");
    api.create(PODS, pod("p")).await;
    let two = r#"{"spec":{"containers":[{"name":"c","image":"other"}]}}"#;
    let (code, v) = patch(&mut api, &format!("{PODS}/p"), "strategic-merge-patch+json", two).await;
    assert_eq!(code, 200, "{v}");
    let container = &v.at("spec.containers").items()[0];
    assert_eq!(container.at("image").str(), "other");
    assert_eq!(container.at("volumeMounts").items().len(), 1, "what is not named stays");
}

#[tokio::test(start_paused = true)]
async fn patches_that_do_not_fit() {
    let mut api = Api::start().await;
    let made = api.create(MAPS, config_map("a")).await;
    let path = format!("{MAPS}/a");
    let (code, status) =
        patch(&mut api, &path, "json-patch+json", r#"[{"op":"remove","path":"/nothing"}]"#).await;
    assert_eq!(code, 422);
    assert_eq!(
        status.at("message").str(),
        "the server rejected our request due to an error in our request"
    );
    for (kind, body, code) in [
        ("json-patch+json", "{}", 400),
        ("json-patch+json", "[", 400),
        ("merge-patch+json", "[]", 400),
        ("merge-patch+json", r#"{"data":7}"#, 400),
        ("merge-patch+json", r#"{"metadata":{"name":"b"}}"#, 400),
        ("json", "{}", 415),
        ("apply-patch+yaml", "{}", 422),
    ] {
        let (got, status) = patch(&mut api, &path, kind, body).await;
        assert_eq!(got, code, "{kind} {body}: {status}");
    }
    let apply = format!("{path}?fieldManager=kubectl&force=false");
    assert_eq!(patch(&mut api, &apply, "apply-patch+yaml", "{}").await.0, 400);
    let forced = patch(&mut api, &apply, "merge-patch+json", "{}").await;
    assert_eq!(
        forced.1.at("message").str(),
        "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch"
    );
    let stale = r#"{"metadata":{"resourceVersion":"1"},"data":{"k":"x"}}"#;
    assert_eq!(patch(&mut api, &path, "merge-patch+json", stale).await.0, 409);
    let unknown = patch(
        &mut api,
        &format!("{path}?fieldValidation=Strict"),
        "merge-patch+json",
        r#"{"foo":1}"#,
    )
    .await;
    assert_eq!(unknown.0, 400);
    assert_eq!(api.get(&path).await, made);
    assert_eq!(patch(&mut api, &format!("{MAPS}/b"), "merge-patch+json", "{}").await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn the_status_is_patched_apart() {
    let mut api = Api::start().await;
    api.account("default").await;
    api.create(PODS, pod("p")).await;
    let body = value!({ "status": { "phase": "Running", "podIP": "10.0.0.1" }, "spec": { "hostname": "x" } });
    let (code, v) = api.call("PATCH", &format!("{PODS}/p/status"), &body).await;
    assert_eq!(code, 200, "{v}");
    assert_eq!(v.at("status.phase").str(), "Running");
    assert!(v.at("spec.hostname").is_null());
    let (_, v) =
        api.call("PATCH", &format!("{PODS}/p"), &value!({ "status": { "phase": "Failed" } })).await;
    assert_eq!(v.at("status.phase").str(), "Running");
}
