//! HTTP/1.1 over TCP or TLS, with kept connections and time limits.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri, header};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::proxy;
use crate::error::{Error, Result};

pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

const CONNECT_LIMIT: Duration = Duration::from_secs(30);
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
/// A body may be as slow as it likes, but not silent for longer than this.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
const KEPT_LIMIT: usize = 8;

/// A client for any number of hosts.
pub struct Http {
    verifying: Arc<ClientConfig>,
    trusting: Arc<ClientConfig>,
    proxies: proxy::Proxies,
    /// Connections by scheme and authority.
    kept: Mutex<Vec<(String, SendRequest<Body>)>>,
}

/// Why a request came to nothing.
#[derive(Debug)]
pub enum Failure {
    /// No connection, or none that speaks TLS.
    Connect(String),
    /// The connection broke.
    Broken(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Connect(text) | Failure::Broken(text) => f.write_str(text),
        }
    }
}

pub fn empty() -> Body {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub fn full(bytes: Bytes) -> Body {
    http_body_util::Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

impl Http {
    pub fn new(ca_file: Option<&std::path::Path>) -> Result<Http> {
        let verifying = timonier_trust::system(ca_file).map_err(Error::Invalid)?;
        let trusting = timonier_trust::anybody();
        let proxies = proxy::Proxies::from_env();
        Ok(Http { verifying, trusting, proxies, kept: Mutex::new(Vec::new()) })
    }

    /// Sends a request to an absolute URI. `trust` leaves the certificate unchecked.
    pub async fn send(
        &self,
        mut request: Request<Body>,
        trust: bool,
    ) -> std::result::Result<Response<Incoming>, Failure> {
        let uri = request.uri().clone();
        let host = uri.authority().map(|a| a.as_str().to_owned()).unwrap_or_default();
        let key = format!("{}://{host}", uri.scheme_str().unwrap_or_default());
        let plain_proxy = self.proxies.select(&uri).filter(|_| uri.scheme_str() == Some("http"));
        match plain_proxy {
            // A proxy without a tunnel is told the whole address.
            Some(proxy) => {
                if let Some(Ok(value)) = proxy::authorization(proxy).map(|a| a.parse()) {
                    request.headers_mut().insert(header::PROXY_AUTHORIZATION, value);
                }
            }
            None => {
                let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
                *request.uri_mut() =
                    path.parse().map_err(|_| Failure::Connect("bad path".to_owned()))?;
            }
        }
        let value = host.parse().map_err(|_| Failure::Connect("bad host".to_owned()))?;
        request.headers_mut().insert(header::HOST, value);
        request
            .headers_mut()
            .insert(header::USER_AGENT, header::HeaderValue::from_static("timonier"));
        let mut sender = match self.take(&key) {
            Some(kept) => kept,
            None => self.connect(&uri, trust).await?,
        };
        let broken = |e: hyper::Error| Failure::Broken(format!("{key}: {}", chain(&e)));
        let answer = match timeout(ANSWER_LIMIT, sender.send_request(request)).await {
            Ok(answer) => answer.map_err(broken)?,
            Err(_) => return Err(Failure::Broken(format!("{key}: no answer in time"))),
        };
        let mut kept = self.kept.lock().unwrap_or_else(|p| p.into_inner());
        if kept.len() < KEPT_LIMIT {
            kept.push((key, sender));
        }
        Ok(answer)
    }

    /// A kept connection whose last answer was read to its end.
    fn take(&self, key: &str) -> Option<SendRequest<Body>> {
        let mut kept = self.kept.lock().unwrap_or_else(|p| p.into_inner());
        kept.retain(|(_, sender)| !sender.is_closed());
        let at = kept.iter().position(|(k, sender)| k == key && sender.is_ready())?;
        Some(kept.swap_remove(at).1)
    }

    async fn connect(
        &self,
        uri: &Uri,
        trust: bool,
    ) -> std::result::Result<SendRequest<Body>, Failure> {
        let https = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default();
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let fail = |what: String| Failure::Connect(format!("cannot reach {host}:{port}: {what}"));
        let proxy = self.proxies.select(uri);
        let (to, to_port) = match proxy {
            Some(proxy) => {
                (proxy.host().unwrap_or_default().to_owned(), proxy.port_u16().unwrap_or(80))
            }
            None => (name.clone(), port),
        };
        let dial = async {
            let mut tcp = TcpStream::connect((to.as_str(), to_port)).await?;
            if let (Some(proxy), true) = (proxy, https) {
                proxy::tunnel(&mut tcp, proxy, &format!("{host}:{port}")).await?;
            }
            std::io::Result::Ok(tcp)
        };
        let via = proxy.map_or(String::new(), |_| format!("proxy {to}:{to_port}: "));
        let tcp = match timeout(CONNECT_LIMIT, dial).await {
            Ok(tcp) => tcp.map_err(|e| fail(format!("{via}{e}")))?,
            Err(_) => return Err(fail(format!("{via}connection timed out"))),
        };
        let _ = tcp.set_nodelay(true);
        if !https {
            return self.talk(tcp).await;
        }
        let config = if trust { &self.trusting } else { &self.verifying };
        let connector = tokio_rustls::TlsConnector::from(config.clone());
        let server = ServerName::try_from(name).map_err(|e| fail(e.to_string()))?;
        match timeout(CONNECT_LIMIT, connector.connect(server, tcp)).await {
            Ok(tls) => self.talk(tls.map_err(|e| fail(format!("TLS: {e}")))?).await,
            Err(_) => Err(fail("TLS handshake timed out".to_owned())),
        }
    }

    async fn talk<T>(&self, io: T) -> std::result::Result<SendRequest<Body>, Failure>
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) =
            handshake(TokioIo::new(io)).await.map_err(|e| Failure::Connect(e.to_string()))?;
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!("registry connection: {e}");
            }
        });
        Ok(sender)
    }
}

