//! Unpacked layers.

use std::io::Read;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ImageStore, Operation};
use crate::digest::{Digest, Hashing};
use crate::error::{IoContext, Result, corrupt};
use crate::unpack::{Unpacked, compression, unpack_layer};

/// What `layer.json` says about an unpacked layer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct LayerInfo {
    pub diff_id: Digest,
    /// Bytes of file data.
    pub size: u64,
    pub entries: u64,
    /// The latest time of a member, seconds since the epoch; known only while unpacking.
    #[serde(skip)]
    pub newest: i64,
}

/// A layer that is being made: `diff` is to be filled.
pub(crate) struct NewLayer {
    dir: PathBuf,
}

impl NewLayer {
    /// The directory to be filled; the layer's root.
    pub fn diff(&self) -> PathBuf {
        self.dir.join("diff")
    }

    /// overlayfs's scratch directory.
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }
}

/// The name of a stack of layers: layers depend on what is below them where an archive leaves
/// out directories.
pub(crate) fn chain_id(parent: Option<&Digest>, diff_id: &Digest) -> Digest {
    match parent {
        Some(parent) => Digest::of(format!("{parent} {diff_id}").as_bytes()),
        None => diff_id.clone(),
    }
}

impl ImageStore {
    /// The directory of a new layer, made aside.
    pub(crate) fn new_layer(&self, operation: &Operation) -> Result<NewLayer> {
        use std::os::unix::fs::PermissionsExt;
        let layer = NewLayer { dir: operation.fresh("layer") };
        for path in [layer.dir.clone(), layer.diff(), layer.work()] {
            std::fs::create_dir(&path).at("create", &path)?;
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).at("chmod", &path)?;
        }
        Ok(layer)
    }

    /// What is known of a layer that is here.
    pub(crate) fn layer_info(&self, chain: &Digest) -> Option<LayerInfo> {
        let bytes = std::fs::read(self.layer_path(chain).join("layer.json")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Gives a complete layer its name. If another process was faster, its copy stays.
    pub(crate) fn place_layer(
        &self,
        layer: NewLayer,
        chain: &Digest,
        info: &LayerInfo,
    ) -> Result<()> {
        // Scratch of overlayfs and of whoever ran a command there.
        for entry in std::fs::read_dir(&layer.dir).at("read", &layer.dir)? {
            let path = entry.at("read", &layer.dir)?.path();
            if path != layer.diff() {
                std::fs::remove_dir_all(&path).at("remove", &path)?;
            }
        }
        let path = layer.dir.join("layer.json");
        let bytes = serde_json::to_vec(info).expect("strings and numbers always encode");
        std::fs::write(&path, bytes).at("write", &path)?;
        // A name must never stand for content that a power loss could still take.
        let dir = std::fs::File::open(&layer.dir).at("open", &layer.dir)?;
        rustix::fs::syncfs(&dir).at("sync", &layer.dir)?;
        let to = self.layer_path(chain);
        match std::fs::rename(&layer.dir, &to) {
            Err(_) if self.layer_info(chain).is_some() => Ok(()),
            other => other.at("rename to", &to),
        }
    }

    /// Unpacks a compressed layer from its blob onto the layers of `chain` (lowest first),
    /// unless it is here. The archive must have the digest `diff_id`.
    pub(crate) fn unpack_blob(
        &self,
        operation: &Operation,
        blob: &Digest,
        chain: &[Digest],
        diff_id: &Digest,
    ) -> Result<(Digest, LayerInfo)> {
        let id = chain_id(chain.last(), diff_id);
        if let Some(info) = self.layer_info(&id) {
            return Ok((id, info));
        }
        let file = std::io::BufReader::with_capacity(128 * 1024, self.open_blob(blob)?);
        let (layer, info) = self.unpack_stream(operation, file, chain)?;
        if info.diff_id != *diff_id {
            return Err(corrupt(format!(
                "layer {blob} unpacks to {}, but the image's configuration says {diff_id}",
                info.diff_id
            )));
        }
        self.place_layer(layer, &id, &info)?;
        Ok((id, info))
    }

    /// Unpacks a layer aside, computing its digest on the way.
    pub(crate) fn unpack_stream(
        &self,
        operation: &Operation,
        archive: impl Read,
        chain: &[Digest],
    ) -> Result<(NewLayer, LayerInfo)> {
        let (_, plain) = compression::decode(archive)?;
        let mut plain = Hashing::new(plain);
        let layer = self.new_layer(operation)?;
        let parents = if chain.is_empty() { Vec::new() } else { self.lower_dirs(chain) };
        let unpacked = unpack_layer(&mut plain, &layer.diff(), &parents)?;
        let (_, diff_id, _) = plain.finish();
        let Unpacked { entries, bytes: size, newest } = unpacked;
        Ok((layer, LayerInfo { diff_id, size, entries, newest }))
    }
}
