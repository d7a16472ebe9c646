//! API aggregation: a real HTTPS server answers for a group-version behind an APIService. It takes
//! nobody without a certificate of the front proxy's authority.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use timonier_apiserver::FrontProxy;
use timonier_object::{Value, json, value};
use tokio::net::TcpListener;

use crate::common::{Api, config, master, server_with, store};

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const NAME: &str = "v1alpha1.wardle.example.com";
const ROOT: &str = "/apis/wardle.example.com/v1alpha1";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key, PEM.
fn signed(by: &Authority, names: &[&str], common_name: &str) -> (String, String) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, by).unwrap().pem(), key.serialize_pem())
}

/// The server behind, and what it was asked.
struct Behind {
    port: u16,
    bundle: String,
    asked: Arc<Mutex<Vec<(String, HeaderMap)>>>,
}

async fn behind(front_proxy: &Authority) -> Behind {
    let ca = authority();
    let (certificate, key) = signed(&ca, &["sample.default.svc"], "sample");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = timonier_trust::roots(front_proxy.pem().as_bytes()).unwrap();
    let clients =
        WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build().unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(
            timonier_trust::certificates(certificate.as_bytes()).unwrap(),
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, log) = (acceptor.clone(), log.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request| serve(request, log.clone()));
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Behind { port, bundle: STANDARD.encode(ca.pem()), asked }
}

async fn serve(
    request: Request<Incoming>,
    log: Arc<Mutex<Vec<(String, HeaderMap)>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_string();
    let line = format!("{} {}", request.method(), request.uri());
    log.lock().unwrap().push((line, request.headers().clone()));
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let answer = match path.as_str() {
        "/apis/wardle.example.com/v1alpha1" => value!({ "kind": "APIResourceList",
            "groupVersion": "wardle.example.com/v1alpha1", "resources": [
                { "name": "flunders", "singularName": "flunder", "namespaced": true,
                  "kind": "Flunder", "verbs": ["create", "get", "list"] }] }),
        "/openapi/v3" => value!({ "paths": { "apis/wardle.example.com/v1alpha1": {
            "serverRelativeURL": "/openapi/v3/apis/wardle.example.com/v1alpha1?hash=AB" } } }),
        "/openapi/v3/apis/wardle.example.com/v1alpha1" => value!({ "openapi": "3.0.0" }),
        "/openapi/v2" => value!({ "paths": { "/apis/wardle.example.com/v1alpha1/flunders": {
            "get": { "responses": { "200": { "schema": { "$ref": "#/definitions/F" } } } } } },
            "definitions": { "F": { "type": "object" }, "G": {} } }),
        path if path.ends_with("/flunders") && !body.is_empty() => json::decode(&body).unwrap(),
        path if path.ends_with("/flunders") => value!({ "kind": "FlunderList", "items": [] }),
        _ => return Ok(Response::builder().status(404).body(Full::from("no")).unwrap()),
    };
    Ok(Response::new(Full::from(json::encode(&answer))))
}

async fn start() -> (Behind, Api) {
    let authority = authority();
    let (certificate, key) = signed(&authority, &[], "front-proxy-client");
    let behind = behind(&authority).await;
    let mut config = config();
    config.front_proxy = Some(FrontProxy {
        certificate_pem: certificate.into_bytes(),
        key_pem: key.into_bytes(),
        common_name: "front-proxy-client".into(),
        ca_pem: authority.pem().into_bytes(),
        client_ca_pem: b"users".to_vec(),
    });
    let api = Api::to(server_with(config, store().await).await, Some(master())).await;
    (behind, api)
}

fn service(port: u16) -> Value {
    value!({ "metadata": { "name": "sample" }, "spec": { "type": "ExternalName",
        "externalName": "localhost", "ports": [{ "port": (i64::from(port)) }] } })
}

fn api_service(behind: &Behind) -> Value {
    value!({ "metadata": { "name": NAME }, "spec": {
        "group": "wardle.example.com", "version": "v1alpha1", "caBundle": (&behind.bundle),
        "groupPriorityMinimum": 2000, "versionPriority": 200,
        "service": { "namespace": "default", "name": "sample", "port": (i64::from(behind.port)) } } })
}

/// Waits until the condition has this status; its reason and message.
async fn available(api: &mut Api, status: &str) -> (String, String) {
    let path = format!("{SERVICES}?watch=1&fieldSelector=metadata.name%3D{NAME}");
    let mut watch = api.watch(&path).await;
    loop {
        let event = watch.next().await.expect("the watch goes on");
        let condition = event.at("object").condition("Available").cloned().unwrap_or_default();
        if condition.at("status").str() == status {
            return (condition.at("reason").str().into(), condition.at("message").str().into());
        }
    }
}

#[tokio::test]
async fn requests_go_to_the_server_behind() {
    let (behind, mut api) = start().await;
    api.create("/api/v1/namespaces/default/services", service(behind.port)).await;
    let made = api.create(SERVICES, api_service(&behind)).await;
    assert!(made.find("status.conditions").is_none(), "{made}");
    let (reason, message) = available(&mut api, "True").await;
    assert_eq!((&*reason, &*message), ("Passed", "all checks passed"));

    let flunders = format!("{ROOT}/namespaces/default/flunders?limit=5&x=%20y");
    behind.asked.lock().unwrap().clear();
    let mut jane = api.another(Some(master())).await;
    jane.headers = vec![
        ("impersonate-user", "jane".into()),
        ("impersonate-group", "system:masters".into()),
        ("x-remote-user", "mallory".into()),
    ];
    assert_eq!(jane.get(&flunders).await.at("kind").str(), "FlunderList");
    let found = |line: &str| {
        let asked = behind.asked.lock().unwrap();
        asked.iter().find(|(l, _)| l == line).map(|(_, headers)| headers.clone())
    };
    let headers = found(&format!("GET {flunders}")).expect("path and query as they were");
    assert_eq!(headers["x-remote-user"], "jane");
    let groups: Vec<_> = headers.get_all("x-remote-group").iter().collect();
    assert_eq!(groups, ["system:masters", "system:authenticated"]);
    assert!(!headers.contains_key("impersonate-user"));
    let (code, made) =
        api.call("POST", &format!("{ROOT}/flunders"), &value!({ "kind": "Flunder" })).await;
    assert_eq!((code, made.at("kind").str()), (200, "Flunder"));
    // Who may not, is refused here.
    let mut nobody = api.another(None).await;
    nobody.fails("GET", &flunders, &Value::Null, 403).await;
    assert_eq!(api.call("GET", &format!("{ROOT}/other"), &Value::Null).await.0, 404);
}

