//! `/api` and `/apis`: what is served, in both forms.

use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response};
use sha2::Digest;
use timonier_meta::{ApiError, GroupVersion};
use timonier_object::{Value, json};
use timonier_schema::discovery;

use crate::http::negotiate::{self, Form};
use crate::http::respond::{self, Body};
use crate::server::ApiServer;

/// Answers a discovery request; `None` for a group or version that is not served.
pub fn serve(
    server: &ApiServer,
    parts: &[&str],
    headers: &HeaderMap,
) -> Result<Option<Response<Body>>, ApiError> {
    let catalogue = server.catalogue();
    let current = server.aggregator.current();
    let others = &current.aggregation;
    if let [root] = parts
        && let Some(version) = aggregated_version(headers)
    {
        let document = discovery::aggregated(&catalogue, others, *root == "api", version);
        return Ok(Some(aggregated(&document, version, headers)));
    }
    let document = match parts {
        ["api"] => Some(discovery::api_versions(&address(server))),
        ["api", version] => discovery::resources(
            &catalogue,
            &GroupVersion { group: "".into(), version: (*version).into() },
        ),
        ["apis"] => Some(discovery::group_list(&catalogue, others)),
        ["apis", group] => discovery::group(&catalogue, others, group),
        ["apis", group, version] => discovery::resources(
            &catalogue,
            &GroupVersion { group: (*group).into(), version: (*version).into() },
        ),
        _ => None,
    };
    let Some(document) = document else { return Ok(None) };
    let Form { encoding, .. } = negotiate::negotiate(headers)?;
    Ok(Some(respond::object(200, encoding, json::encode(&document).into())))
}

fn address(server: &ApiServer) -> String {
    match server.config.advertise {
        Some((ip, port)) => std::net::SocketAddr::new(ip, port).to_string(),
        None => "localhost".into(),
    }
}

/// The version of the aggregated form, where the client prefers that.
fn aggregated_version(headers: &HeaderMap) -> Option<&'static str> {
    let accept = negotiate::accept(headers);
    for clause in negotiate::clauses(&accept) {
        match clause.media_type {
            "application/json" => {}
            "*/*" | "application/*" => return None,
            _ => continue,
        }
        let asked = clause.parameter("g") == Some("apidiscovery.k8s.io")
            && clause.parameter("as") == Some("APIGroupDiscoveryList");
        match clause.parameter("v") {
            Some("v2") if asked => return Some("v2"),
            Some("v2beta1") if asked => return Some("v2beta1"),
            _ if clause.parameter("as").is_none() => return None,
            _ => {}
        }
    }
    None
}

fn aggregated(document: &Value, version: &str, headers: &HeaderMap) -> Response<Body> {
    let bytes = json::encode(document);
    let digest: String = sha2::Sha512::digest(&bytes).iter().map(|b| format!("{b:02X}")).collect();
    let tag = format!("\"{digest}\"");
    let known = headers.get(IF_NONE_MATCH).is_some_and(|t| t.as_bytes() == tag.as_bytes());
    let mut response = if known {
        respond::answer(304, "application/json", "")
    } else {
        respond::pieces(200, "application/json", vec![bytes.into()], headers)
    };
    let out = response.headers_mut();
    let kind =
        format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    for (name, text) in [(CONTENT_TYPE, kind), (ETAG, tag)] {
        if let Ok(value) = HeaderValue::try_from(text) {
            out.insert(name, value);
        }
    }
    out.insert(VARY, HeaderValue::from_static("Accept"));
    response
}
