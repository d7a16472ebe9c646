//! gRPC over one HTTP/2 connection at a time: enough for etcd.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(3);
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// The most bytes of one message that are taken.
const MAX_MESSAGE: usize = 256 << 20;

type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The server answered with an error.
    #[error("{message}")]
    Status { code: u16, message: String },
    /// It cannot be reached, or the connection broke.
    #[error("{0}")]
    Transport(String),
}

/// `RESOURCE_EXHAUSTED`: of etcd, its space.
pub const EXHAUSTED: u16 = 8;
/// `INVALID_ARGUMENT`: of etcd, a request that is too large.
pub const INVALID: u16 = 3;

fn transport(error: impl std::fmt::Display) -> Failure {
    Failure::Transport(error.to_string())
}

/// A client of a cluster: uses one of its endpoints until that fails, then the next.
pub struct Channel {
    endpoints: Vec<Uri>,
    tls: Option<Arc<rustls::ClientConfig>>,
    current: Mutex<Current>,
}

struct Current {
    endpoint: usize,
    sender: Option<SendRequest<Body>>,
}

impl Channel {
    /// A client of these endpoints, such as `http://127.0.0.1:2379`. Connects when needed.
    pub fn new(endpoints: Vec<Uri>, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        Channel { endpoints, tls, current: Mutex::new(Current { endpoint: 0, sender: None }) }
    }

    /// One request, one response.
    pub async fn call(&self, method: &str, message: Vec<u8>) -> Result<Bytes, Failure> {
        let exchange = async {
            let mut answers = self.start(method, message, false).await?;
            let answer = answers.next().await?;
            let answer = answer.ok_or_else(|| transport("no message in the answer"))?;
            // The status comes after the message.
            answers.next().await?;
            Ok(answer)
        };
        tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err(transport("timeout")))
    }

    /// One request that stays open, and the responses to it.
    pub async fn stream(&self, method: &str, message: Vec<u8>) -> Result<Answers, Failure> {
        let start = self.start(method, message, true);
        tokio::time::timeout(PATIENCE, start).await.unwrap_or_else(|_| Err(transport("timeout")))
    }

    async fn start(&self, method: &str, message: Vec<u8>, open: bool) -> Result<Answers, Failure> {
        let (mut sender, endpoint) = self.connection().await?;
        let mut framed = BytesMut::with_capacity(message.len() + 5);
        framed.put_u8(0);
        framed.put_u32(message.len() as u32);
        framed.put_slice(&message);
        let first = stream::iter([Ok(Frame::data(framed.freeze()))]);
        let body = match open {
            true => first.chain(stream::pending()).boxed(),
            false => first.boxed(),
        };
        let authority = self.endpoints[endpoint].authority().map_or("", |a| a.as_str());
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let request = Request::post(format!("{scheme}://{authority}/etcdserverpb.{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(StreamBody::new(body))
            .map_err(transport)?;
        let response = match sender.send_request(request).await {
            Ok(response) => response,
            Err(error) => {
                self.give_up(endpoint).await;
                return Err(transport(error));
            }
        };
        if response.status() != http::StatusCode::OK {
            return Err(transport(format!("HTTP status {}", response.status())));
        }
        // An error without any message comes in the headers.
        status(response.headers())?;
        Ok(Answers { body: response.into_body(), buffer: BytesMut::new() })
    }

    async fn connection(&self) -> Result<(SendRequest<Body>, usize), Failure> {
        let mut current = self.current.lock().await;
        if let Some(sender) = current.sender.clone().filter(|s| !s.is_closed()) {
            return Ok((sender, current.endpoint));
        }
        let mut failure = transport("no endpoints");
        for _ in 0..self.endpoints.len() {
            let connect = self.connect(&self.endpoints[current.endpoint]);
            match tokio::time::timeout(CONNECT, connect).await {
                Ok(Ok(sender)) => {
                    current.sender = Some(sender.clone());
                    return Ok((sender, current.endpoint));
                }
                Ok(Err(error)) => failure = error,
                Err(_) => failure = transport("timeout"),
            }
            current.endpoint = (current.endpoint + 1) % self.endpoints.len();
        }
        Err(failure)
    }

    /// Uses the next endpoint from now on.
    async fn give_up(&self, endpoint: usize) {
        let mut current = self.current.lock().await;
        if current.endpoint == endpoint {
            current.sender = None;
            current.endpoint = (endpoint + 1) % self.endpoints.len();
        }
    }

    async fn connect(&self, endpoint: &Uri) -> Result<SendRequest<Body>, Failure> {
        let host = endpoint.host().unwrap_or_default().trim_matches(['[', ']']);
        let tcp = TcpStream::connect((host, endpoint.port_u16().unwrap_or(2379))).await;
        let tcp = tcp.map_err(|e| transport(format!("{endpoint}: {e}")))?;
        tcp.set_nodelay(true).map_err(transport)?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20);
        let (sender, connection): (_, BoxFuture<'static, hyper::Result<()>>) = match &self.tls {
            None => {
                let (s, c) = builder.handshake(TokioIo::new(tcp)).await.map_err(transport)?;
                (s, Box::pin(c))
            }
            Some(tls) => {
                let name = rustls::pki_types::ServerName::try_from(host.to_string());
                let connector = tokio_rustls::TlsConnector::from(tls.clone());
                let tls = connector.connect(name.map_err(transport)?, tcp).await;
                let io = TokioIo::new(tls.map_err(|e| transport(format!("{endpoint}: {e}")))?);
                let (s, c) = builder.handshake(io).await.map_err(transport)?;
                (s, Box::pin(c))
            }
        };
        // Ends with the connection; what went wrong is seen by the calls.
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// The messages of a response.
pub struct Answers {
    body: Incoming,
    buffer: BytesMut,
}

impl Answers {
    /// The next message; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(transport)?;
            match frame.into_data() {
                Ok(data) => self.buffer.extend_from_slice(&data),
                Err(frame) => {
                    if let Some(trailers) = frame.trailers_ref() {
                        status(trailers)?;
                    }
                }
            }
        }
    }

    fn take(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some(head) = self.buffer.get(..5) else { return Ok(None) };
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if head[0] != 0 || length > MAX_MESSAGE {
            return Err(transport("a message that is compressed or too large"));
        }
        if self.buffer.len() < 5 + length {
            return Ok(None);
        }
        self.buffer.advance(5);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

fn status(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(code) = headers.get("grpc-status") else { return Ok(()) };
    let code = code.to_str().ok().and_then(|c| c.parse().ok()).unwrap_or(2);
    if code == 0 {
        return Ok(());
    }
    let message = headers.get("grpc-message").and_then(|m| m.to_str().ok()).unwrap_or("unknown");
    Err(Failure::Status { code, message: message.to_string() })
}
