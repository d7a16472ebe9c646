//! Logs, exec and port-forward go to the node's kubelet, byte for byte.

use std::convert::Infallible;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use timonier_apiserver::KubeletTls;
use timonier_object::{Value, value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::common::{Api, PODS, config, master, pod, server_with, store};

fn leaf(
    ca: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
    names: Vec<String>,
) -> (String, String) {
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, ca).unwrap().pem(), key.serialize_pem())
}

/// A kubelet that tells what it was asked, and echoes upgraded connections.
async fn kubelet(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let told = format!("{} {}", request.method(), request.uri());
    let Some(protocol) = request.headers().get("upgrade").cloned() else {
        let code = if told.contains("missing") { 404 } else { 200 };
        let mut response = Response::new(Full::new(told.into()));
        *response.status_mut() = StatusCode::from_u16(code).unwrap();
        return Ok(response);
    };
    assert!(request.headers().get("authorization").is_none());
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgraded.await.unwrap());
        stream.write_all(told.as_bytes()).await.unwrap();
        let mut buffer = [0u8; 64];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..n]).await.unwrap();
        }
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert("connection", "Upgrade".parse().unwrap());
    response.headers_mut().insert("upgrade", protocol);
    Ok(response)
}

async fn start() -> Api {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let (certificate, key) = leaf(&ca, "kubelet", vec!["127.0.0.1".into()]);
    let (client, client_key) = leaf(&ca, "kube-apiserver-kubelet-client", Vec::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(serve(listener, ca.pem(), certificate, key));
    let mut config = config();
    config.kubelet = Some(KubeletTls {
        certificate_pem: client.into_bytes(),
        key_pem: client_key.into_bytes(),
        ca_pem: ca.pem().into_bytes(),
    });
    let mut api = Api::to(server_with(config, store().await).await, Some(master())).await;
    api.account("default").await;
    api.create("/api/v1/nodes", value!({ "metadata": { "name": "n" } })).await;
    let status = value!({ "status": {
        "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": (i64::from(port)) } } } });
    api.call("PATCH", "/api/v1/nodes/n/status", &status).await;
    api.create(PODS, pod("p")).await;
    let binding = value!({ "metadata": { "name": "p" }, "target": { "name": "n" } });
    api.create(&format!("{PODS}/p/binding"), binding).await;
    api
}

/// Serves kubelet requests over TLS, to clients of our authority only.
async fn serve(listener: TcpListener, ca: String, certificate: String, key: String) {
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        provider.clone(),
    );
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    while let Ok((stream, _)) = listener.accept().await {
        let stream = acceptor.accept(stream).await.unwrap();
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(kubelet))
                .with_upgrades(),
        );
    }
}

/// Sends a WebSocket handshake for the pod's log; gives the messages that come.
async fn log_messages(api: &mut Api, protocol: Option<&str>) -> Vec<Message> {
    let mut headers = vec![
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    headers.extend(protocol.map(|p| ("sec-websocket-protocol", p)));
    let response = api.send("GET", &format!("{PODS}/p/log"), &headers, "").await;
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let chosen = response.headers().get("sec-websocket-protocol").map(|v| v.to_str().unwrap());
    assert_eq!(chosen, protocol);
    let io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Client, None).await;
    let mut messages = Vec::new();
    while let Some(message) = socket.next().await {
        match message.unwrap() {
            close if close.is_close() => break,
            message => messages.push(message),
        }
    }
    messages
}

#[tokio::test]
async fn logs_come_over_websockets_too() {
    let log = "GET /containerLogs/default/p/c";
    for protocol in [None, Some("binary.k8s.io")] {
        let mut api = start().await;
        assert_eq!(log_messages(&mut api, protocol).await, [Message::binary(log)]);
    }
    let mut api = start().await;
    let messages = log_messages(&mut api, Some("base64.binary.k8s.io")).await;
    assert_eq!(messages, [Message::text(STANDARD.encode(log))]);
}

#[tokio::test]
async fn logs_come_from_the_kubelet() {
    let mut api = start().await;
    let (code, text) = api
        .raw("GET", &format!("{PODS}/p/log?follow=true&tailLines=5&timestamps=true"), &[], "")
        .await;
    assert_eq!(code, 200);
    assert_eq!(
        &text[..],
        b"GET /containerLogs/default/p/c?follow=true&timestamps=true&tailLines=5"
    );
    assert_eq!(
        api.fails("GET", &format!("{PODS}/p/log?container=x"), &Value::Null, 400).await,
        "container x is not valid for pod p"
    );
    let message = api.fails("GET", &format!("{PODS}/p/log?tailLines=-1"), &Value::Null, 422).await;
    assert!(
        message.contains("tailLines: Invalid value: -1: must be greater than or equal to 0"),
        "{message}"
    );
    assert_eq!(api.call("GET", &format!("{PODS}/x/log"), &Value::Null).await.0, 404);
    let (_, text) = api.raw("GET", "/api/v1/nodes/n/proxy/stats/summary?a=b", &[], "").await;
    assert_eq!(&text[..], b"GET /stats/summary?a=b");
    assert_eq!(api.raw("GET", "/api/v1/nodes/n/proxy/missing", &[], "").await.0, 404);
}

