//! Which pods are on the node: what the node's HTTPS server looks names up in.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use timonier_object::Value;
use timonier_pod::observed::State;

/// The newest run of a container, and the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerEntry {
    /// The runtime's id.
    pub id: String,
    pub attempt: u32,
    pub state: State,
    /// The log of this run; rotated files stand beside it with a time as suffix.
    pub log_path: PathBuf,
    /// The log of the run before, for `--previous`; `None` where there is none.
    pub previous_log_path: Option<PathBuf>,
}

/// A pod on the node.
#[derive(Clone, Debug)]
pub struct PodEntry {
    pub uid: String,
    pub pod: Arc<Value>,
    /// The runtime's id of the ready sandbox.
    pub sandbox: Option<String>,
    /// The pod's addresses.
    pub ips: Vec<String>,
    pub containers: BTreeMap<String, ContainerEntry>,
}

/// Why a name leads nowhere; the texts are upstream's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TableError {
    #[error("pod \"{0}\" does not exist")]
    NoPod(String),
    #[error("container {container} is not valid for pod {pod}")]
    NoContainer { container: String, pod: String },
    /// It is in the spec but has not run yet.
    #[error("container \"{container}\" in pod \"{pod}\" is waiting to start: {reason}")]
    Waiting { container: String, pod: String, reason: String },
    #[error("previous terminated container \"{container}\" in pod \"{pod}\" not found")]
    NoPrevious { container: String, pod: String },
    #[error("container not running ({0})")]
    NotRunning(String),
    /// There is nothing to execute commands in. The text has no colon: clients try to read a
    /// refusal as YAML, and one with a colon would be an empty `Status` to them.
    #[error("container not found (\"{0}\")")]
    NotFound(String),
}

/// The pods of the node by namespace and name. Cheap to clone; all clones share the content.
#[derive(Clone, Default)]
pub struct PodTable(Arc<RwLock<BTreeMap<(String, String), PodEntry>>>);

impl PodTable {
    /// A pod.
    pub fn pod(&self, namespace: &str, name: &str) -> Result<PodEntry, TableError> {
        let table = self.0.read().unwrap_or_else(|e| e.into_inner());
        let entry = table.get(&(namespace.to_string(), name.to_string()));
        entry.cloned().ok_or_else(|| TableError::NoPod(name.to_string()))
    }

    /// A container's newest run, running or not.
    pub fn container(
        &self,
        namespace: &str,
        name: &str,
        container: &str,
    ) -> Result<ContainerEntry, TableError> {
        let entry = self.pod(namespace, name)?;
        if let Some(found) = entry.containers.get(container) {
            return Ok(found.clone());
        }
        let (container, pod) = (container.to_string(), name.to_string());
        let Some(c) = timonier_pod::spec::container(&entry.pod, &container) else {
            return Err(TableError::NoContainer { container, pod: format!("{pod}_{namespace}") });
        };
        let status = timonier_pod::life::api_status(&entry.pod, c.role, &container);
        let reason = match status.at("state.waiting.reason").str() {
            "" => "ContainerCreating".to_string(),
            reason => reason.to_string(),
        };
        Err(TableError::Waiting { container, pod, reason })
    }

    /// A container that runs, for exec and attach.
    pub fn running(
        &self,
        namespace: &str,
        name: &str,
        container: &str,
    ) -> Result<ContainerEntry, TableError> {
        match self.container(namespace, name, container) {
            Ok(found) if found.state == State::Running => Ok(found),
            Ok(_) => Err(TableError::NotRunning(container.to_string())),
            Err(
                TableError::Waiting { container, .. } | TableError::NoContainer { container, .. },
            ) => Err(TableError::NotFound(container)),
            Err(other) => Err(other),
        }
    }

    /// The log file of a container's newest run, or of the one before.
    pub fn log_path(
        &self,
        namespace: &str,
        name: &str,
        container: &str,
        previous: bool,
    ) -> Result<PathBuf, TableError> {
        let found = self.container(namespace, name, container)?;
        match (previous, found.previous_log_path) {
            (false, _) => Ok(found.log_path),
            (true, Some(path)) => Ok(path),
            (true, None) => Err(TableError::NoPrevious {
                container: container.to_string(),
                pod: name.to_string(),
            }),
        }
    }

    /// All pods, for `/pods`.
    pub fn list(&self) -> Vec<PodEntry> {
        self.0.read().unwrap_or_else(|e| e.into_inner()).values().cloned().collect()
    }

    /// Sets a pod's entry.
    pub(crate) fn set(&self, entry: PodEntry) {
        let key = (entry.pod.namespace().to_string(), entry.pod.name().to_string());
        self.0.write().unwrap_or_else(|e| e.into_inner()).insert(key, entry);
    }

    /// Removes a pod's entry, unless another pod of this name has taken the place.
    pub(crate) fn remove(&self, namespace: &str, name: &str, uid: &str) {
        let key = (namespace.to_string(), name.to_string());
        let mut table = self.0.write().unwrap_or_else(|e| e.into_inner());
        if table.get(&key).is_some_and(|e| e.uid == uid) {
            table.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timonier_object::value;

    #[test]
    fn names_lead_to_containers_or_to_upstreams_errors() {
        let table = PodTable::default();
        assert_eq!(table.pod("n", "p").unwrap_err(), TableError::NoPod("p".into()));
        let pod = Arc::new(value!({ "metadata": { "name": "p", "namespace": "n", "uid": "u" },
            "spec": { "containers": [{ "name": "a" }, { "name": "b" }] } }));
        let a = ContainerEntry {
            id: "1".into(),
            attempt: 0,
            state: State::Exited,
            log_path: "/l".into(),
            previous_log_path: None,
        };
        table.set(PodEntry {
            uid: "u".into(),
            pod,
            sandbox: None,
            ips: Vec::new(),
            containers: BTreeMap::from([("a".to_string(), a)]),
        });
        assert_eq!(table.log_path("n", "p", "a", false).unwrap(), PathBuf::from("/l"));
        assert!(matches!(table.log_path("n", "p", "a", true), Err(TableError::NoPrevious { .. })));
        assert!(matches!(table.running("n", "p", "a"), Err(TableError::NotRunning(_))));
        for waiting in ["b", "c"] {
            let text = table.running("n", "p", waiting).unwrap_err().to_string();
            assert_eq!(text, format!("container not found (\"{waiting}\")"));
            assert!(timonier_object::yaml::decode(&text).unwrap().as_str().is_some());
        }
        assert_eq!(
            table.container("n", "p", "b").unwrap_err().to_string(),
            "container \"b\" in pod \"p\" is waiting to start: ContainerCreating"
        );
        assert!(matches!(table.container("n", "p", "c"), Err(TableError::NoContainer { .. })));
        table.remove("n", "p", "other");
        assert_eq!(table.list().len(), 1);
        table.remove("n", "p", "u");
        assert_eq!(table.list().len(), 0);
    }
}
