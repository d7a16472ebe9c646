//! What the fuzzer reaches into: decoders that are private otherwise.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use crate::server::{spdy, websocket};
use crate::{dns, grpc};

/// Frames that one connection may send here.
const MAX_FRAMES: usize = 100;

/// Reads SPDY frames as they come from a client; gives how many.
pub fn spdy(mut bytes: &[u8]) -> usize {
    let mut decoder = spdy::frame::Decoder::new();
    let mut frames = 0;
    while let Some((head, rest)) = bytes.split_first_chunk::<8>()
        && frames < MAX_FRAMES
    {
        let Ok(head) = spdy::frame::Head::parse(*head) else { break };
        let Some((payload, rest)) = rest.split_at_checked(head.length) else { break };
        bytes = rest;
        if decoder.decode(head, Bytes::copy_from_slice(payload)).is_err() {
            break;
        }
        frames += 1;
    }
    frames
}

/// Reads the messages of a WebSocket as they come from a client; gives how many.
pub async fn websocket(bytes: &[u8], base64: bool) -> usize {
    let (mut near, far) = tokio::io::duplex(bytes.len() + 1);
    if near.write_all(bytes).await.is_err() {
        return 0;
    }
    // What the server answers is not read, so its side must end as well.
    drop(near);
    let (_channels, mut incoming) = websocket::channels(websocket::accept(far).await, base64);
    let mut messages = 0;
    while incoming.next().await.is_some() {
        messages += 1;
    }
    messages
}

/// Answers a DNS request that came as these bytes; gives how many records the answer has.
pub async fn dns(bytes: &[u8]) -> Option<usize> {
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let config = dns::DnsConfig::new(local, "cluster.local");
    dns::answer(config, bytes, SocketAddr::new(local, 53)).await
}

/// Reads the answer to a gRPC probe; gives the status.
pub fn grpc(frame: &[u8]) -> Option<u64> {
    grpc::status(frame)
}
