//! What a client writes: field validation, content types, limits, odd types.

use timonier_object::{Value, json, value};

use crate::common::{Api, MAPS, config_map};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn deployment() -> Value {
    value!({ "metadata": { "name": "web" }, "spec": { "replicas": 2, "foo": 1,
        "selector": { "matchLabels": { "a": "b" } },
        "template": { "metadata": { "labels": { "a": "b" } },
            "spec": { "containers": [{ "name": "c", "image": "x" }] } } } })
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_are_refused_told_or_dropped() {
    let mut api = Api::start().await;
    let path = |mode: &str| format!("{DEPLOYMENTS}?dryRun=All&fieldValidation={mode}");
    assert_eq!(
        api.fails("POST", &path("Strict"), &deployment(), 400).await,
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \"spec.foo\""
    );
    let bytes = json::encode(&deployment());
    for (mode, warnings) in [("Warn", 1), ("Ignore", 0), ("", 1)] {
        let response = api.send("POST", &path(mode), &[], bytes.clone()).await;
        assert_eq!(response.status(), 201);
        let told: Vec<_> = response.headers().get_all("warning").iter().cloned().collect();
        assert_eq!(told.len(), warnings, "{mode}");
        if warnings == 1 {
            assert_eq!(told[0], "299 - \"unknown field \\\"spec.foo\\\"\"");
        }
        let _ = http_body_util::BodyExt::collect(response.into_body()).await;
    }
    let twice = br#"{"metadata":{"name":"a"},"data":{"k":"1","k":"2"}}"#.to_vec();
    let (code, bytes) =
        api.raw("POST", &format!("{MAPS}?fieldValidation=Strict"), &[], twice).await;
    let status = json::decode(&bytes).unwrap();
    assert_eq!(code, 400);
    assert_eq!(
        status.at("message").str(),
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: duplicate field \"data.k\""
    );
}

#[tokio::test(start_paused = true)]
async fn broken_bodies_are_told_apart() {
    let mut api = Api::start().await;
    for (kind, body, code) in [
        ("application/json", "{", 400),
        ("application/json", "[]", 400),
        ("application/json", "", 400),
        ("application/yaml", "a: [", 400),
        ("application/vnd.kubernetes.protobuf", "k8s\0\u{1}\u{2}", 400),
        ("application/vnd.kubernetes.protobuf", "{}", 400),
        ("text/html", "{}", 415),
        ("application/x-www-form-urlencoded", "a=b", 415),
    ] {
        let (got, bytes) = api.raw("POST", MAPS, &[("content-type", kind)], body).await;
        assert_eq!(got, code, "{kind} {body}: {bytes:?}");
        assert_eq!(json::decode(&bytes).unwrap().kind(), "Status");
    }
    let message =
        api.fails("POST", MAPS, &value!({ "kind": "Pod", "apiVersion": "v1" }), 400).await;
    assert!(
        message.starts_with("Pod in version \"v1\" cannot be handled as a ConfigMap"),
        "{message}"
    );
    assert_eq!(
        api.fails("POST", MAPS, &value!({ "kind": "ConfigMap", "apiVersion": "v2" }), 400).await,
        "the API version in the data (v2) does not match the expected API version (v1)"
    );
    let message =
        api.fails("POST", MAPS, &value!({ "metadata": { "name": "a" }, "data": "x" }), 400).await;
    assert!(
        message.starts_with(
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal"
        ),
        "{message}"
    );
    let mut other = config_map("a");
    other.set("metadata.namespace", "kube-system");
    assert_eq!(
        api.fails("POST", MAPS, &other, 400).await,
        "the namespace of the provided object does not match the namespace sent on the request"
    );
    other.set("metadata.namespace", "default");
    other.set("metadata.resourceVersion", "5");
    assert_eq!(
        api.fails("POST", MAPS, &other, 500).await,
        "resourceVersion should not be set on objects to be created"
    );
}

#[tokio::test(start_paused = true)]
async fn large_bodies_are_refused() {
    let mut api = Api::start().await;
    let body = vec![b' '; 3 * 1024 * 1024 + 1];
    let (code, bytes) = api.raw("POST", MAPS, &[], body).await;
    let status = json::decode(&bytes).unwrap();
    assert_eq!((code, status.at("reason").str()), (413, "RequestEntityTooLarge"));
    assert_eq!(status.at("message").str(), "Request entity is too large: limit is 3145728");
}

#[tokio::test(start_paused = true)]
async fn yaml_is_read_and_names_are_generated() {
    let mut api = Api::start().await;
    let body = "metadata:\n  generateName: a-\ndata:\n  k: v\n";
    let headers = [("content-type", "application/yaml"), ("accept", "application/yaml")];
    let (code, bytes) = api.raw("POST", MAPS, &headers, body).await;
    assert_eq!(code, 201);
    let text = std::str::from_utf8(&bytes).unwrap();
    let made = timonier_object::yaml::decode(text).unwrap();
    assert!(made.name().starts_with("a-") && made.name().len() == 7, "{text}");
}

#[tokio::test(start_paused = true)]
async fn invalid_metadata_is_422_with_causes() {
    let mut api = Api::start().await;
    let (code, status) = api.call("POST", MAPS, &config_map("A_B")).await;
    assert_eq!((code, status.at("reason").str()), (422, "Invalid"));
    assert!(status.at("message").str().starts_with(
        "ConfigMap \"A_B\" is invalid: metadata.name: Invalid value: \"A_B\": a lowercase RFC 1123 subdomain"
    ));
    let cause = &status.at("details.causes").items()[0];
    assert_eq!(
        (cause.at("reason").str(), cause.at("field").str()),
        ("FieldValueInvalid", "metadata.name")
    );
    assert_eq!(status.at("details.kind").str(), "ConfigMap");
}
