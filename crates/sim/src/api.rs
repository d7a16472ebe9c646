//! A small API in memory: what the semantics of objects, watches and deletion are, without
//! defaulting, validation and storage.

mod client;
mod write;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use timonier_client::{List, WatchEvent};
use timonier_meta::gvk::resources as r;
use timonier_meta::{ApiError, Environment, GroupResource, ObjectKey};
use timonier_object::Value;
use timonier_reconcile::ResourceInfo;
use tokio::sync::mpsc;

use crate::checks::Checks;

/// The resources that there are.
pub fn resources() -> Vec<ResourceInfo> {
    [
        (r::NAMESPACES, "Namespace", false),
        (r::NODES, "Node", false),
        (r::PODS, "Pod", true),
        (r::SERVICES, "Service", true),
        (r::ENDPOINTS, "Endpoints", true),
        (r::ENDPOINTSLICES, "EndpointSlice", true),
        (r::SERVICEACCOUNTS, "ServiceAccount", true),
        (r::CONFIGMAPS, "ConfigMap", true),
        (r::EVENTS, "Event", true),
        (r::LEASES, "Lease", true),
        (r::DEPLOYMENTS, "Deployment", true),
        (r::REPLICASETS, "ReplicaSet", true),
        (r::REPLICATIONCONTROLLERS, "ReplicationController", true),
        (r::DAEMONSETS, "DaemonSet", true),
        (r::STATEFULSETS, "StatefulSet", true),
        (r::CONTROLLERREVISIONS, "ControllerRevision", true),
        (r::JOBS, "Job", true),
        (r::CRONJOBS, "CronJob", true),
        (r::PODDISRUPTIONBUDGETS, "PodDisruptionBudget", true),
        (r::RESOURCEQUOTAS, "ResourceQuota", true),
        (r::PERSISTENTVOLUMECLAIMS, "PersistentVolumeClaim", true),
        (r::PERSISTENTVOLUMES, "PersistentVolume", false),
    ]
    .into_iter()
    .map(|(resource, kind, namespaced)| ResourceInfo { resource, kind: kind.into(), namespaced })
    .collect()
}

/// The API and everything in it.
pub struct Api {
    env: Arc<dyn Environment>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    revision: u64,
    tables: BTreeMap<GroupResource, BTreeMap<ObjectKey, Arc<Value>>>,
    /// Every event since the start, for watches from a revision.
    log: BTreeMap<GroupResource, Vec<(u64, WatchEvent)>>,
    watchers: BTreeMap<GroupResource, Vec<mpsc::UnboundedSender<WatchEvent>>>,
    checks: Checks,
}

impl Api {
    pub fn new(env: Arc<dyn Environment>) -> Arc<Self> {
        let mut state = State::default();
        for info in resources() {
            state.tables.insert(info.resource.group_resource(), BTreeMap::new());
        }
        Arc::new(Api { env, state: Mutex::new(state) })
    }

    /// What the checks have found so far.
    pub fn violations(&self) -> Vec<String> {
        self.state().checks.violations.clone()
    }

    /// The writes so far, and how many of them were to leases, nodes and events.
    pub fn writes(&self) -> (u64, u64) {
        let state = self.state();
        (state.checks.writes, state.checks.background)
    }

    /// All objects of a resource.
    pub fn all(&self, resource: &GroupResource) -> Vec<Arc<Value>> {
        self.state().tables.get(resource).into_iter().flat_map(|t| t.values().cloned()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state for a write; refused after a violation, so that the run comes to its end.
    fn writable(&self) -> Result<MutexGuard<'_, State>, ApiError> {
        let state = self.state();
        if state.checks.is_halted() { Err(ApiError::internal("halted")) } else { Ok(state) }
    }

    fn listed(&self, resource: &GroupResource, namespace: &str) -> Result<List, ApiError> {
        let state = self.state();
        let table = state.tables.get(resource).ok_or_else(|| ApiError::not_found(resource, ""))?;
        let items = table
            .values()
            .filter(|o| namespace.is_empty() || o.namespace() == namespace)
            .cloned()
            .collect();
        Ok(List { items, revision: state.revision, continue_token: None })
    }
}

impl State {
    fn get(&self, resource: &GroupResource, key: &ObjectKey) -> Result<Arc<Value>, ApiError> {
        let found = self.tables.get(resource).and_then(|t| t.get(key));
        found.cloned().ok_or_else(|| ApiError::not_found(resource, &key.name))
    }

    /// Stores a new state under the next revision.
    fn put(
        &mut self,
        resource: &GroupResource,
        mut object: Value,
        env: &dyn Environment,
    ) -> Arc<Value> {
        self.revision += 1;
        object.set("metadata.resourceVersion", self.revision.to_string());
        let (key, object) = (object.key(), Arc::new(object));
        let table = self.tables.entry(resource.clone()).or_default();
        let old = table.insert(key, object.clone());
        let event = match old {
            None => WatchEvent::Added(object.clone()),
            Some(_) => WatchEvent::Modified(object.clone()),
        };
        self.checks.on_write(resource, old.as_deref(), Some(&object), &self.tables, env.now());
        self.publish(resource, event);
        object
    }

    /// Removes an object; gives its last state with the revision of the deletion.
    fn drop(
        &mut self,
        resource: &GroupResource,
        key: &ObjectKey,
        env: &dyn Environment,
    ) -> Option<Arc<Value>> {
        let old = self.tables.get_mut(resource)?.remove(key)?;
        self.revision += 1;
        let mut last = Value::clone(&old);
        last.set("metadata.resourceVersion", self.revision.to_string());
        let last = Arc::new(last);
        self.checks.on_write(resource, Some(&old), None, &self.tables, env.now());
        self.publish(resource, WatchEvent::Deleted(last.clone()));
        Some(last)
    }

    fn publish(&mut self, resource: &GroupResource, event: WatchEvent) {
        self.log.entry(resource.clone()).or_default().push((self.revision, event.clone()));
        if let Some(watchers) = self.watchers.get_mut(resource) {
            watchers.retain(|w| w.send(event.clone()).is_ok());
        }
    }
}
