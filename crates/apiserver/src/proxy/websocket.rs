//! An answer as messages of a WebSocket, for clients that cannot read a stream otherwise.
//! Upstream's `wsstream.Reader`.

use ::http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    UPGRADE,
};
use ::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::SinkExt;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use timonier_meta::ApiError;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::headers::is_upgrade;
use crate::http::respond::{self, Body};

const BINARY: &str = "binary.k8s.io";
const BASE64: &str = "base64.binary.k8s.io";

/// Whether the client wants to speak WebSocket.
pub fn is_asked_for(headers: &HeaderMap) -> bool {
    let websocket = |v: &HeaderValue| v.as_bytes().eq_ignore_ascii_case(b"websocket");
    is_upgrade(headers) && headers.get(UPGRADE).is_some_and(websocket)
}

/// Answers the handshake and sends the body of `answer` as messages. 400 where the handshake is
/// wrong or names no protocol that is spoken here.
pub fn send<B>(
    mut request: Request<B>,
    answer: Response<Body>,
) -> Result<Response<Body>, ApiError> {
    let text = |name: &HeaderName| request.headers().get(name).and_then(|v| v.to_str().ok());
    let key = text(&SEC_WEBSOCKET_KEY)
        .ok_or_else(|| ApiError::bad_request("missing Sec-WebSocket-Key header"))?;
    let accept = derive_accept_key(key.as_bytes());
    let asked = text(&SEC_WEBSOCKET_PROTOCOL).map(|list| {
        list.split(',').map(str::trim).find(|p| matches!(*p, BINARY | BASE64)).map(str::to_string)
    });
    let protocol = match asked {
        Some(None) => {
            let why = format!("no WebSocket protocol but {BINARY} and {BASE64} is spoken here");
            return Err(ApiError::bad_request(why));
        }
        Some(Some(protocol)) => Some(protocol),
        None => None,
    };
    let as_text = protocol.as_deref() == Some(BASE64);
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(connection) => messages(TokioIo::new(connection), answer, as_text).await,
            Err(error) => tracing::debug!(%error, "upgrade"),
        }
    });
    let mut response = Response::new(respond::full(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    for (name, value) in [(SEC_WEBSOCKET_ACCEPT, Some(accept)), (SEC_WEBSOCKET_PROTOCOL, protocol)]
    {
        if let Some(value) = value.and_then(|v| HeaderValue::try_from(v).ok()) {
            headers.insert(name, value);
        }
    }
    Ok(response)
}

async fn messages<T>(io: T, answer: Response<Body>, as_text: bool)
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
    let mut body = answer.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let message = match as_text {
            true => Message::text(STANDARD.encode(&data)),
            false => Message::binary(data),
        };
        // The client may simply hang up.
        if socket.send(message).await.is_err() {
            return;
        }
    }
    let _ = socket.close(None).await;
}
