//! Archives of `docker save`, without OCI documents.

use serde::Deserialize;

use super::bundle::Bundle;
use super::{Imported, xz_layer};
use crate::config::ConfigFile;
use crate::error::{Error, Result, corrupt};
use crate::manifest::{
    CONFIG_LIMIT, Descriptor, LAYER_LIMIT, Manifest, OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
};
use crate::reference::Reference;
use crate::store::{ImageStore, Operation};
use crate::unpack::compression::{self, Compression};

/// An image in `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Item {
    pub config: String,
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub layers: Option<Vec<String>>,
}

pub fn parse(manifest: &[u8]) -> Result<Vec<Item>> {
    serde_json::from_slice(manifest).map_err(|e| corrupt(format!("malformed manifest.json: {e}")))
}

pub fn tags(item: &Item) -> Result<Vec<Reference>> {
    let tags = item.repo_tags.iter().flatten().filter(|t| *t != "<none>:<none>");
    tags.map(|t| Reference::parse(t)).collect()
}

/// The images of the archive; their blobs are put into the store.
pub fn find(
    store: &ImageStore,
    operation: &Operation,
    bundle: &Bundle,
    manifest: &[u8],
) -> Result<Vec<Imported>> {
    let items = parse(manifest)?;
    if items.is_empty() {
        return Err(corrupt("the archive holds no images: manifest.json is empty"));
    }
    let mut found = Vec::new();
    for item in &items {
        let tags = tags(item)?;
        found.push(Imported { manifest: one(store, operation, bundle, item)?, tags });
    }
    Ok(found)
}

/// Makes the manifest that the archive does not have.
fn one(store: &ImageStore, operation: &Operation, bundle: &Bundle, item: &Item) -> Result<Vec<u8>> {
    let lacks = |name: &str| corrupt(format!("the archive lacks {name:?}"));
    let config =
        bundle.read_small(&item.config, CONFIG_LIMIT)?.ok_or_else(|| lacks(&item.config))?;
    let parsed = ConfigFile::parse(&config)?;
    let layers = item.layers.as_deref().unwrap_or_default();
    if layers.len() > LAYER_LIMIT {
        let n = layers.len();
        return Err(Error::TooLarge(format!(
            "the image has {n} layers: the limit is {LAYER_LIMIT}"
        )));
    }
    if layers.len() != parsed.rootfs.diff_ids.len() {
        return Err(corrupt(format!(
            "manifest.json has {} layers for {:?}, its configuration has {}",
            layers.len(),
            item.config,
            parsed.rootfs.diff_ids.len()
        )));
    }
    let mut descriptors = Vec::new();
    for layer in layers {
        let (digest, size) = bundle.store(store, operation, layer, None)?;
        let mut head = [0; 8];
        let n = std::io::Read::read(&mut store.open_blob(&digest)?, &mut head).unwrap_or(0);
        let media_type = match compression::detect(&head[..n])? {
            Compression::None => OCI_LAYER,
            Compression::Gzip => OCI_LAYER_GZIP,
            Compression::Zstd => OCI_LAYER_ZSTD,
            Compression::Xz => return Err(xz_layer()),
        };
        descriptors.push(Descriptor::new(media_type, digest, size));
    }
    store.put_bytes(operation, &config)?;
    Ok(Manifest::new(Descriptor::of(OCI_CONFIG, &config), descriptors).to_bytes())
}
