//! The forms of answers: tables, metadata, YAML, gzip, protobuf in.

use std::io::Read;

use http_body_util::BodyExt;
use timonier_object::{Value, json, value, yaml};

use crate::common::{Api, MAPS, config_map};

async fn as_json(api: &mut Api, path: &str, accept: &str) -> Value {
    let (code, bytes) = api.raw("GET", path, &[("accept", accept)], "").await;
    assert_eq!(code, 200);
    json::decode(&bytes).unwrap()
}

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

#[tokio::test(start_paused = true)]
async fn kubectl_gets_tables() {
    let mut api = Api::start().await;
    api.create(MAPS, config_map("a")).await;
    let table = as_json(&mut api, MAPS, TABLE).await;
    assert_eq!((table.kind(), table.api_version()), ("Table", "meta.k8s.io/v1"));
    let columns: Vec<&str> =
        table.at("columnDefinitions").items().iter().map(|c| c.at("name").str()).collect();
    assert_eq!(columns, ["Name", "Data", "Age"]);
    let row = &table.at("rows").items()[0];
    assert_eq!(row.at("cells").to_string(), r#"["a",1,"0s"]"#);
    assert_eq!(row.at("object.kind").str(), "PartialObjectMetadata");
    assert!(!table.resource_version().is_empty());
    let whole = as_json(&mut api, &format!("{MAPS}?includeObject=Object"), TABLE).await;
    assert_eq!(whole.at("rows").items()[0].at("object.data.k").str(), "v");
    let one = as_json(&mut api, &format!("{MAPS}/a?includeObject=None"), TABLE).await;
    assert!(one.at("rows").items()[0].at("object").is_null());
    let (code, _) = api.raw("GET", &format!("{MAPS}/b"), &[("accept", TABLE)], "").await;
    assert_eq!(code, 404);
}

#[tokio::test(start_paused = true)]
async fn metadata_alone() {
    let mut api = Api::start().await;
    let made = api.create(MAPS, config_map("a")).await;
    let accept =
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
    let list = as_json(&mut api, MAPS, accept).await;
    assert_eq!(list.kind(), "PartialObjectMetadataList");
    assert_eq!(list.at("items").items()[0].at("metadata"), made.at("metadata"));
    assert!(list.at("items").items()[0].at("data").is_null());
}

#[tokio::test(start_paused = true)]
async fn yaml_and_what_is_not_acceptable() {
    let mut api = Api::start().await;
    let made = api.create(MAPS, config_map("a")).await;
    let (_, bytes) =
        api.raw("GET", &format!("{MAPS}/a"), &[("accept", "application/yaml")], "").await;
    assert_eq!(yaml::decode(std::str::from_utf8(&bytes).unwrap()).unwrap(), made);
    let (code, bytes) = api.raw("GET", MAPS, &[("accept", "text/html")], "").await;
    assert_eq!(code, 406);
    assert_eq!(json::decode(&bytes).unwrap().at("reason").str(), "NotAcceptable");
    let protobuf_first = "application/vnd.kubernetes.protobuf,application/json";
    assert_eq!(as_json(&mut api, MAPS, protobuf_first).await.kind(), "ConfigMapList");
}

#[tokio::test(start_paused = true)]
async fn large_answers_are_compressed() {
    let mut api = Api::start().await;
    for i in 0..20 {
        let mut map = config_map(&format!("m{i}"));
        map.set("data.k", "x".repeat(10_000));
        api.create(MAPS, map).await;
    }
    let (_, plain) = api.raw("GET", MAPS, &[], "").await;
    let response = api.send("GET", MAPS, &[("accept-encoding", "deflate, gzip")], "").await;
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let packed = response.into_body().collect().await.unwrap().to_bytes();
    assert!(packed.len() * 10 < plain.len());
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut out).unwrap();
    assert_eq!(out, plain);
    let response = api.send("GET", &format!("{MAPS}/m1"), &[("accept-encoding", "gzip")], "").await;
    assert!(response.headers().get("content-encoding").is_none(), "small ones are not");
    let _ = response.into_body().collect().await;
}

/// kubectl writes some objects as protobuf, whatever the server says.
#[tokio::test(start_paused = true)]
async fn protobuf_bodies_are_read() {
    let mut api = Api::start().await;
    let mut meta = vec![0x0a, 1, b'a'];
    meta.extend([0x5a, 6, 0x0a, 1, b'l', 0x12, 1, b'm']);
    let mut map = vec![0x0a, meta.len() as u8];
    map.extend(&meta);
    map.extend([0x12, 6, 0x0a, 1, b'k', 0x12, 1, b'v']);
    let mut unknown = vec![0x0a, 15, 0x0a, 2, b'v', b'1', 0x12, 9];
    unknown.extend(b"ConfigMap");
    unknown.extend([0x12, map.len() as u8]);
    unknown.extend(&map);
    let mut body = b"k8s\0".to_vec();
    body.extend(&unknown);
    let headers =
        [("content-type", "application/vnd.kubernetes.protobuf"), ("accept", "application/json")];
    let (code, bytes) = api.raw("POST", MAPS, &headers, body).await;
    let made = json::decode(&bytes).unwrap();
    assert_eq!(code, 201, "{made}");
    assert_eq!((made.name(), made.at("data.k").str(), made.label("l")), ("a", "v", Some("m")));
}

#[tokio::test(start_paused = true)]
async fn both_versions_of_one_kind_read_the_same_object() {
    let mut api = Api::start().await;
    let v1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let v2 = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let scaler = value!({ "metadata": { "name": "s" }, "spec": { "maxReplicas": 3, "targetCPUUtilizationPercentage": 50,
        "scaleTargetRef": { "kind": "Deployment", "name": "d", "apiVersion": "apps/v1" } } });
    let made = api.create(v1, scaler).await;
    assert_eq!(made.api_version(), "autoscaling/v1");
    let other = api.get(&format!("{v2}/s")).await;
    assert_eq!(other.api_version(), "autoscaling/v2");
    let metric = &other.at("spec.metrics").items()[0];
    assert_eq!(metric.at("resource.target.averageUtilization").as_i64(), Some(50));
    let list = api.get(v1).await;
    assert_eq!(
        list.at("items").items()[0].at("spec.targetCPUUtilizationPercentage").as_i64(),
        Some(50)
    );
}
