//! A connection whose client opens streams.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

use super::frame::{self, Decoder, Encoder, Frame, Head, Headers};

/// Streams that one client may have open.
const MAX_STREAMS: usize = 1024;
/// Pieces of data that wait for their reader; then the connection waits.
const BACKLOG: usize = 64;
/// Large writes are cut into frames of this size.
const MAX_DATA: usize = 64 << 10;

type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// The writing side; cheap to clone.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

struct Shared {
    writer: tokio::sync::Mutex<(Writer, Encoder)>,
    /// Readers of open streams.
    streams: Mutex<BTreeMap<u32, mpsc::Sender<Bytes>>>,
    closed: watch::Sender<bool>,
}

/// A stream that the client opened.
pub struct Stream {
    pub id: u32,
    pub headers: Headers,
    /// Ends with the client's half of the stream.
    pub data: mpsc::Receiver<Bytes>,
}

/// Reads a connection in the background. New streams come out of the channel, which ends with the
/// connection.
pub fn serve<T>(io: T) -> (Connection, mpsc::Receiver<Stream>)
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, writer) = tokio::io::split(io);
    let writer: Writer = Box::new(writer);
    let shared = Arc::new(Shared {
        writer: tokio::sync::Mutex::new((writer, Encoder::new())),
        streams: Mutex::default(),
        closed: watch::Sender::new(false),
    });
    let connection = Connection { shared };
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let reading = connection.clone();
    tokio::spawn(async move {
        if let Err(error) = reading.read(reader, sender).await {
            tracing::debug!(%error, "SPDY connection");
        }
        reading.streams().clear();
        reading.shared.closed.send_replace(true);
    });
    (connection, receiver)
}

impl Connection {
    /// Sends data of a stream; waits while the client does not read.
    pub async fn write(&self, id: u32, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(MAX_DATA) {
            let mut guard = self.shared.writer.lock().await;
            guard.0.write_all(&frame::data(id, false, piece.len())).await?;
            guard.0.write_all(piece).await?;
            guard.0.flush().await?;
        }
        Ok(())
    }

    /// Ends our half of a stream.
    pub async fn finish(&self, id: u32) -> io::Result<()> {
        self.send(&frame::data(id, true, 0)).await
    }

    /// Ends both halves of a stream at once.
    pub async fn reset(&self, id: u32) -> io::Result<()> {
        self.streams().remove(&id);
        self.send(&frame::reset(id)).await
    }

    /// Says that nothing more will come, and ends the connection.
    pub async fn close(&self) {
        let last = self.streams().keys().next_back().copied().unwrap_or(0);
        let _ = self.send(&frame::go_away(last)).await;
        let _ = self.shared.writer.lock().await.0.shutdown().await;
    }

    /// Ends when the client is gone.
    pub async fn closed(&self) {
        // The sender lives as long as this.
        let _ = self.shared.closed.subscribe().wait_for(|closed| *closed).await;
    }

