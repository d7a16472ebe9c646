//! Questions of this server's own to one that is behind an APIService.

use std::time::Duration;

use ::http::header::{ACCEPT, HOST};
use ::http::{HeaderMap, Request};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use smol_str::SmolStr;
use timonier_object::{Value, json};
use timonier_policy::{User, groups};
use timonier_schema::aggregation::{Remote, Told};

use super::{Current, identity};
use crate::outgoing::Target;
use crate::server::ApiServer;

/// Upstream gives a server this long.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes of an answer; OpenAPI documents are the large ones.
const LARGEST: usize = 32 * 1024 * 1024;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// Gets a path; the answer's status and body. The error is as Go's HTTP client words it.
pub async fn get(
    server: &ApiServer,
    target: &Target,
    path: &str,
    accept: &str,
) -> Result<(u16, Bytes), String> {
    let address = target.address(server)?;
    let exchange = exchange(target, &address, path, accept);
    let answer = match tokio::time::timeout(TIMEOUT, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err("context deadline exceeded".into()),
    };
    answer.map_err(|why| format!("Get \"https://{}:{}{path}\": {why}", address.0, address.1))
}

async fn exchange(
    target: &Target,
    address: &(String, u16),
    path: &str,
    accept: &str,
) -> Result<(u16, Bytes), String> {
    let stream = target.connect(address).await?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|e| e.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a question to a server behind an APIService");
        }
    });
    let mut headers = HeaderMap::new();
    let masters = [SmolStr::new_static(groups::MASTERS)];
    identity::set(&mut headers, &User::authenticated("system:kube-aggregator", masters));
    let mut request = Request::get(path)
        .header(HOST, format!("{}:{}", address.0, address.1))
        .header(ACCEPT, accept)
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    request.headers_mut().extend(headers);
    let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), LARGEST).collect().await;
    Ok((status, body.map_err(|e| e.to_string())?.to_bytes()))
}

/// What the server says of its group-version now. What it does not answer stays as it was said
/// `before`.
pub async fn told(server: &ApiServer, current: &Current, remote: &Remote, before: Told) -> Told {
    let target = match current.target(remote) {
        Ok(target) => target,
        Err(_) => return Told { fresh: false, ..before },
    };
    let (resources, v3, v2) = tokio::join!(
        resources(server, &target, remote),
        document(server, &target, "/openapi/v3"),
        document(server, &target, "/openapi/v2"),
    );
    let mut told = Told { fresh: resources.is_some(), ..before };
    if let Some(resources) = resources {
        told.resources = resources;
    }
    if let Some(index) = v3 {
        let path = remote.path();
        let entry = index.at("paths").get(path.trim_start_matches('/'));
        told.openapi_v3 = entry.cloned().unwrap_or_default();
    }
    if let Some(document) = v2.filter(|document| *document != *told.openapi_v2) {
        told.openapi_v2 = document.into();
    }
    told
}

/// The resources in the aggregated form; made of the older form where the server knows no other.
async fn resources(server: &ApiServer, target: &Target, remote: &Remote) -> Option<Value> {
    if let Ok((200, body)) = get(server, target, "/apis", AGGREGATED).await
        && let Ok(list) = json::decode(&body)
        && list.kind() == "APIGroupDiscoveryList"
    {
        return Told::resources_of(&list, &remote.gv);
    }
    let list = document(server, target, &remote.path()).await?;
    Some(Told::resources_of_legacy(&list))
}

/// A JSON document, where it is there.
async fn document(server: &ApiServer, target: &Target, path: &str) -> Option<Value> {
    match get(server, target, path, "application/json").await {
        Ok((200, body)) => json::decode(&body).ok(),
        Ok((status, _)) => {
            tracing::debug!(path, status, "a server behind an APIService");
            None
        }
        Err(error) => {
            tracing::debug!(path, error, "a server behind an APIService");
            None
        }
    }
}
