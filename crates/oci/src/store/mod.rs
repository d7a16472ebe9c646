//! The store on disk.
//!
//! ```text
//! <dir>/index.json             names and images; replaced by rename under locks/index
//! <dir>/blobs/sha256/<hex>     manifests, configurations, layers as they came
//! <dir>/layers/<hex>/diff      unpacked layers by chain id; layer.json beside it says its size
//! <dir>/cache/<hex>.json       results of build steps
//! <dir>/build-cache/<id>/       directories of RUN --mount=type=cache
//! <dir>/tmp/<operation>/       whatever is being made
//! <dir>/locks/                 index: whoever changes names; content: shared by whoever adds,
//!                              exclusive for whoever deletes
//! ```

mod blobs;
pub(crate) mod index;
mod layers;
mod lock;
mod names;
mod sweep;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::{IoContext, Result};

pub(crate) use blobs::{BlobWriter, LooseBlob};
pub(crate) use layers::{LayerInfo, NewLayer, chain_id};
pub(crate) use lock::Operation;
pub(crate) use names::NewImage;

/// A directory of images. Cheap to clone; any number of processes may have it open.
#[derive(Clone, Debug)]
pub struct ImageStore {
    dir: Arc<PathBuf>,
}

impl ImageStore {
    /// Opens a store, creating the directory if need be. What killed processes left half-made
    /// is removed.
    pub fn open(dir: impl AsRef<Path>) -> Result<ImageStore> {
        let dir = dir.as_ref();
        std::fs::create_dir_all(dir).at("create", dir)?;
        // As the kernel's table of mounts names it.
        let dir = std::fs::canonicalize(dir).at("find", dir)?;
        for part in ["blobs/sha256", "layers", "cache", "tmp", "locks", "empty"] {
            let path = dir.join(part);
            std::fs::create_dir_all(&path).at("create", &path)?;
        }
        let store = ImageStore { dir: Arc::new(dir) };
        store.clean_leftovers()?;
        Ok(store)
    }

    /// The directory it was opened with.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    /// Where the directories of `RUN --mount=type=cache` are.
    pub(crate) fn mount_caches(&self) -> PathBuf {
        self.dir.join("build-cache")
    }

    pub(crate) fn layer_path(&self, chain: &Digest) -> PathBuf {
        self.dir.join("layers").join(chain.hex())
    }

    /// The unpacked layers of a chain of layers, topmost first.
    pub(crate) fn lower_dirs(&self, chain: &[Digest]) -> Vec<PathBuf> {
        if chain.is_empty() {
            return vec![self.dir.join("empty")];
        }
        chain.iter().rev().map(|id| self.layer_path(id).join("diff")).collect()
    }
}

/// Replaces a file in one step.
pub(crate) fn write_atomically(operation_dir: &Path, to: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    let name = to.file_name().unwrap_or_default();
    let aside = operation_dir.join(format!("new-{}", name.to_string_lossy()));
    let mut file = std::fs::File::create(&aside).at("create", &aside)?;
    file.write_all(bytes).at("write", &aside)?;
    file.sync_data().at("sync", &aside)?;
    std::fs::rename(&aside, to).at("rename to", to)
}
