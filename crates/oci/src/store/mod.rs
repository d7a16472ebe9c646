//! The store on disk.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::build::{BuildOptions, BuildProgress, Runner};
use crate::digest::Digest;
use crate::error::{Error, IoContext, Result};
use crate::image::Image;
use crate::options::*;

/// A directory of images. Cheap to clone; any number of processes may have it open.
#[derive(Clone, Debug)]
pub struct ImageStore {
    dir: Arc<PathBuf>,
}

impl ImageStore {
    /// Opens a store, creating the directory if need be.
    pub fn open(dir: impl AsRef<Path>) -> Result<ImageStore> {
        let dir = dir.as_ref();
        std::fs::create_dir_all(dir).at("create", dir)?;
        Ok(ImageStore { dir: Arc::new(dir.to_owned()) })
    }

    /// The directory it was opened with.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All images, named or not, newest first.
    pub fn list(&self) -> Result<Vec<Image>> {
        pending()
    }

    /// Finds an image by name (normalised as Docker does), by name with digest, by id, or by
    /// the unique beginning of an id. Never asks a registry.
    pub fn resolve(&self, _name_or_id: &str) -> Result<Image> {
        pending()
    }

    /// Gives an image a further name. The name moves if another image has it.
    pub fn tag(&self, _name_or_id: &str, _new_name: &str) -> Result<()> {
        pending()
    }

    /// Removes a name, or with an id the image. An image without names and out of use is
    /// deleted, with the content that only it needs.
    pub fn remove(&self, _name_or_id: &str, _options: &RemoveOptions) -> Result<Vec<Removed>> {
        pending()
    }

    /// Deletes unused images and build cache within the limits, and content that nothing needs.
    /// Images whose ids are in `in_use` stay.
    pub fn gc(&self, _in_use: &BTreeSet<Digest>, _limits: &GcLimits) -> Result<GcReport> {
        pending()
    }

    /// Disk use.
    pub fn usage(&self) -> Result<Usage> {
        pending()
    }

    /// Reads an archive of images, as `docker save` writes it or as an OCI layout, plain or
    /// compressed. Blocks.
    pub fn import(&self, _archive: impl Read, _options: &ImportOptions) -> Result<Vec<Image>> {
        pending()
    }

    /// Like [`ImageStore::import`] from a file, or from a directory with an OCI layout.
    pub fn import_path(&self, _path: &Path, _options: &ImportOptions) -> Result<Vec<Image>> {
        pending()
    }

    /// Makes an image with one layer from an archive of a root filesystem, plain or compressed.
    /// Blocks.
    pub fn import_rootfs(&self, _archive: impl Read, _options: &RootfsOptions) -> Result<Image> {
        pending()
    }

    /// Writes images to an archive that both `docker load` and OCI tools read. Blocks.
    pub fn save(&self, _names: &[&str], _to: &mut dyn Write) -> Result<()> {
        pending()
    }

    /// Pulls an image from its registry. Content that is here already is not transferred.
    pub async fn pull(&self, _reference: &str, _options: &PullOptions) -> Result<Image> {
        pending()
    }

    /// Pushes an image to the registry that its name says. Returns the manifest's digest.
    pub async fn push(&self, _reference: &str, _options: &PushOptions) -> Result<Digest> {
        pending()
    }

    /// Builds an image.
    pub async fn build(
        &self,
        _options: &BuildOptions,
        _runner: &dyn Runner,
        _progress: BuildProgress<'_>,
    ) -> Result<Image> {
        pending()
    }
}

fn pending<T>() -> Result<T> {
    Err(Error::Invalid("not in this version".to_owned()))
}
