//! Which headers go through.

use ::http::header::{
    AUTHORIZATION, CONNECTION, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use ::http::{HeaderMap, HeaderValue};

/// Headers of one hop, and those that say who the client is.
const DROPPED: [HeaderName; 8] = [
    AUTHORIZATION,
    CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The client's headers for the server behind. An upgrade keeps its two headers.
pub fn forward(headers: &HeaderMap, upgrade: bool) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let personal = name.as_str().starts_with("impersonate-") || name == HOST;
        if !personal && !DROPPED.contains(name) && name != "keep-alive" {
            out.append(name, value.clone());
        }
    }
    if let Some(protocol) = headers.get(UPGRADE).filter(|_| upgrade) {
        out.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        out.insert(UPGRADE, protocol.clone());
    }
    out
}

/// Whether the client asks to speak another protocol.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    let connection = headers.get_all(CONNECTION).iter().filter_map(|v| v.to_str().ok());
    headers.contains_key(UPGRADE)
        && connection.flat_map(|v| v.split(',')).any(|t| t.trim().eq_ignore_ascii_case("upgrade"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_the_client_is_stays_here() {
        let mut headers = HeaderMap::new();
        for (k, v) in [
            ("authorization", "Bearer x"),
            ("impersonate-user", "y"),
            ("host", "z"),
            ("x-own", "1"),
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "SPDY/3.1"),
        ] {
            headers.insert(k, v.parse().unwrap());
        }
        assert!(is_upgrade(&headers));
        let out = forward(&headers, true);
        assert_eq!(out.len(), 3);
        assert_eq!(out["upgrade"], "SPDY/3.1");
        assert_eq!(forward(&headers, false).len(), 1);
    }
}
