//! Which protocol both sides speak.

use http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::server::answer::{self, Body};

const STREAM_PROTOCOL: &str = "x-stream-protocol-version";

/// The outcome of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upgrade {
    Spdy { protocol: String },
    WebSocket { protocol: String, accept: String },
}

/// Picks the first of our protocols that the client offers. `spdy` and `websocket` list ours, the
/// best first. The error is an answer.
pub fn negotiate(
    headers: &HeaderMap,
    spdy: &[&str],
    websocket: &[&str],
) -> Result<Upgrade, Response<Body>> {
    if has(headers, UPGRADE.as_str(), "websocket") {
        let key = headers.get(SEC_WEBSOCKET_KEY).map(|k| k.as_bytes());
        let Some(key) = key else {
            return Err(answer::text(400, "the websocket key is missing"));
        };
        let accept = derive_accept_key(key);
        let offered = offered(headers, SEC_WEBSOCKET_PROTOCOL.as_str());
        let protocol = match pick(websocket, &offered) {
            Some(protocol) => protocol,
            // Old clients name none and mean plain channels.
            None if offered.is_empty() && websocket.contains(&"channel.k8s.io") => "",
            None => return Err(refuse(websocket, &offered)),
        };
        return Ok(Upgrade::WebSocket { protocol: protocol.to_string(), accept });
    }
    if has(headers, UPGRADE.as_str(), "spdy/3.1") {
        let offered = offered(headers, STREAM_PROTOCOL);
        return match pick(spdy, &offered) {
            Some(protocol) => Ok(Upgrade::Spdy { protocol: protocol.to_string() }),
            // The first version did not name itself.
            None if offered.is_empty() => Ok(Upgrade::Spdy { protocol: String::new() }),
            None => Err(refuse(spdy, &offered)),
        };
    }
    Err(answer::text(400, "Upgrade request required"))
}

fn has(headers: &HeaderMap, name: &str, value: &str) -> bool {
    offered(headers, name).iter().any(|v| v.eq_ignore_ascii_case(value))
}

/// Values of a header, given once with commas or several times.
fn offered<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).map(str::trim).filter(|v| !v.is_empty()).collect()
}

fn pick<'a>(ours: &[&'a str], offered: &[&str]) -> Option<&'a str> {
    ours.iter().copied().find(|p| offered.contains(p))
}

fn refuse(ours: &[&str], offered: &[&str]) -> Response<Body> {
    let text = format!(
        "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {ours:?}"
    );
    answer::text(403, text)
}

/// The `101` that begins the new protocol.
pub fn response(upgrade: &Upgrade) -> Response<Body> {
    let mut response = answer::text(200, "");
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.clear();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value)
            && !value.is_empty()
        {
            headers.insert(name, value);
        }
    };
    match upgrade {
        Upgrade::Spdy { protocol } => {
            set("upgrade", "SPDY/3.1");
            set(STREAM_PROTOCOL, protocol);
        }
        Upgrade::WebSocket { protocol, accept } => {
            set("upgrade", "websocket");
            set("sec-websocket-accept", accept);
            set("sec-websocket-protocol", protocol);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_best_common_protocol_wins() {
        let offer = headers(&[
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v2.channel.k8s.io"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
        ]);
        let ours = ["v4.channel.k8s.io", "v2.channel.k8s.io"];
        let got = negotiate(&offer, &ours, &[]).unwrap();
        assert_eq!(got, Upgrade::Spdy { protocol: "v4.channel.k8s.io".into() });
        let answer = response(&got);
        assert_eq!(answer.headers()["x-stream-protocol-version"], "v4.channel.k8s.io");

        let offer = headers(&[
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "v5.channel.k8s.io, v4.channel.k8s.io"),
        ]);
        let got = negotiate(&offer, &[], &["v5.channel.k8s.io"]).unwrap();
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_string();
        assert_eq!(got, Upgrade::WebSocket { protocol: "v5.channel.k8s.io".into(), accept });
    }

    #[test]
    fn nothing_in_common_is_refused() {
        let offer = headers(&[("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", "v9")]);
        assert_eq!(negotiate(&offer, &["v4"], &[]).unwrap_err().status(), 403);
        assert_eq!(negotiate(&headers(&[]), &["v4"], &[]).unwrap_err().status(), 400);
        let none = headers(&[("upgrade", "websocket")]);
        assert_eq!(negotiate(&none, &[], &["x"]).unwrap_err().status(), 400);
    }
}
