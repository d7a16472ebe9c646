//! Downloads one blob: verified, resumed where it broke off.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::client::Client;
use super::http::next_piece;
use crate::error::{Error, IoContext, Result, corrupt};
use crate::manifest::Descriptor;
use crate::options::{ProgressFn, TransferEvent};
use crate::store::{BlobWriter, ImageStore, LooseBlob, Operation};

/// How often a transfer may break off without having got any further.
const STALL_LIMIT: u32 = 5;

/// Puts a blob into the store unless it is there.
pub async fn blob(
    client: &Client,
    store: &ImageStore,
    operation: &Arc<Operation>,
    descriptor: &Descriptor,
    progress: Option<&ProgressFn>,
) -> Result<()> {
    let digest = &descriptor.digest;
    let tell = |event: TransferEvent| progress.into_iter().for_each(|p| p(&event));
    if store.has_blob(digest, Some(descriptor.size)) {
        tell(TransferEvent::Exists(digest.clone()));
        return Ok(());
    }
    let mut transfer = Transfer { done: 0, writer: Writer::start(operation) };
    let mut stalls = 0;
    loop {
        let before = transfer.done;
        match transfer.attempt(client, operation, descriptor, &tell).await {
            Ok(()) => break,
            Err(e) if e.is_transient() => {
                stalls = if transfer.done > before { 0 } else { stalls + 1 };
                if stalls >= STALL_LIMIT {
                    return Err(e);
                }
                tracing::debug!("blob {digest}: {e}; going on from byte {}", transfer.done);
                tokio::time::sleep(Duration::from_millis(200 << stalls)).await;
            }
            Err(e) => return Err(e),
        }
    }
    let loose = transfer.writer.finish().await?;
    if loose.digest != *digest {
        return Err(corrupt(format!("the registry sent {} for {digest}", loose.digest)));
    }
    store.place_blob(&loose)?;
    tell(TransferEvent::Done(digest.clone()));
    Ok(())
}

struct Transfer {
    /// Bytes that were handed to the writer.
    done: u64,
    writer: Writer,
}

impl Transfer {
    async fn attempt(
        &mut self,
        client: &Client,
        operation: &Arc<Operation>,
        descriptor: &Descriptor,
        tell: &(impl Fn(TransferEvent) + Sync),
    ) -> Result<()> {
        if self.done > 0 && self.done == descriptor.size {
            return Ok(());
        }
        let mut call =
            client.call(Method::GET, client.uri(&format!("blobs/{}", descriptor.digest))?);
        if self.done > 0 {
            call.headers.push((header::RANGE, format!("bytes={}-", self.done)));
        }
        let response = client.send(&call).await?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if resumes_at(&response, self.done) => {}
            StatusCode::OK => {
                if self.done > 0 {
                    // The server knows no ranges: from the beginning.
                    *self = Transfer { done: 0, writer: Writer::start(operation) };
                }
            }
            StatusCode::PARTIAL_CONTENT => {
                return Err(Error::Registry(
                    "the registry sent another range than asked".to_owned(),
                ));
            }
            StatusCode::NOT_FOUND => {
                return Err(Error::RegistryNotFound(format!("blob {}", descriptor.digest)));
            }
            _ => return Err(client.refusal(response).await),
        }
        self.read(response.into_body(), descriptor, tell).await
    }

    async fn read(
        &mut self,
        mut body: Incoming,
        descriptor: &Descriptor,
        tell: &(impl Fn(TransferEvent) + Sync),
    ) -> Result<()> {
        let (digest, total) = (&descriptor.digest, descriptor.size);
        while let Some(piece) = next_piece(&mut body).await.map_err(super::client::unreachable)? {
            self.done += piece.len() as u64;
            if self.done > total {
                return Err(corrupt(format!(
                    "blob {digest} is longer than the {total} bytes announced"
                )));
            }
            self.writer.write(piece).await?;
            tell(TransferEvent::Bytes { digest: digest.clone(), done: self.done, total });
        }
        if self.done < total {
            return Err(Error::Unreachable(format!(
                "blob {digest} broke off at byte {} of {total}",
                self.done
            )));
        }
        Ok(())
    }
}

fn resumes_at(response: &http::Response<Incoming>, position: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|r| r.to_str().ok());
    range.is_some_and(|r| r.starts_with(&format!("bytes {position}-")))
}

/// Hashes and writes on a thread where that may block.
struct Writer {
    pieces: mpsc::Sender<Bytes>,
    result: JoinHandle<Result<LooseBlob>>,
}

impl Writer {
    fn start(operation: &Arc<Operation>) -> Writer {
        let (pieces, mut incoming) = mpsc::channel::<Bytes>(16);
        let operation = operation.clone();
        let result = tokio::task::spawn_blocking(move || {
            let mut out = BlobWriter::new(&operation)?;
            while let Some(piece) = incoming.blocking_recv() {
                out.write_all(&piece).during(|| "write blob".to_owned())?;
            }
            out.finish()
        });
        Writer { pieces, result }
    }

    async fn write(&mut self, piece: Bytes) -> Result<()> {
        if self.pieces.send(piece).await.is_ok() {
            return Ok(());
        }
        // The writer ended early, so it has an error to tell.
        match (&mut self.result).await {
            Ok(Err(e)) => Err(e),
            _ => Err(Error::Invalid("the blob writer stopped".to_owned())),
        }
    }

    async fn finish(self) -> Result<LooseBlob> {
        drop(self.pieces);
        self.result.await.map_err(|e| Error::Invalid(format!("the blob writer stopped: {e}")))?
    }
}
