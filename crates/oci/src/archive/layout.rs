//! OCI image layouts.

use std::collections::BTreeMap;

use super::bundle::Bundle;
use super::{Imported, docker};
use crate::digest::Digest;
use crate::error::{Result, corrupt};
use crate::manifest::{self, Descriptor, Document, Index, MANIFEST_LIMIT, Manifest};
use crate::options::ImportOptions;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::{ImageStore, Operation};

/// How deep indexes may point to indexes.
const DEPTH_LIMIT: usize = 4;

/// The images of the layout that are for the wanted platform; their blobs are put into the
/// store. `docker_manifest` is the `manifest.json` that newer `docker save` writes next to it:
/// it has the full names.
pub fn find(
    store: &ImageStore,
    operation: &Operation,
    bundle: &Bundle,
    index: &[u8],
    docker_manifest: Option<&[u8]>,
    options: &ImportOptions,
) -> Result<Vec<Imported>> {
    let Document::Index(index) = manifest::parse(index, manifest::OCI_INDEX)? else {
        return Err(corrupt("index.json of the archive is no index"));
    };
    let layout = Layout { store, operation, bundle, platform: options.platform.clone() };
    let docker_names = docker_names(docker_manifest)?;
    let mut found: Vec<(Digest, Imported)> = Vec::new();
    for (name, manifests) in by_name(&index) {
        let group = Index { manifests, ..index.clone() };
        let (digest, bytes, doc) = layout.pick(&group, 0)?;
        let mut tags: Vec<Reference> = name.into_iter().collect();
        if let Some(names) = docker_names.get(&doc.config.digest) {
            tags.extend(names.iter().cloned());
        }
        match found.iter_mut().find(|(d, _)| *d == digest) {
            Some((_, earlier)) => earlier.tags.append(&mut tags),
            None => {
                layout.store_blobs(&doc)?;
                found.push((digest, Imported { manifest: bytes, tags }));
            }
        }
    }
    if found.is_empty() {
        return Err(corrupt("the archive holds no images: index.json is empty"));
    }
    Ok(found.into_iter().map(|(_, image)| image).collect())
}

struct Layout<'a> {
    store: &'a ImageStore,
    operation: &'a Operation,
    bundle: &'a Bundle,
    platform: Option<Platform>,
}

impl Layout<'_> {
    /// Follows an index to the manifest for the wanted platform.
    fn pick(&self, index: &Index, depth: usize) -> Result<(Digest, Vec<u8>, Manifest)> {
        if depth > DEPTH_LIMIT {
            return Err(corrupt("indexes of the archive are nested too deeply"));
        }
        let descriptor = match &self.platform {
            Some(platform) => index.select(platform, "the archive")?,
            // What is the only one is what is meant, for whatever machine it is.
            None if index.manifests.len() == 1 => &index.manifests[0],
            None => index.select(&Platform::host(), "the archive")?,
        };
        let path = blob_path(&descriptor.digest);
        let bytes = self.bundle.read_small(&path, MANIFEST_LIMIT)?;
        let bytes = bytes.ok_or_else(|| corrupt(format!("the archive lacks {path:?}")))?;
        let digest = Digest::of(&bytes);
        if digest != descriptor.digest {
            return Err(corrupt(format!("{path:?} in the archive has digest {digest}")));
        }
        match manifest::parse(&bytes, &descriptor.media_type)? {
            Document::Index(inner) => self.pick(&inner, depth + 1),
            Document::Manifest(doc) => Ok((digest, bytes, doc)),
        }
    }

    fn store_blobs(&self, doc: &Manifest) -> Result<()> {
        for descriptor in std::iter::once(&doc.config).chain(&doc.layers) {
            if self.store.has_blob(&descriptor.digest, Some(descriptor.size)) {
                continue;
            }
            let path = blob_path(&descriptor.digest);
            let expected = Some(&descriptor.digest);
            let (_, size) = self.bundle.store(self.store, self.operation, &path, expected)?;
            if size != descriptor.size {
                return Err(corrupt(format!(
                    "{path:?} in the archive has {size} bytes, its descriptor says {}",
                    descriptor.size
                )));
            }
        }
        Ok(())
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The manifests of an index by the name they were saved under. Several unnamed ones are the
/// platforms of one image.
fn by_name(index: &Index) -> Vec<(Option<Reference>, Vec<Descriptor>)> {
    let mut groups: Vec<(Option<Reference>, Vec<Descriptor>)> = Vec::new();
    for descriptor in &index.manifests {
        let name = name_of(descriptor);
        match groups.iter_mut().find(|(n, _)| *n == name) {
            Some((_, group)) => group.push(descriptor.clone()),
            None => groups.push((name, vec![descriptor.clone()])),
        }
    }
    groups
}

/// containerd's annotation has the full name; OCI's has it or a mere tag, which names nothing.
fn name_of(descriptor: &Descriptor) -> Option<Reference> {
    let annotation = |key: &str| descriptor.annotations.get(key);
    let full = annotation("io.containerd.image.name")
        .or_else(|| annotation("org.opencontainers.image.ref.name"))?;
    if !full.contains([':', '/']) {
        return None;
    }
    Reference::parse(full).ok()
}

fn docker_names(manifest: Option<&[u8]>) -> Result<BTreeMap<Digest, Vec<Reference>>> {
    let mut names = BTreeMap::new();
    for item in manifest.map(docker::parse).transpose()?.unwrap_or_default() {
        let hex = item.config.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
        if let Ok(digest) = Digest::parse(&format!("sha256:{hex}")) {
            names.insert(digest, docker::tags(&item)?);
        }
    }
    Ok(names)
}
