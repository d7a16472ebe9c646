//! Writes images to an archive.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use serde::Serialize;

use crate::digest::Digest;
use crate::error::{Error, IoContext, Result};
use crate::image::Image;
use crate::manifest::{Descriptor, Index, OCI_INDEX, OCI_MANIFEST};
use crate::reference::Reference;
use crate::store::ImageStore;
use crate::tar::{Entry, Writer};

/// An image in `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl ImageStore {
    /// Writes images to an archive that both `docker load` and OCI tools read: an OCI layout
    /// with Docker's `manifest.json`. The same images give the same bytes. Blocks.
    pub fn save(&self, names: &[&str], to: &mut dyn Write) -> Result<()> {
        // Nothing may be deleted meanwhile.
        let _operation = self.begin()?;
        let mut index = Index {
            schema_version: 2,
            media_type: OCI_INDEX.to_owned(),
            manifests: Vec::new(),
            annotations: BTreeMap::new(),
        };
        let (mut items, mut blobs) = (Vec::<Item>::new(), BTreeSet::new());
        for name in names {
            let image = self.resolve(name)?;
            let tags = saved_tags(name, &image)?;
            let (bytes, doc) = self.manifest(&image.digest)?;
            blobs.insert(image.digest.clone());
            blobs.insert(doc.config.digest.clone());
            blobs.extend(doc.layers.iter().map(|l| l.digest.clone()));
            let media_type = if doc.media_type.is_empty() { OCI_MANIFEST } else { &doc.media_type };
            let plain = Descriptor::new(media_type, image.digest.clone(), bytes.len() as u64);
            index.manifests.extend(named(&plain, &tags));
            items.push(Item {
                config: blob_path(&doc.config.digest),
                repo_tags: tags.iter().map(Reference::familiar).collect(),
                layers: doc.layers.iter().map(|l| blob_path(&l.digest)).collect(),
            });
        }
        let mut out = Writer::new(to);
        for digest in &blobs {
            let mut file = self.open_blob(digest)?;
            let size = file.metadata().at("stat", &self.blob_path(digest))?.len();
            let path = blob_path(digest).into_bytes();
            out.append(&Entry { path, size, mode: 0o444, ..Entry::default() }, &mut file)?;
        }
        let json = |value: serde_json::Result<Vec<u8>>| value.expect("strings always encode");
        out.append_bytes("index.json", 0, &json(serde_json::to_vec(&index)))?;
        out.append_bytes("manifest.json", 0, &json(serde_json::to_vec(&items)))?;
        out.append_bytes("oci-layout", 0, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        out.finish()?;
        Ok(())
    }
}

/// An image asked for by name is saved under that name, one asked for by id under none.
fn saved_tags(asked: &str, image: &Image) -> Result<Vec<Reference>> {
    match Reference::parse(asked) {
        Ok(reference) if image.repo_tags.contains(&reference.to_string()) => Ok(vec![reference]),
        Ok(_) | Err(Error::InvalidReference { .. } | Error::Corrupt(_)) => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

fn named(plain: &Descriptor, tags: &[Reference]) -> Vec<Descriptor> {
    if tags.is_empty() {
        return vec![plain.clone()];
    }
    let with_name = |tag: &Reference| {
        let mut descriptor = plain.clone();
        let mut note = |key: &str, value: String| {
            descriptor.annotations.insert(key.to_owned(), value);
        };
        note("io.containerd.image.name", tag.to_string());
        note("org.opencontainers.image.ref.name", tag.tag().unwrap_or("latest").to_owned());
        descriptor
    };
    tags.iter().map(with_name).collect()
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
