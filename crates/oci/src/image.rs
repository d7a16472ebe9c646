//! An image of the store, ready to run.

use std::path::PathBuf;

use timonier_meta::Time;

use crate::config::ConfigFile;
use crate::digest::Digest;
use crate::platform::Platform;

/// An image of the store. The directories stay where they are until the image is deleted.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of the configuration: Docker's image id.
    pub id: Digest,
    /// The digest of the manifest in this store.
    pub digest: Digest,
    /// Full names with tags, `docker.io/library/nginx:1.7.9`, in order.
    pub repo_tags: Vec<String>,
    /// Full names with digests, as registries know the image, in order.
    pub repo_digests: Vec<String>,
    /// Bytes of all files of all layers, unpacked.
    pub size: u64,
    /// The configuration; what matters for running is in its `config`.
    pub config: ConfigFile,
    /// The unpacked layers for overlayfs, topmost first. Never empty: an image without layers
    /// has one empty directory.
    pub lower_dirs: Vec<PathBuf>,
    /// When the image came into this store.
    pub added: Time,
}

impl Image {
    /// For which machines the image is.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.config.os.clone(),
            architecture: self.config.architecture.clone(),
            variant: self.config.variant.clone(),
        }
    }

    /// The command line of a container: the entry point followed by the command. `entrypoint`
    /// and `args` replace the image's as Kubernetes's `command` and `args` do: a given
    /// entry point drops the image's command.
    pub fn argv(&self, entrypoint: Option<&[String]>, args: Option<&[String]>) -> Vec<String> {
        let own = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        let mut argv = match entrypoint {
            Some(given) => given.to_vec(),
            None => own(&self.config.config.entrypoint),
        };
        match (args, entrypoint) {
            (Some(args), _) => argv.extend_from_slice(args),
            (None, Some(_)) => {}
            (None, None) => argv.extend(own(&self.config.config.cmd)),
        }
        argv
    }
}
