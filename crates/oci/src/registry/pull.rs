//! Pulls an image.

use std::sync::Arc;

use tokio::task::{JoinSet, spawn_blocking};

use super::client::Client;
use super::download;
use crate::config::ConfigFile;
use crate::digest::Digest;
use crate::error::{Error, Result, corrupt};
use crate::image::Image;
use crate::manifest::{self, CONFIG_LIMIT, Document, Manifest};
use crate::options::{PullOptions, TransferEvent};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::{ImageStore, NewImage, Operation};

/// Layers that are downloaded at the same time.
const PARALLEL: usize = 3;

impl ImageStore {
    /// Pulls an image from its registry. Content that is here already is not transferred.
    pub async fn pull(&self, reference: &str, options: &PullOptions) -> Result<Image> {
        let reference = Reference::parse(reference)?;
        let (store, name) = (self.clone(), reference.to_string());
        // Whoever wants the same image waits and then finds it here.
        let turn = blocking(move || store.take_turn(&name)).await?;
        let store = self.clone();
        let operation = Arc::new(blocking(move || store.begin()).await?);
        let result = self.pull_with(&reference, options, &operation).await;
        if result.is_err() {
            settle(&operation).await;
        }
        if matches!(result, Err(Error::Corrupt(_) | Error::TooLarge(_))) {
            let store = self.clone();
            drop(operation);
            // What a hostile registry sent does not stay.
            let _ = blocking(move || store.sweep()).await;
        }
        drop(turn);
        result
    }

    async fn pull_with(
        &self,
        reference: &Reference,
        options: &PullOptions,
        operation: &Arc<Operation>,
    ) -> Result<Image> {
        let client = Arc::new(Client::connect(reference, &options.registry, "pull").await?);
        let (digest, bytes, doc) = resolve(&client, reference, options).await?;
        if let Some(progress) = &options.progress {
            progress(&TransferEvent::Resolved(digest.clone()));
        }
        let progress = options.progress.as_ref();
        download::blob(&client, self, operation, &doc.config, progress).await?;
        let config = ConfigFile::parse(&self.read_blob(&doc.config.digest, CONFIG_LIMIT)?)?;
        check_platform(reference, options, &config)?;
        self.pull_layers(&client, operation, &doc, options).await?;
        let tags = if reference.digest().is_none() { vec![reference.clone()] } else { Vec::new() };
        let repo_digests = vec![reference.with_digest(&digest)];
        let (store, operation) = (self.clone(), operation.clone());
        blocking(move || {
            let new =
                NewImage { manifest: &bytes, tags: &tags, repo_digests: &repo_digests, now: None };
            store.register(&operation, &new)
        })
        .await
    }

    async fn pull_layers(
        &self,
        client: &Arc<Client>,
        operation: &Arc<Operation>,
        doc: &Manifest,
        options: &PullOptions,
    ) -> Result<()> {
        // The same layer may occur twice.
        let mut todo: Vec<_> = doc.layers.clone();
        todo.sort_by(|a, b| a.digest.cmp(&b.digest));
        todo.dedup_by(|a, b| a.digest == b.digest);
        let mut running = JoinSet::new();
        while !todo.is_empty() || !running.is_empty() {
            while running.len() < PARALLEL
                && let Some(layer) = todo.pop()
            {
                let (client, store) = (client.clone(), self.clone());
                let (operation, progress) = (operation.clone(), options.progress.clone());
                running.spawn(async move {
                    download::blob(&client, &store, &operation, &layer, progress.as_ref()).await
                });
            }
            if let Some(ended) = running.join_next().await {
                ended.map_err(|e| Error::Invalid(format!("download stopped: {e}")))??;
            }
        }
        Ok(())
    }
}

/// Waits until the threads that write blobs have noticed that nobody wants them any more.
async fn settle(operation: &Arc<Operation>) {
    for _ in 0..200 {
        if Arc::strong_count(operation) == 1 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// The manifest for the wanted platform, with the digest that the reference stands for.
async fn resolve(
    client: &Client,
    reference: &Reference,
    options: &PullOptions,
) -> Result<(Digest, Vec<u8>, Manifest)> {
    let name = reference.to_string();
    let (bytes, media_type, said) = client.manifest(reference.manifest_name()).await?;
    let digest = Digest::of(&bytes);
    if let Some(wanted) = reference.digest()
        && *wanted != digest
    {
        return Err(corrupt(format!("the registry sent manifest {digest} for {name}")));
    }
    if let Some(said) = said
        && said.starts_with("sha256:")
        && said != digest.as_str()
    {
        return Err(corrupt(format!(
            "the registry says {said} of a manifest whose digest is {digest}"
        )));
    }
    let index = match manifest::parse(&bytes, &media_type)? {
        Document::Manifest(doc) => return Ok((digest, bytes.to_vec(), doc)),
        Document::Index(index) => index,
    };
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    let chosen = index.select(&platform, &name)?;
    let (bytes, _, _) = client.manifest(chosen.digest.as_str()).await?;
    if Digest::of(&bytes) != chosen.digest {
        return Err(corrupt(format!("the registry sent another manifest for {}", chosen.digest)));
    }
    match manifest::parse(&bytes, &chosen.media_type)? {
        Document::Manifest(doc) => Ok((digest, bytes.to_vec(), doc)),
        Document::Index(_) => Err(corrupt(format!("{name}: an index points to an index"))),
    }
}

/// Without an index there is no choice, but a wish that is not met must be known.
fn check_platform(reference: &Reference, options: &PullOptions, config: &ConfigFile) -> Result<()> {
    let Some(wanted) = &options.platform else { return Ok(()) };
    let has = Platform {
        os: config.os.clone(),
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
    };
    if has.serves(wanted).is_some() {
        return Ok(());
    }
    Err(Error::NoPlatform {
        reference: reference.to_string(),
        wanted: wanted.to_string(),
        available: has.to_string(),
    })
}

/// Runs what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Error::Invalid(format!("the work stopped: {e}"))),
    }
}
