//! What to build, and what the builder tells.

use std::collections::BTreeMap;
use std::path::PathBuf;

use timonier_meta::Time;

use super::runner::NetworkMode;
use crate::options::RegistryOptions;
use crate::platform::Platform;

/// What to build.
#[derive(Clone, Debug, Default)]
pub struct BuildOptions {
    /// The context's directory.
    pub context: PathBuf,
    /// The Dockerfile, absolute or relative to the working directory; `Dockerfile` in the
    /// context by default.
    pub dockerfile: Option<PathBuf>,
    /// The names of the result.
    pub tags: Vec<String>,
    /// The stage to build; the last by default.
    pub target: Option<String>,
    pub build_args: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub no_cache: bool,
    /// Pull base images even if they are here.
    pub pull: bool,
    /// How to pull base images that are not here.
    pub registry: RegistryOptions,
    pub platform: Option<Platform>,
    /// The network of `RUN` steps that say nothing.
    pub network: NetworkMode,
    /// `RUN --mount=type=secret,id=…`: files by id.
    pub secrets: BTreeMap<String, PathBuf>,
    /// Seconds since the epoch. Makes the result reproducible: times in the image are cut to it.
    pub source_date_epoch: Option<i64>,
    /// The time now, for the image's `created`.
    pub now: Time,
}

/// What the builder tells while it works.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BuildEvent {
    /// A step begins; `number` counts from 1.
    Step { number: usize, total: usize, line: usize, text: String },
    /// The step's result came out of the cache.
    Cached { number: usize },
    /// Output of a command.
    Output { stderr: bool, bytes: Vec<u8> },
    /// The step is done.
    StepDone { number: usize, milliseconds: u64 },
    /// Something that works but should not be left so: an untagged base, a root user.
    Warning { line: usize, text: String },
    /// The image has this name now.
    Tagged { name: String },
}

/// Takes the builder's events.
pub type BuildProgress<'a> = &'a mut (dyn FnMut(BuildEvent) + Send);
