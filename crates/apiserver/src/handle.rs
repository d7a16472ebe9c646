//! The way of a request, as one reads it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{Request, Response};
use smol_str::SmolStr;
use timonier_meta::ApiError;
use timonier_policy::{Authorizer, Decision, User, forbidden};

use crate::aggregation;
use crate::auth::{authenticate, impersonate};
use crate::endpoints;
use crate::http::negotiate::{Encoding, negotiate};
use crate::http::respond::{self, Body};
use crate::limits::Place;
use crate::query::Query;
use crate::request::RequestInfo;
use crate::resource::{self, Incoming};
use crate::server::{ApiServer, Gauge};

/// Answers one request; `peer` is the user of the connection's client certificate. It never
/// fails: an error is an answer.
pub async fn handle<B>(
    server: &Arc<ApiServer>,
    peer: Option<&User>,
    request: Request<B>,
) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let _counted = Gauge::enter(&server.metrics.in_flight);
    server.metrics.requests.fetch_add(1, Ordering::Relaxed);
    let encoding = negotiate(request.headers()).map_or(Encoding::Json, |form| form.encoding);
    let answered = answer(server, peer, request).await;
    let mut response = match answered {
        Ok(response) => response,
        Err(error) => respond::error(&error, encoding),
    };
    if response.status().as_u16() >= 400 {
        server.metrics.errors.fetch_add(1, Ordering::Relaxed);
    }
    if let Ok(id) = http::HeaderValue::try_from(server.env.uid()) {
        response.headers_mut().insert("audit-id", id);
    }
    response
}

/// Authenticate, authorize, and do it.
async fn answer<B>(
    server: &Arc<ApiServer>,
    peer: Option<&User>,
    request: Request<B>,
) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let query = Query::parse(request.uri().query().unwrap_or(""))?;
    let info = RequestInfo::parse(request.method(), request.uri(), &query)?;
    let user = authenticate(server, peer, request.headers())?;
    let user = impersonate::apply(&**server, user, request.headers())?;
    let _place = place(server, &user, &info)?;
    authorize(server, &user, &info)?;
    let aggregated = server.aggregator.current();
    if let Some(remote) = aggregated.aggregation.route(&info.path) {
        return Ok(aggregation::proxy::serve(server, &aggregated, remote, &user, request).await);
    }
    if info.is_resource {
        resource::serve(server, &user, &info, Incoming { request, query }).await
    } else {
        endpoints::serve(server, &info, &request, &query).await
    }
}

/// The place that the request takes while it is answered; 429 where the user has none left.
fn place(
    server: &ApiServer,
    user: &User,
    info: &RequestInfo,
) -> Result<Option<Place<SmolStr>>, ApiError> {
    if !info.is_resource && endpoints::is_health(&info.path) {
        return Ok(None);
    }
    let full = "Too many requests, please try again later.";
    server.limits.enter(user).map_err(|_| ApiError::too_many_requests(full, 1))
}

fn authorize(server: &ApiServer, user: &User, info: &RequestInfo) -> Result<(), ApiError> {
    let attributes = info.attributes(user);
    match server.authorize(&attributes) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(why) | Decision::NoOpinion(why) => Err(forbidden(&attributes, &why)),
    }
}
