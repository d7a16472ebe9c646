//! A small registry that can also misbehave.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use timonier_oci::Digest;
use tokio::net::TcpListener;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// How the registry behaves.
#[derive(Clone, Default)]
pub struct Options {
    /// `user:password`, needed for a token.
    pub token_auth: Option<String>,
    /// `user:password`, needed for every request.
    pub basic_auth: Option<String>,
    /// Blobs come from this host (`http://host:port`) by redirect.
    pub redirect_blobs: Option<String>,
    /// A request with credentials is an error: this is a blob store.
    pub refuse_credentials: bool,
    /// Bodies of blobs over this size break off once per blob.
    pub break_off: bool,
    /// The first so many requests are answered 503.
    pub busy: usize,
    /// Blobs are served with their first byte changed.
    pub corrupt: bool,
    /// No support for ranges.
    pub no_ranges: bool,
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

#[derive(Default)]
struct State {
    blobs: BTreeMap<Digest, Bytes>,
    /// By `repository:name`, also by digest.
    manifests: BTreeMap<String, (String, Bytes)>,
    files: BTreeMap<String, Bytes>,
    broken: BTreeMap<Digest, usize>,
    requests: Vec<String>,
    busy: usize,
}

#[derive(Clone)]
pub struct Registry {
    address: std::net::SocketAddr,
    options: Options,
    state: Arc<Mutex<State>>,
}

impl Registry {
    pub async fn start(options: Options) -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = Arc::new(Mutex::new(State { busy: options.busy, ..State::default() }));
        let registry = Registry { address: listener.local_addr().unwrap(), options, state };
        let serving = registry.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let registry = serving.clone();
                tokio::spawn(async move {
                    match registry.options.tls.clone() {
                        None => registry.serve(tcp).await,
                        Some(config) => {
                            let acceptor = tokio_rustls::TlsAcceptor::from(config);
                            if let Ok(tls) = acceptor.accept(tcp).await {
                                registry.serve(tls).await;
                            }
                        }
                    }
                });
            }
        });
        registry
    }

    /// `127.0.0.1:port`.
    pub fn base(&self) -> String {
        self.address.to_string()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn put_blob(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.state.lock().unwrap().blobs.insert(digest.clone(), Bytes::copy_from_slice(bytes));
        digest
    }

    pub fn put_manifest(
        &self,
        repository: &str,
        name: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Digest {
        let digest = Digest::of(bytes);
        let value = (media_type.to_owned(), Bytes::copy_from_slice(bytes));
        let mut state = self.state.lock().unwrap();
        state.manifests.insert(format!("{repository}:{name}"), value.clone());
        state.manifests.insert(format!("{repository}:{digest}"), value);
        digest
    }

    pub fn put_file(&self, path: &str, bytes: &[u8]) {
        self.state.lock().unwrap().files.insert(path.to_owned(), Bytes::copy_from_slice(bytes));
    }

    /// Method and path of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    async fn serve<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(&self, io: T) {
        let service = hyper::service::service_fn(|request| {
            let registry = self.clone();
            async move { Ok::<_, Infallible>(registry.answer(request).await) }
        });
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(io), service)
            .await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let credentials =
            request.headers().get(header::AUTHORIZATION).map(|a| a.to_str().unwrap().to_owned());
        {
            let mut state = self.state.lock().unwrap();
            state.requests.push(format!("{} {path}", request.method()));
            if state.busy > 0 {
                state.busy -= 1;
                return text(StatusCode::SERVICE_UNAVAILABLE, "");
            }
        }
        if self.options.refuse_credentials && credentials.is_some() {
            return text(StatusCode::BAD_REQUEST, "credentials leaked");
        }
        if path == "/token" {
            return self.token(&request, credentials.as_deref());
        }
        if let Some(file) = self.state.lock().unwrap().files.get(&path) {
            return bytes(StatusCode::OK, file.clone());
        }
        if let Some(refused) = self.refuse(credentials.as_deref()) {
            return refused;
        }
        if path == "/v2/" {
            return text(StatusCode::OK, "{}");
        }
        let Some(rest) = path.strip_prefix("/v2/") else { return text(StatusCode::NOT_FOUND, "") };
        if let Some((repository, name)) = rest.split_once("/manifests/") {
            return self.manifest(request, repository, name).await;
        }
        match rest.split_once("/blobs/") {
            Some((_, upload)) if upload.starts_with("uploads/") => self.upload(request).await,
            Some((_, digest)) => self.blob(&request, digest),
            None => text(StatusCode::NOT_FOUND, ""),
        }
    }

    fn refuse(&self, credentials: Option<&str>) -> Option<Response<Body>> {
        let challenge = if self.options.token_auth.is_some() {
            if credentials == Some("Bearer good") {
                return None;
            }
            format!("Bearer realm=\"http://{}/token\",service=\"test\"", self.base())
        } else {
            let wanted = self.options.basic_auth.as_ref()?;
            if credentials == Some(&basic(wanted)) {
                return None;
            }
            "Basic realm=\"test\"".to_owned()
        };
        let mut response = text(
            StatusCode::UNAUTHORIZED,
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#,
        );
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
        Some(response)
    }

    fn token(&self, request: &Request<Incoming>, credentials: Option<&str>) -> Response<Body> {
        let wanted = self.options.token_auth.as_ref().map(|a| basic(a));
        let query = request.uri().query().unwrap_or_default();
        if credentials != wanted.as_deref()
            || !query.contains("scope=repository:")
            || !query.contains("service=test")
        {
            return text(StatusCode::UNAUTHORIZED, "");
        }
        text(StatusCode::OK, r#"{"token":"good","expires_in":300}"#)
    }

    async fn manifest(
        &self,
        request: Request<Incoming>,
        repository: &str,
        name: &str,
    ) -> Response<Body> {
        let key = format!("{repository}:{name}");
        if request.method() == Method::PUT {
            let media_type = request.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            self.put_manifest(repository, name, &media_type, &body);
            return text(StatusCode::CREATED, "");
        }
        match self.state.lock().unwrap().manifests.get(&key) {
            Some((media_type, body)) => {
                let mut response = bytes(StatusCode::OK, body.clone());
                response.headers_mut().insert(header::CONTENT_TYPE, media_type.parse().unwrap());
                response
            }
            None => text(
                StatusCode::NOT_FOUND,
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
            ),
        }
    }

    fn blob(&self, request: &Request<Incoming>, digest: &str) -> Response<Body> {
        let digest = Digest::parse(digest).unwrap();
        let mut state = self.state.lock().unwrap();
        let Some(data) = state.blobs.get(&digest).cloned() else {
            return text(StatusCode::NOT_FOUND, "");
        };
        if let Some(host) = &self.options.redirect_blobs {
            let mut response = text(StatusCode::TEMPORARY_REDIRECT, "");
            let location = format!("{host}/v2/cdn/blobs/{digest}");
            response.headers_mut().insert(header::LOCATION, location.parse().unwrap());
            return response;
        }
        let mut data = data.to_vec();
        if self.options.corrupt {
            data[0] ^= 1;
        }
        let range = request.headers().get(header::RANGE).filter(|_| !self.options.no_ranges);
        let start = range.map_or(0, |r| {
            r.to_str().unwrap()[6..].trim_end_matches('-').parse::<usize>().unwrap()
        });
        let status = if start > 0 { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        let total = data.len();
        let rest = data.split_off(start);
        let broken = state.broken.entry(digest).or_default();
        let mut response = if self.options.break_off && *broken < 2 && rest.len() > 1000 {
            *broken += 1;
            let piece = Bytes::copy_from_slice(&rest[..rest.len() / 2]);
            let pieces = vec![Ok(Frame::data(piece)), Err(std::io::Error::other("cut"))];
            Response::new(StreamBody::new(tokio_stream::iter(pieces)).boxed_unsync())
        } else {
            bytes(status, rest.into())
        };
        *response.status_mut() = status;
        if start > 0 {
            let range = format!("bytes {start}-{}/{total}", total - 1);
            response.headers_mut().insert(header::CONTENT_RANGE, range.parse().unwrap());
        }
        response
    }

    async fn upload(&self, request: Request<Incoming>) -> Response<Body> {
        if request.method() == Method::POST {
            let mut response = text(StatusCode::ACCEPTED, "");
            let location = format!("{}1?state=x", request.uri().path());
            response.headers_mut().insert(header::LOCATION, location.parse().unwrap());
            return response;
        }
        let query = request.uri().query().unwrap().replace("%3A", ":");
        let digest = Digest::parse(query.rsplit_once("digest=").unwrap().1).unwrap();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        if Digest::of(&body) != digest {
            return text(StatusCode::BAD_REQUEST, "digest");
        }
        self.put_blob(&body);
        text(StatusCode::CREATED, "")
    }
}

pub fn basic(auth: &str) -> String {
    use base64::Engine;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(auth))
}

fn text(status: StatusCode, body: &str) -> Response<Body> {
    bytes(status, Bytes::copy_from_slice(body.as_bytes()))
}

fn bytes(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).map_err(|e| match e {}).boxed_unsync());
    *response.status_mut() = status;
    response
}
