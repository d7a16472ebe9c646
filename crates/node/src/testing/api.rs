//! An API server of a few lines: objects, watches, patches, graceful deletion.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::StreamExt;
use timonier_client::{
    Client, DeleteOptions, List, ListOptions, PatchType, WatchEvent, WatchStream, WriteOptions,
};
use timonier_meta::gvk::resources;
use timonier_meta::{ApiError, GroupVersionResource, Selector};
use timonier_object::{Value, value};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

type Key = (GroupVersionResource, String, String);

struct Watcher {
    resource: GroupVersionResource,
    namespace: String,
    fields: Selector,
    to: mpsc::UnboundedSender<Result<WatchEvent, ApiError>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, Arc<Value>>,
    revision: u64,
    watchers: Vec<Watcher>,
    /// Patches of pod statuses so far.
    patches: usize,
}

/// Everything is allowed and nothing is validated.
#[derive(Default)]
pub(crate) struct Api(Mutex<State>);

fn selected(fields: &Selector, object: &Value) -> bool {
    fields.matches(|path| object.find(path).and_then(Value::as_str))
}

impl State {
    fn write(&mut self, resource: &GroupVersionResource, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        object.set("metadata.resourceVersion", self.revision.to_string());
        if object.uid().is_empty() {
            object.set("metadata.uid", format!("uid-{}", self.revision));
        }
        let object = Arc::new(object);
        let key = key(resource, object.namespace(), object.name());
        let old = self.objects.insert(key, object.clone());
        self.tell(resource, &object, |o| match old {
            Some(_) => WatchEvent::Modified(o),
            None => WatchEvent::Added(o),
        });
        object
    }

    fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let object = self.objects.remove(key)?;
        self.tell(&key.0, &object, WatchEvent::Deleted);
        Some(object)
    }

    fn tell(
        &mut self,
        resource: &GroupVersionResource,
        object: &Arc<Value>,
        event: impl Fn(Arc<Value>) -> WatchEvent,
    ) {
        self.watchers.retain(|w| {
            let wanted = w.resource == *resource
                && (w.namespace.is_empty() || w.namespace == object.namespace())
                && selected(&w.fields, object);
            !wanted || w.to.send(Ok(event(object.clone()))).is_ok()
        });
    }
}

fn key(resource: &GroupVersionResource, namespace: &str, name: &str) -> Key {
    (resource.clone(), namespace.to_string(), name.to_string())
}

impl Api {
    /// Creates or replaces an object.
    pub fn put(&self, resource: &GroupVersionResource, object: Value) -> Arc<Value> {
        self.0.lock().unwrap().write(resource, object)
    }

    pub fn read(
        &self,
        resource: &GroupVersionResource,
        ns: &str,
        name: &str,
    ) -> Option<Arc<Value>> {
        self.0.lock().unwrap().objects.get(&key(resource, ns, name)).cloned()
    }

    pub fn all(&self, resource: &GroupVersionResource) -> Vec<Arc<Value>> {
        let state = self.0.lock().unwrap();
        let all = state.objects.iter().filter(|(k, _)| k.0 == *resource);
        all.map(|(_, o)| o.clone()).collect()
    }

    pub fn erase(&self, resource: &GroupVersionResource, ns: &str, name: &str) {
        self.0.lock().unwrap().remove(&key(resource, ns, name));
    }

    /// Ends all watches, as a restart of the server does.
    pub fn drop_watches(&self) {
        self.0.lock().unwrap().watchers.clear();
    }

    pub fn patches(&self) -> usize {
        self.0.lock().unwrap().patches
    }
}

