//! HTTP to an address in the cluster.

use std::net::IpAddr;
use std::time::Duration;

use ::http::{Request, Response};
use bytes::Bytes;
use rustls_pki_types::ServerName;
use timonier_meta::ApiError;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::headers::is_upgrade;
use super::links::{self, Origin};
use super::upgrade;
use crate::call::Call;
use crate::http::respond::{self, Body};

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
    // As it was encoded.
    let rest = call.info.raw_rest.as_str();
    let mut target = if rest.starts_with('/') { rest.to_string() } else { format!("/{rest}") };
    if let Some(query) = request.uri().query() {
        target.push('?');
        target.push_str(query);
    }
    target
}

/// Where nothing follows `proxy`, a page's relative links would lead beside it: the client is sent
/// to the path with a slash at its end.
pub fn to_the_root<B>(call: &Call<'_>, request: &Request<B>) -> Option<Response<Body>> {
    let reads = matches!(request.method().as_str(), "GET" | "HEAD");
    if !call.info.raw_rest.is_empty() || !reads || is_upgrade(request.headers()) {
        return None;
    }
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = format!("{}/{query}", request.uri().path());
    let mut response = respond::text(301, "");
    let location = ::http::HeaderValue::try_from(location).ok()?;
    response.headers_mut().insert(::http::header::LOCATION, location);
    Some(response)
}

/// The address as one that may be connected to: none of this machine's own, which only its own
/// programs are to reach, and none that is not one host's (upstream `proxyutil.IsProxyableIP`).
fn proxyable(address: &str) -> Result<IpAddr, ApiError> {
    let ip = address.parse::<IpAddr>().map(|ip| ip.to_canonical()).ok();
    ip.filter(is_global_unicast).ok_or_else(|| ApiError::bad_request("address not allowed"))
}

fn is_global_unicast(ip: &IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || link_local)
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
    if let Some(response) = to_the_root(call, &request) {
        return Ok(response);
    }
    let ip = proxyable(address)?;
    let unreachable = |why: String| {
        ApiError::unavailable(format!(
            "error trying to reach service: dial tcp {address}:{port}: {why}"
        ))
    };
    let connect = TcpStream::connect((ip, port));
    let stream = match tokio::time::timeout(CONNECT, connect).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(unreachable(error.to_string())),
        Err(_) => return Err(unreachable("i/o timeout".into())),
    };
    let path = target_path(call, &request);
    let host = std::net::SocketAddr::new(ip, port);
    let asked = request.uri().path();
    let prefix = asked.strip_suffix(call.info.raw_rest.as_str()).unwrap_or(asked).to_string();
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
    fn some_addresses_are_nobody_s_business() {
        for fine in ["10.0.0.1", "192.0.2.1", "172.16.3.4", "2001:db8::1", "fd00::1"] {
            assert!(proxyable(fine).is_ok(), "{fine}");
        }
        for wrong in [
            "",
            "localhost",
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
        ] {
            assert_eq!(proxyable(wrong).unwrap_err().message, "address not allowed", "{wrong}");
        }
    }

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
