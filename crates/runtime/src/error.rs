//! What can go wrong.

use std::io;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of the runtime. Texts are meant for pod status messages and events.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such sandbox or container; `what` is `sandbox "…"` or `container "…"`.
    #[error("{what} not found")]
    NotFound { what: String },
    /// The object is in a state in which the call makes no sense.
    #[error("{0}")]
    WrongState(String),
    /// The configuration cannot be carried out.
    #[error("{0}")]
    Invalid(String),
    /// The container's process could not be started; the text says why.
    #[error("unable to start container process: {0}")]
    Start(String),
    /// A command in a container could not be started.
    #[error("failed to exec in container: unable to start container process: {0}")]
    Exec(String),
    /// The command ran longer than allowed and was killed.
    #[error("command {command:?} timed out")]
    ExecTimeout { command: String },
    /// The pod's shim does not answer.
    #[error("shim of sandbox {sandbox}: {reason}")]
    Shim { sandbox: String, reason: String },
    #[error("{context}: {source}")]
    Io { context: String, source: io::Error },
}

impl Error {
    pub(crate) fn sandbox(id: &str) -> Self {
        Self::NotFound { what: format!("sandbox {id:?}") }
    }

    pub(crate) fn container(id: &str) -> Self {
        Self::NotFound { what: format!("container {id:?}") }
    }

    /// Whether the object is simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// Says what was being done when an operating system call failed.
pub(crate) trait Context<T> {
    fn context(self, text: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, text: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::Io { context: text(), source: e.into() })
    }
}
