//! `/openapi/v3` and `/openapi/v2`: the schemas that clients explain and check with. Documents are
//! made when they are asked for: clients keep them by their hash, and they are large.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response};
use timonier_meta::{ApiError, Reason};
use timonier_object::json;
use timonier_schema::aggregation::Aggregation;
use timonier_schema::{Catalogue, openapi};

use crate::http::negotiate;
use crate::http::respond::{self, Body};
use crate::query::Query;
use crate::server::ApiServer;

/// The name that clients ask by. An `@` is no part of a media type, so that the answer has another.
const V2_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Answers an OpenAPI request; `None` for a document that does not exist.
pub fn serve(
    server: &ApiServer,
    parts: &[&str],
    headers: &HeaderMap,
    query: &Query,
) -> Result<Option<Response<Body>>, ApiError> {
    let catalogue = server.catalogue();
    let current = server.aggregator.current();
    let others = &current.aggregation;
    match parts {
        ["openapi", "v2"] => v2(&catalogue, others, headers).map(Some),
        ["openapi", "v3"] => {
            let index = json::encode(&openapi::v3_index(&catalogue, others));
            Ok(Some(respond::answer(200, "application/json", index)))
        }
        ["openapi", "v3", rest @ ..] => Ok(v3(&catalogue, others, &rest.join("/"), headers, query)),
        _ => Ok(None),
    }
}

fn v3(
    catalogue: &Catalogue,
    others: &Aggregation,
    path: &str,
    headers: &HeaderMap,
    query: &Query,
) -> Option<Response<Body>> {
    let index = openapi::v3_index(catalogue, others);
    let url = index.at("paths").get(path)?.at("serverRelativeURL").smol();
    let hash = url.split_once("hash=").map_or("", |(_, hash)| hash);
    let asked = query.get("hash");
    if let Some(other) = asked.filter(|h| *h != hash) {
        // The client holds an old index; it is sent on to the present document.
        tracing::debug!(path, other, hash, "another OpenAPI hash");
        let mut response = respond::text(301, "");
        if let Ok(location) = HeaderValue::try_from(url.as_str()) {
            response.headers_mut().insert(http::header::LOCATION, location);
        }
        return Some(response);
    }
    if let Some(response) = not_modified(hash, headers) {
        return Some(response);
    }
    let document = openapi::v3_document(catalogue, path)?;
    let bytes = json::encode(&document).into();
    let mut response = respond::pieces(200, "application/json", vec![bytes], headers);
    if asked.is_some() {
        let forever = HeaderValue::from_static("public, immutable");
        response.headers_mut().insert(CACHE_CONTROL, forever);
    }
    tag(&mut response, hash);
    Some(response)
}

fn v2(
    catalogue: &Catalogue,
    others: &Aggregation,
    headers: &HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let accept = negotiate::accept(headers);
    let clauses = negotiate::clauses(&accept);
    let protobuf = clauses.iter().find_map(|c| match c.media_type {
        V2_ASKED | V2_PROTOBUF => Some(true),
        "application/json" | "*/*" | "application/*" => Some(false),
        _ => None,
    });
    let protobuf = match protobuf {
        Some(protobuf) => protobuf,
        None if clauses.is_empty() => false,
        None => {
            let text = "only the following media types are accepted: application/json, application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
            return Err(ApiError::new(406, Reason::NotAcceptable, text));
        }
    };
    let all = catalogue.group_versions();
    let mut hashes: Vec<String> = all.iter().map(|gv| openapi::v3_hash(catalogue, gv)).collect();
    let theirs = others.remotes().filter(|(_, told)| !told.openapi_v2.is_null());
    hashes.extend(theirs.map(|(remote, told)| {
        format!("{}{}", remote.name, digest(&json::to_string(&told.openapi_v2)))
    }));
    let form = if protobuf { "p" } else { "j" };
    let hash = format!("{}{form}", digest(&hashes.concat()));
    if let Some(response) = not_modified(&hash, headers) {
        return Ok(response);
    }
    let bytes = if protobuf {
        openapi::v2_protobuf(catalogue, others)
    } else {
        json::encode(&openapi::v2(catalogue, others))
    };
    let mut response = respond::pieces(200, "application/json", vec![bytes.into()], headers);
    if protobuf {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(V2_PROTOBUF));
    }
    tag(&mut response, &hash);
    Ok(response)
}

fn digest(text: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text).iter().map(|b| format!("{b:02X}")).collect()
}

fn not_modified(hash: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let known = headers.get(IF_NONE_MATCH)?.to_str().ok()?.trim_matches('"') == hash;
    known.then(|| {
        let mut response = respond::answer(304, "application/json", "");
        tag(&mut response, hash);
        response
    })
}

fn tag(response: &mut Response<Body>, hash: &str) {
    if let Ok(value) = HeaderValue::try_from(format!("\"{hash}\"")) {
        response.headers_mut().insert(ETAG, value);
    }
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
}
