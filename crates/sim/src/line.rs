//! A connection to the API server: it breaks when the process dies, and what comes over it is
//! checked against what is durable.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use timonier_client::{
    Client, DeleteOptions, List, ListOptions, PatchType, WatchStream, WriteOptions,
};
use timonier_meta::{ApiError, GroupVersionResource};
use timonier_object::Value;
use timonier_policy::User;

use crate::server::Cluster;

pub struct Line {
    cluster: Arc<Cluster>,
    user: User,
}

impl Line {
    pub fn new(cluster: Arc<Cluster>, user: User) -> Self {
        Line { cluster, user }
    }

    /// Does a request, as far as the process lives to do it.
    async fn request<T, F>(&self, send: impl FnOnce(Arc<dyn Client>) -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        let refused = || ApiError::unavailable("connection refused");
        let process = self.cluster.process().ok_or_else(refused)?;
        let client = process.api.client(self.user.clone());
        tokio::select! {
            biased;
            () = process.death() => Err(ApiError::unavailable("connection reset by peer")),
            result = send(client) => result,
        }
    }

    /// A write that was answered is durable.
    fn acknowledged(
        &self,
        resource: &GroupVersionResource,
        result: Result<Arc<Value>, ApiError>,
    ) -> Result<Arc<Value>, ApiError> {
        if let Ok(object) = &result {
            self.cluster.audit.on_answer(resource, object);
        }
        result
    }
}

#[async_trait]
impl Client for Line {
    async fn get(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Value>, ApiError> {
        let result = self.request(|c| async move { c.get(resource, namespace, name).await }).await;
        // After a failed sync there may be more on the disk than the process knows.
        if let Ok(object) = &result
            && !self.cluster.disk.has_failed()
        {
            self.cluster.audit.on_read(resource, object);
        }
        result
    }

    async fn list(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<List, ApiError> {
        let result =
            self.request(|c| async move { c.list(resource, namespace, options).await }).await;
        if let Ok(list) = &result {
            self.cluster.audit.on_list(resource, namespace, options, list);
        }
        result
    }

    async fn watch(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<WatchStream, ApiError> {
        let refused = || ApiError::unavailable("connection refused");
        let process = self.cluster.process().ok_or_else(refused)?;
        let client = process.api.client(self.user.clone());
        let inner = client.watch(resource, namespace, options).await?;
        let cursor = self.cluster.audit.cursor(resource, namespace, options);
        let end = Box::pin(async move { process.death().await });
        let audit = self.cluster.audit.clone();
        let state = (inner.take_until(end), cursor);
        let checked = stream::unfold(state, move |(mut inner, mut cursor)| {
            let audit = audit.clone();
            async move {
                let event = inner.next().await?;
                if let Ok(event) = &event {
                    audit.on_event(&mut cursor, event);
                }
                Some((event, (inner, cursor)))
            }
        });
        Ok(checked.boxed())
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
        let result = self.request(|c| async move {
            c.create(resource, namespace, name, subresource, object, options).await
        });
        self.acknowledged(resource, result.await)
    }

    async fn update(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        subresource: &str,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        let result = self.request(|c| async move {
            c.update(resource, namespace, name, subresource, object, options).await
        });
        self.acknowledged(resource, result.await)
    }

    async fn patch(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        subresource: &str,
        kind: PatchType,
        patch: Value,
        options: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        let result = self.request(|c| async move {
            c.patch(resource, namespace, name, subresource, kind, patch, options).await
        });
        self.acknowledged(resource, result.await)
    }

    async fn delete(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        let result =
            self.request(|c| async move { c.delete(resource, namespace, name, options).await });
        self.acknowledged(resource, result.await)
    }
}
