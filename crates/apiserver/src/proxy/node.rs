//! `nodes/proxy`: any request to a kubelet.

use ::http::{Request, Response};
use bytes::Bytes;
use timonier_meta::ApiError;

use super::{kubelet, upgrade};
use crate::call::Call;
use crate::http::respond::Body;

/// Passes the request to the node's kubelet, under the path that follows `proxy`.
pub async fn proxy<B>(call: &Call<'_>, request: Request<B>) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if let Some(response) = super::http::to_the_root(call, &request) {
        return Ok(response);
    }
    let node = call.info.path_name();
    let node = node.split(':').next().unwrap_or(node);
    let target = super::http::target_path(call, &request);
    let stream = kubelet::dial(call, node).await?;
    upgrade::pass(stream, node, &target, request).await
}
