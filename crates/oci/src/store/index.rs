//! The names and images of a store: one small file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use serde::{Deserialize, Serialize};

use super::ImageStore;
use crate::digest::Digest;
use crate::error::{IoContext, Result, corrupt};

/// The content of `index.json`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct IndexFile {
    pub version: u32,
    /// Image ids by full name with tag.
    pub names: BTreeMap<String, Digest>,
    /// Images by id.
    pub images: BTreeMap<Digest, Record>,
}

/// What is kept about an image besides its configuration.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The manifests that led here; the last one counts.
    pub manifests: Vec<Digest>,
    /// The chain ids of its layers, lowest first.
    pub chain: Vec<Digest>,
    /// Bytes of file data of all layers.
    pub size: u64,
    /// Full names with digests.
    pub repo_digests: BTreeSet<String>,
    /// Microseconds since the epoch.
    pub added: i64,
    /// When it was last seen in use; microseconds since the epoch.
    pub used: i64,
}

impl Default for IndexFile {
    fn default() -> Self {
        IndexFile { version: 1, names: BTreeMap::new(), images: BTreeMap::new() }
    }
}

impl ImageStore {
    /// The index as it is now. Readers need no lock.
    pub(crate) fn read_index(&self) -> Result<IndexFile> {
        let path = self.dir().join("index.json");
        let bytes = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(IndexFile::default()),
            other => other.at("read", &path)?,
        };
        let index: IndexFile = serde_json::from_slice(&bytes)
            .map_err(|e| corrupt(format!("{} is damaged: {e}", path.display())))?;
        if index.version != 1 {
            return Err(corrupt(format!(
                "{} has version {}: it was written by a newer Timonier",
                path.display(),
                index.version
            )));
        }
        Ok(index)
    }

    /// Changes the index; nothing is written if `change` fails or changes nothing.
    pub(crate) fn change_index<T>(
        &self,
        change: impl FnOnce(&mut IndexFile) -> Result<T>,
    ) -> Result<T> {
        let lock = self.lock_index()?;
        let before = self.read_index()?;
        let mut index = before.clone();
        let result = change(&mut index)?;
        if index != before {
            self.write_index(&index)?;
        }
        drop::<File>(lock);
        Ok(result)
    }

    fn write_index(&self, index: &IndexFile) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(index).expect("strings and numbers always encode");
        // Whoever holds the lock is alone, so one name for the new file is enough.
        let aside = self.dir().join("locks");
        super::write_atomically(&aside, &self.dir().join("index.json"), &bytes)?;
        let dir = File::open(self.dir()).at("open", self.dir())?;
        dir.sync_all().at("sync", self.dir())
    }
}
