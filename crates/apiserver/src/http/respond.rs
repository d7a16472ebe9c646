//! Answers as HTTP.

use std::convert::Infallible;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, FlushCompress};
use futures::Stream;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use timonier_meta::ApiError;
use timonier_object::{Value, json, value, yaml};

use crate::http::negotiate::Encoding;

/// The body of every answer.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Answers smaller than this are not worth compressing (upstream's threshold).
const GZIP_FROM: usize = 128 * 1024;

/// A body that is there already.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A body that comes in pieces.
pub fn stream(pieces: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static) -> Body {
    use futures::TryStreamExt;
    StreamBody::new(pieces.map_ok(Frame::data)).boxed_unsync()
}

/// An answer with a content type.
pub fn answer(code: u16, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// Plain text.
pub fn text(code: u16, body: impl Into<Bytes>) -> Response<Body> {
    answer(code, "text/plain; charset=utf-8", body)
}

/// JSON that is written already, in the form asked for.
pub fn object(code: u16, encoding: Encoding, body: Bytes) -> Response<Body> {
    match encoding {
        Encoding::Json => answer(code, "application/json", body),
        Encoding::Yaml => match json::decode(&body).and_then(|v| yaml::encode(&v)) {
            Ok(text) => answer(code, "application/yaml", text),
            Err(why) => error(&ApiError::internal(why), Encoding::Json),
        },
    }
}

/// An error as a `Status`.
pub fn error(error: &ApiError, encoding: Encoding) -> Response<Body> {
    let mut response = object(error.code, encoding, json::encode(&status(error)).into());
    if error.retry_after_seconds > 0 {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(error.retry_after_seconds));
    }
    response
}

/// The `metav1.Status` of an error.
pub fn status(error: &ApiError) -> Value {
    let mut status = value!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": (error.message.as_str()),
    });
    if !error.continue_token.is_empty() {
        status.set("metadata.continue", error.continue_token.as_str());
    }
    if !error.reason.as_str().is_empty() {
        status.set("reason", error.reason.as_str());
    }
    let mut details = Value::object();
    for (name, text) in
        [("name", &error.name), ("group", &error.group), ("kind", &error.kind), ("uid", &error.uid)]
    {
        if !text.is_empty() {
            details.set(name, text.as_str());
        }
    }
    if !error.causes.is_empty() {
        let causes = error.causes.iter().map(|c| {
            [("reason", &c.reason), ("message", &c.message), ("field", &c.field)]
                .into_iter()
                .filter(|(_, text)| !text.is_empty())
                .map(|(k, text)| (k, text.as_str()))
                .collect::<Value>()
        });
        details.set("causes", Value::array(causes));
    }
    if error.retry_after_seconds > 0 {
        details.set("retryAfterSeconds", error.retry_after_seconds);
    }
    if !details.is_empty() {
        status.set("details", details);
    }
    status.set("code", u32::from(error.code));
    status
}

/// Compresses a large body where the client takes gzip. `pieces` are the whole body.
pub fn pieces(
    code: u16,
    content_type: &'static str,
    pieces: Vec<Bytes>,
    headers: &HeaderMap,
) -> Response<Body> {
    let size: usize = pieces.iter().map(Bytes::len).sum();
    if size >= GZIP_FROM && takes_gzip(headers) {
        let mut response = answer(code, content_type, gzip(&pieces, size));
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        return response;
    }
    if size <= CHUNK {
        return answer(code, content_type, join(&pieces, size));
    }
    let mut response = answer(code, content_type, Bytes::new());
    *response.body_mut() = stream(futures::stream::iter(Chunks(pieces.into_iter()).map(Ok)));
    response
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let value = headers.get(http::header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok());
    value.is_some_and(|v| v.split(',').any(|e| e.split(';').next().unwrap_or("").trim() == "gzip"))
}

fn join(pieces: &[Bytes], size: usize) -> Bytes {
    if let [one] = pieces {
        return one.clone();
    }
    let mut out = BytesMut::with_capacity(size);
    pieces.iter().for_each(|p| out.put_slice(p));
    out.freeze()
}

/// Bytes of one frame of a long answer: few system calls, little memory.
const CHUNK: usize = 64 * 1024;

/// Joins small pieces into chunks on the way out.
struct Chunks(std::vec::IntoIter<Bytes>);

impl Iterator for Chunks {
    type Item = Bytes;
    fn next(&mut self) -> Option<Bytes> {
        let mut out = BytesMut::new();
        while out.len() < CHUNK {
            match self.0.next() {
                Some(piece) if out.is_empty() && piece.len() >= CHUNK => return Some(piece),
                Some(piece) => out.put_slice(&piece),
                None => break,
            }
        }
        (!out.is_empty()).then(|| out.freeze())
    }
}

/// The body as one gzip member, at the fastest level as upstream.
fn gzip(pieces: &[Bytes], size: usize) -> Bytes {
    let mut out = Vec::with_capacity(size / 4 + 64);
    out.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255]);
    let mut deflate = Compress::new(Compression::fast(), false);
    let mut crc = flate2::Crc::new();
    for piece in pieces {
        crc.update(piece);
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let before = deflate.total_in();
            out.reserve(CHUNK);
            // Writing to memory with room in it makes progress or is done.
            let _ = deflate.compress_vec(rest, &mut out, FlushCompress::None);
            rest = &rest[(deflate.total_in() - before) as usize..];
        }
    }
    loop {
        out.reserve(CHUNK);
        match deflate.compress_vec(&[], &mut out, FlushCompress::Finish) {
            Ok(flate2::Status::StreamEnd) | Err(_) => break,
            Ok(_) => {}
        }
    }
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&(size as u32).to_le_bytes());
    out.into()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn gzip_reads_back() {
        let pieces: Vec<Bytes> =
            (0..5000).map(|i| Bytes::from(format!("{{\"n\":{i}}},").repeat(10))).collect();
        let size = pieces.iter().map(Bytes::len).sum();
        let packed = gzip(&pieces, size);
        assert!(packed.len() < size / 4);
        let mut out = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut out).unwrap();
        assert_eq!(out, join(&pieces, size));
        let chunks: Vec<Bytes> = Chunks(pieces.into_iter()).collect();
        assert!(chunks.len() > 1 && chunks.concat() == out);
    }

    #[test]
    fn errors_print_as_upstreams_status() {
        let pods = timonier_meta::gvk::resources::PODS.group_resource();
        assert_eq!(
            json::to_string(&status(&ApiError::not_found(&pods, "a"))),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"a\" not found","reason":"NotFound","details":{"name":"a","kind":"pods"},"code":404}"#
        );
    }
}
