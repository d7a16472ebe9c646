//! Blobs: read, look up, delete.

use std::io::{Read, Seek, SeekFrom};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::mpsc;

use super::RegistryServer;
use super::answer::{Answer, Body, Refusal, empty, set};
use crate::digest::Digest;
use crate::error::{IoContext, Result};

impl RegistryServer {
    pub(super) async fn blob(
        &self,
        repository: &str,
        digest: &Digest,
        request: Request<Incoming>,
    ) -> Result<Answer, Refusal> {
        let unknown = || Refusal::new(404, "BLOB_UNKNOWN", "blob unknown to registry");
        if *request.method() == Method::DELETE {
            let removed = self.storage.remove_mark(repository, "_blobs", digest.hex())?;
            return if removed { Ok(empty(202)) } else { Err(unknown()) };
        }
        let known = self.storage.has_blob(repository, digest)
            || self.storage.mark(repository, "_manifests", digest.hex())?.is_some();
        if !known {
            return Err(unknown());
        }
        let path = self.storage.blob_path(digest);
        let mut file = std::fs::File::open(&path).at("open", &path)?;
        let size = file.metadata().at("stat", &path)?.len();
        let (start, end, partial) = match range(request.headers(), size)? {
            Some((start, end)) => (start, end, true),
            None => (0, size, false),
        };
        let mut answer = empty(if partial { 206 } else { 200 });
        set(&mut answer, "content-length", &(end - start).to_string());
        set(&mut answer, "content-type", "application/octet-stream");
        set(&mut answer, "docker-content-digest", digest.as_str());
        set(&mut answer, "accept-ranges", "bytes");
        set(&mut answer, "etag", &format!("\"{digest}\""));
        if partial {
            set(&mut answer, "content-range", &format!("bytes {start}-{}/{size}", end - 1));
        }
        if *request.method() == Method::GET {
            file.seek(SeekFrom::Start(start)).at("seek", &path)?;
            *answer.body_mut() = stream(file.take(end - start));
        }
        Ok(answer)
    }
}

/// `bytes=a-b`, `bytes=a-`, `bytes=-n`: begin and end (exclusive).
fn range(headers: &HeaderMap, size: u64) -> Result<Option<(u64, u64)>, Refusal> {
    let Some(text) = headers.get(header::RANGE).and_then(|r| r.to_str().ok()) else {
        return Ok(None);
    };
    let Some((from, to)) = text.strip_prefix("bytes=").and_then(|r| r.split_once('-')) else {
        return Ok(None);
    };
    let bad = || Refusal::new(416, "RANGE_INVALID", "the range cannot be satisfied");
    let number = |text: &str| text.parse::<u64>().map_err(|_| bad());
    let (start, end) = match (from, to) {
        ("", last) => (size.saturating_sub(number(last)?), size),
        (from, "") => (number(from)?, size),
        (from, to) => (number(from)?, number(to)?.saturating_add(1).min(size)),
    };
    if start >= end || start >= size {
        return Err(bad());
    }
    Ok(Some((start, end)))
}

/// A file as a body, read on a thread where that may block.
fn stream(mut file: std::io::Take<std::fs::File>) -> Body {
    let (sender, receiver) = mpsc::channel::<std::io::Result<Frame<Bytes>>>(4);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut buffer = vec![0; 64 * 1024];
            let piece = match file.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => {
                    buffer.truncate(n);
                    Ok(Frame::data(Bytes::from(buffer)))
                }
                Err(e) => Err(e),
            };
            let failed = piece.is_err();
            if sender.blocking_send(piece).is_err() || failed {
                return;
            }
        }
    });
    StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(receiver)).boxed_unsync()
}
