//! A request on its way to the server that answers for its group-version.

use std::time::Duration;

use ::http::{Request, Response};
use bytes::Bytes;
use timonier_policy::User;
use timonier_schema::aggregation::Remote;

use super::{Current, identity};
use crate::http::respond::{self, Body};
use crate::proxy::upgrade;
use crate::server::ApiServer;

/// A server that does not take the connection is given up after this.
const CONNECT: Duration = Duration::from_secs(10);

/// Passes the request on, as `user`. What goes wrong is told as upstream's aggregator does: in
/// plain text.
pub async fn serve<B>(
    server: &ApiServer,
    current: &Current,
    remote: &Remote,
    user: &User,
    mut request: Request<B>,
) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if !remote.available {
        return respond::text(503, "service unavailable\n");
    }
    let target = match current.target(remote) {
        Ok(target) => target,
        Err(why) => return respond::text(500, format!("{why}\n")),
    };
    let Ok(address) = target.address(server) else {
        return respond::text(503, "service unavailable\n");
    };
    let unreachable =
        |why: &str| respond::text(503, format!("error trying to reach service: {why}\n"));
    let stream = match tokio::time::timeout(CONNECT, target.connect(&address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(why)) => return unreachable(&why),
        Err(_) => return unreachable("net/http: TLS handshake timeout"),
    };
    identity::set(request.headers_mut(), user);
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str()).to_string();
    let host = format!("{}:{}", address.0, address.1);
    match upgrade::pass(stream, &host, &path, request).await {
        Ok(response) => response,
        Err(error) => unreachable(&error.message),
    }
}
