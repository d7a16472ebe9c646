//! Port-forward: pairs of a data and an error stream, each pair one connection into the pod.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use timonier_runtime::{Connection as Pod, Runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::server::spdy::{Connection, Stream};
use crate::server::websocket::{self, Channels, Io};

/// Halves of pairs that wait for the other; more means that the client is broken.
const MAX_HALVES: usize = 256;
/// After the pod closed its side, the client has this long to close its own.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
const BACKLOG: usize = 64;

/// The pod that ports belong to.
#[derive(Clone)]
pub struct Target {
    pub runtime: Arc<dyn Runtime>,
    pub sandbox: String,
    /// Name and uid, for error texts.
    pub pod: String,
    pub uid: String,
}

impl Target {
    async fn connect(&self, port: u16) -> Result<Box<dyn Pod>, String> {
        self.runtime.port_forward(&self.sandbox, port).await.map_err(|e| {
            format!("error forwarding port {port} to pod {}, uid {}: {e}", self.pod, self.uid)
        })
    }
}

/// Serves a SPDY connection until it ends.
pub async fn over_spdy(target: Target, connection: Connection, mut new: mpsc::Receiver<Stream>) {
    let mut halves: BTreeMap<String, Stream> = BTreeMap::new();
    while let Some(stream) = new.recv().await {
        let header = |name: &str| stream.headers.get(name).cloned().unwrap_or_default();
        let (kind, port) = (header("streamtype"), header("port"));
        let valid = matches!(kind.as_str(), "data" | "error")
            && port.parse::<u16>().is_ok_and(|p| p > 0)
            && halves.len() < MAX_HALVES;
        if !valid {
            let _ = connection.reset(stream.id).await;
            continue;
        }
        // Clients that do not number their requests open the two streams of a port in a row.
        let request = match header("requestid") {
            id if id.is_empty() => format!("port {port}"),
            id => id,
        };
        let Some(other) = halves.remove(&request) else {
            halves.insert(request, stream);
            continue;
        };
        let is_data = kind == "data";
        let (data, error) = if is_data { (stream, other) } else { (other, stream) };
        if data.headers.get("streamtype") == error.headers.get("streamtype") {
            let _ = connection.reset(data.id).await;
            let _ = connection.reset(error.id).await;
            continue;
        }
        let port = port.parse().unwrap_or_default();
        tokio::spawn(one(target.clone(), connection.clone(), port, data, error));
    }
}

async fn one(target: Target, connection: Connection, port: u16, mut data: Stream, error: Stream) {
    match target.connect(port).await {
        Ok(pod) => {
            let (from_pod, to_pod) = tokio::io::split(pod);
            let (id, sending) = (data.id, connection.clone());
            let send = async move |bytes: &[u8]| sending.write(id, bytes).await.is_ok();
            tokio::select! {
                () = converse(&mut data.data, to_pod, from_pod, send, async || {
                    let _ = connection.finish(id).await;
                }) => {}
                () = connection.closed() => {}
            }
        }
        Err(text) => drop(connection.write(error.id, text.as_bytes()).await),
    }
    let _ = connection.finish(data.id).await;
    let _ = connection.finish(error.id).await;
}

/// Copies both ways. The client's end closes only the way to the pod; the pod's end closes all.
async fn converse(
    from_client: &mut mpsc::Receiver<Bytes>,
    mut to_pod: impl AsyncWriteExt + Unpin,
    mut from_pod: impl AsyncReadExt + Unpin,
    send: impl AsyncFn(&[u8]) -> bool,
    finished: impl AsyncFnOnce(),
) {
    let inward = async {
        while let Some(bytes) = from_client.recv().await {
            if to_pod.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to_pod.shutdown().await;
    };
    let outward = async {
        let mut buffer = vec![0; 32 << 10];
        while let Ok(n) = from_pod.read(&mut buffer).await {
            if n == 0 || !send(&buffer[..n]).await {
                break;
            }
        }
        finished().await;
    };
    tokio::pin!(inward, outward);
    tokio::select! {
        () = &mut outward => drop(tokio::time::timeout(CLOSE_GRACE, inward).await),
        () = &mut inward => outward.await,
    }
}

/// The older WebSocket form: two channels per port of the request, data and error, each begun with
/// the port's number.
pub async fn over_channels<T: Io>(target: Target, io: T, ports: Vec<u16>, base64: bool) {
    let (channels, mut incoming) = websocket::channels(websocket::accept(io).await, base64);
    let mut inputs = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    for (index, port) in ports.into_iter().enumerate() {
        let (to, from) = mpsc::channel(BACKLOG);
        inputs.push(to);
        let number = (index * 2) as u8;
        for channel in [number, number + 1] {
            let _ = channels.write(channel, &port.to_le_bytes()).await;
        }
        tasks.spawn(one_channel(target.clone(), channels.clone(), port, number, from));
    }
    let reading = async {
        while let Some((channel, bytes)) = incoming.next().await {
            if let Some(to) = inputs.get(usize::from(channel) / 2).filter(|_| channel % 2 == 0) {
                let _ = to.send(bytes).await;
            }
        }
    };
    let working = async { while tasks.join_next().await.is_some() {} };
    tokio::select! {
        () = reading => {}
        () = working => {}
    }
    channels.close().await;
}

async fn one_channel<T: Io>(
    target: Target,
    channels: Arc<Channels<T>>,
    port: u16,
    number: u8,
    mut from: mpsc::Receiver<Bytes>,
) {
    match target.connect(port).await {
        Ok(pod) => {
            let (from_pod, to_pod) = tokio::io::split(pod);
            let sending = channels.clone();
            let send = async move |bytes: &[u8]| sending.write(number, bytes).await.is_ok();
            converse(&mut from, to_pod, from_pod, send, async || {}).await;
        }
        Err(text) => drop(channels.write(number + 1, text.as_bytes()).await),
    }
}
