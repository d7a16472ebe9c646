//! An API server over a memory store, spoken to over HTTP in memory.
#![allow(dead_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use timonier_apiserver::{ApiServer, Config, storage};
use timonier_meta::{Environment, SmolStr, Time};
use timonier_object::{Value, json, value};
use timonier_policy::User;
use timonier_schema::Catalogue;
use timonier_store::{Location, MemoryDisk, Options, Store};

/// A clock that follows tokio's and a counter for chance.
pub struct Fixed {
    start: tokio::time::Instant,
    counter: AtomicU64,
}

impl Environment for Fixed {
    fn now(&self) -> Time {
        let passed = self.start.elapsed().as_micros() as i64;
        Time(1_800_000_000_000_000 + passed)
    }

    fn random(&self) -> u64 {
        // SplitMix64, so that chance repeats.
        let mut z = self.counter.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

/// A P-256 key made for these tests.
pub fn signing_key() -> Vec<u8> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    key.serialize_pem().into_bytes()
}

pub fn config() -> Config {
    Config {
        issuer: "https://kubernetes.default.svc.cluster.local".into(),
        audiences: vec!["https://kubernetes.default.svc.cluster.local".into()],
        service_account_key_pem: signing_key(),
        service_cidrs: vec!["10.96.0.0/16".into()],
        node_ports: 30000..=32767,
        advertise: Some(("192.0.2.1".parse().unwrap(), 6443)),
        event_ttl: std::time::Duration::from_secs(3600),
        kubelet: None,
        front_proxy: None,
    }
}

pub async fn store() -> Store {
    let options = Options { stamp: storage::stamp, ..Options::default() };
    Store::open(Location::Memory(MemoryDisk::default()), options).await.unwrap()
}

/// A server and one connection to it.
pub struct Api {
    pub server: Arc<ApiServer>,
    sender: SendRequest<Full<Bytes>>,
    pub authorization: Option<String>,
    pub headers: Vec<(&'static str, String)>,
}

pub fn master() -> User {
    User::authenticated("kubernetes-admin", [SmolStr::new("system:masters")])
}

pub async fn connect(server: &Arc<ApiServer>, peer: Option<User>) -> SendRequest<Full<Bytes>> {
    let (near, far) = tokio::io::duplex(1 << 20);
    let behind = server.clone();
    tokio::spawn(async move { behind.serve_stream(far, peer).await });
    let (sender, connection) = handshake(TokioIo::new(near)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender
}

pub async fn server_with(config: Config, store: Store) -> Arc<ApiServer> {
    let env = Fixed { start: tokio::time::Instant::now(), counter: AtomicU64::new(1) };
    ApiServer::new(config, store, Catalogue::builtin(), Arc::new(env)).await.unwrap()
}

impl Api {
    /// A fresh server, with a master's connection.
    pub async fn start() -> Api {
        let server = server_with(config(), store().await).await;
        Api::to(server, Some(master())).await
    }

    pub async fn to(server: Arc<ApiServer>, peer: Option<User>) -> Api {
        let sender = connect(&server, peer).await;
        Api { server, sender, authorization: None, headers: Vec::new() }
    }

    /// Another connection to the same server.
    pub async fn another(&self, peer: Option<User>) -> Api {
        Api::to(self.server.clone(), peer).await
    }

    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(path).header("host", "test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        self.sender.ready().await.unwrap();
        self.sender.send_request(request).await.unwrap()
    }

    /// Status code and body.
    pub async fn raw(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> (u16, Bytes) {
        let response = self.send(method, path, headers, body).await;
        let code = response.status().as_u16();
        (code, response.into_body().collect().await.unwrap().to_bytes())
    }

    /// Status code and JSON.
    pub async fn call(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let kind = match method {
            "PATCH" => "application/strategic-merge-patch+json",
            _ => "application/json",
        };
        let bytes = if body.is_null() { Vec::new() } else { json::encode(body) };
        let (code, bytes) = self.raw(method, path, &[("content-type", kind)], bytes).await;
        let value = json::decode(&bytes)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes).to_string()));
        (code, value)
    }

    pub async fn get(&mut self, path: &str) -> Value {
        let (code, value) = self.call("GET", path, &Value::Null).await;
        assert_eq!(code, 200, "GET {path}: {value}");
        value
    }

    pub async fn create(&mut self, path: &str, body: Value) -> Value {
        let (code, value) = self.call("POST", path, &body).await;
        assert_eq!(code, 201, "POST {path}: {value}");
        value
    }

    /// The message of a request that must fail with `code`.
    pub async fn fails(&mut self, method: &str, path: &str, body: &Value, code: u16) -> String {
        let (got, value) = self.call(method, path, body).await;
        assert_eq!(got, code, "{method} {path}: {value}");
        assert_eq!(value.at("kind").str(), "Status", "{value}");
        assert_eq!(value.at("code").as_i64(), Some(i64::from(code)), "{value}");
        value.at("message").str().to_string()
    }

    /// A default account, as the controllers would make one.
    pub async fn account(&mut self, namespace: &str) {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        self.create(&path, value!({ "metadata": { "name": "default" } })).await;
    }

    /// Opens a watch.
    pub async fn watch(&mut self, path: &str) -> Watch {
        self.watch_as(path, "application/json").await
    }

    pub async fn watch_as(&mut self, path: &str, accept: &str) -> Watch {
        let mut other = self.another(Some(master())).await;
        let response = other.send("GET", path, &[("accept", accept)], "").await;
        assert_eq!(response.status(), 200, "{path}");
        Watch { _api: other, body: response.into_body(), buffer: Vec::new() }
    }
}

/// The events of a watch.
pub struct Watch {
    _api: Api,
    body: Incoming,
    buffer: Vec<u8>,
}

impl Watch {
    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(json::decode(&line[..line.len() - 1]).unwrap());
            }
            let frame = self.body.frame().await?.unwrap();
            self.buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |d| &d[..]));
        }
    }

    /// Type and name of the next event.
    pub async fn event(&mut self) -> (String, String) {
        let event = self.next().await.expect("the watch goes on");
        (event.at("type").str().into(), event.at("object").name().into())
    }
}

/// A pod with one container.
pub fn pod(name: &str) -> Value {
    value!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "containers": [{ "name": "c", "image": "nginx" }] } })
}

/// A config map.
pub fn config_map(name: &str) -> Value {
    value!({ "metadata": { "name": name }, "data": { "k": "v" } })
}

pub const MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const PODS: &str = "/api/v1/namespaces/default/pods";