#[tokio::test]
async fn discovery_and_openapi_tell_of_the_server_behind() {
    let (behind, mut api) = start().await;
    api.create("/api/v1/namespaces/default/services", service(behind.port)).await;
    api.create(SERVICES, api_service(&behind)).await;
    available(&mut api, "True").await;
    let group = api.get("/apis/wardle.example.com").await;
    assert_eq!(group.at("preferredVersion.version").str(), "v1alpha1");
    let list = api.get("/apis").await;
    let last = list.at("groups").items().last().unwrap().clone();
    assert_eq!(last.at("name").str(), "wardle.example.com");
    assert_eq!(api.get(ROOT).await.at("resources").items().len(), 1);

    let form = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let version = loop {
        let (code, bytes) = api.raw("GET", "/apis", &[("accept", form)], "").await;
        assert_eq!(code, 200);
        let list = json::decode(&bytes).unwrap();
        let group = list.at("items").items().last().unwrap().clone();
        assert_eq!(group.name(), "wardle.example.com");
        let version = group.at("versions").items()[0].clone();
        if version.at("freshness").str() == "Current" {
            break version;
        }
    };
    let flunders = &version.at("resources").items()[0];
    assert_eq!(flunders.at("resource").str(), "flunders");
    assert_eq!(flunders.at("responseKind.kind").str(), "Flunder");

    let index = api.get("/openapi/v3").await;
    let entry = index.at("paths").get(&ROOT[1..]).unwrap();
    let url = entry.at("serverRelativeURL").str();
    assert_eq!(api.get(url).await.at("openapi").str(), "3.0.0");
    let v2 = api.get("/openapi/v2").await;
    let path = format!("{ROOT}/flunders");
    assert!(v2.at("paths").get(&path).is_some());
    assert!(v2.at("definitions").get("F").is_some() && v2.at("definitions").get("G").is_none());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let (behind, mut api) = start().await;
    api.create(SERVICES, api_service(&behind)).await;
    let (reason, message) = available(&mut api, "False").await;
    assert_eq!(reason, "ServiceNotFound");
    assert_eq!(message, "service/sample in \"default\" is not present");
    let (code, text) = api.raw("GET", &format!("{ROOT}/flunders"), &[], "").await;
    assert_eq!((code, &text[..]), (503, &b"service unavailable\n"[..]));
    api.create("/api/v1/namespaces/default/services", service(behind.port)).await;
    available(&mut api, "True").await;
    let (code, _) =
        api.call("DELETE", "/api/v1/namespaces/default/services/sample", &Value::Null).await;
    assert_eq!(code, 200);
    available(&mut api, "False").await;
    // Other conditions and who wrote them stay.
    let mut object = api.get(&format!("{SERVICES}/{NAME}")).await;
    let more = value!({ "type": "Mine", "status": "True" });
    object.entry("status.conditions").make_array().push(more);
    let (code, written) = api.call("PUT", &format!("{SERVICES}/{NAME}/status"), &object).await;
    assert_eq!((code, written.at("status.conditions").items().len()), (200, 2));
    let mut gone = api.watch(&format!("{SERVICES}?watch=1")).await;
    api.call("DELETE", &format!("{SERVICES}/{NAME}"), &Value::Null).await;
    while gone.event().await.0 != "DELETED" {}
    while api.raw("GET", ROOT, &[], "").await.0 != 404 {}
}

#[tokio::test]
async fn servers_behind_learn_whom_to_believe() {
    let (_behind, mut api) = start().await;
    let maps = "/api/v1/namespaces/kube-system/configmaps";
    let name = "extension-apiserver-authentication";
    let selector = format!("fieldSelector=metadata.name%3D{name}");
    let mut watch = api.watch(&format!("{maps}?watch=1&{selector}")).await;
    let map = watch.next().await.unwrap().at("object").clone();
    let data = |key: &str| map.at("data").get(key).unwrap().str().to_string();
    assert_eq!(data("client-ca-file"), "users");
    assert_eq!(data("requestheader-allowed-names"), "[\"front-proxy-client\"]");
    assert_eq!(data("requestheader-username-headers"), "[\"X-Remote-User\"]");
    assert!(data("requestheader-client-ca-file").starts_with("-----BEGIN CERTIFICATE"));
    // Whoever takes it away, it comes back.
    api.call("DELETE", &format!("{maps}/{name}"), &Value::Null).await;
    assert_eq!(watch.event().await.0, "DELETED");
    assert_eq!(watch.event().await.0, "ADDED");
    // What this server answers itself needs nobody.
    let local = value!({ "metadata": { "name": "v1.apps" }, "spec": { "group": "apps",
        "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1 } });
    let made = api.create(SERVICES, local).await;
    assert_eq!(made.condition("Available").unwrap().at("reason").str(), "Local");
    assert_eq!(api.get("/apis/apps/v1").await.at("kind").str(), "APIResourceList");
}
