//! What is served, in every form clients ask for.

use timonier_object::json;

use crate::common::Api;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

#[tokio::test(start_paused = true)]
async fn legacy_discovery() {
    let mut api = Api::start().await;
    let versions = api.get("/api").await;
    assert_eq!(versions.at("versions").to_string(), "[\"v1\"]");
    assert_eq!(
        versions.at("serverAddressByClientCIDRs").items()[0].at("serverAddress").str(),
        "192.0.2.1:6443"
    );
    let groups = api.get("/apis").await;
    let names: Vec<&str> = groups.at("groups").items().iter().map(|g| g.at("name").str()).collect();
    assert!(names.contains(&"apps") && names.contains(&"batch") && !names.contains(&""));
    let core = api.get("/api/v1").await;
    let pods = core.at("resources").items().iter().find(|r| r.at("name").str() == "pods").unwrap();
    assert_eq!(pods.at("shortNames").to_string(), "[\"po\"]");
    assert_eq!(api.get("/apis/apps").await.kind(), "APIGroup");
    assert_eq!(api.get("/apis/apps/v1/").await.kind(), "APIResourceList");
    assert_eq!(api.raw("GET", "/apis/nothing", &[], "").await.0, 404);
    assert_eq!(api.raw("GET", "/apis/apps/v9", &[], "").await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn aggregated_discovery_with_its_tag() {
    let mut api = Api::start().await;
    for path in ["/api", "/apis"] {
        let response = api.send("GET", path, &[("accept", AGGREGATED)], "").await;
        let kind = response.headers()["content-type"].to_str().unwrap().to_string();
        assert_eq!(kind, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
        let tag = response.headers()["etag"].to_str().unwrap().to_string();
        let bytes =
            http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        let document = json::decode(&bytes).unwrap();
        assert_eq!(document.kind(), "APIGroupDiscoveryList");
        assert_eq!(document.api_version(), "apidiscovery.k8s.io/v2");
        let headers = [("accept", AGGREGATED), ("if-none-match", tag.as_str())];
        assert_eq!(api.raw("GET", path, &headers, "").await.0, 304);
    }
}

#[tokio::test(start_paused = true)]
async fn schemas_are_published() {
    let mut api = Api::start().await;
    let index = api.get("/openapi/v3").await;
    let url =
        index.at("paths").get("apis/apps/v1").unwrap().at("serverRelativeURL").str().to_string();
    let response = api.send("GET", &url, &[], "").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["cache-control"], "public, immutable");
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    let document = json::decode(&bytes).unwrap();
    assert!(document.at("components.schemas").get("io.k8s.api.apps.v1.Deployment").is_some());
    assert_eq!(api.raw("GET", "/openapi/v3/apis/apps/v1?hash=OLD", &[], "").await.0, 301);
    assert_eq!(api.raw("GET", "/openapi/v3/apis/nothing/v1", &[], "").await.0, 404);
    let protobuf = [("accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")];
    let response = api.send("GET", "/openapi/v2", &protobuf, "").await;
    let kind = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    assert_eq!(response.headers()["content-type"], kind);
    let tag = response.headers()["etag"].to_str().unwrap().to_string();
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    assert!(bytes.len() > 100_000);
    let known = [protobuf[0], ("if-none-match", tag.as_str())];
    assert_eq!(api.raw("GET", "/openapi/v2", &known, "").await.0, 304);
    let document = api.get("/openapi/v2").await;
    assert!(document.at("definitions").get("io.k8s.api.core.v1.Pod").is_some());
}

#[tokio::test(start_paused = true)]
async fn version_health_and_metrics() {
    let mut api = Api::start().await;
    assert_eq!(api.get("/version").await.at("gitVersion").str(), "v1.35.0");
    for path in ["/healthz", "/livez", "/readyz", "/livez/ping"] {
        assert_eq!(&api.raw("GET", path, &[], "").await.1[..], b"ok", "{path}");
    }
    let (_, verbose) = api.raw("GET", "/readyz?verbose&exclude=etcd", &[], "").await;
    let text = std::str::from_utf8(&verbose).unwrap();
    assert!(text.contains("[+]ping ok\n") && text.contains("[+]etcd excluded: ok\n"), "{text}");
    assert!(text.ends_with("readyz check passed\n"));
    let (_, metrics) = api.raw("GET", "/metrics", &[], "").await;
    assert!(std::str::from_utf8(&metrics).unwrap().contains("\napiserver_request_total "));
    let keys = api.get("/openid/v1/jwks").await;
    assert_eq!(keys.at("keys").items()[0].at("alg").str(), "ES256");
    assert_eq!(api.raw("GET", "/nothing", &[], "").await.0, 404);
    assert_eq!(api.raw("GET", "/livez/nothing", &[], "").await.0, 404);
    api.server.shutdown();
    let (code, text) = api.raw("GET", "/readyz", &[], "").await;
    assert_eq!(code, 500);
    assert!(std::str::from_utf8(&text).unwrap().contains("[-]shutdown failed"));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_served() {
    let mut api = Api::start().await;
    let (code, bytes) = api.raw("GET", "/api/v1/nothings", &[], "").await;
    assert_eq!((code, &bytes[..]), (404, &b"404 page not found\n"[..]));
    for (method, path, code) in [
        ("GET", "/api/v1/namespaces/default/pods/p/nothing", 404),
        ("POST", "/api/v1/namespaces/default/pods/p/status", 405),
        ("POST", "/api/v1/pods", 405),
        ("GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 405),
        ("OPTIONS", "/api/v1/namespaces", 405),
        ("GET", "/api/v1/watch", 400),
        ("POST", "/version", 405),
    ] {
        assert_eq!(api.raw(method, path, &[], "").await.0, code, "{method} {path}");
    }
}
