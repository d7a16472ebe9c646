//! Paths that are no resources: discovery, OpenAPI, health, version, metrics, token keys.

mod discovery;
mod health;
mod metrics;
mod openapi;
mod openid;
mod version;

use std::sync::Arc;

use http::{Request, Response};
use timonier_meta::{ApiError, Reason};

use crate::http::respond::{self, Body};
use crate::query::Query;
use crate::request::RequestInfo;
use crate::server::ApiServer;

/// Answers a request to a path that is no resource.
pub async fn serve<B>(
    server: &Arc<ApiServer>,
    info: &RequestInfo,
    request: &Request<B>,
    query: &Query,
) -> Result<Response<Body>, ApiError> {
    if !matches!(info.verb, "get" | "head") {
        let text = "the server does not allow this method on the requested resource";
        return Err(ApiError::new(405, Reason::MethodNotAllowed, text));
    }
    let path = info.path.trim_end_matches('/');
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let found = match parts.as_slice() {
        [] => Some(root()),
        ["api" | "apis", ..] => discovery::serve(server, &parts, request.headers())?,
        ["openapi", ..] => openapi::serve(server, &parts, request.headers(), query)?,
        ["healthz" | "livez" | "readyz", ..] => health::serve(server, &parts, query),
        ["version"] => Some(version::serve()),
        ["metrics"] => Some(metrics::serve(server)),
        ["openid" | ".well-known", ..] => openid::serve(server, &parts),
        _ => None,
    };
    Ok(found.unwrap_or_else(|| respond::text(404, "404 page not found\n")))
}

/// Whether the path tells only how the server is and which.
pub fn is_health(path: &str) -> bool {
    matches!(path.split('/').nth(1), Some("healthz" | "livez" | "readyz" | "version"))
}

/// `/`: the paths that there are.
fn root() -> Response<Body> {
    let paths = timonier_object::value!({ "paths": [
        "/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/healthz", "/livez",
        "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version",
    ] });
    respond::answer(200, "application/json", timonier_object::json::encode(&paths))
}
