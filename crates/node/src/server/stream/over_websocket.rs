//! Exec and attach over WebSocket: 0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize; from version 5
//! on 255 closes the channel that it names.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use tokio::sync::{mpsc, oneshot};

use super::remote::{Channel, Output, Remote, Wanted};
use crate::server::websocket::{self, Channels, Io};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;
const BACKLOG: usize = 64;

struct Numbered<T>(Arc<Channels<T>>);

#[async_trait]
impl<T: Io> Output for Numbered<T> {
    async fn write(&self, channel: Channel, bytes: &[u8]) -> io::Result<()> {
        let number = match channel {
            Channel::Stdout => STDOUT,
            Channel::Stderr => STDERR,
            Channel::Error => ERROR,
        };
        self.0.write(number, bytes).await
    }

    /// Servers do not close channels one by one.
    async fn finish(&self, _: Channel) {}

    async fn close(&self) {
        self.0.close().await;
    }
}

/// Takes an upgraded connection.
pub async fn remote<T: Io>(io: T, wanted: Wanted, protocol: &str) -> Remote {
    let base64 = protocol.contains("base64");
    let (channels, mut incoming) = websocket::channels(websocket::accept(io).await, base64);
    // An empty message on the first channel tells clients that the connection stands.
    let first = match wanted {
        Wanted { stdout: true, .. } => STDOUT,
        Wanted { stderr: true, .. } => STDERR,
        _ => ERROR,
    };
    let _ = channels.write(first, b"").await;
    let (stdin_to, stdin) = mpsc::channel(BACKLOG);
    let (resize_to, resize) = mpsc::channel(BACKLOG);
    let (over, closed) = oneshot::channel::<()>();
    let mut stdin_to = wanted.stdin.then_some(stdin_to);
    tokio::spawn(async move {
        while let Some((channel, bytes)) = incoming.next().await {
            match channel {
                STDIN => {
                    if let Some(to) = &stdin_to
                        && to.send(bytes).await.is_err()
                    {
                        stdin_to = None;
                    }
                }
                RESIZE => drop(resize_to.try_send(bytes)),
                CLOSE if bytes.first() == Some(&STDIN) => stdin_to = None,
                _ => {}
            }
        }
        drop(over);
    });
    Remote {
        output: Arc::new(Numbered(channels)),
        stdin: wanted.stdin.then_some(stdin),
        resize: wanted.tty.then_some(resize),
        closed: closed.map(drop).boxed(),
        status: protocol.starts_with("v5.") || protocol.starts_with("v4."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::stream::remote;
    use futures::{SinkExt, StreamExt};
    use timonier_runtime::Process;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::Role;

    #[tokio::test]
    async fn channels_half_close_and_status() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        let wanted = Wanted { stdin: true, stdout: true, stderr: true, tty: false };
        let remote = super::remote(ours, wanted, "v5.channel.k8s.io").await;
        let (stdin, mut reading) = tokio::io::duplex(64);
        let (mut writing, stderr) = tokio::io::duplex(64);
        let exit = async move {
            let mut text = String::new();
            reading.read_to_string(&mut text).await.unwrap();
            writing.write_all(text.as_bytes()).await.unwrap();
            Ok(0)
        };
        let process = Process {
            stdin: Some(Box::pin(stdin)),
            stdout: None,
            stderr: Some(Box::pin(stderr)),
            resize: None,
            exit: exit.boxed(),
        };
        tokio::spawn(remote::run(remote, Ok(process), true));
        client.send(Message::binary(b"\0hi".to_vec())).await.unwrap();
        client.send(Message::binary(vec![255, 0])).await.unwrap();
        let mut got = Vec::new();
        let mut closed = None;
        while let Some(Ok(message)) = client.next().await {
            match message {
                Message::Binary(bytes) => got.push(bytes.to_vec()),
                Message::Close(frame) => closed = frame.map(|f| u16::from(f.code)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(closed, Some(1000), "anything else is a failure to kubectl");
        let status = b"\x03{\"metadata\":{},\"status\":\"Success\"}".to_vec();
        assert_eq!(got, [b"\x01".to_vec(), b"\x02hi".to_vec(), status]);
    }

    #[tokio::test]
    async fn a_client_that_goes_ends_the_conversation() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        let remote = super::remote(ours, Wanted::default(), "v4.channel.k8s.io").await;
        let process = Process {
            stdin: None,
            stdout: None,
            stderr: None,
            resize: None,
            exit: std::future::pending().boxed(),
        };
        drop(client);
        remote::run(remote, Ok(process), true).await;
    }
}
