//! Health checks of external load balancers: does this node have endpoints of a Service with
//! `externalTrafficPolicy: Local`? The answers are upstream's.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use timonier_meta::ObjectKey;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Connections of one port at once.
const CONCURRENT: usize = 64;
/// A connection lasts so long, at most.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// The ports that are answered.
#[derive(Default)]
pub struct HealthChecks {
    ports: BTreeMap<u16, Port>,
}

struct Port {
    service: ObjectKey,
    endpoints: watch::Sender<usize>,
    task: JoinHandle<()>,
}

impl HealthChecks {
    /// Answers on these ports from now on, and on no others.
    pub fn set(&mut self, wanted: BTreeMap<u16, (ObjectKey, usize)>) {
        self.ports.retain(|port, open| {
            let keep = wanted.get(port).is_some_and(|(service, _)| *service == open.service);
            if !keep {
                open.task.abort();
            }
            keep
        });
        for (port, (service, count)) in wanted {
            let open = self.ports.entry(port).or_insert_with(|| {
                let (endpoints, receiver) = watch::channel(count);
                let task = tokio::spawn(serve(port, service.clone(), receiver));
                Port { service, endpoints, task }
            });
            open.endpoints.send_replace(count);
        }
    }
}

impl Drop for HealthChecks {
    fn drop(&mut self) {
        self.ports.values().for_each(|port| port.task.abort());
    }
}

async fn serve(port: u16, service: ObjectKey, endpoints: watch::Receiver<usize>) {
    let listener = match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(port, %service, %error, "cannot answer the load balancer's health check");
            return;
        }
    };
    let places = std::sync::Arc::new(tokio::sync::Semaphore::new(CONCURRENT));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (service, endpoints) = (service.clone(), endpoints.clone());
        tokio::spawn(async move {
            let answer = service_fn(|_| {
                let response = answer(&service, *endpoints.borrow());
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            // A client that goes away or is slow loses its connection, and nothing else.
            let _ = tokio::time::timeout(PATIENCE, connection).await;
            drop(place);
        });
    }
}

fn answer(service: &ObjectKey, endpoints: usize) -> Response<Full<Bytes>> {
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{}\",\n\t\t\"name\": \"{}\"\n\t}},\n\t\"localEndpoints\": {endpoints},\n\t\"serviceProxyHealthy\": true\n}}",
        service.namespace, service.name
    );
    let mut response = Response::new(Full::new(Bytes::from(body)));
    if endpoints == 0 {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    let headers = response.headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static("application/json"));
    headers.insert("x-content-type-options", http::HeaderValue::from_static("nosniff"));
    headers.insert("x-load-balancing-endpoint-weight", http::HeaderValue::from(endpoints));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn the_answer_tells_whether_the_node_has_endpoints() {
        let key = ObjectKey::new("d", "s");
        let response = answer(&key, 0);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let response = answer(&key, 2);
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["x-load-balancing-endpoint-weight"], "2");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["localEndpoints"], 2);
        assert_eq!(value["service"]["name"], "s");
    }
}
