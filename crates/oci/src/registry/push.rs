//! Pushes an image.

use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, Uri, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;

use super::client::Client;
use super::http::{Body, join};
use super::pull::blocking;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{Descriptor, OCI_MANIFEST};
use crate::options::{ProgressFn, PushOptions, TransferEvent};
use crate::reference::Reference;
use crate::store::ImageStore;

const TRY_LIMIT: u32 = 4;

impl ImageStore {
    /// Pushes an image to the registry that its name says. Returns the manifest's digest.
    pub async fn push(&self, reference: &str, options: &PushOptions) -> Result<Digest> {
        let reference = Reference::parse(reference)?;
        if reference.digest().is_some() {
            return Err(Error::Invalid("cannot push a digest reference: name a tag".to_owned()));
        }
        let store = self.clone();
        // Nothing may be deleted meanwhile.
        let operation = blocking(move || store.begin()).await?;
        let image = self.resolve(&reference.to_string())?;
        let (bytes, doc) = self.manifest(&image.digest)?;
        let client = Client::connect(&reference, &options.registry, "pull,push").await?;
        for blob in doc.layers.iter().chain(std::iter::once(&doc.config)) {
            self.push_blob(&client, blob, options.progress.as_ref()).await?;
        }
        let name = reference.manifest_name();
        let mut call = client.call(Method::PUT, client.uri(&format!("manifests/{name}"))?);
        let media_type = if doc.media_type.is_empty() { OCI_MANIFEST } else { &doc.media_type };
        call.headers.push((header::CONTENT_TYPE, media_type.to_owned()));
        call.body = bytes.into();
        let response = client.send(&call).await?;
        if !response.status().is_success() {
            return Err(client.refusal(response).await);
        }
        let named = reference.with_digest(&image.digest).to_string();
        self.change_index(|index| {
            if let Some(record) = index.images.get_mut(&image.id) {
                record.repo_digests.insert(named);
            }
            Ok(())
        })?;
        drop(operation);
        Ok(image.digest)
    }

    async fn push_blob(
        &self,
        client: &Client,
        blob: &Descriptor,
        progress: Option<&ProgressFn>,
    ) -> Result<()> {
        let digest = &blob.digest;
        let tell = |event: TransferEvent| progress.into_iter().for_each(|p| p(&event));
        let head = client.call(Method::HEAD, client.uri(&format!("blobs/{digest}"))?);
        if client.send(&head).await?.status() == StatusCode::OK {
            tell(TransferEvent::Exists(digest.clone()));
            return Ok(());
        }
        let mut tries = 0;
        loop {
            match self.upload(client, blob, progress).await {
                Ok(()) => break,
                Err(e) if e.is_transient() && tries < TRY_LIMIT => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(200 << tries)).await;
                }
                Err(e) => return Err(e),
            }
        }
        tell(TransferEvent::Done(digest.clone()));
        Ok(())
    }

    async fn upload(
        &self,
        client: &Client,
        blob: &Descriptor,
        progress: Option<&ProgressFn>,
    ) -> Result<()> {
        let start = client.call(Method::POST, client.uri("blobs/uploads/")?);
        let response = client.send(&start).await?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(client.refusal(response).await);
        }
        let location = response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok());
        let location = location.ok_or_else(|| {
            Error::Registry("the registry names no place to upload to".to_owned())
        })?;
        let target = join(&start.uri, location)?;
        let mut call = client.call(Method::PUT, with_digest(&target, &blob.digest)?);
        call.headers.push((header::CONTENT_TYPE, "application/octet-stream".into()));
        call.headers.push((header::CONTENT_LENGTH, blob.size.to_string()));
        let body = self.body(blob, progress.cloned())?;
        let response = client.send_stream(&call, body).await?;
        match response.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::OK => Ok(()),
            _ => Err(client.refusal(response).await),
        }
    }

    /// The blob as a request's body, read on a thread where that may block.
    fn body(&self, blob: &Descriptor, progress: Option<ProgressFn>) -> Result<Body> {
        let mut file = self.open_blob(&blob.digest)?;
        let (sender, receiver) = mpsc::channel::<std::io::Result<Frame<Bytes>>>(8);
        let (digest, total) = (blob.digest.clone(), blob.size);
        tokio::task::spawn_blocking(move || {
            let mut done = 0;
            loop {
                let mut buffer = vec![0; 64 * 1024];
                let piece = match file.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(n) => {
                        buffer.truncate(n);
                        done += n as u64;
                        Ok(Frame::data(Bytes::from(buffer)))
                    }
                    Err(e) => Err(e),
                };
                let failed = piece.is_err();
                if sender.blocking_send(piece).is_err() || failed {
                    return;
                }
                if let Some(progress) = &progress {
                    progress(&TransferEvent::Bytes { digest: digest.clone(), done, total });
                }
            }
        });
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        Ok(StreamBody::new(stream).boxed_unsync())
    }
}

fn with_digest(target: &Uri, digest: &Digest) -> Result<Uri> {
    let joint = if target.query().is_some() { '&' } else { '?' };
    let text = format!("{target}{joint}digest={}", digest.as_str().replace(':', "%3A"));
    text.parse()
        .map_err(|_| Error::Registry(format!("the registry sent a malformed location {target}")))
}
