//! Requests that somebody else answers: kubelets, pods, and the pods behind Services.

pub mod endpoints;
mod headers;
pub mod http;
pub mod kubelet;
mod links;
mod node;
mod pod;
mod service;
pub mod upgrade;
mod websocket;

use ::http::{Request, Response};
use bytes::Bytes;
use timonier_meta::ApiError;

use crate::call::Call;
use crate::http::respond::Body;
use crate::query::Query;

/// Whether the request is passed on.
pub fn is_connect(call: &Call<'_>) -> bool {
    matches!(
        (call.row.gvr.resource.as_str(), call.info.subresource.as_str()),
        ("pods", "log" | "exec" | "attach" | "portforward" | "proxy")
            | ("nodes" | "services", "proxy")
    ) && call.row.gvr.group.is_empty()
}

/// Passes the request on.
pub async fn serve<B>(
    call: &Call<'_>,
    request: Request<B>,
    query: &Query,
) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match (call.row.gvr.resource.as_str(), call.info.subresource.as_str()) {
        ("pods", "log") => {
            let log = pod::log(call, query).await?;
            if websocket::is_asked_for(request.headers()) {
                return websocket::send(request, log);
            }
            Ok(log)
        }
        ("pods", "proxy") => pod::proxy(call, request).await,
        ("pods", _) => pod::stream(call, request, query).await,
        ("services", _) => service::proxy(call, request).await,
        _ => node::proxy(call, request).await,
    }
}
