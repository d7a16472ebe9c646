//! WebSockets: numbered channels in one connection, or a byte tunnel.

use std::io;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::Mutex;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// Largest message taken from the other side.
const MAX_MESSAGE: usize = 4 << 20;
const TUNNEL_BUFFER: usize = 64 << 10;

/// A byte stream of either kind.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// Accepts a connection whose handshake is done.
pub async fn accept<T: Io>(io: T) -> WebSocketStream<T> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}

/// Writes to channels: the first byte of a message is the channel's number.
pub struct Channels<T> {
    sink: Mutex<SplitSink<WebSocketStream<T>, Message>>,
    base64: bool,
}

/// Reads from channels.
pub struct Incoming<T> {
    stream: SplitStream<WebSocketStream<T>>,
    base64: bool,
}

/// Splits a connection. `base64`: messages are text, `0`–`9` and the bytes encoded.
pub fn channels<T: Io>(
    socket: WebSocketStream<T>,
    base64: bool,
) -> (Arc<Channels<T>>, Incoming<T>) {
    let (sink, stream) = socket.split();
    (Arc::new(Channels { sink: Mutex::new(sink), base64 }), Incoming { stream, base64 })
}

impl<T: Io> Channels<T> {
    pub async fn write(&self, channel: u8, bytes: &[u8]) -> io::Result<()> {
        let message = if self.base64 {
            let mut text = String::from(char::from(b'0' + channel));
            STANDARD.encode_string(bytes, &mut text);
            Message::text(text)
        } else {
            let mut message = BytesMut::with_capacity(bytes.len() + 1);
            message.put_u8(channel);
            message.put_slice(bytes);
            Message::Binary(message.freeze())
        };
        self.sink.lock().await.send(message).await.map_err(io::Error::other)
    }

    pub async fn close(&self) {
        let mut sink = self.sink.lock().await;
        let _ = sink.send(normal_closure()).await;
        let _ = sink.close().await;
    }
}

impl<T: Io> Incoming<T> {
    /// The next message: channel and bytes. `None` at the end, also after nonsense.
    pub async fn next(&mut self) -> Option<(u8, Bytes)> {
        loop {
            let bytes = match self.stream.next().await?.ok()? {
                Message::Binary(bytes) if !self.base64 => bytes,
                Message::Text(text) if self.base64 => {
                    let (channel, rest) = text.as_bytes().split_first()?;
                    let bytes = STANDARD.decode(rest).ok()?;
                    return Some((channel.checked_sub(b'0')?, bytes.into()));
                }
                Message::Close(_) => return None,
                _ => continue,
            };
            if let Some(channel) = bytes.first().copied() {
                return Some((channel, bytes.slice(1..)));
            }
        }
    }
}

/// Clients take an end without a code (1005) for a failure.
fn normal_closure() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

/// Turns a connection into a plain byte stream, message borders lost.
pub fn tunnel<T: Io>(socket: WebSocketStream<T>) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(TUNNEL_BUFFER);
    let (mut sink, mut stream) = socket.split();
    let (mut reader, mut writer) = tokio::io::split(ours);
    tokio::spawn(async move {
        while let Some(Ok(message)) = stream.next().await {
            match message {
                Message::Binary(bytes) if writer.write_all(&bytes).await.is_err() => return,
                Message::Close(_) => break,
                _ => {}
            }
        }
        let _ = writer.shutdown().await;
    });
    tokio::spawn(async move {
        let mut buffer = vec![0; 32 << 10];
        while let Ok(n) = reader.read(&mut buffer).await {
            let message = Message::Binary(Bytes::copy_from_slice(&buffer[..n]));
            if n == 0 || sink.send(message).await.is_err() {
                break;
            }
        }
        let _ = sink.send(normal_closure()).await;
        let _ = sink.close().await;
    });
    theirs
}
