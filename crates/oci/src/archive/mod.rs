//! Archives of images: `docker save`, OCI layouts, root filesystems.

mod bundle;
mod docker;
mod layout;
mod rootfs;
mod save;

use std::io::Read;
use std::path::Path;

use bundle::Bundle;

use crate::error::{Error, IoContext, Result, corrupt};
use crate::image::Image;
use crate::manifest::MANIFEST_LIMIT;
use crate::options::ImportOptions;
use crate::reference::Reference;
use crate::store::{ImageStore, Operation};

impl ImageStore {
    /// Reads an archive of images, as `docker save` writes it or as an OCI layout, plain or
    /// compressed. On an error nothing of it stays. Blocks.
    pub fn import(&self, archive: impl Read, options: &ImportOptions) -> Result<Vec<Image>> {
        let operation = self.begin()?;
        let result = Bundle::spool(&operation, archive)
            .and_then(|bundle| self.import_bundle(&operation, &bundle, options));
        self.tidy_after(operation, result)
    }

    /// Like [`ImageStore::import`] from a file, or from a directory with an OCI layout.
    pub fn import_path(&self, path: &Path, options: &ImportOptions) -> Result<Vec<Image>> {
        if path.is_dir() {
            let operation = self.begin()?;
            let result = Bundle::directory(path)
                .and_then(|bundle| self.import_bundle(&operation, &bundle, options));
            return self.tidy_after(operation, result);
        }
        self.import(std::fs::File::open(path).at("open", path)?, options)
    }

    /// After a failure the blobs that were stored on the way go, too.
    pub(crate) fn tidy_after<T>(&self, operation: Operation, result: Result<T>) -> Result<T> {
        drop(operation);
        if result.is_err()
            && let Err(e) = self.sweep()
        {
            tracing::warn!("cleaning up after a failure: {e}");
        }
        result
    }

    fn import_bundle(
        &self,
        operation: &Operation,
        bundle: &Bundle,
        options: &ImportOptions,
    ) -> Result<Vec<Image>> {
        let extra = options.name.as_deref().map(Reference::parse).transpose()?;
        let docker = bundle.read_small("manifest.json", MANIFEST_LIMIT)?;
        let mut found = match bundle.read_small("index.json", MANIFEST_LIMIT)? {
            Some(index) => {
                layout::find(self, operation, bundle, &index, docker.as_deref(), options)?
            }
            None => match docker {
                Some(manifest) => docker::find(self, operation, bundle, &manifest)?,
                None => {
                    return Err(corrupt(
                        "the archive holds no images: it has neither manifest.json (docker save) \
                         nor index.json (OCI layout); a root filesystem is imported with --rootfs",
                    ));
                }
            },
        };
        if let Some(extra) = extra {
            let [one] = found.as_mut_slice() else {
                let n = found.len();
                return Err(Error::Invalid(format!("cannot name the image: the archive has {n}")));
            };
            one.tags.push(extra);
        }
        let mut images = Vec::new();
        for image in &found {
            let new = crate::store::NewImage {
                manifest: &image.manifest,
                tags: &image.tags,
                repo_digests: &[],
                now: None,
            };
            images.push(self.register(operation, &new)?);
        }
        Ok(images)
    }
}

/// Registries and other runtimes know no such layers.
fn xz_layer() -> Error {
    corrupt("xz-compressed layers are not supported: use gzip or zstd")
}

/// An image of an archive whose blobs are in the store by now.
struct Imported {
    manifest: Vec<u8>,
    tags: Vec<Reference>,
}

/// Reads the manifest of a `docker save` archive; gives how many images it names.
pub(crate) fn named(manifest: &[u8]) -> Result<usize> {
    let items = docker::parse(manifest)?;
    items.iter().try_for_each(|item| docker::tags(item).map(drop))?;
    Ok(items.len())
}

#[cfg(test)]
mod tests;
