//! A small HTTP client for probes and hooks: one GET, no check of certificates, as upstream's.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Upstream follows so many redirects.
const REDIRECTS: usize = 10;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub https: bool,
    pub host: String,
    pub port: u16,
    /// With its query; a missing slash is put before it.
    pub path: String,
    pub headers: Vec<(String, String)>,
}

/// What was answered.
pub(crate) struct Answer {
    pub status: u16,
    location: Option<String>,
}

impl Target {
    fn path(&self) -> String {
        if self.path.starts_with('/') { self.path.clone() } else { format!("/{}", self.path) }
    }

    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.path())
    }

    /// The target of a redirect on the same host; `None` for another host.
    fn redirected(&self, location: &str) -> Option<Target> {
        if location.starts_with('/') && !location.starts_with("//") {
            return Some(Target { path: location.into(), ..self.clone() });
        }
        let uri: http::Uri = location.parse().ok()?;
        let https = uri.scheme_str() == Some("https");
        let host = uri.host()?.trim_matches(['[', ']']);
        (host == self.host).then(|| Target {
            https,
            port: uri.port_u16().unwrap_or(if https { 443 } else { 80 }),
            path: uri.path_and_query().map_or("/".into(), ToString::to_string),
            ..self.clone()
        })
    }
}

/// Asks, following redirects on the same host. A redirect to another host counts as an answer.
/// The error reads as Go's.
pub(crate) async fn get(target: &Target, agent: &str, limit: Duration) -> Result<Answer, String> {
    let url = target.url();
    let mut target = target.clone();
    let work = async move {
        for _ in 0..REDIRECTS {
            let answer = once(&target, agent).await?;
            let next = match (&answer.location, answer.status) {
                (Some(location), 300..=399) => target.redirected(location),
                _ => None,
            };
            match next {
                Some(next) => target = next,
                None => return Ok(answer),
            }
        }
        Err("stopped after 10 redirects".to_string())
    };
    match tokio::time::timeout(limit, work).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(why)) => Err(format!("Get {url:?}: {why}")),
        Err(_) => Err(format!(
            "Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

async fn once(target: &Target, agent: &str) -> Result<Answer, String> {
    let authority = target.authority();
    let stream = TcpStream::connect((target.host.as_str(), target.port))
        .await
        .map_err(|e| format!("dial tcp {authority}: connect: {}", go_error(&e)))?;
    // A small packet should not wait for another.
    let _ = stream.set_nodelay(true);
    if !target.https {
        return ask(stream, target, agent).await;
    }
    let name = ServerName::try_from(target.host.clone()).map_err(|e| e.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(timonier_trust::anybody());
    let stream = connector.connect(name, stream).await.map_err(|e| e.to_string())?;
    ask(stream, target, agent).await
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    target: &Target,
    agent: &str,
) -> Result<Answer, String> {
    let (mut send, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let mut request = Request::get(target.path());
    let stated = |name: &str| target.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    for (name, default) in
        [("Host", target.authority().as_str()), ("User-Agent", agent), ("Accept", "*/*")]
    {
        if !stated(name) {
            request = request.header(name, default);
        }
    }
    request = request.header("Connection", "close");
    for (name, value) in &target.headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
    let work = async move {
        let answer = send.send_request(request).await.map_err(|e| e.to_string())?;
        let status = answer.status().as_u16();
        let location = answer.headers().get("location");
        let location = location.and_then(|l| l.to_str().ok()).map(String::from);
        // The first part shows that the server means it; the rest is not needed.
        let mut body = answer.into_body();
        if let Some(Err(error)) = body.frame().await {
            return Err(error.to_string());
        }
        Ok(Answer { status, location })
    };
    // The connection ends with the answer: nothing is left running.
    tokio::pin!(work);
    tokio::pin!(connection);
    tokio::select! {
        answer = &mut work => answer,
        ended = &mut connection => match ended {
            Ok(()) => work.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

/// The words of Go's system errors.
pub(crate) fn go_error(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".into(),
        io::ErrorKind::HostUnreachable => "no route to host".into(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".into(),
        io::ErrorKind::TimedOut => "connection timed out".into(),
        _ => e.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn server(answers: Vec<&'static str>) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 4096];
                let n = stream.read(&mut buffer).await.unwrap();
                let asked = String::from_utf8_lossy(&buffer[..n]).to_lowercase();
                assert!(asked.contains("user-agent: kube-probe/1.35"), "{asked}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        port
    }

    fn target(port: u16) -> Target {
        Target { https: false, host: "127.0.0.1".into(), port, path: "x".into(), headers: vec![] }
    }

    async fn ask_it(port: u16, limit: Duration) -> Result<u16, String> {
        get(&target(port), "kube-probe/1.35", limit).await.map(|a| a.status)
    }

    #[tokio::test]
    async fn answers_redirects_and_refusals() {
        let second = Duration::from_secs(1);
        let port = server(vec![
            "HTTP/1.1 302 Found\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno",
        ])
        .await;
        assert_eq!(ask_it(port, second).await, Ok(500));
        let port = server(vec![
            "HTTP/1.1 302 Found\r\nlocation: http://elsewhere.example/\r\ncontent-length: 0\r\n\r\n",
        ])
        .await;
        assert_eq!(ask_it(port, second).await, Ok(302));
        let port = server(vec![]).await;
        tokio::task::yield_now().await;
        assert_eq!(
            ask_it(port, second).await,
            Err(format!(
                "Get \"http://127.0.0.1:{port}/x\": dial tcp 127.0.0.1:{port}: connect: connection refused"
            ))
        );
        let port = server(vec![""]).await;
        assert!(ask_it(port, Duration::from_millis(50)).await.is_err());
    }
}
