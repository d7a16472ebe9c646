//! What can go wrong with images, in the groups that callers tell apart.

use std::path::Path;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate. The texts are meant to be shown to a user as they are.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that is no image reference. The kubelet calls this `InvalidImageName`.
    #[error("invalid reference format: {reference:?}: {reason}")]
    InvalidReference { reference: String, reason: String },

    /// No such image here.
    #[error("No such image: {0}")]
    NotFound(String),

    /// A shortened id that several images share.
    #[error("the id {0:?} is ambiguous: {1} images begin with it")]
    Ambiguous(String, usize),

    /// The image is in use, or has several names.
    #[error("conflict: {0}")]
    Conflict(String),

    /// The registry knows no such repository, tag or blob, or hides it.
    #[error("{0}: not found")]
    RegistryNotFound(String),

    /// The registry refused the credentials, or wants some.
    #[error("{0}")]
    Denied(String),

    /// The registry could not be reached, or stayed broken after all retries.
    #[error("{0}")]
    Unreachable(String),

    /// The registry answered something that the protocol does not allow, or an error of its own.
    #[error("{0}")]
    Registry(String),

    /// There is no variant of the image for the wanted platform.
    #[error("no match for platform {wanted} in {reference} (it has: {available})")]
    NoPlatform { reference: String, wanted: String, available: String },

    /// Bytes that are not what they should be: a wrong digest, a malformed manifest, a hostile
    /// layer.
    #[error("{0}")]
    Corrupt(String),

    /// A limit of this crate was passed (sizes, counts).
    #[error("{0}")]
    TooLarge(String),

    /// A Dockerfile that cannot be used. `line` counts from 1.
    #[error("{file}:{line}: {reason}")]
    Dockerfile { file: String, line: usize, reason: String },

    /// A build step that failed; `line` is the line of its instruction.
    #[error("{file}:{line}: {reason}")]
    Build { file: String, line: usize, reason: String },

    /// The arguments of the call do not fit together.
    #[error("{0}")]
    Invalid(String),

    /// The operating system refused something. A full disk comes out here.
    #[error("{context}: {source}")]
    Io { context: String, source: std::io::Error },
}

impl Error {
    /// Whether the same call may succeed later without anything being changed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unreachable(_))
    }
}

pub(crate) fn corrupt(text: impl Into<String>) -> Error {
    Error::Corrupt(text.into())
}

/// Adds what was being done to an error of the operating system.
pub(crate) trait IoContext<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T>;
    fn at(self, verb: &str, path: &Path) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> IoContext<T> for std::result::Result<T, E> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| unwrap_io(what, e.into()))
    }

    fn at(self, verb: &str, path: &Path) -> Result<T> {
        self.during(|| format!("{verb} {}", path.display()))
    }
}

/// An error of ours that had to travel as an `io::Error` (through a `Read`) comes out as itself.
fn unwrap_io(what: impl FnOnce() -> String, source: std::io::Error) -> Error {
    if source.get_ref().is_some_and(|inner| inner.is::<Error>()) {
        let inner = source.into_inner().expect("just seen");
        return *inner.downcast::<Error>().expect("just seen");
    }
    Error::Io { context: what(), source }
}

/// Lets an error of ours travel through `Read` and `Write`.
impl From<Error> for std::io::Error {
    fn from(e: Error) -> Self {
        match e {
            Error::Io { context, source } => {
                std::io::Error::new(source.kind(), format!("{context}: {source}"))
            }
            other => std::io::Error::other(other),
        }
    }
}
