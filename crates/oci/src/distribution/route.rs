//! What a request is about.

use http::Method;

use super::Action;
use super::answer::Refusal;
use crate::digest::Digest;
use crate::reference::{is_repository, is_tag};

#[derive(Clone, PartialEq, Debug)]
pub enum Route {
    Root,
    Catalog,
    Tags { repository: String },
    Referrers { repository: String, digest: Digest },
    Manifest { repository: String, name: Name, action: Action },
    Blob { repository: String, digest: Digest, action: Action },
    StartUpload { repository: String },
    Upload { repository: String, id: String },
}

/// How a manifest is called.
#[derive(Clone, PartialEq, Debug)]
pub enum Name {
    Tag(String),
    Digest(Digest),
}

impl Route {
    pub fn parse(method: &Method, path: &str) -> Result<Route, Refusal> {
        let unknown = || Refusal::new(404, "NAME_UNKNOWN", "no such endpoint");
        let rest = path.strip_prefix("/v2").ok_or_else(unknown)?.trim_start_matches('/');
        let parts: Vec<&str> = rest.split('/').collect();
        let route = match parts.as_slice() {
            [""] => Route::Root,
            ["_catalog"] => Route::Catalog,
            [name @ .., "tags", "list"] => Route::Tags { repository: repository(name)? },
            [name @ .., "referrers", digest] => {
                Route::Referrers { repository: repository(name)?, digest: parse_digest(digest)? }
            }
            [name @ .., "manifests", called] => {
                let repository = repository(name)?;
                Route::Manifest {
                    repository,
                    name: manifest_name(called)?,
                    action: action(method)?,
                }
            }
            [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
                Route::StartUpload { repository: repository(name)? }
            }
            [name @ .., "blobs", "uploads", id] => {
                let good = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
                if !good {
                    return Err(Refusal::new(404, "BLOB_UPLOAD_UNKNOWN", "no such upload"));
                }
                Route::Upload { repository: repository(name)?, id: id.to_string() }
            }
            [name @ .., "blobs", digest] => {
                let (repository, digest) = (repository(name)?, parse_digest(digest)?);
                Route::Blob { repository, digest, action: action(method)? }
            }
            _ => return Err(unknown()),
        };
        route.check_method(method)?;
        Ok(route)
    }

    fn check_method(&self, method: &Method) -> Result<(), Refusal> {
        let good = match self {
            Route::Root | Route::Catalog | Route::Tags { .. } | Route::Referrers { .. } => {
                matches!(*method, Method::GET | Method::HEAD)
            }
            Route::Manifest { .. } => {
                matches!(*method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE)
            }
            Route::Blob { .. } => matches!(*method, Method::GET | Method::HEAD | Method::DELETE),
            Route::StartUpload { .. } => *method == Method::POST,
            Route::Upload { .. } => {
                matches!(*method, Method::GET | Method::PATCH | Method::PUT | Method::DELETE)
            }
        };
        if good { Ok(()) } else { Err(unsupported()) }
    }

    pub fn repository(&self) -> &str {
        match self {
            Route::Root | Route::Catalog => "",
            Route::Tags { repository }
            | Route::Referrers { repository, .. }
            | Route::Manifest { repository, .. }
            | Route::Blob { repository, .. }
            | Route::StartUpload { repository }
            | Route::Upload { repository, .. } => repository,
        }
    }

    pub fn action(&self) -> Action {
        match self {
            Route::Root => Action::Login,
            Route::Catalog => Action::Catalog,
            Route::Tags { .. } | Route::Referrers { .. } => Action::Pull,
            Route::Manifest { action, .. } | Route::Blob { action, .. } => *action,
            Route::StartUpload { .. } | Route::Upload { .. } => Action::Push,
        }
    }
}

fn unsupported() -> Refusal {
    Refusal::new(405, "UNSUPPORTED", "the operation is unsupported")
}

fn action(method: &Method) -> Result<Action, Refusal> {
    match *method {
        Method::GET | Method::HEAD => Ok(Action::Pull),
        Method::PUT => Ok(Action::Push),
        Method::DELETE => Ok(Action::Delete),
        _ => Err(unsupported()),
    }
}

fn repository(parts: &[&str]) -> Result<String, Refusal> {
    let name = parts.join("/");
    if !is_repository(&name) {
        return Err(Refusal::new(400, "NAME_INVALID", "invalid repository name"));
    }
    Ok(name)
}

fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    let decoded = text.replace("%3A", ":").replace("%3a", ":");
    Digest::parse(&decoded).map_err(|e| Refusal::new(400, "DIGEST_INVALID", e.to_string()))
}

fn manifest_name(text: &str) -> Result<Name, Refusal> {
    if text.contains(':') || text.contains('%') {
        return parse_digest(text).map(Name::Digest);
    }
    if !is_tag(text) {
        return Err(Refusal::new(404, "MANIFEST_UNKNOWN", "malformed tag"));
    }
    Ok(Name::Tag(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let get = |path: &str| Route::parse(&Method::GET, path);
        assert_eq!(get("/v2/").unwrap(), Route::Root);
        assert_eq!(get("/v2/a/b/tags/list").unwrap(), Route::Tags { repository: "a/b".into() });
        assert!(matches!(
            get("/v2/manifests/manifests/manifests").unwrap(),
            Route::Manifest { .. }
        ));
        for bad in [
            "/",
            "/v1/",
            "/v2/x",
            "/v2/../manifests/x",
            "/v2/A/tags/list",
            "/v2/a/blobs/sha256:zz",
            "/v2/a/blobs/uploads/../../x",
            "/v2/tags/list",
            "/v2/a/manifests/..",
            "/v2//tags/list",
        ] {
            assert!(get(bad).is_err(), "{bad}");
        }
        assert!(Route::parse(&Method::POST, "/v2/a/tags/list").is_err());
        let start = Route::parse(&Method::POST, "/v2/a/blobs/uploads/").unwrap();
        assert_eq!((start.repository(), start.action()), ("a", Action::Push));
    }
}
