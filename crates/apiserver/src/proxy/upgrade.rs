//! One request over one connection to the server behind; an upgrade is tunnelled byte for byte.

use ::http::header::HOST;
use ::http::{HeaderValue, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use timonier_meta::ApiError;
use tokio::io::{AsyncRead, AsyncWrite};

use super::headers::{forward, is_upgrade};
use super::kubelet::dial_error;
use crate::http::respond::{self, Body};

/// Sends the request on, to `target` (path and query) at `host`, over a fresh connection.
pub async fn pass<S, B>(
    stream: S,
    host: &str,
    target: &str,
    mut request: Request<B>,
) -> Result<Response<Body>, ApiError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let failed = |e: hyper::Error| dial_error(&e.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "the connection behind a proxy");
        }
    });
    let upgrade = is_upgrade(request.headers());
    let client = upgrade.then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let mut outgoing = Request::new(body.map_err(Into::into).boxed_unsync());
    *outgoing.method_mut() = parts.method;
    *outgoing.uri_mut() = target.parse().map_err(|e| ApiError::bad_request(format!("{e}")))?;
    *outgoing.headers_mut() = forward(&parts.headers, upgrade);
    if let Ok(host) = HeaderValue::try_from(host) {
        outgoing.headers_mut().insert(HOST, host);
    }
    let answer = sender.send_request(outgoing).await.map_err(failed)?;
    match client {
        Some(client) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
            Ok(tunnel(answer, client))
        }
        _ => Ok(relay(answer)),
    }
}

/// Ties the two upgraded connections together.
fn tunnel(mut answer: Response<hyper::body::Incoming>, client: OnUpgrade) -> Response<Body> {
    let behind = hyper::upgrade::on(&mut answer);
    let mut response = Response::new(respond::full(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = answer.headers().clone();
    tokio::spawn(async move {
        let (client, behind) = match tokio::try_join!(client, behind) {
            Ok(both) => both,
            Err(error) => return tracing::debug!(%error, "upgrade"),
        };
        let (mut client, mut behind) = (TokioIo::new(client), TokioIo::new(behind));
        // Either side may simply hang up.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut behind).await;
    });
    response
}

/// An ordinary answer, its body passed on as it comes.
fn relay(answer: Response<hyper::body::Incoming>) -> Response<Body> {
    let (parts, body) = answer.into_parts();
    let mut response = Response::new(body.map_err(std::io::Error::other).boxed_unsync());
    *response.status_mut() = parts.status;
    *response.headers_mut() = forward(&parts.headers, false);
    response
}