    async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let mut guard = self.shared.writer.lock().await;
        guard.0.write_all(bytes).await?;
        guard.0.flush().await
    }

    fn streams(&self) -> MutexGuard<'_, BTreeMap<u32, mpsc::Sender<Bytes>>> {
        self.shared.streams.lock().unwrap_or_else(|e| e.into_inner())
    }

    async fn read(
        &self,
        mut reader: impl AsyncRead + Unpin,
        new: mpsc::Sender<Stream>,
    ) -> io::Result<()> {
        let mut decoder = Decoder::new();
        loop {
            let mut head = [0; 8];
            match reader.read_exact(&mut head).await {
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                other => other?,
            };
            let head = Head::parse(head).map_err(io::Error::other)?;
            let mut payload = vec![0; head.length];
            reader.read_exact(&mut payload).await?;
            let frame = decoder.decode(head, payload.into()).map_err(io::Error::other)?;
            self.handle(frame, &new).await?;
        }
    }

    async fn handle(&self, frame: Frame, new: &mpsc::Sender<Stream>) -> io::Result<()> {
        match frame {
            Frame::SynStream { id, fin, headers } => {
                let (sender, data) = mpsc::channel(BACKLOG);
                {
                    let mut streams = self.streams();
                    if streams.len() >= MAX_STREAMS || streams.contains_key(&id) {
                        return Err(io::Error::other("too many streams, or one opened twice"));
                    }
                    if !fin {
                        streams.insert(id, sender);
                    }
                }
                let reply = {
                    let mut guard = self.shared.writer.lock().await;
                    let reply = guard.1.reply(id);
                    guard.0.write_all(&reply).await?;
                    guard.0.flush().await
                };
                reply?;
                let _ = new.send(Stream { id, headers, data }).await;
            }
            Frame::Data { id, fin, bytes } => {
                let sender = self.streams().get(&id).cloned();
                if let Some(sender) = sender.filter(|_| !bytes.is_empty()) {
                    // A reader that is gone does not want the rest.
                    let _ = sender.send(bytes).await;
                }
                if fin {
                    self.streams().remove(&id);
                }
            }
            Frame::Reset { id } => drop(self.streams().remove(&id)),
            Frame::Ping { id } => self.send(&frame::ping(id)).await?,
            Frame::GoAway | Frame::Other => {}
        }
        Ok(())
    }
}

#[cfg(test)]
pub mod client {
    //! Just enough of a client for tests.

    use super::*;
    use tokio::io::DuplexStream;

    pub struct Client {
        pub io: DuplexStream,
        encoder: Encoder,
    }

    impl Client {
        pub fn new(io: DuplexStream) -> Self {
            Self { io, encoder: Encoder::new() }
        }

        pub async fn open(&mut self, id: u32, headers: &[(&str, &str)]) {
            let headers = headers.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
            let frame = self.encoder.open(id, &headers);
            self.io.write_all(&frame).await.unwrap();
        }

        pub async fn data(&mut self, id: u32, bytes: &[u8], fin: bool) {
            self.io.write_all(&frame::data(id, fin, bytes.len())).await.unwrap();
            self.io.write_all(bytes).await.unwrap();
        }

        /// The next data frame: stream, bytes, whether it is the last.
        pub async fn next(&mut self) -> Option<(u32, Vec<u8>, bool)> {
            loop {
                let mut head = [0; 8];
                self.io.read_exact(&mut head).await.ok()?;
                let length = Head::parse(head).unwrap().length;
                let mut payload = vec![0; length];
                self.io.read_exact(&mut payload).await.unwrap();
                if head[0] & 0x80 == 0 {
                    let id = u32::from_be_bytes(head[..4].try_into().unwrap());
                    return Some((id, payload, head[4] & 1 != 0));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::client::Client;
    use super::*;

    #[tokio::test]
    async fn streams_carry_data_both_ways_and_close_by_halves() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (connection, mut streams) = serve(ours);
        let mut client = Client::new(theirs);
        client.open(1, &[("streamtype", "stdin")]).await;
        let mut stream = streams.recv().await.unwrap();
        assert_eq!((stream.id, stream.headers["streamtype"].as_str()), (1, "stdin"));
        client.data(1, b"hello", false).await;
        client.data(1, b"", true).await;
        assert_eq!(stream.data.recv().await.unwrap(), "hello");
        assert_eq!(stream.data.recv().await, None);
        connection.write(1, b"answer").await.unwrap();
        connection.finish(1).await.unwrap();
        assert_eq!(client.next().await.unwrap(), (1, b"answer".to_vec(), false));
        assert_eq!(client.next().await.unwrap(), (1, vec![], true));
        drop(client);
        connection.closed().await;
        assert!(streams.recv().await.is_none());
    }

    #[tokio::test]
    async fn garbage_ends_the_connection() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let (connection, mut streams) = serve(ours);
        theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        drop(theirs);
        connection.closed().await;
        assert!(streams.recv().await.is_none());
    }
}
