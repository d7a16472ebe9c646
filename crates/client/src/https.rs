//! The transport over HTTPS: for commands, for nodes on other machines, for tests.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt};
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::rt::TokioExecutor;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use timonier_meta::{ApiError, Cause, GroupVersionResource, Reason};
use timonier_object::{Value, json, value};

use crate::connector::TlsConnector;
use crate::{
    Client, DeleteOptions, List, ListOptions, PatchType, Propagation, WatchEvent, WatchStream,
    WriteOptions,
};

/// Largest answer that is read into memory, bytes. A list beyond it must be paged.
const MAX_ANSWER: usize = 256 << 20;
/// How long a request may take until its answer begins. Upstream's server ends requests after a
/// minute.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(65);
/// Largest single watch event, bytes.
const MAX_EVENT: usize = 16 << 20;

/// How to reach an API server.
#[derive(Clone, Debug, Default)]
pub struct HttpsConfig {
    /// Such as `https://127.0.0.1:6443`.
    pub server: String,
    /// The authority that signed the server's certificate, PEM.
    pub ca: String,
    /// Client certificate and key, PEM.
    pub client: Option<(String, String)>,
    /// Sent as a bearer token.
    pub token: Option<String>,
}

/// A [`Client`] over HTTPS.
pub struct HttpsClient {
    http: RwLock<Http>,
    server: String,
    ca: String,
    authorization: Option<HeaderValue>,
}

type Http = HyperClient<TlsConnector, Full<Bytes>>;

fn bad(what: &str, why: &dyn std::fmt::Display) -> ApiError {
    ApiError::bad_request(format!("{what}: {why}"))
}

fn connections(ca: &str, client: Option<(&str, &str)>) -> Result<Http, ApiError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        let certificate = certificate.map_err(|e| bad("certificate authority", &e))?;
        roots.add(certificate).map_err(|e| bad("certificate authority", &e))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| bad("TLS", &e))?
        .with_root_certificates(roots);
    let tls = match client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
                .collect::<Result<Vec<_>, _>>()
                .map_err(|e| bad("client certificate", &e))?;
            let key =
                PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| bad("client key", &e))?;
            builder.with_client_auth_cert(chain, key).map_err(|e| bad("client certificate", &e))?
        }
    };
    Ok(HyperClient::builder(TokioExecutor::new()).build(TlsConnector::new(tls)))
}

impl HttpsClient {
    /// Checks the configuration; connects with the first call.
    pub fn new(config: &HttpsConfig) -> Result<Self, ApiError> {
        let client = config.client.as_ref().map(|(certificate, key)| (&**certificate, &**key));
        let http = RwLock::new(connections(&config.ca, client)?);
        let authorization = config
            .token
            .as_ref()
            .map(|t| HeaderValue::try_from(format!("Bearer {t}")).map_err(|e| bad("token", &e)))
            .transpose()?;
        let server = config.server.trim_end_matches('/').into();
        Ok(HttpsClient { http, server, ca: config.ca.clone(), authorization })
    }

    /// Shows another client certificate (PEM) from now on. Requests and watches under way end as
    /// they began; later ones use new connections.
    pub fn set_certificate(&self, certificate: &str, key: &str) -> Result<(), ApiError> {
        let http = connections(&self.ca, Some((certificate, key)))?;
        *self.http.write().unwrap_or_else(PoisonError::into_inner) = http;
        Ok(())
    }

    /// Sends a request to a path of the API and gives the answer's body, for what has no call of
    /// its own (`/readyz`, `/version`).
    pub async fn raw(&self, method: Method, path: &str) -> Result<Bytes, ApiError> {
        let response = self.send(method, path, None, "application/json").await?;
        collect(response).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        content_type: &str,
    ) -> Result<http::Response<Incoming>, ApiError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server))
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("timonier/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &self.authorization {
            request = request.header(header::AUTHORIZATION, token);
        }
        let bytes = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, content_type);
                Bytes::from(json::encode(body))
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(bytes)).map_err(ApiError::internal)?;
        let http = self.http.read().unwrap_or_else(PoisonError::into_inner).clone();
        let response = tokio::time::timeout(PATIENCE, http.request(request))
            .await
            .map_err(|e| unreachable_server(&self.server, &e))?
            .map_err(|e| unreachable_server(&self.server, &e))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = collect(response).await?;
        Err(json::decode(&bytes).ok().and_then(|v| from_status(&v)).unwrap_or_else(|| {
            ApiError::new(status.as_u16(), Reason::Unknown, String::from_utf8_lossy(&bytes).trim())
        }))
    }

    async fn object(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        content_type: &str,
    ) -> Result<Arc<Value>, ApiError> {
        let bytes = collect(self.send(method, path, body, content_type).await?).await?;
        json::decode(&bytes).map(Arc::new).map_err(ApiError::internal)
    }
}

fn unreachable_server(server: &str, error: &dyn std::error::Error) -> ApiError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    ApiError::unavailable(format!("the server {server} cannot be reached: {text}"))
}

async fn collect(response: http::Response<Incoming>) -> Result<Bytes, ApiError> {
    http_body_util::Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .map_err(|e| ApiError::unavailable(format!("the answer broke off: {e}")))
}

