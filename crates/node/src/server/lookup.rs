//! From names to what the runtime knows.

use std::path::PathBuf;
use std::sync::Arc;

use timonier_object::Value;

use crate::pod_table::{PodEntry, PodTable, TableError};

/// A log to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSource {
    pub path: PathBuf,
    /// The container that writes it, unless it is an earlier run's.
    pub writer: Option<String>,
}

/// A container, for statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownContainer {
    pub name: String,
    pub id: String,
}

/// A pod on the node.
#[derive(Clone, Debug)]
pub struct KnownPod {
    pub pod: Arc<Value>,
    pub uid: String,
    pub sandbox: Option<String>,
    pub containers: Vec<KnownContainer>,
}

/// Why a name leads nowhere: an HTTP status and a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupError {
    pub code: u16,
    pub text: String,
}

/// What the server asks the node.
pub trait Lookup: Send + Sync + 'static {
    fn pods(&self) -> Vec<KnownPod>;
    fn pod(&self, namespace: &str, name: &str) -> Result<KnownPod, LookupError>;
    /// The runtime's id of a running container.
    fn running(&self, namespace: &str, pod: &str, container: &str) -> Result<String, LookupError>;
    fn log(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
    ) -> Result<LogSource, LookupError>;
}

impl From<TableError> for LookupError {
    fn from(error: TableError) -> Self {
        let code = match error {
            TableError::NoPod(_) => 404,
            TableError::NotRunning(_) | TableError::NotFound(_) => 500,
            TableError::NoContainer { .. }
            | TableError::Waiting { .. }
            | TableError::NoPrevious { .. } => 400,
        };
        Self { code, text: error.to_string() }
    }
}

impl From<PodEntry> for KnownPod {
    fn from(entry: PodEntry) -> Self {
        let container =
            |(name, entry): (String, crate::ContainerEntry)| KnownContainer { name, id: entry.id };
        Self {
            pod: entry.pod,
            uid: entry.uid,
            sandbox: entry.sandbox,
            containers: entry.containers.into_iter().map(container).collect(),
        }
    }
}

impl Lookup for PodTable {
    fn pods(&self) -> Vec<KnownPod> {
        self.list().into_iter().map(KnownPod::from).collect()
    }

    fn pod(&self, namespace: &str, name: &str) -> Result<KnownPod, LookupError> {
        Ok(PodTable::pod(self, namespace, name)?.into())
    }

    fn running(&self, namespace: &str, pod: &str, container: &str) -> Result<String, LookupError> {
        Ok(PodTable::running(self, namespace, pod, container)?.id)
    }

    fn log(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
    ) -> Result<LogSource, LookupError> {
        let path = self.log_path(namespace, pod, container, previous)?;
        let writer = match previous {
            true => None,
            false => Some(self.container(namespace, pod, container)?.id),
        };
        Ok(LogSource { path, writer })
    }
}
