//! Manifests: read, push, delete.

use http::{Method, Request, header};
use hyper::body::Incoming;
use serde::Deserialize;

use super::RegistryServer;
use super::answer::{Answer, Refusal, empty, full, set};
use super::route::Name;
use crate::digest::Digest;
use crate::error::Result;
use crate::manifest::MANIFEST_LIMIT;
use http_body_util::BodyExt;

/// What a registry needs to know of a manifest, an index or an artifact.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Known {
    #[serde(default)]
    pub schema_version: u32,
    #[serde(default)]
    pub media_type: String,
    #[serde(default)]
    pub artifact_type: String,
    pub config: Option<Pointer>,
    #[serde(default)]
    pub layers: Vec<Pointer>,
    #[serde(default)]
    pub manifests: Vec<Pointer>,
    pub subject: Option<Pointer>,
    #[serde(default)]
    pub annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pointer {
    pub digest: Digest,
    #[serde(default)]
    pub media_type: String,
    #[serde(default)]
    pub urls: Vec<String>,
}

impl Known {
    pub fn parse(bytes: &[u8]) -> Result<Known, Refusal> {
        let invalid = |text: String| Refusal::new(400, "MANIFEST_INVALID", text);
        let known: Known = serde_json::from_slice(bytes)
            .map_err(|e| invalid(format!("malformed manifest: {e}")))?;
        if known.schema_version != 2 {
            return Err(invalid("only manifests of schema version 2 are taken".to_owned()));
        }
        Ok(known)
    }
}

impl RegistryServer {
    pub(super) async fn manifest(
        &self,
        repository: &str,
        name: &Name,
        request: Request<Incoming>,
    ) -> Result<Answer, Refusal> {
        match *request.method() {
            Method::PUT => self.put_manifest(repository, name, request).await,
            Method::DELETE => self.delete_manifest(repository, name),
            _ => self.get_manifest(repository, name, *request.method() == Method::HEAD),
        }
    }

    fn get_manifest(&self, repository: &str, name: &Name, head: bool) -> Result<Answer, Refusal> {
        let unknown = || Refusal::new(404, "MANIFEST_UNKNOWN", "manifest unknown");
        let digest = self.find(repository, name)?.ok_or_else(unknown)?;
        let (media_type, bytes) =
            self.storage.manifest(repository, &digest)?.ok_or_else(unknown)?;
        let mut answer = empty(200);
        set(&mut answer, "content-type", &media_type);
        set(&mut answer, "content-length", &bytes.len().to_string());
        set(&mut answer, "docker-content-digest", digest.as_str());
        set(&mut answer, "etag", &format!("\"{digest}\""));
        if !head {
            *answer.body_mut() = full(bytes.into());
        }
        Ok(answer)
    }

    fn find(&self, repository: &str, name: &Name) -> Result<Option<Digest>> {
        match name {
            Name::Digest(digest) => Ok(Some(digest.clone())),
            Name::Tag(tag) => {
                let text = self.storage.mark(repository, "_tags", tag)?;
                text.map(|t| Digest::parse(&t)).transpose()
            }
        }
    }

    async fn put_manifest(
        &self,
        repository: &str,
        name: &Name,
        request: Request<Incoming>,
    ) -> Result<Answer, Refusal> {
        let stated = request.headers().get(header::CONTENT_TYPE).and_then(|t| t.to_str().ok());
        let stated =
            stated.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned();
        let mut body = http_body_util::Limited::new(request.into_body(), MANIFEST_LIMIT as usize);
        let too_large =
            |_| Refusal::new(413, "SIZE_INVALID", "the manifest is over 4 MiB, or broke off");
        let bytes = (&mut body).collect().await.map_err(too_large)?.to_bytes();
        let known = Known::parse(&bytes)?;
        let media_type =
            if known.media_type.is_empty() { stated.clone() } else { known.media_type.clone() };
        if media_type.is_empty() || (!stated.is_empty() && stated != media_type) {
            let text = format!("content type {stated:?} is not the manifest's {media_type:?}");
            return Err(Refusal::new(400, "MANIFEST_INVALID", text));
        }
        let digest = Digest::of(&bytes);
        if let Name::Digest(wanted) = name
            && *wanted != digest
        {
            return Err(Refusal::new(400, "DIGEST_INVALID", "the manifest has another digest"));
        }
        self.check_content(repository, &known)?;
        self.storage.put_manifest(repository, &media_type, &bytes)?;
        if let Some(subject) = &known.subject {
            let kind = format!("_subjects/{}", subject.digest.hex());
            self.storage.set_mark(repository, &kind, digest.hex(), "")?;
        }
        if let Name::Tag(tag) = name {
            self.storage.set_mark(repository, "_tags", tag, digest.as_str())?;
        }
        let mut answer = empty(201);
        set(&mut answer, "location", &format!("/v2/{repository}/manifests/{digest}"));
        set(&mut answer, "docker-content-digest", digest.as_str());
        if let Some(subject) = &known.subject {
            set(&mut answer, "oci-subject", subject.digest.as_str());
        }
        Ok(answer)
    }

    /// What a manifest names must be here; what it names by URL may be elsewhere.
    fn check_content(&self, repository: &str, known: &Known) -> Result<(), Refusal> {
        for blob in known.config.iter().chain(&known.layers).filter(|b| b.urls.is_empty()) {
            if !self.storage.has_blob(repository, &blob.digest) {
                let text = format!("blob unknown to registry: {}", blob.digest);
                return Err(Refusal::new(404, "MANIFEST_BLOB_UNKNOWN", text));
            }
        }
        for inner in &known.manifests {
            if self.storage.mark(repository, "_manifests", inner.digest.hex())?.is_none() {
                let text = format!("manifest unknown to registry: {}", inner.digest);
                return Err(Refusal::new(404, "MANIFEST_BLOB_UNKNOWN", text));
            }
        }
        Ok(())
    }

    /// A tag goes alone; a manifest goes with all its tags.
    fn delete_manifest(&self, repository: &str, name: &Name) -> Result<Answer, Refusal> {
        let unknown = || Refusal::new(404, "MANIFEST_UNKNOWN", "manifest unknown");
        let digest = match name {
            Name::Tag(tag) => {
                let removed = self.storage.remove_mark(repository, "_tags", tag)?;
                return if removed { Ok(empty(202)) } else { Err(unknown()) };
            }
            Name::Digest(digest) => digest,
        };
        let (_, bytes) = self.storage.manifest(repository, digest)?.ok_or_else(unknown)?;
        if let Ok(Known { subject: Some(subject), .. }) = Known::parse(&bytes) {
            let kind = format!("_subjects/{}", subject.digest.hex());
            self.storage.remove_mark(repository, &kind, digest.hex())?;
        }
        for tag in self.storage.marks(repository, "_tags")? {
            if self.storage.mark(repository, "_tags", &tag)?.as_deref() == Some(digest.as_str()) {
                self.storage.remove_mark(repository, "_tags", &tag)?;
            }
        }
        self.storage.remove_mark(repository, "_manifests", digest.hex())?;
        Ok(empty(202))
    }
}