/// The error that a `metav1.Status` describes; `None` where the value is none, or says success.
pub fn from_status(status: &Value) -> Option<ApiError> {
    if status.kind() != "Status" || status.at("status").str() == "Success" {
        return None;
    }
    let code = u16::try_from(status.at("code").int_or(500)).unwrap_or(500);
    let reason = Reason::parse(status.at("reason").str());
    let mut error = ApiError::new(code, reason, status.at("message").str());
    let details = status.at("details");
    error.name = details.at("name").str().into();
    error.group = details.at("group").str().into();
    error.kind = details.at("kind").str().into();
    error.uid = details.at("uid").str().into();
    error.retry_after_seconds =
        u32::try_from(details.at("retryAfterSeconds").int_or(0)).unwrap_or(0);
    error.causes = details
        .at("causes")
        .items()
        .iter()
        .map(|c| Cause {
            reason: c.at("reason").str().into(),
            message: c.at("message").str().into(),
            field: c.at("field").str().into(),
        })
        .collect();
    Some(error)
}

fn path_of(
    resource: &GroupVersionResource,
    namespace: &str,
    name: &str,
    subresource: &str,
) -> String {
    let mut path = if resource.group.is_empty() {
        format!("/api/{}", resource.version)
    } else {
        format!("/apis/{}/{}", resource.group, resource.version)
    };
    if !namespace.is_empty() {
        path.push_str("/namespaces/");
        path.push_str(&escape(namespace));
    }
    path.push('/');
    path.push_str(&resource.resource);
    for part in [name, subresource].into_iter().filter(|p| !p.is_empty()) {
        path.push('/');
        path.push_str(&escape(part));
    }
    path
}

/// Percent-encodes everything but unreserved characters.
fn escape(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                (b as char).to_string()
            }
            _ => format!("%{b:02X}"),
        })
        .collect()
}

fn query(pairs: &[(&str, String)]) -> String {
    let parts: Vec<String> = pairs
        .iter()
        .filter(|(_, v)| !v.is_empty())
        .map(|(k, v)| format!("{k}={}", escape(v)))
        .collect();
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}

