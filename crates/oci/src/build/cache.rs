//! Results of build steps, by what went into them.

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Hashing};
use crate::error::Result;
use crate::store::{ImageStore, Operation, write_atomically};

/// The layer that a step made.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct CacheEntry {
    pub blob: Digest,
    /// Bytes of the blob.
    pub blob_size: u64,
    pub chain: Digest,
    pub diff_id: Digest,
    /// Bytes of file data.
    pub size: u64,
    /// When the step was done, RFC 3339: a build out of the cache gives the same image.
    #[serde(default)]
    pub created: String,
}

/// Collects what a step depends on. Parts are separated, so that none can pass for two.
pub(crate) struct Key(Hashing<std::io::Sink>);

impl Key {
    pub fn new(kind: &str) -> Key {
        Key(Hashing::new(std::io::sink())).with(kind.as_bytes())
    }

    pub fn with(mut self, part: &[u8]) -> Key {
        self.add(part);
        self
    }

    pub fn add(&mut self, part: &[u8]) {
        use std::io::Write;
        // A sink takes everything.
        let _ = self.0.write_all(&(part.len() as u64).to_le_bytes());
        let _ = self.0.write_all(part);
    }

    pub fn finish(self) -> Digest {
        self.0.finish().1
    }
}

impl ImageStore {
    /// The earlier result of a step, if all of it is still here.
    pub(crate) fn cached(&self, key: &Digest) -> Option<CacheEntry> {
        let path = self.dir().join("cache").join(format!("{}.json", key.hex()));
        let entry: CacheEntry = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        let here = self.has_blob(&entry.blob, Some(entry.blob_size))
            && self.layer_info(&entry.chain).is_some_and(|i| i.diff_id == entry.diff_id);
        if here && let Ok(file) = std::fs::File::options().append(true).open(&path) {
            // The collector goes by the time of the last use.
            let _ = file.set_modified(std::time::SystemTime::now());
        }
        here.then_some(entry)
    }

    pub(crate) fn remember(
        &self,
        operation: &Operation,
        key: &Digest,
        entry: &CacheEntry,
    ) -> Result<()> {
        let path = self.dir().join("cache").join(format!("{}.json", key.hex()));
        let bytes = serde_json::to_vec(entry).expect("strings and numbers always encode");
        write_atomically(operation.dir(), &path, &bytes)
    }
}
