//! The arguments and results of the store's calls.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use timonier_meta::{Duration, Time};

use crate::digest::Digest;
use crate::platform::Platform;
use crate::registry::Auth;

/// How to talk to registries.
#[derive(Clone, Debug, Default)]
pub struct RegistryOptions {
    /// Credentials for the reference's registry.
    pub auth: Option<Auth>,
    /// Plain HTTP. Loopback addresses get it without asking if they speak no TLS.
    pub plain_http: bool,
    /// `host` or `host:port` of registries whose certificates are not checked and which may
    /// speak plain HTTP, as Docker's `insecure-registries`.
    pub insecure: Vec<String>,
    /// A PEM file with further authorities to trust.
    pub ca_file: Option<PathBuf>,
}

/// Hears how a pull or a push gets on. Called often; must not block.
pub type ProgressFn = Arc<dyn Fn(&TransferEvent) + Send + Sync>;

/// One thing that happened to one blob.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransferEvent {
    /// The reference was resolved to this digest.
    Resolved(Digest),
    /// The blob is here (or there) already.
    Exists(Digest),
    /// So many of so many bytes went over the wire.
    Bytes { digest: Digest, done: u64, total: u64 },
    /// The blob is complete and verified.
    Done(Digest),
    /// The layer is unpacked.
    Unpacked(Digest),
}

#[derive(Clone, Default)]
pub struct PullOptions {
    pub registry: RegistryOptions,
    /// Which variant of a multi-platform image; the host's by default.
    pub platform: Option<Platform>,
    pub progress: Option<ProgressFn>,
}

#[derive(Clone, Default)]
pub struct PushOptions {
    pub registry: RegistryOptions,
    pub progress: Option<ProgressFn>,
}

#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// A further name for the image; the archive must then hold exactly one.
    pub name: Option<String>,
    pub platform: Option<Platform>,
}

/// For making an image from the archive of a root filesystem, as `docker import` does.
#[derive(Clone, Debug, Default)]
pub struct RootfsOptions {
    /// The image's name.
    pub name: Option<String>,
    /// Dockerfile instructions applied to the configuration: `CMD ["nginx"]`, `ENV A=b`,
    /// `ENTRYPOINT`, `EXPOSE`, `LABEL`, `ONBUILD`, `STOPSIGNAL`, `USER`, `VOLUME`, `WORKDIR`,
    /// `HEALTHCHECK`.
    pub changes: Vec<String>,
    /// The text of the history entry.
    pub message: Option<String>,
    pub platform: Option<Platform>,
}

#[derive(Clone, Debug, Default)]
pub struct RemoveOptions {
    /// Delete by id even if several names point to the image.
    pub force: bool,
    /// Images that containers use: refused without `force`, with it only untagged.
    pub in_use: BTreeSet<Digest>,
}

/// What a removal did, in the words of `docker rmi`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Removed {
    /// This name is gone.
    Untagged(String),
    /// This image is gone.
    Deleted(Digest),
}

/// What the garbage collector may do. With the default it removes nothing that a name reaches.
#[derive(Clone, Debug, Default)]
pub struct GcLimits {
    /// The time now.
    pub now: Time,
    /// Free at least so many bytes, the least recently used images first; 0 for no pressure.
    pub bytes_to_free: u64,
    /// Images younger or used more recently than this stay, whatever the pressure.
    pub min_age: Duration,
    /// Images unused for longer than this go, pressure or not.
    pub max_age: Option<Duration>,
    /// Build cache unused for longer than this goes. Under pressure all of it goes first.
    pub cache_max_age: Option<Duration>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GcReport {
    pub deleted: Vec<Digest>,
    /// Bytes of disk given back.
    pub freed: u64,
    /// Another process was adding content, so nothing but names could be removed; call again.
    pub deferred: bool,
}

/// Disk use in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Blobs as they came: manifests, configurations, compressed layers.
    pub blobs: u64,
    /// Unpacked layers.
    pub layers: u64,
    /// What only the build cache holds on to: layers (counted above, too) and the directories
    /// of `RUN --mount=type=cache`.
    pub build_cache: u64,
    /// Files and directories.
    pub inodes: u64,
}