fn selectors(options: &ListOptions) -> [(&'static str, String); 2] {
    [
        ("labelSelector", options.label_selector.to_string()),
        ("fieldSelector", options.field_selector.to_string()),
    ]
}

fn write_query(options: &WriteOptions, manager: bool) -> String {
    query(&[
        ("dryRun", if options.dry_run { "All".into() } else { String::new() }),
        ("fieldManager", if manager { options.field_manager.to_string() } else { String::new() }),
    ])
}

#[async_trait]
impl Client for HttpsClient {
    async fn get(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Value>, ApiError> {
        self.object(Method::GET, &path_of(resource, namespace, name, ""), None, "").await
    }

    async fn list(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<List, ApiError> {
        let [labels, fields] = selectors(options);
        let query = query(&[
            labels,
            fields,
            ("limit", if options.limit == 0 { String::new() } else { options.limit.to_string() }),
            ("continue", options.continue_token.clone().unwrap_or_default()),
            ("resourceVersion", options.revision.map(|r| r.to_string()).unwrap_or_default()),
        ]);
        let path = path_of(resource, namespace, "", "") + &query;
        let bytes = collect(self.send(Method::GET, &path, None, "").await?).await?;
        let mut list = json::decode(&bytes).map_err(ApiError::internal)?;
        let item_kind = list.kind().strip_suffix("List").unwrap_or_default().to_owned();
        let api_version = list.at("apiVersion").clone();
        let items = list.get_mut("items").map(Value::take).unwrap_or_default();
        let Value::Array(items) = items else {
            return Err(ApiError::internal("the answer is no list"));
        };
        let items = items
            .into_iter()
            .map(|mut item| {
                // Typed lists leave the type of their items out.
                if item.find("kind").is_none() {
                    let map = item.make_object();
                    map.insert_first("kind", Value::from(item_kind.as_str()));
                    map.insert_first("apiVersion", api_version.clone());
                }
                Arc::new(item)
            })
            .collect();
        let token = list.at("metadata.continue").str();
        Ok(List {
            items,
            revision: list.at("metadata.resourceVersion").str().parse().unwrap_or(0),
            continue_token: (!token.is_empty()).then(|| token.to_owned()),
        })
    }

    async fn watch(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<WatchStream, ApiError> {
        let [labels, fields] = selectors(options);
        let initial = options.revision.is_none();
        let query = query(&[
            ("watch", "true".into()),
            ("allowWatchBookmarks", "true".into()),
            labels,
            fields,
            ("sendInitialEvents", if initial { "true".into() } else { String::new() }),
            ("resourceVersionMatch", if initial { "NotOlderThan".into() } else { String::new() }),
            ("resourceVersion", options.revision.map(|r| r.to_string()).unwrap_or_default()),
        ]);
        let path = path_of(resource, namespace, "", "") + &query;
        let response = self.send(Method::GET, &path, None, "").await?;
        Ok(events(response.into_body()))
    }

    async fn create(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        subresource: &str,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        let name = if subresource.is_empty() { "" } else { name };
        let path = path_of(resource, namespace, name, subresource) + &write_query(options, true);
        self.object(Method::POST, &path, Some(&object), "application/json").await
    }

    async fn update(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        subresource: &str,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        let path = path_of(resource, namespace, name, subresource) + &write_query(options, true);
        self.object(Method::PUT, &path, Some(&object), "application/json").await
    }

    async fn patch(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        subresource: &str,
        kind: PatchType,
        patch: Value,
        options: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        let content_type = match kind {
            PatchType::Json => "application/json-patch+json",
            PatchType::Merge => "application/merge-patch+json",
            PatchType::Strategic => "application/strategic-merge-patch+json",
            PatchType::Apply => "application/apply-patch+yaml",
        };
        let path = path_of(resource, namespace, name, subresource) + &write_query(options, true);
        self.object(Method::PATCH, &path, Some(&patch), content_type).await
    }

    async fn delete(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        let mut body = value!({ "apiVersion": "v1", "kind": "DeleteOptions" });
        if let Some(seconds) = options.grace_period_seconds {
            body.set("gracePeriodSeconds", seconds);
        }
        if let Some(propagation) = options.propagation {
            body.set(
                "propagationPolicy",
                match propagation {
                    Propagation::Orphan => "Orphan",
                    Propagation::Background => "Background",
                    Propagation::Foreground => "Foreground",
                },
            );
        }
        if let Some(uid) = &options.preconditions.uid {
            body.set("preconditions.uid", uid);
        }
        if let Some(version) = &options.preconditions.resource_version {
            body.set("preconditions.resourceVersion", version);
        }
        if options.dry_run {
            body.set("dryRun", value!(["All"]));
        }
        let path = path_of(resource, namespace, name, "");
        self.object(Method::DELETE, &path, Some(&body), "application/json").await
    }
}

/// The events of a watch's body: one JSON document a line.
fn events(body: Incoming) -> WatchStream {
    struct State {
        body: Option<Incoming>,
        buffer: BytesMut,
    }
    let state = State { body: Some(body), buffer: BytesMut::new() };
    stream::unfold(state, |mut state| async move {
        loop {
            let body = state.body.as_mut()?;
            if let Some(end) = state.buffer.iter().position(|b| *b == b'\n') {
                let line = state.buffer.split_to(end + 1);
                let event = parse_event(&line);
                if event.is_err() {
                    state.body = None;
                }
                return Some((event, state));
            }
            let failed = match body.frame().await {
                None => return None,
                Some(Err(e)) => format!("the watch broke off: {e}"),
                Some(Ok(_)) if state.buffer.len() > MAX_EVENT => {
                    "a watch event is too large".into()
                }
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        state.buffer.extend_from_slice(data);
                    }
                    continue;
                }
            };
            state.body = None;
            return Some((Err(ApiError::unavailable(failed)), state));
        }
    })
    .boxed()
}

fn parse_event(line: &[u8]) -> Result<WatchEvent, ApiError> {
    let mut event = json::decode(line).map_err(ApiError::internal)?;
    let object = event.get_mut("object").map(Value::take).unwrap_or_default();
    match event.at("type").str() {
        "ADDED" => Ok(WatchEvent::Added(Arc::new(object))),
        "MODIFIED" => Ok(WatchEvent::Modified(Arc::new(object))),
        "DELETED" => Ok(WatchEvent::Deleted(Arc::new(object))),
        "BOOKMARK" => Ok(WatchEvent::Bookmark {
            revision: object.revision(),
            initial_events_end: object.annotation("k8s.io/initial-events-end") == Some("true"),
        }),
        _ => Err(from_status(&object).unwrap_or_else(|| {
            let code = StatusCode::INTERNAL_SERVER_ERROR.as_u16();
            ApiError::new(code, Reason::InternalError, format!("unknown watch event: {event}"))
        })),
    }
}

#[cfg(test)]
mod tests {
    use timonier_meta::gvk::resources::{DEPLOYMENTS, PODS};

    use super::*;

    #[test]
    fn paths_and_queries() {
        assert_eq!(path_of(&PODS, "a", "b", "log"), "/api/v1/namespaces/a/pods/b/log");
        assert_eq!(path_of(&DEPLOYMENTS, "", "", ""), "/apis/apps/v1/deployments");
        assert_eq!(query(&[("a", "x y,=".into()), ("b", String::new())]), "?a=x%20y%2C%3D");
    }

    #[test]
    fn events_are_read() {
        let added = parse_event(br#"{"type":"ADDED","object":{"metadata":{"name":"a"}}}"#).unwrap();
        assert!(matches!(added, WatchEvent::Added(o) if o.name() == "a"));
        let end = parse_event(br#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"true"}}}}"#).unwrap();
        assert!(matches!(end, WatchEvent::Bookmark { revision: 7, initial_events_end: true }));
        let gone = parse_event(br#"{"type":"ERROR","object":{"kind":"Status","status":"Failure","reason":"Expired","code":410,"message":"old"}}"#);
        assert_eq!(gone.unwrap_err().code, 410);
    }
}
