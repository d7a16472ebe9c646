//! Content by digest.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::PathBuf;

use super::{ImageStore, Operation};
use crate::digest::{Digest, Hashing};
use crate::error::{Error, IoContext, Result, corrupt};

/// Takes the bytes of a new blob.
pub(crate) struct BlobWriter {
    path: PathBuf,
    out: Hashing<BufWriter<File>>,
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A complete blob that has no name in the store yet.
#[derive(Clone, Debug)]
pub(crate) struct LooseBlob {
    pub path: PathBuf,
    pub digest: Digest,
    pub size: u64,
}

impl BlobWriter {
    pub fn new(operation: &Operation) -> Result<BlobWriter> {
        let path = operation.fresh("blob");
        let file = File::create(&path).at("create", &path)?;
        Ok(BlobWriter { path, out: Hashing::new(BufWriter::with_capacity(128 * 1024, file)) })
    }

    /// Ends the blob; it goes away with its operation if it is not placed.
    pub fn finish(self) -> Result<LooseBlob> {
        let (out, digest, size) = self.out.finish();
        let file = out.into_inner().map_err(|e| e.into_error()).at("write", &self.path)?;
        file.sync_data().at("sync", &self.path)?;
        Ok(LooseBlob { path: self.path, digest, size })
    }
}

impl ImageStore {
    /// Whether a blob is here, whole. A size of another kind means damage.
    pub(crate) fn has_blob(&self, digest: &Digest, size: Option<u64>) -> bool {
        let found = std::fs::metadata(self.blob_path(digest));
        found.is_ok_and(|m| m.is_file() && size.is_none_or(|s| s == m.len()))
    }

    /// Gives a blob its name.
    pub(crate) fn place_blob(&self, blob: &LooseBlob) -> Result<()> {
        let to = self.blob_path(&blob.digest);
        std::fs::rename(&blob.path, &to).at("rename to", &to)
    }

    /// Stores bytes that are in memory.
    pub(crate) fn put_bytes(&self, operation: &Operation, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if !self.has_blob(&digest, Some(bytes.len() as u64)) {
            super::write_atomically(operation.dir(), &self.blob_path(&digest), bytes)?;
        }
        Ok(digest)
    }

    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<File> {
        let path = self.blob_path(digest);
        match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(corrupt(format!("blob {digest} is missing from the image store")))
            }
            other => other.at("open", &path),
        }
    }

    /// A small blob, verified.
    pub(crate) fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = self.open_blob(digest)?.take(limit + 1);
        file.read_to_end(&mut bytes).at("read", &self.blob_path(digest))?;
        if bytes.len() as u64 > limit {
            return Err(Error::TooLarge(format!("{digest} has over {limit} bytes")));
        }
        if Digest::of(&bytes) != *digest {
            return Err(corrupt(format!(
                "{} is damaged: its digest differs",
                self.blob_path(digest).display()
            )));
        }
        Ok(bytes)
    }
}
