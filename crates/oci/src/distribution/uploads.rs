//! Blobs: upload in one or several pieces, or take over from another repository.

use std::path::PathBuf;

use http::{Method, Request, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::AsyncWriteExt;

use super::answer::{Answer, Refusal, empty, set};
use super::{Action, Decision, RegistryServer};
use crate::digest::Digest;
use crate::error::{IoContext, Result};
use crate::reference::is_repository;
use crate::registry::blocking;

impl RegistryServer {
    pub(super) async fn start_upload(
        &self,
        repository: &str,
        request: Request<Incoming>,
    ) -> Result<Answer, Refusal> {
        if let Some(answer) = self.mount(repository, &request)? {
            return Ok(answer);
        }
        let id = self.storage.fresh_upload();
        let path = self.path_of(repository, &id);
        tokio::fs::File::create(&path).await.at("create", &path)?;
        if let Some(digest) = parameter(&request, "digest") {
            let digest = parse(&digest)?;
            self.receive(&path, request).await?;
            return self.finish(repository, path, &digest).await;
        }
        Ok(progress(202, repository, &id, 0))
    }

    /// Takes a blob over from another repository, if the client may read there.
    fn mount(
        &self,
        repository: &str,
        request: &Request<Incoming>,
    ) -> Result<Option<Answer>, Refusal> {
        let Some(digest) = parameter(request, "mount") else { return Ok(None) };
        let digest = parse(&digest)?;
        let Some(from) = parameter(request, "from").filter(|f| is_repository(f)) else {
            return Ok(None);
        };
        let allowed = match &self.config.access {
            None => true,
            Some(access) => {
                let who = super::credentials(request.headers());
                let who = who.as_deref().and_then(|text| text.split_once(':'));
                access(who, &from, Action::Pull) == Decision::Allow
            }
        };
        if !allowed || !self.storage.has_blob(&from, &digest) {
            return Ok(None);
        }
        self.storage.set_mark(repository, "_blobs", digest.hex(), "")?;
        Ok(Some(created(repository, &digest)))
    }

    pub(super) async fn upload(
        &self,
        repository: &str,
        id: &str,
        request: Request<Incoming>,
    ) -> Result<Answer, Refusal> {
        let path = self.path_of(repository, id);
        let unknown =
            || Refusal::new(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
        let size = std::fs::metadata(&path).map_err(|_| unknown())?.len();
        match *request.method() {
            Method::DELETE => {
                std::fs::remove_file(&path).map_err(|_| unknown())?;
                Ok(empty(204))
            }
            Method::PATCH => {
                check_range(&request, size)?;
                let size = self.receive(&path, request).await?;
                Ok(progress(202, repository, id, size))
            }
            Method::PUT => {
                let missing =
                    || Refusal::new(400, "DIGEST_INVALID", "the digest parameter is missing");
                let digest = parse(&parameter(&request, "digest").ok_or_else(missing)?)?;
                check_range(&request, size)?;
                self.receive(&path, request).await?;
                self.finish(repository, path, &digest).await
            }
            _ => Ok(progress(204, repository, id, size)),
        }
    }

    /// The repository is part of the name, so that an upload cannot be ended in another one.
    fn path_of(&self, repository: &str, id: &str) -> PathBuf {
        let scope = Digest::of(repository.as_bytes());
        self.storage.uploads().join(format!("{}-{id}", scope.short()))
    }

    /// Appends a body; the result is the size so far.
    async fn receive(
        &self,
        path: &std::path::Path,
        request: Request<Incoming>,
    ) -> Result<u64, Refusal> {
        let file = tokio::fs::OpenOptions::new().append(true).open(path).await;
        let mut file = file.at("open", path)?;
        let mut size = file.metadata().await.at("stat", path)?.len();
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            let broken = |e: hyper::Error| Refusal::new(400, "BLOB_UPLOAD_INVALID", e.to_string());
            let Ok(piece) = frame.map_err(broken)?.into_data() else { continue };
            size += piece.len() as u64;
            if size > self.config.blob_limit {
                let _ = tokio::fs::remove_file(path).await;
                return Err(Refusal::new(413, "SIZE_INVALID", "the blob is too large"));
            }
            file.write_all(&piece).await.at("write", path)?;
        }
        file.flush().await.at("write", path)?;
        Ok(size)
    }

    async fn finish(
        &self,
        repository: &str,
        path: PathBuf,
        digest: &Digest,
    ) -> Result<Answer, Refusal> {
        let (storage, name, wanted) = (self.storage.clone(), repository.to_owned(), digest.clone());
        let upload = path.clone();
        let good = blocking(move || storage.finish_upload(&name, &upload, &wanted)).await?;
        if !good {
            let _ = tokio::fs::remove_file(&path).await;
            let text = "provided digest did not match uploaded content";
            return Err(Refusal::new(400, "DIGEST_INVALID", text));
        }
        Ok(created(repository, digest))
    }
}

/// `Content-Range: start-end` must go on where the upload is.
fn check_range(request: &Request<Incoming>, size: u64) -> Result<(), Refusal> {
    let Some(range) = request.headers().get(header::CONTENT_RANGE) else { return Ok(()) };
    let text = range.to_str().unwrap_or_default();
    let start =
        text.trim_start_matches("bytes ").split('-').next().and_then(|s| s.parse::<u64>().ok());
    if start != Some(size) {
        return Err(Refusal::new(
            416,
            "BLOB_UPLOAD_INVALID",
            format!("the upload goes on at {size}"),
        ));
    }
    Ok(())
}

fn parse(text: &str) -> Result<Digest, Refusal> {
    Digest::parse(text).map_err(|e| Refusal::new(400, "DIGEST_INVALID", e.to_string()))
}

fn progress(status: u16, repository: &str, id: &str, size: u64) -> Answer {
    let mut answer = empty(status);
    set(&mut answer, "location", &format!("/v2/{repository}/blobs/uploads/{id}"));
    set(&mut answer, "range", &format!("0-{}", size.saturating_sub(1)));
    set(&mut answer, "docker-upload-uuid", id);
    answer
}

fn created(repository: &str, digest: &Digest) -> Answer {
    let mut answer = empty(201);
    set(&mut answer, "location", &format!("/v2/{repository}/blobs/{digest}"));
    set(&mut answer, "docker-content-digest", digest.as_str());
    answer
}

/// A parameter of the query, percent-decoded.
pub fn parameter(request: &Request<Incoming>, name: &str) -> Option<String> {
    let query = request.uri().query()?;
    let value = query.split('&').find_map(|p| p.strip_prefix(name)?.strip_prefix('='))?;
    let mut out = Vec::new();
    let mut bytes = value.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            b'+' => out.push(b' '),
            b => out.push(b),
        }
    }
    String::from_utf8(out).ok()
}
