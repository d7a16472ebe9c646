//! Who runs the commands of `RUN`.

use std::path::PathBuf;

use async_trait::async_trait;

use crate::error::Result;
use crate::users::Identity;

/// Runs one command in an isolated container. The builder knows images, not containers.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Runs the step to its end and returns the exit code (128 + the signal's number if it was
    /// killed). Output goes to `output` as it comes. When the returned future is dropped, the
    /// command must be killed. Whatever was mounted is unmounted at the end.
    async fn run(&self, step: RunStep, output: OutputFn<'_>) -> Result<i32>;
}

/// Takes the output of a step. The flag says that it is standard error.
pub type OutputFn<'a> = &'a mut (dyn FnMut(bool, &[u8]) + Send);

/// One command of `RUN`.
#[derive(Clone, Debug)]
pub struct RunStep {
    /// The layers so far, topmost first.
    pub lower_dirs: Vec<PathBuf>,
    /// Takes the changes; becomes the new layer. Mount the overlay with `redirect_dir=off`,
    /// `metacopy=off` and `index=off`, as [`crate::overlay::mount`] does.
    pub upper_dir: PathBuf,
    /// overlayfs's scratch directory, on the same filesystem as `upper_dir`.
    pub work_dir: PathBuf,
    pub argv: Vec<String>,
    /// `NAME=value`, complete (it has PATH and HOME).
    pub env: Vec<String>,
    /// An absolute path; it exists.
    pub cwd: String,
    /// Already looked up in the image's own files.
    pub user: Identity,
    pub network: NetworkMode,
    pub mounts: Vec<RunMount>,
    /// What the command reads from standard input; nothing means `/dev/null`.
    pub stdin: Option<Vec<u8>>,
}

/// `RUN --network=…`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NetworkMode {
    /// The runner's own default.
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The host's network.
    Host,
}

/// `RUN --mount=…`, already prepared: something of the host to be mounted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunMount {
    /// Absolute, inside the container. The mount point exists.
    pub target: String,
    pub kind: MountKind,
    pub read_only: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MountKind {
    /// A bind mount of a file or a directory of the host.
    Bind { source: PathBuf },
    /// A fresh memory filesystem; the size is bytes.
    Tmpfs { size: Option<u64> },
}
