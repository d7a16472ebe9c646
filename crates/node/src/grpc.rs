//! The gRPC health check: one call of `grpc.health.v1.Health/Check`.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// Asks whether a service is up; the error reads as upstream's.
pub(crate) async fn check(
    ip: &str,
    port: u16,
    service: &str,
    limit: Duration,
) -> Result<(), String> {
    let address = if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
    let seconds = limit.as_secs();
    let connect = tokio::time::timeout(limit, TcpStream::connect((ip, port))).await;
    let Ok(Ok(stream)) = connect else {
        return Err(format!(
            "timeout: failed to connect service {address:?} within {seconds}s: context deadline exceeded"
        ));
    };
    match tokio::time::timeout(limit, call(stream, &address, service)).await {
        Ok(Ok(1)) => Ok(()),
        Ok(Ok(status)) => {
            let name = match status {
                0 => "UNKNOWN",
                2 => "NOT_SERVING",
                3 => "SERVICE_UNKNOWN",
                _ => "UNRECOGNIZED",
            };
            Err(format!("service unhealthy (responded with {name:?})"))
        }
        Ok(Err(why)) => Err(format!("error: health rpc probe failed: {why}")),
        Err(_) => Err(format!("timeout: health rpc did not complete within {seconds}s")),
    }
}

async fn call(stream: TcpStream, address: &str, service: &str) -> Result<u64, String> {
    let (mut send, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.35")
        .body(Full::new(message(service)))
        .map_err(|e| e.to_string())?;
    let result = async {
        let answer = send.send_request(request).await.map_err(|e| e.to_string())?;
        let failed = |headers: &hyper::HeaderMap| {
            let code = headers.get("grpc-status")?.to_str().ok()?.to_string();
            let text = headers.get("grpc-message").and_then(|m| m.to_str().ok()).unwrap_or("");
            (code != "0").then(|| format!("rpc error: code = {code} desc = {text}"))
        };
        if let Some(error) = failed(answer.headers()) {
            return Err(error);
        }
        let body = http_body_util::Limited::new(answer.into_body(), 64 << 10);
        let body = body.collect().await.map_err(|e| e.to_string())?;
        if let Some(error) = body.trailers().and_then(failed) {
            return Err(error);
        }
        status(&body.to_bytes()).ok_or_else(|| "malformed answer".to_string())
    }
    .await;
    connection.abort();
    result
}

/// `HealthCheckRequest{service}` in gRPC's frame.
fn message(service: &str) -> Bytes {
    let mut inner = BytesMut::new();
    if !service.is_empty() {
        inner.put_u8(0x0a);
        let mut n = service.len();
        while n >= 0x80 {
            inner.put_u8((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        inner.put_u8(n as u8);
        inner.put_slice(service.as_bytes());
    }
    let mut out = BytesMut::with_capacity(5 + inner.len());
    out.put_u8(0);
    out.put_u32(inner.len() as u32);
    out.put(inner);
    out.freeze()
}

/// `HealthCheckResponse.status` from gRPC's frame; field 1 as a varint, 0 where it is absent.
pub(crate) fn status(frame: &[u8]) -> Option<u64> {
    let len = u32::from_be_bytes(frame.get(1..5)?.try_into().ok()?) as usize;
    let mut rest = frame.get(5..5 + len)?;
    if frame[0] != 0 {
        return None;
    }
    let mut found = 0;
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        match key & 7 {
            0 => {
                let value = varint(&mut rest)?;
                if key >> 3 == 1 {
                    found = value;
                }
            }
            2 => {
                let n = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(n..)?;
            }
            _ => return None,
        }
    }
    Some(found)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        assert_eq!(&message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&message("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(status(&[0, 0, 0, 0, 0]), Some(0));
        for bad in [&[][..], &[0, 0, 0, 0, 9, 8], &[0, 0, 0, 0, 1, 8], &[1, 0, 0, 0, 0]] {
            assert_eq!(status(bad), None);
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_a_failure() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = check("127.0.0.1", port, "", Duration::from_secs(1)).await.unwrap_err();
        assert!(error.starts_with("timeout: failed to connect service"), "{error}");
    }
}
