//! Proxies as the usual environment variables name them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say, in either case.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    pub http: Option<Uri>,
    pub https: Option<Uri>,
    /// Hosts and domains that are reached directly; `*` for all.
    pub direct: Vec<String>,
}

impl Proxies {
    pub fn from_env() -> Proxies {
        let get = |name: &str| {
            let lower = std::env::var(name.to_ascii_lowercase());
            lower.or_else(|_| std::env::var(name)).ok().filter(|v| !v.trim().is_empty())
        };
        let direct = get("NO_PROXY").unwrap_or_default();
        Proxies {
            http: get("HTTP_PROXY").as_deref().and_then(address),
            https: get("HTTPS_PROXY").as_deref().and_then(address),
            direct: direct
                .split(',')
                .map(|d| d.trim().to_ascii_lowercase())
                .filter(|d| !d.is_empty())
                .collect(),
        }
    }

    /// The proxy for a URI. What is on this machine needs none.
    pub fn select(&self, uri: &Uri) -> Option<&Uri> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
        let local = host.parse::<std::net::IpAddr>().is_ok_and(|a| a.is_loopback());
        if local || host == "localhost" || host.ends_with(".localhost") {
            return None;
        }
        let port = uri.port_u16();
        let covers = |rule: &String| {
            let (name, only) = match rule.rsplit_once(':') {
                Some((name, p)) if !name.contains(':') => (name, p.parse::<u16>().ok()),
                _ => (rule.as_str(), None),
            };
            if only.is_some() && only != port {
                return false;
            }
            let domain = name.trim_start_matches("*.").trim_start_matches('.');
            name == "*"
                || host == domain
                || host.strip_suffix(domain).is_some_and(|h| h.ends_with('.'))
                || in_range(name, &host)
        };
        if self.direct.iter().any(covers) {
            return None;
        }
        if uri.scheme_str() == Some("https") { self.https.as_ref() } else { self.http.as_ref() }
    }
}

/// `10.0.0.0/8`, for IPv4 addresses.
fn in_range(range: &str, host: &str) -> bool {
    let Some((base, bits)) = range.split_once('/') else { return false };
    let (Ok(base), Ok(bits), Ok(host)) = (
        base.parse::<std::net::Ipv4Addr>(),
        bits.parse::<u32>(),
        host.parse::<std::net::Ipv4Addr>(),
    ) else {
        return false;
    };
    let mask = u32::MAX.checked_shl(32 - bits.min(32)).unwrap_or(0);
    base.to_bits() & mask == host.to_bits() & mask
}

/// A bare `host:port` is an HTTP proxy. Proxies spoken to by TLS or SOCKS are not supported.
fn address(text: &str) -> Option<Uri> {
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: Uri = full.parse().ok()?;
    if uri.scheme_str() != Some("http") || uri.host().is_none() {
        tracing::warn!("proxy {text:?} is not used: only http:// proxies are supported");
        return None;
    }
    Some(uri)
}

/// The `Proxy-Authorization` header for the credentials in a proxy's URI.
pub fn authorization(proxy: &Uri) -> Option<String> {
    let (credentials, _) = proxy.authority()?.as_str().rsplit_once('@')?;
    Some(format!("Basic {}", STANDARD.encode(credentials)))
}

/// Asks a proxy for a tunnel to `target` (`host:port`).
pub async fn tunnel(tcp: &mut TcpStream, proxy: &Uri, target: &str) -> std::io::Result<()> {
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(value) = authorization(proxy) {
        request.push_str(&format!("Proxy-Authorization: {value}\r\n"));
    }
    request.push_str("\r\n");
    tcp.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // Byte by byte, so that nothing of what follows the answer is taken.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() > 8192 {
            return Err(std::io::Error::other("the proxy's answer is too long"));
        }
        answer.push(tcp.read_u8().await?);
    }
    let line = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
    match line.split_whitespace().nth(1) {
        Some("200") => Ok(()),
        _ => Err(std::io::Error::other(format!("the proxy refuses: {line}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_goes_through_which() {
        let proxies = Proxies {
            http: address("plain:3128"),
            https: address("http://u:p@secure:1"),
            direct: ["corp.example", ".dom.example", "10.0.0.0/8", "x:5000"]
                .map(str::to_owned)
                .to_vec(),
        };
        let select =
            |uri: &str| proxies.select(&uri.parse().unwrap()).map(|p| p.host().unwrap().to_owned());
        assert_eq!(select("https://registry-1.docker.io/v2/").as_deref(), Some("secure"));
        assert_eq!(select("http://a.example/").as_deref(), Some("plain"));
        for direct in [
            "http://localhost:5000/",
            "http://127.0.0.1/",
            "https://[::1]:5/",
            "https://corp.example/",
            "https://a.corp.example/",
            "https://b.dom.example",
            "http://10.9.8.7:5000/",
            "http://x:5000/",
        ] {
            assert_eq!(select(direct), None, "{direct}");
        }
        for proxied in ["https://notcorp.example/", "http://x:5001/", "http://11.0.0.1/"] {
            assert!(select(proxied).is_some(), "{proxied}");
        }
        assert_eq!(authorization(proxies.https.as_ref().unwrap()).unwrap(), "Basic dTpw");
        assert!(address("socks5://x:1").is_none());
    }
}
