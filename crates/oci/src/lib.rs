//! Images: pull, push, import, save, unpack, build, collect.
//!
//! ```text
//!  registry ──pull──►┌───────────────┐◄──import── archives, root filesystems
//!                    │  ImageStore   │
//!  registry ◄─push───│ blobs, layers,│───save───► archives
//!  Dockerfile ─build►│ names, cache  │──resolve─► Image { config, lower_dirs }
//!        └─ Runner   └───────────────┘      RegistryServer: a registry of one's own
//! ```
//!
//! Invariants: content is addressed by digest and verified before it has a name; whatever is
//! visible under its final name is complete (everything is made aside and renamed); an archive
//! can neither write nor read outside the directory it is unpacked to; several processes use
//! one store at a time, coordinated by file locks alone; nothing is read without a bound.
//! Deliberately absent: containers (the builder's commands run through [`Runner`]), other
//! snapshotters than overlayfs, signatures.

mod archive;
mod config;
mod diff;
mod digest;
mod error;
mod image;
mod options;
mod platform;
mod reference;
mod tar;
mod unpack;

pub mod build;
pub mod distribution;
#[doc(hidden)]
pub mod fuzz;
pub mod manifest;
pub mod overlay;
pub mod registry;
pub mod store;
pub mod users;

pub use build::{
    BuildEvent, BuildOptions, BuildProgress, MountKind, NetworkMode, OutputFn, RunMount, RunStep,
    Runner,
};
pub use config::{ConfigFile, Empty, Healthcheck, History, ImageConfig, RootFs};
pub use digest::Digest;
pub use distribution::{AccessFn, Action, Decision, RegistryConfig, RegistryServer};
pub use error::{Error, Result};
pub use image::Image;
pub use options::{
    GcLimits, GcReport, ImportOptions, ProgressFn, PullOptions, PushOptions, RegistryOptions,
    RemoveOptions, Removed, RootfsOptions, TransferEvent, Usage,
};
pub use platform::Platform;
pub use reference::Reference;
pub use registry::{Auth, DockerConfig};
pub use store::ImageStore;
