//! HTTP to an address in the cluster.

use std::time::Duration;

use ::http::{Request, Response};
use bytes::Bytes;
use rustls_pki_types::ServerName;
use timonier_meta::ApiError;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::links::{self, Origin};
use super::upgrade;
use crate::call::Call;
use crate::http::respond::{self, Body};
use crate::percent;

const CONNECT: Duration = Duration::from_secs(10);

/// The name in a proxy's URL: `[scheme:]name[:port]`.
#[derive(PartialEq, Eq, Debug)]
pub struct Target<'a> {
    pub scheme: &'a str,
    pub name: &'a str,
    /// A number or a port's name; may be empty.
    pub port: &'a str,
}

impl<'a> Target<'a> {
    /// Reads the name. 400 for a scheme other than `http` and `https`.
    pub fn parse(text: &'a str) -> Result<Self, ApiError> {
        let parts: Vec<&str> = text.split(':').collect();
        let target = match parts[..] {
            [name] => Target { scheme: "", name, port: "" },
            [name, port] => Target { scheme: "", name, port },
            [scheme, name, port] => Target { scheme, name, port },
            _ => return Err(ApiError::bad_request(format!("invalid service request {text:?}"))),
        };
        match target.scheme {
            "" | "http" | "https" => Ok(target),
            _ => Err(ApiError::bad_request(format!("invalid service request {text:?}"))),
        }
    }
}

/// The path behind the proxy, with the request's query.
pub fn target_path<B>(call: &Call<'_>, request: &Request<B>) -> String {
    let path = request.uri().path();
    // What follows `/proxy`, as it was encoded.
    let marker = format!("/{}/proxy", percent::encode(&call.info.name));
    let plain = format!("/{}/proxy", call.info.name);
    let rest = [marker, plain]
        .iter()
        .find_map(|m| path.find(m.as_str()).map(|at| &path[at + m.len()..]))
        .unwrap_or("");
    let mut target = if rest.starts_with('/') { rest.to_string() } else { format!("/{rest}") };
    if let Some(query) = request.uri().query() {
        target.push('?');
        target.push_str(query);
    }
    target
}

/// Passes the request to an address.
pub async fn pass<B>(
    call: &Call<'_>,
    target: &Target<'_>,
    address: &str,
    port: u16,
    request: Request<B>,
) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let path = request.uri().path();
    if path.ends_with("/proxy") && matches!(request.method().as_str(), "GET" | "HEAD") {
        let mut response = respond::text(301, "");
        if let Ok(location) = ::http::HeaderValue::try_from(format!("{path}/")) {
            response.headers_mut().insert(::http::header::LOCATION, location);
        }
        return Ok(response);
    }
    let unreachable = |why: String| {
        ApiError::unavailable(format!(
            "error trying to reach service: dial tcp {address}:{port}: {why}"
        ))
    };
    let connect = TcpStream::connect((address, port));
    let stream = match tokio::time::timeout(CONNECT, connect).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(unreachable(error.to_string())),
        Err(_) => return Err(unreachable("i/o timeout".into())),
    };
    let path = target_path(call, &request);
    let host = std::net::SocketAddr::new(
        address.parse().map_err(|_| unreachable("no address".into()))?,
        port,
    );
    let asked = request.uri().path();
    let behind = path.split('?').next().unwrap_or_default();
    let prefix = asked.strip_suffix(behind).unwrap_or(asked).to_string();
    let origin = Origin { prefix, host: host.to_string() };
    if target.scheme != "https" {
        let response = upgrade::pass(stream, &origin.host, &path, request).await?;
        return Ok(links::rewrite(response, origin));
    }
    // As upstream's: what is behind a proxy has a certificate of its own making.
    let tls = TlsConnector::from(timonier_trust::anybody());
    let connect = tls.connect(ServerName::IpAddress(host.ip().into()), stream);
    let stream = match tokio::time::timeout(CONNECT, connect).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(unreachable(error.to_string())),
        Err(_) => return Err(unreachable("i/o timeout".into())),
    };
    let response = upgrade::pass(stream, &origin.host, &path, request).await?;
    Ok(links::rewrite(response, origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read() {
        assert_eq!(Target::parse("a").unwrap(), Target { scheme: "", name: "a", port: "" });
        assert_eq!(Target::parse("a:80").unwrap(), Target { scheme: "", name: "a", port: "80" });
        assert_eq!(
            Target::parse("http:a:web").unwrap(),
            Target { scheme: "http", name: "a", port: "web" }
        );
        assert!(Target::parse("ftp:a:1").is_err() && Target::parse("a:b:c:d").is_err());
    }
}
