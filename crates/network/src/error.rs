//! Errors of the network.

use std::io;

/// What can fail.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call or netlink request failed.
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    /// Every address of the node's range is in use.
    #[error("no IP addresses available in range set: {0}")]
    Exhausted(timonier_traffic::Cidr),
    /// The configuration cannot work; the text says why.
    #[error("{0}")]
    Config(String),
    /// The pod is being attached or detached.
    #[error("the network of pod {0} is being changed")]
    Busy(String),
    /// The kernel's answer was not understood.
    #[error("netlink: {0}")]
    Protocol(String),
    /// A host port that another pod has.
    #[error("host port {0} is already in use")]
    PortTaken(String),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Adds what was being done to a system error.
pub(crate) trait Context<T> {
    fn what(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn what(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::Io { what: what(), source: e.into() })
    }
}
