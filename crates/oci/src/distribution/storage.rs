//! The files of a registry.
//!
//! ```text
//! blobs/<hex>                                   content
//! repositories/<name>/_manifests/<hex>          the manifest's media type
//! repositories/<name>/_tags/<tag>               the manifest's digest
//! repositories/<name>/_blobs/<hex>              the blob was pushed here
//! repositories/<name>/_subjects/<hex>/<hex>     the second manifest refers to the first
//! uploads/<id>                                  what was received so far
//! ```
//! Names of repositories have no part that begins with an underscore.

use std::collections::BTreeSet;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::digest::{Digest, Hashing};
use crate::error::{IoContext, Result};
use crate::manifest::MANIFEST_LIMIT;

pub struct Storage {
    dir: PathBuf,
    counter: AtomicU64,
}

impl Storage {
    pub fn open(dir: &Path) -> Result<Storage> {
        for part in ["blobs", "repositories", "uploads"] {
            let path = dir.join(part);
            std::fs::create_dir_all(&path).at("create", &path)?;
        }
        Ok(Storage { dir: dir.to_owned(), counter: AtomicU64::new(0) })
    }

    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs").join(digest.hex())
    }

    pub fn uploads(&self) -> PathBuf {
        self.dir.join("uploads")
    }

    pub fn repository(&self, name: &str) -> PathBuf {
        self.dir.join("repositories").join(name)
    }

    fn mark_path(&self, repository: &str, kind: &str, name: &str) -> PathBuf {
        self.repository(repository).join(kind).join(name)
    }

    /// Writes a small file in one step.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).at("create", parent)?;
        }
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        let aside = self.uploads().join(format!("small-{}-{n}", std::process::id()));
        let mut file = File::create(&aside).at("create", &aside)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_data()).at("write", &aside);
        if written.is_err() {
            let _ = std::fs::remove_file(&aside);
        }
        written?;
        std::fs::rename(&aside, path).at("rename to", path)
    }

    /// The small file of a mark; `None` if there is none.
    pub fn mark(&self, repository: &str, kind: &str, name: &str) -> Result<Option<String>> {
        let path = self.mark_path(repository, kind, name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(e) => Err(e).at("read", &path),
        }
    }

    pub fn set_mark(&self, repository: &str, kind: &str, name: &str, text: &str) -> Result<()> {
        self.write(&self.mark_path(repository, kind, name), text.as_bytes())
    }

    /// Removes a mark; whether there was one.
    pub fn remove_mark(&self, repository: &str, kind: &str, name: &str) -> Result<bool> {
        remove_file(&self.mark_path(repository, kind, name))
    }

    /// The names of a kind of marks, sorted.
    pub fn marks(&self, repository: &str, kind: &str) -> Result<BTreeSet<String>> {
        list(&self.repository(repository).join(kind))
    }

    pub fn exists(&self, repository: &str) -> bool {
        let dir = self.repository(repository);
        ["_manifests", "_tags", "_blobs"].iter().any(|kind| dir.join(kind).is_dir())
    }

    /// Whether a repository has a blob.
    pub fn has_blob(&self, repository: &str, digest: &Digest) -> bool {
        let marked = self.mark_path(repository, "_blobs", digest.hex()).exists();
        marked && self.blob_path(digest).exists()
    }

    /// Stores a manifest's bytes and its place in a repository.
    pub fn put_manifest(&self, repository: &str, media_type: &str, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        self.write(&self.blob_path(&digest), bytes)?;
        self.set_mark(repository, "_manifests", digest.hex(), media_type)?;
        Ok(digest)
    }

    /// A manifest of a repository: media type and bytes.
    pub fn manifest(&self, repository: &str, digest: &Digest) -> Result<Option<(String, Vec<u8>)>> {
        let Some(media_type) = self.mark(repository, "_manifests", digest.hex())? else {
            return Ok(None);
        };
        let path = self.blob_path(digest);
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(file) => file.take(MANIFEST_LIMIT + 1).read_to_end(&mut bytes).at("read", &path)?,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).at("open", &path),
        };
        Ok(Some((media_type, bytes)))
    }

    /// A name for an upload that nobody guesses.
    pub fn fresh_upload(&self) -> String {
        let random = || std::collections::hash_map::RandomState::new().build_hasher().finish();
        format!("{:016x}{:016x}", random(), random())
    }

    /// Checks what was received, and makes it a blob of a repository.
    pub fn finish_upload(&self, repository: &str, upload: &Path, wanted: &Digest) -> Result<bool> {
        let mut content = Hashing::new(File::open(upload).at("open", upload)?);
        std::io::copy(&mut content, &mut std::io::sink()).at("read", upload)?;
        let (file, digest, _) = content.finish();
        if digest != *wanted {
            return Ok(false);
        }
        file.sync_data().at("sync", upload)?;
        let to = self.blob_path(&digest);
        std::fs::rename(upload, &to).at("rename to", &to)?;
        self.set_mark(repository, "_blobs", digest.hex(), "")?;
        Ok(true)
    }

    /// All repositories, sorted.
    pub fn repositories(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut todo = vec![String::new()];
        while let Some(name) = todo.pop() {
            if !name.is_empty() && self.exists(&name) {
                found.push(name.clone());
            }
            for part in list(&self.repository(&name))?.into_iter().filter(|p| !p.starts_with('_')) {
                let inner = if name.is_empty() { part } else { format!("{name}/{part}") };
                // As long as the protocol lets names be.
                if inner.len() <= 255 {
                    todo.push(inner);
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

pub fn list(dir: &Path) -> Result<BTreeSet<String>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(BTreeSet::new());
        }
        Err(e) => return Err(e).at("read", dir),
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        names.insert(entry.at("read", dir)?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

pub fn remove_file(path: &Path) -> Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(e) => Err(e).at("remove", path),
    }
}