fn chain(e: &dyn std::error::Error) -> String {
    match e.source() {
        Some(source) => format!("{e}: {}", chain(source)),
        None => e.to_string(),
    }
}

/// The next piece of a body; `None` at its end.
pub async fn next_piece(body: &mut Incoming) -> std::result::Result<Option<Bytes>, Failure> {
    loop {
        match timeout(SILENCE_LIMIT, body.frame()).await {
            Err(_) => return Err(Failure::Broken("the connection went silent".to_owned())),
            Ok(None) => return Ok(None),
            Ok(Some(Err(e))) => return Err(Failure::Broken(chain(&e))),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// A whole body of bounded size.
pub async fn read_all(mut body: Incoming, limit: u64) -> Result<Bytes> {
    let mut all = bytes::BytesMut::new();
    let broken = |e: Failure| Error::Unreachable(e.to_string());
    while let Some(piece) = next_piece(&mut body).await.map_err(broken)? {
        if (all.len() + piece.len()) as u64 > limit {
            return Err(Error::TooLarge(format!("the registry's answer has over {limit} bytes")));
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

/// Works out a `Location` relative to the request's URI.
pub fn join(base: &Uri, location: &str) -> Result<Uri> {
    let bad = || Error::Registry(format!("the registry sent a malformed location {location:?}"));
    let target: Uri = location.parse().map_err(|_| bad())?;
    if target.scheme().is_some() && target.authority().is_some() {
        let known = matches!(target.scheme_str(), Some("http" | "https"));
        return if known { Ok(target) } else { Err(bad()) };
    }
    if !location.starts_with('/') || location.starts_with("//") {
        return Err(bad());
    }
    let mut parts = base.clone().into_parts();
    parts.path_and_query = target.into_parts().path_and_query;
    Uri::from_parts(parts).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proxy that answers once and tells what it was asked.
    async fn ask_through_proxy(uri: &str, answer: &'static str) -> (String, String) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy: Uri =
            format!("http://me:pw@{}", listener.local_addr().unwrap()).parse().unwrap();
        let asked = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 4096];
            let n = tcp.read(&mut buffer).await.unwrap();
            tcp.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&buffer[..n]).into_owned()
        });
        let mut http = Http::new(None).unwrap();
        http.proxies =
            proxy::Proxies { http: Some(proxy.clone()), https: Some(proxy), direct: vec![] };
        let mut request = Request::new(empty());
        *request.uri_mut() = uri.parse().unwrap();
        let result = match http.send(request, false).await {
            Ok(response) => response.status().to_string(),
            Err(e) => e.to_string(),
        };
        (asked.await.unwrap(), result)
    }

    #[tokio::test]
    async fn proxies_are_told_where_to_go() {
        let answer = "HTTP/1.1 204 No Content\r\n\r\n";
        let (asked, result) = ask_through_proxy("http://registry.example:5000/v2/", answer).await;
        assert!(asked.starts_with("GET http://registry.example:5000/v2/ HTTP/1.1\r\n"), "{asked}");
        assert!(asked.to_lowercase().contains("proxy-authorization: basic "), "{asked}");
        assert_eq!(result, "204 No Content");
        let refusal = "HTTP/1.1 403 Forbidden\r\n\r\n";
        let (asked, result) = ask_through_proxy("https://registry.example/v2/", refusal).await;
        assert!(asked.starts_with("CONNECT registry.example:443 HTTP/1.1\r\n"), "{asked}");
        assert!(result.contains("the proxy refuses: HTTP/1.1 403"), "{result}");
    }

    #[test]
    fn locations() {
        let base: Uri = "https://r.example:5000/v2/a?x=1".parse().unwrap();
        let go = |l: &str| join(&base, l).map(|u| u.to_string());
        assert_eq!(go("/v2/b?d=1").unwrap(), "https://r.example:5000/v2/b?d=1");
        assert_eq!(go("http://cdn.example/x").unwrap(), "http://cdn.example/x");
        for bad in ["b", "//evil/x", "ftp://x/y", "", "http://"] {
            assert!(go(bad).is_err(), "{bad}");
        }
    }
}
