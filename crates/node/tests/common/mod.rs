//! A cluster in memory, as far as caches need one, and networks of their own for tests.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::StreamExt;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use timonier_client::cache::Caches;
use timonier_client::{
    Client, DeleteOptions, List, ListOptions, PatchType, WatchEvent, WatchStream, WriteOptions,
};
use timonier_meta::{ApiError, GroupVersionResource, ObjectKey};
use timonier_node::NodeEnvironment;
use timonier_object::Value;
use tokio::sync::watch;

/// Runs a test on a thread with a network and mounts of its own, in a tokio runtime; without root
/// it says that it is skipped.
pub fn isolated<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: network namespaces need root");
        return;
    }
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("own namespaces");
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("private mounts");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Objects by resource and key, with the events so far.
pub struct Cluster {
    state: Arc<Mutex<State>>,
    revision: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<(GroupVersionResource, ObjectKey), Arc<Value>>,
    events: Vec<(u64, GroupVersionResource, WatchEvent)>,
}

impl Cluster {
    pub fn new() -> Arc<Cluster> {
        let (revision, _) = watch::channel(1);
        Arc::new(Cluster { state: Arc::default(), revision })
    }

    /// Caches on this cluster.
    pub fn caches(self: &Arc<Self>) -> Arc<Caches> {
        Caches::new(self.clone(), Arc::new(NodeEnvironment))
    }

    /// Creates or replaces an object; gives its revision.
    pub fn put(&self, resource: &GroupVersionResource, mut object: Value) -> u64 {
        let mut state = self.state.lock().unwrap();
        let revision = *self.revision.borrow() + 1;
        object.set("metadata.resourceVersion", revision.to_string());
        let key = (resource.clone(), object.key());
        if object.uid().is_empty() {
            object.set("metadata.uid", format!("{}-{}", resource.resource, object.key()));
        }
        let object = Arc::new(object);
        let old = state.objects.insert(key, object.clone());
        let event = match old {
            None => WatchEvent::Added(object),
            Some(_) => WatchEvent::Modified(object),
        };
        state.events.push((revision, resource.clone(), event));
        self.revision.send_replace(revision);
        revision
    }

    /// Deletes an object; gives the revision.
    pub fn remove(&self, resource: &GroupVersionResource, namespace: &str, name: &str) -> u64 {
        let mut state = self.state.lock().unwrap();
        let revision = *self.revision.borrow() + 1;
        let key = (resource.clone(), ObjectKey::new(namespace, name));
        let mut last = (*state.objects.remove(&key).expect("the object")).clone();
        last.set("metadata.resourceVersion", revision.to_string());
        state.events.push((revision, resource.clone(), WatchEvent::Deleted(Arc::new(last))));
        self.revision.send_replace(revision);
        revision
    }
}

impl State {
    fn events_after(&self, resource: &GroupVersionResource, after: u64) -> Vec<(u64, WatchEvent)> {
        let new = self.events.iter().filter(|(r, of, _)| *r > after && of == resource);
        new.map(|(r, _, event)| (*r, event.clone())).collect()
    }
}

fn unsupported() -> ApiError {
    ApiError::internal("the test's cluster cannot do this")
}

#[async_trait]
impl Client for Cluster {
    async fn get(
        &self,
        _: &GroupVersionResource,
        _: &str,
        _: &str,
    ) -> Result<Arc<Value>, ApiError> {
        Err(unsupported())
    }

    async fn list(
        &self,
        resource: &GroupVersionResource,
        _: &str,
        _: &ListOptions,
    ) -> Result<List, ApiError> {
        let state = self.state.lock().unwrap();
        let of = state.objects.iter().filter(|((r, _), _)| r == resource);
        let items = of.map(|(_, object)| object.clone()).collect();
        Ok(List { items, revision: *self.revision.borrow(), continue_token: None })
    }

    async fn watch(
        &self,
        resource: &GroupVersionResource,
        _: &str,
        options: &ListOptions,
    ) -> Result<WatchStream, ApiError> {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let mut told = self.revision.subscribe();
        let state = self.state.clone();
        let (resource, mut after) = (resource.clone(), options.revision.unwrap_or(0));
        tokio::spawn(async move {
            loop {
                told.borrow_and_update();
                let new = state.lock().unwrap().events_after(&resource, after);
                for (revision, event) in new {
                    after = revision;
                    if sender.send(Ok(event)).is_err() {
                        return;
                    }
                }
                if told.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(tokio_stream::wrappers::UnboundedReceiverStream::new(receiver).boxed())
    }

    async fn create(
        &self,
        _: &GroupVersionResource,
        _: &str,
        _: &str,
        _: &str,
        _: Value,
        _: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        Err(unsupported())
    }

    async fn update(
        &self,
        _: &GroupVersionResource,
        _: &str,
        _: &str,
        _: &str,
        _: Value,
        _: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        Err(unsupported())
    }

    async fn patch(
        &self,
        _: &GroupVersionResource,
        _: &str,
        _: &str,
        _: &str,
        _: PatchType,
        _: Value,
        _: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        Err(unsupported())
    }

    async fn delete(
        &self,
        _: &GroupVersionResource,
        _: &str,
        _: &str,
        _: &DeleteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        Err(unsupported())
    }
}

/// Brings the loopback interface up, as every host has it.
pub fn lo_up() {
    let done = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
    assert!(done.is_ok_and(|status| status.success()), "the test needs the program `ip`");
}
