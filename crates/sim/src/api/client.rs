//! The API as a client sees it.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use timonier_client::{
    Client, DeleteOptions, List, ListOptions, PatchType, WatchEvent, WatchStream, WriteOptions,
};
use timonier_meta::{ApiError, GroupVersionResource, ObjectKey};
use timonier_object::Value;
use tokio::sync::mpsc;

use super::Api;

#[async_trait]
impl Client for Api {
    async fn get(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Value>, ApiError> {
        self.state().get(&resource.group_resource(), &ObjectKey::new(namespace, name))
    }

    async fn list(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        _: &ListOptions,
    ) -> Result<List, ApiError> {
        self.listed(&resource.group_resource(), namespace)
    }

    async fn watch(
        &self,
        resource: &GroupVersionResource,
        _: &str,
        options: &ListOptions,
    ) -> Result<WatchStream, ApiError> {
        let name = resource.group_resource();
        let from = options.revision.ok_or_else(|| ApiError::bad_request("no revision"))?;
        let mut state = self.state();
        let log = state.log.get(&name).map_or(&[][..], Vec::as_slice);
        let start = log.partition_point(|(revision, _)| *revision <= from);
        let past: Vec<WatchEvent> = log[start..].iter().map(|(_, e)| e.clone()).collect();
        let (sender, receiver) = mpsc::unbounded_channel();
        state.watchers.entry(name).or_default().push(sender);
        let live = stream::unfold(receiver, |mut receiver| async move {
            let event = receiver.recv().await?;
            Some((event, receiver))
        });
        Ok(stream::iter(past).chain(live).map(Ok).boxed())
    }

    async fn create(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        subresource: &str,
        object: Value,
        _: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        let resource = resource.group_resource();
        match subresource {
            "" => self.create_object(&resource, namespace, object),
            "binding" => self.bind(&ObjectKey::new(namespace, name), &object),
            other => Err(ApiError::not_found(&resource, other)),
        }
    }

    async fn update(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        subresource: &str,
        object: Value,
        _: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        let key = ObjectKey::new(namespace, name);
        self.replace(&resource.group_resource(), &key, subresource, object)
    }

    async fn patch(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        subresource: &str,
        kind: PatchType,
        patch: Value,
        _: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        let key = ObjectKey::new(namespace, name);
        self.change(&resource.group_resource(), &key, subresource, kind, &patch)
    }

    async fn delete(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        self.remove(&resource.group_resource(), &ObjectKey::new(namespace, name), options)
    }
}
