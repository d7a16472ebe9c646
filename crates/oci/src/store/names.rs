//! Finding, naming and removing images.

use std::collections::BTreeSet;

use timonier_meta::Time;

use super::index::{IndexFile, Record};
use super::{ImageStore, Operation};
use crate::config::ConfigFile;
use crate::digest::Digest;
use crate::error::{Error, Result, corrupt};
use crate::image::Image;
use crate::manifest::{self, CONFIG_LIMIT, Document, MANIFEST_LIMIT, Manifest};
use crate::options::{RemoveOptions, Removed};
use crate::reference::Reference;

/// An image whose blobs are in the store and which is to be entered in the index.
pub(crate) struct NewImage<'a> {
    pub manifest: &'a [u8],
    pub tags: &'a [Reference],
    pub repo_digests: &'a [Reference],
    /// When it came; the wall clock of this process by default.
    pub now: Option<Time>,
}

impl ImageStore {
    /// All images, named or not, newest first.
    pub fn list(&self) -> Result<Vec<Image>> {
        let index = self.read_index()?;
        let mut images = Vec::new();
        for id in index.images.keys() {
            images.push(self.load(&index, id)?);
        }
        images.sort_by_key(|image| (std::cmp::Reverse(image.added), image.id.clone()));
        Ok(images)
    }

    /// Finds an image by name (normalised as Docker does), by name with digest, by id, by the
    /// digest of its manifest, or by the unique beginning of an id. Never asks a registry.
    pub fn resolve(&self, name_or_id: &str) -> Result<Image> {
        let index = self.read_index()?;
        let (id, _) = find(&index, name_or_id)?;
        self.load(&index, &id)
    }

    /// Gives an image a further name. The name moves if another image has it.
    pub fn tag(&self, name_or_id: &str, new_name: &str) -> Result<()> {
        let new = Reference::parse(new_name)?;
        if new.digest().is_some() {
            return Err(Error::Invalid(
                "refusing to create a tag with a digest reference".to_owned(),
            ));
        }
        self.change_index(|index| {
            let (id, _) = find(index, name_or_id)?;
            index.names.insert(new.to_string(), id);
            Ok(())
        })
    }

    /// Removes a name, or with an id the image. An image without names and out of use is
    /// deleted, with the content that only it needs (later, if somebody adds content just now).
    pub fn remove(&self, name_or_id: &str, options: &RemoveOptions) -> Result<Vec<Removed>> {
        let removed = self.change_index(|index| remove(index, name_or_id, options))?;
        if removed.iter().any(|r| matches!(r, Removed::Deleted(_))) {
            self.sweep()?;
        }
        Ok(removed)
    }

    /// Enters an image: all its layers are unpacked if need be, then it is visible. Blocks.
    pub(crate) fn register(&self, operation: &Operation, new: &NewImage<'_>) -> Result<Image> {
        let Document::Manifest(doc) = manifest::parse(new.manifest, "")? else {
            return Err(corrupt("an index stands where an image was expected"));
        };
        let manifest = self.put_bytes(operation, new.manifest)?;
        let (chain, size) = self.unpack_all(operation, &doc)?;
        let now = new.now.unwrap_or_else(wall_clock).0;
        let id = doc.config.digest.clone();
        self.change_index(|index| {
            let record = index.images.entry(id.clone()).or_insert_with(|| Record {
                manifests: Vec::new(),
                chain,
                size,
                repo_digests: BTreeSet::new(),
                added: now,
                used: now,
            });
            record.manifests.retain(|m| *m != manifest);
            record.manifests.push(manifest);
            record.used = record.used.max(now);
            record.repo_digests.extend(new.repo_digests.iter().map(Reference::to_string));
            for name in new.tags {
                index.names.insert(name.to_string(), id.clone());
            }
            self.load(index, &id)
        })
    }

    fn unpack_all(&self, operation: &Operation, doc: &Manifest) -> Result<(Vec<Digest>, u64)> {
        let config = self.config(&doc.config.digest)?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != doc.layers.len() {
            return Err(corrupt(format!(
                "the manifest has {} layers, but the image's configuration has {}",
                doc.layers.len(),
                diff_ids.len()
            )));
        }
        let (mut chain, mut size) = (Vec::new(), 0);
        for (layer, diff_id) in doc.layers.iter().zip(diff_ids) {
            let (id, info) = self.unpack_blob(operation, &layer.digest, &chain, diff_id)?;
            chain.push(id);
            size += info.size;
        }
        Ok((chain, size))
    }

    pub(crate) fn config(&self, id: &Digest) -> Result<ConfigFile> {
        ConfigFile::parse(&self.read_blob(id, CONFIG_LIMIT)?)
    }