/// Merges as strategic merge patches do for what the node sends.
fn merge(field: &str, into: &mut Value, patch: Value) {
    match patch {
        Value::Object(fields) => {
            let map = into.make_object();
            for (name, value) in fields.iter() {
                if value.is_null() && name != "lastProbeTime" {
                    map.remove(name);
                } else {
                    merge(name, map.entry(name), value.clone());
                }
            }
        }
        Value::Array(items) if field == "conditions" => {
            let list = into.make_array();
            for item in items {
                let same = |c: &&mut Value| c.at("type") == item.at("type");
                match list.iter_mut().find(same) {
                    Some(there) => merge("", there, item),
                    None => {
                        list.push(Value::object());
                        merge("", list.last_mut().expect("just pushed"), item);
                    }
                }
            }
        }
        Value::Array(items) => {
            *into = Value::array(items.into_iter().filter(|i| i.get("$patch").is_none()));
        }
        other => *into = other,
    }
}

#[async_trait]
impl Client for Api {
    async fn get(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Value>, ApiError> {
        self.read(resource, namespace, name)
            .ok_or_else(|| ApiError::not_found(&resource.group_resource(), name))
    }

    async fn list(
        &self,
        resource: &GroupVersionResource,
        _: &str,
        _: &ListOptions,
    ) -> Result<List, ApiError> {
        Ok(List { items: self.all(resource), ..List::default() })
    }

    async fn watch(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<WatchStream, ApiError> {
        let (to, from) = mpsc::unbounded_channel();
        let mut state = self.0.lock().unwrap();
        for ((r, ns, _), object) in &state.objects {
            let here = namespace.is_empty() || ns == namespace;
            if r == resource && here && selected(&options.field_selector, object) {
                to.send(Ok(WatchEvent::Added(object.clone()))).unwrap();
            }
        }
        let revision = state.revision;
        to.send(Ok(WatchEvent::Bookmark { revision, initial_events_end: true })).unwrap();
        state.watchers.push(Watcher {
            resource: resource.clone(),
            namespace: namespace.into(),
            fields: options.field_selector.clone(),
            to,
        });
        Ok(UnboundedReceiverStream::new(from).boxed())
    }

    async fn create(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        subresource: &str,
        mut object: Value,
        _: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        if subresource == "token" {
            let mut state = self.0.lock().unwrap();
            state.revision += 1;
            let token = format!("token-{}-{}", name, state.revision);
            object.set("status", value!({ "token": token }));
            return Ok(Arc::new(object));
        }
        if !namespace.is_empty() {
            object.set("metadata.namespace", namespace);
        }
        let mut state = self.0.lock().unwrap();
        if state.objects.contains_key(&key(resource, namespace, object.name())) {
            return Err(ApiError::already_exists(&resource.group_resource(), object.name()));
        }
        Ok(state.write(resource, object))
    }

    async fn update(
        &self,
        resource: &GroupVersionResource,
        _: &str,
        _: &str,
        _: &str,
        object: Value,
        _: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        Ok(self.put(resource, object))
    }

    async fn patch(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        subresource: &str,
        _: PatchType,
        mut patch: Value,
        _: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        let mut state = self.0.lock().unwrap();
        let Some(old) = state.objects.get(&key(resource, namespace, name)) else {
            return Err(ApiError::not_found(&resource.group_resource(), name));
        };
        let mut object = (**old).clone();
        if *resource == resources::PODS {
            let uid = patch.at("metadata.uid").str();
            assert!(uid == object.uid() && subresource == "status");
        }
        patch.remove("metadata.uid");
        merge("", &mut object, patch);
        if *resource == resources::PODS {
            state.patches += 1;
        }
        Ok(state.write(resource, object))
    }

    async fn delete(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        let mut state = self.0.lock().unwrap();
        let key = key(resource, namespace, name);
        let Some(old) = state.objects.get(&key).cloned() else {
            return Err(ApiError::not_found(&resource.group_resource(), name));
        };
        let grace = options.grace_period_seconds.unwrap_or(30);
        if *resource == resources::PODS && grace > 0 {
            let mut object = (*old).clone();
            object.set("metadata.deletionTimestamp", "2026-11-21T00:00:00Z");
            object.set("metadata.deletionGracePeriodSeconds", grace);
            return Ok(state.write(resource, object));
        }
        state.remove(&key);
        Ok(old)
    }
}