#[tokio::test]
async fn streams_are_tunnelled_in_both_forms() {
    let mut api = start().await;
    let upgrades = [
        (
            "POST",
            "SPDY/3.1",
            "exec?command=sh&command=-c&stdin=true&stdout=true&container=c",
            "POST /exec/default/p/c?input=1&output=1&command=sh&command=-c",
        ),
        ("GET", "websocket", "attach?stderr=1&tty=0", "GET /attach/default/p/c?error=1"),
        ("GET", "websocket", "portforward?ports=80", "GET /portForward/default/p?port=80"),
    ];
    for (method, protocol, path, told) in upgrades {
        let headers = [("connection", "Upgrade"), ("upgrade", protocol)];
        let mut other = api.another(Some(master())).await;
        let response = other.send(method, &format!("{PODS}/p/{path}"), &headers, "").await;
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["upgrade"], protocol);
        let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        let mut got = vec![0u8; told.len()];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(std::str::from_utf8(&got).unwrap(), told);
        stream.write_all(b"\x00echo\xff").await.unwrap();
        let mut got = [0u8; 6];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"\x00echo\xff");
    }
    assert_eq!(
        api.fails("POST", &format!("{PODS}/p/exec?command=ls"), &Value::Null, 400).await,
        "Upgrade request required"
    );
}

#[tokio::test]
async fn pods_and_services_are_reached_over_http() {
    let mut api = start().await;
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async move {
                let told = format!("{} {}", request.method(), request.uri());
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let told = format!("{told} {}", String::from_utf8_lossy(&body));
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(told))))
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    let at = |address: &str| value!({ "status": { "phase": "Running", "podIP": address } });
    for own in ["127.0.0.1", "169.254.169.254"] {
        api.call("PATCH", &format!("{PODS}/p/status"), &at(own)).await;
        let path = format!("{PODS}/p:{port}/proxy/");
        let why = api.fails("GET", &path, &Value::Null, 400).await;
        assert_eq!(why, "address not allowed");
    }
    let Some(address) = own_address() else {
        eprintln!("skipped: nothing leads to the loopback, and there is no other interface");
        return;
    };
    api.call("PATCH", &format!("{PODS}/p/status"), &at(&address)).await;
    let (code, text) =
        api.raw("POST", &format!("{PODS}/p:{port}/proxy/a%20b?c=d"), &[], "body").await;
    assert_eq!((code, &text[..]), (200, &b"POST /a%20b?c=d body"[..]));
    let (code, text) = api.raw("OPTIONS", &format!("{PODS}/p:{port}/proxy/a"), &[], "").await;
    assert_eq!((code, &text[..]), (200, &b"OPTIONS /a "[..]));
    let root = api.send("GET", &format!("{PODS}/p:{port}/proxy?a=b"), &[], "").await;
    assert_eq!(root.status(), 301);
    assert_eq!(root.headers()["location"], format!("{PODS}/p:{port}/proxy/?a=b"));
    drop(root);
    for path in ["/a/proxy", "/proxy?c=d", "//x%2Fy/"] {
        let (code, text) = api.raw("GET", &format!("{PODS}/p%3a{port}/proxy{path}"), &[], "").await;
        assert_eq!((code, &text[..]), (200, format!("GET {path} ").as_bytes()));
    }
    let services = "/api/v1/namespaces/default/services";
    api.create(services, value!({ "metadata": { "name": "s" }, "spec": { "ports": [{ "name": "web", "port": 80 }] } })).await;
    let message = api.fails("GET", &format!("{services}/s:web/proxy/"), &Value::Null, 503).await;
    assert_eq!(message, "no endpoints available for service \"s\"");
    let slice = value!({ "metadata": { "name": "s-1", "labels": { "kubernetes.io/service-name": "s" } }, "addressType": "IPv4",
        "endpoints": [{ "addresses": [address], "conditions": { "ready": true } }],
        "ports": [{ "name": "web", "port": (i64::from(port)) }] });
    api.create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice).await;
    for name in ["s", "s:80", "s:web", "http:s:web"] {
        let (code, text) = api.raw("GET", &format!("{services}/{name}/proxy/x"), &[], "").await;
        assert_eq!((code, &text[..]), (200, &b"GET /x "[..]), "{name}");
    }
}

/// An address of this machine that is not the loopback's. Nothing is sent.
fn own_address() -> Option<String> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then(|| ip.to_string())
}
