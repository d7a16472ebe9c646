//! The files of an archive, whatever order they came in.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::digest::Digest;
use crate::error::{Error, IoContext, Result, corrupt};
use crate::store::{BlobWriter, ImageStore, LooseBlob, Operation};
use crate::tar::{Kind, Reader, show};
use crate::unpack::{compression, path};

const MEMBER_LIMIT: usize = 20_000;

/// A set of files by path.
pub enum Bundle {
    /// The members of an archive, spooled into the store's temporary directory.
    Spooled {
        files: BTreeMap<Vec<u8>, LooseBlob>,
        links: BTreeMap<Vec<u8>, Vec<u8>>,
    },
    Directory(OwnedFd),
}

impl Bundle {
    /// Reads a whole archive.
    pub fn spool(operation: &Operation, archive: impl Read) -> Result<Bundle> {
        let (_, plain) = compression::decode(archive)?;
        let mut reader = Reader::new(plain);
        let (mut files, mut links) = (BTreeMap::new(), BTreeMap::new());
        while let Some(entry) = reader.next_entry()? {
            if files.len() + links.len() >= MEMBER_LIMIT {
                return Err(Error::TooLarge(format!(
                    "the archive has over {MEMBER_LIMIT} members: is it a root filesystem (--rootfs)?"
                )));
            }
            let parts = path::clean(&entry.path)?;
            let name = path::join(&parts);
            match entry.kind {
                Kind::File => {
                    let mut out = BlobWriter::new(operation)?;
                    std::io::copy(&mut reader, &mut out)
                        .during(|| format!("read {}", show(&name)))?;
                    files.insert(name, out.finish()?);
                }
                // Old archives name a layer they have already by a link.
                Kind::Symlink => {
                    let mut target = parts[..parts.len().saturating_sub(1)].join(&b'/');
                    target.push(b'/');
                    target.extend_from_slice(&entry.link);
                    links.insert(name, path::join(&path::clean(&target)?));
                }
                Kind::Hardlink => {
                    links.insert(name, path::join(&path::clean(&entry.link)?));
                }
                _ => {}
            }
        }
        Ok(Bundle::Spooled { files, links })
    }

    pub fn directory(dir: &Path) -> Result<Bundle> {
        Ok(Bundle::Directory(path::open_root(dir)?))
    }

    /// The content of a small file; `None` if there is none.
    pub fn read_small(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).during(|| format!("read {name}"))?;
        if bytes.len() as u64 > limit {
            return Err(Error::TooLarge(format!("{name} in the archive has over {limit} bytes")));
        }
        Ok(Some(bytes))
    }

    /// Puts a file into the store as a blob, with the digest it must have if that is known.
    pub fn store(
        &self,
        store: &ImageStore,
        operation: &Operation,
        name: &str,
        expected: Option<&Digest>,
    ) -> Result<(Digest, u64)> {
        let missing = || corrupt(format!("the archive lacks {name:?}"));
        let blob = match self {
            Bundle::Spooled { .. } => {
                let blob = self.spooled(name.as_bytes()).ok_or_else(missing)?;
                // Placed before, for another image or layer.
                if !blob.path.exists() && store.has_blob(&blob.digest, Some(blob.size)) {
                    blob.clone()
                } else {
                    check(name, blob, expected)?;
                    store.place_blob(blob)?;
                    blob.clone()
                }
            }
            Bundle::Directory(_) => {
                let mut file = self.open(name)?.ok_or_else(missing)?;
                let mut out = BlobWriter::new(operation)?;
                std::io::copy(&mut file, &mut out).during(|| format!("read {name}"))?;
                out.flush().during(|| format!("copy {name}"))?;
                let blob = out.finish()?;
                check(name, &blob, expected)?;
                store.place_blob(&blob)?;
                blob
            }
        };
        check(name, &blob, expected)?;
        Ok((blob.digest, blob.size))
    }

    fn spooled(&self, name: &[u8]) -> Option<&LooseBlob> {
        let Bundle::Spooled { files, links } = self else { return None };
        let mut name = path::join(&path::clean(name).ok()?);
        for _ in 0..8 {
            if let Some(blob) = files.get(&name) {
                return Some(blob);
            }
            name = links.get(&name)?.clone();
        }
        None
    }

    fn open(&self, name: &str) -> Result<Option<File>> {
        match self {
            Bundle::Spooled { .. } => match self.spooled(name.as_bytes()) {
                Some(blob) => File::open(&blob.path).at("open", &blob.path).map(Some),
                None => Ok(None),
            },
            Bundle::Directory(root) => {
                let parts = path::clean(name.as_bytes())?;
                let flags = OFlags::RDONLY | OFlags::NONBLOCK;
                match path::open_in(root.as_fd(), &parts, flags) {
                    Ok(fd) => {
                        let file = File::from(fd);
                        let regular = file.metadata().is_ok_and(|m| m.is_file());
                        Ok(regular.then_some(file))
                    }
                    Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
                    Err(e) => Err(e).during(|| format!("open {name}")),
                }
            }
        }
    }
}

fn check(name: &str, blob: &LooseBlob, expected: Option<&Digest>) -> Result<()> {
    match expected {
        Some(expected) if blob.digest != *expected => Err(corrupt(format!(
            "{name:?} in the archive has digest {}, expected {expected}",
            blob.digest
        ))),
        _ => Ok(()),
    }
}
