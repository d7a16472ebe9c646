//! Answers.

use std::io;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use timonier_object::Value;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error>;

fn whole(code: u16, kind: &'static str, bytes: Bytes) -> Response<Body> {
    let body = Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// A short text; errors end in a line break, as upstream writes them.
pub fn text(code: u16, text: impl Into<String>) -> Response<Body> {
    let mut text = text.into();
    if code >= 400 {
        text.push('\n');
    }
    whole(code, "text/plain; charset=utf-8", text.into())
}

pub fn json(value: &Value) -> Response<Body> {
    whole(200, "application/json", timonier_object::json::encode(value).into())
}

/// The text format of Prometheus.
pub fn metrics(text: String) -> Response<Body> {
    whole(200, "text/plain; version=0.0.4; charset=utf-8", text.into())
}

/// Text as it comes.
pub fn stream(chunks: mpsc::Receiver<io::Result<Bytes>>) -> Response<Body> {
    let frames = ReceiverStream::new(chunks).map(|chunk| chunk.map(Frame::data));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