    /// The manifest of an image, as bytes and as read.
    pub(crate) fn manifest(&self, digest: &Digest) -> Result<(Vec<u8>, Manifest)> {
        let bytes = self.read_blob(digest, MANIFEST_LIMIT)?;
        match manifest::parse(&bytes, "")? {
            Document::Manifest(doc) => Ok((bytes, doc)),
            Document::Index(_) => Err(corrupt(format!("{digest} is an index, not an image"))),
        }
    }

    /// The chain ids of an image, lowest first.
    pub(crate) fn chain_of(&self, id: &Digest) -> Result<Vec<Digest>> {
        let index = self.read_index()?;
        let record = index.images.get(id).ok_or_else(|| Error::NotFound(id.to_string()))?;
        Ok(record.chain.clone())
    }

    fn load(&self, index: &IndexFile, id: &Digest) -> Result<Image> {
        let record = index.images.get(id).ok_or_else(|| Error::NotFound(id.to_string()))?;
        let named = index.names.iter().filter(|(_, owner)| *owner == id);
        Ok(Image {
            id: id.clone(),
            digest: record.manifests.last().unwrap_or(id).clone(),
            repo_tags: named.map(|(name, _)| name.clone()).collect(),
            repo_digests: record.repo_digests.iter().cloned().collect(),
            size: record.size,
            config: self.config(id)?,
            lower_dirs: self.lower_dirs(&record.chain),
            added: Time(record.added),
        })
    }
}

/// What a name turned out to be.
#[derive(Clone, PartialEq, Eq)]
enum Found {
    Tag(String),
    RepoDigest(String),
    Id,
}

fn find(index: &IndexFile, text: &str) -> Result<(Digest, Found)> {
    if let Ok(digest) = Digest::parse(text) {
        let by_manifest = || index.images.iter().find(|(_, r)| r.manifests.contains(&digest));
        if index.images.contains_key(&digest) {
            return Ok((digest, Found::Id));
        }
        let (id, _) = by_manifest().ok_or_else(|| Error::NotFound(text.to_owned()))?;
        return Ok((id.clone(), Found::Id));
    }
    let reference = Reference::parse(text);
    if let Ok(reference) = &reference {
        match reference.digest() {
            Some(digest) => {
                let name = reference.with_digest(digest).to_string();
                let owner = index.images.iter().find(|(_, r)| r.repo_digests.contains(&name));
                if let Some((id, _)) = owner {
                    return Ok((id.clone(), Found::RepoDigest(name)));
                }
            }
            None => {
                let name = reference.to_string();
                if let Some(id) = index.names.get(&name) {
                    return Ok((id.clone(), Found::Tag(name)));
                }
            }
        }
    }
    let prefix = text.strip_prefix("sha256:").unwrap_or(text);
    if !prefix.is_empty() && prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        let fits: Vec<&Digest> =
            index.images.keys().filter(|id| id.hex().starts_with(prefix)).collect();
        match fits.as_slice() {
            [] => {}
            [id] => return Ok(((*id).clone(), Found::Id)),
            several => return Err(Error::Ambiguous(text.to_owned(), several.len())),
        }
        return Err(Error::NotFound(text.to_owned()));
    }
    Err(match reference {
        Ok(reference) => Error::NotFound(reference.familiar()),
        Err(e) => e,
    })
}

fn remove(index: &mut IndexFile, text: &str, options: &RemoveOptions) -> Result<Vec<Removed>> {
    let (id, found) = find(index, text)?;
    let names: Vec<String> =
        index.names.iter().filter(|(_, owner)| **owner == id).map(|(n, _)| n.clone()).collect();
    let in_use = options.in_use.contains(&id);
    let mut removed = Vec::new();
    let goes: Vec<String> = match found {
        Found::Tag(name) => vec![name],
        Found::RepoDigest(name) => {
            let record = index.images.get_mut(&id).expect("just found");
            record.repo_digests.remove(&name);
            removed.push(Removed::Untagged(name));
            Vec::new()
        }
        Found::Id if names.len() > 1 && !options.force => {
            return Err(Error::Conflict(format!(
                "unable to delete {} (must be forced) - image is referenced in multiple repositories",
                id.short()
            )));
        }
        Found::Id => names.clone(),
    };
    let last = goes.len() == names.len();
    if last && in_use && !options.force {
        return Err(Error::Conflict(format!(
            "unable to remove repository reference {text:?} - container is using its referenced image {}",
            id.short()
        )));
    }
    for name in goes {
        index.names.remove(&name);
        removed.push(Removed::Untagged(name));
    }
    if last && !in_use {
        let record = index.images.remove(&id).expect("just found");
        removed.extend(record.repo_digests.into_iter().map(Removed::Untagged));
        removed.push(Removed::Deleted(id));
    }
    Ok(removed)
}

/// For the history of the store only; what must be reproducible is given the time.
fn wall_clock() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Time(since.map_or(0, |d| d.as_micros() as i64))
}
