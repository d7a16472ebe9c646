//! Lists: repositories, tags, referrers.

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::RegistryServer;
use super::answer::{Answer, Refusal, json as json_answer, set};
use super::manifests::Known;
use super::uploads::parameter;
use crate::digest::Digest;
use crate::error::Result;
use crate::manifest::OCI_INDEX;

/// A page has at most so many names, whatever is asked.
const PAGE_LIMIT: usize = 1000;

impl RegistryServer {
    pub(super) async fn catalog(&self, request: &Request<Incoming>) -> Result<Answer, Refusal> {
        let page = page(self.storage.repositories()?, request);
        let body = json!({ "repositories": page.names });
        Ok(page.answer(body.to_string(), "/v2/_catalog"))
    }

    pub(super) async fn tags(
        &self,
        repository: &str,
        request: &Request<Incoming>,
    ) -> Result<Answer, Refusal> {
        if !self.storage.exists(repository) {
            return Err(Refusal::new(404, "NAME_UNKNOWN", "repository name not known to registry"));
        }
        let page = page(self.storage.marks(repository, "_tags")?.into_iter().collect(), request);
        let body = json!({ "name": repository, "tags": page.names });
        Ok(page.answer(body.to_string(), &format!("/v2/{repository}/tags/list")))
    }

    /// The manifests that say they are about another one, as an index.
    pub(super) async fn referrers(
        &self,
        repository: &str,
        digest: &Digest,
        request: &Request<Incoming>,
    ) -> Result<Answer, Refusal> {
        let wanted = parameter(request, "artifactType");
        let mut found = Vec::new();
        for hex in self.storage.marks(repository, &format!("_subjects/{}", digest.hex()))? {
            let Ok(referrer) = Digest::parse(&format!("sha256:{hex}")) else { continue };
            let Some((media_type, bytes)) = self.storage.manifest(repository, &referrer)? else {
                continue;
            };
            let Ok(known) = Known::parse(&bytes) else { continue };
            let kind = match &known.config {
                Some(config) if known.artifact_type.is_empty() => config.media_type.clone(),
                _ => known.artifact_type,
            };
            if wanted.as_ref().is_some_and(|w| *w != kind) {
                continue;
            }
            found.push(json!({
                "mediaType": media_type, "digest": referrer.as_str(), "size": bytes.len(),
                "artifactType": kind, "annotations": known.annotations,
            }));
        }
        let body = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found });
        let mut answer = json_answer(StatusCode::OK, body.to_string().into_bytes());
        set(&mut answer, "content-type", OCI_INDEX);
        if wanted.is_some() {
            set(&mut answer, "oci-filters-applied", "artifactType");
        }
        Ok(answer)
    }
}

struct Page {
    names: Vec<String>,
    /// How many were asked for, if there are more.
    more: Option<usize>,
}

/// `n` names after `last`.
fn page(names: Vec<String>, request: &Request<Incoming>) -> Page {
    let n = parameter(request, "n").and_then(|n| n.parse::<usize>().ok());
    let n = n.unwrap_or(PAGE_LIMIT).min(PAGE_LIMIT);
    let last = parameter(request, "last").unwrap_or_default();
    let mut rest = names.into_iter().filter(|name| *name > last);
    let names: Vec<String> = rest.by_ref().take(n).collect();
    let more = (n > 0 && rest.next().is_some()).then_some(n);
    Page { names, more }
}

impl Page {
    fn answer(&self, body: String, path: &str) -> Answer {
        let mut answer = json_answer(StatusCode::OK, body.into_bytes());
        if let (Some(n), Some(last)) = (self.more, self.names.last()) {
            let last = crate::registry::escape(last);
            set(&mut answer, "link", &format!("<{path}?n={n}&last={last}>; rel=\"next\""));
        }
        answer
    }
}
