use std::collections::BTreeSet;
use std::sync::Mutex;

use async_trait::async_trait;
use futures::stream;
use timonier_meta::GroupVersionResource;
use timonier_meta::gvk::resources::{EVENTS, NODES};
use timonier_object::{Value, value};
use timonier_reconcile::ResourceInfo;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::*;
use crate::{DeleteOptions, List, ListOptions, PatchType, WatchEvent, WatchStream};

/// A server with a node and a pod. It refuses the first binding.
struct Server {
    calls: UnboundedSender<String>,
    refused: Mutex<bool>,
}

fn node() -> Value {
    value!({ "metadata": { "name": "n1" },
        "status": { "allocatable": { "cpu": "4", "memory": "4Gi", "pods": "110" } } })
}

fn pod(name: &str, cpu: &str) -> Value {
    value!({ "metadata": { "namespace": "ns", "name": name, "uid": name },
        "spec": { "schedulerName": "default-scheduler", "containers": [
            { "resources": { "requests": { "cpu": cpu } } }] } })
}

#[async_trait]
impl Client for Server {
    async fn get(
        &self,
        _: &GroupVersionResource,
        _: &str,
        name: &str,
    ) -> Result<Arc<Value>, ApiError> {
        Err(ApiError::not_found(&PODS.group_resource(), name))
    }

    async fn list(
        &self,
        resource: &GroupVersionResource,
        _: &str,
        _: &ListOptions,
    ) -> Result<List, ApiError> {
        let items = match resource {
            r if *r == NODES => vec![Arc::new(node())],
            r if *r == PODS => vec![Arc::new(pod("web", "1")), Arc::new(pod("huge", "64"))],
            _ => Vec::new(),
        };
        Ok(List { items, revision: 7, continue_token: None })
    }

    async fn watch(
        &self,
        _: &GroupVersionResource,
        _: &str,
        _: &ListOptions,
    ) -> Result<WatchStream, ApiError> {
        Ok(Box::pin(stream::pending::<Result<WatchEvent, ApiError>>()))
    }

    async fn create(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        subresource: &str,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        assert_eq!(options.field_manager, "default-scheduler");
        if *resource == EVENTS {
            let text = format!("{}: {}", object.at("reason").str(), object.at("message").str());
            self.calls.send(text).unwrap();
            return Ok(Arc::new(object));
        }
        let mut refused = self.refused.lock().unwrap();
        if !*refused {
            *refused = true;
            return Err(ApiError::internal("no quorum"));
        }
        let target = object.at("target.name").str();
        self.calls.send(format!("{subresource} {namespace}/{name} to {target}")).unwrap();
        Ok(Arc::new(object))
    }

    async fn update(
        &self,
        _: &GroupVersionResource,
        _: &str,
        _: &str,
        _: &str,
        object: Value,
        _: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        Ok(Arc::new(object))
    }

    async fn patch(
        &self,
        resource: &GroupVersionResource,
        _: &str,
        name: &str,
        subresource: &str,
        _: PatchType,
        patch: Value,
        _: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        if *resource == EVENTS {
            return Ok(Arc::new(patch));
        }
        let reason = patch.at("status.conditions").items()[0].at("reason").str();
        self.calls.send(format!("patch {name}/{subresource}: {reason}")).unwrap();
        Ok(Arc::new(patch))
    }

    async fn delete(
        &self,
        _: &GroupVersionResource,
        _: &str,
        name: &str,
        _: &DeleteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        Err(ApiError::not_found(&PODS.group_resource(), name))
    }
}

struct Clock(tokio::time::Instant);

impl Environment for Clock {
    fn now(&self) -> Time {
        Time(self.0.elapsed().as_micros() as i64)
    }

    fn random(&self) -> u64 {
        4
    }
}

#[tokio::test]
async fn binds_and_tells() {
    let (calls, mut seen) = unbounded_channel();
    let client = Arc::new(Server { calls, refused: Mutex::new(false) });
    let env = Arc::new(Clock(tokio::time::Instant::now()));
    let caches = Caches::new(client.clone(), env.clone());
    for resource in Scheduler::watches() {
        caches.add(ResourceInfo { resource, kind: "Any".into(), namespaced: true });
    }
    let setup = Setup { client, caches, env: env.clone(), config: Config::default() };
    let task = tokio::spawn(run(setup));
    // What is too large is tried again when the refused binding frees its place.
    let mut said = BTreeSet::new();
    while said.len() < 6 {
        said.insert(seen.recv().await.unwrap());
    }
    task.abort();
    assert_eq!(
        said.iter().collect::<Vec<_>>(),
        [
            "FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu. preemption: \
             0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
            "FailedScheduling: running Bind plugin \"DefaultBinder\": Internal error occurred: \
             no quorum",
            "Scheduled: Successfully assigned ns/web to n1",
            "binding ns/web to n1",
            "patch huge/status: Unschedulable",
            "patch web/status: SchedulerError",
        ]
    );
    assert!(env.now() >= Time(1_000_000), "a refused binding backs off for a second");
}
