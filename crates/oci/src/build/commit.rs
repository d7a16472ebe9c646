//! Makes a layer out of what a step changed.

use flate2::Compression;
use flate2::write::GzEncoder;

use std::os::fd::AsFd;

use super::cache::CacheEntry;
use crate::diff::write_layer;
use crate::digest::{Digest, Hashing};
use crate::error::{IoContext, Result};
use crate::store::{BlobWriter, ImageStore, LayerInfo, NewLayer, Operation, chain_id};
use crate::unpack::path::open_root;

impl ImageStore {
    /// Packs the upper directory of a layer, and gives layer and blob their names. With `latest`
    /// later file times are cut to it. Blocks.
    pub(crate) fn commit_layer(
        &self,
        operation: &Operation,
        layer: NewLayer,
        chain: &[Digest],
        latest: Option<i64>,
        created: &str,
    ) -> Result<CacheEntry> {
        let root = open_root(&layer.diff())?;
        // The fast level: layers are read once or twice, and built often.
        let gzip = GzEncoder::new(BlobWriter::new(operation)?, Compression::fast());
        let lowers = self.lower_dirs(chain);
        let (hashed, written) = write_layer(root.as_fd(), &lowers, latest, Hashing::new(gzip))?;
        let (gzip, diff_id, _) = hashed.finish();
        let blob = gzip.finish().during(|| "write layer".to_owned())?.finish()?;
        drop(root);
        let id = chain_id(chain.last(), &diff_id);
        let info = LayerInfo {
            diff_id: diff_id.clone(),
            size: written.bytes,
            entries: written.entries,
            newest: 0,
        };
        self.place_blob(&blob)?;
        if self.layer_info(&id).is_none() {
            self.place_layer(layer, &id, &info)?;
        }
        Ok(CacheEntry {
            blob: blob.digest,
            blob_size: blob.size,
            chain: id,
            diff_id,
            size: written.bytes,
            created: created.to_owned(),
        })
    }

    /// A new layer on top of a chain, with the looks of the root below.
    pub(crate) fn layer_on(&self, operation: &Operation, chain: &[Digest]) -> Result<NewLayer> {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
        let layer = self.new_layer(operation)?;
        let below = &self.lower_dirs(chain)[0];
        let meta = below.metadata().at("stat", below)?;
        let diff = layer.diff();
        chown(&diff, Some(meta.uid()), Some(meta.gid())).at("chown", &diff)?;
        let mode = PermissionsExt::from_mode(meta.mode() & 0o7777);
        std::fs::set_permissions(&diff, mode).at("chmod", &diff)?;
        Ok(layer)
    }
}
