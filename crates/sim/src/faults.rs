//! A client between which and the API server things go wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use timonier_client::{
    Client, DeleteOptions, List, ListOptions, PatchType, WatchStream, WriteOptions,
};
use timonier_meta::{ApiError, GroupVersionResource};
use timonier_object::Value;
use tokio::time::sleep;

use crate::environment::Random;

/// What goes wrong at present. All chances are per mille.
pub struct Faults {
    pub random: Random,
    on: AtomicBool,
}

impl Faults {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Faults { random: Random::new(seed), on: AtomicBool::new(true) })
    }

    /// From now on everything works.
    pub fn heal(&self) {
        self.on.store(false, Ordering::Relaxed);
    }

    pub fn are_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    fn strikes(&self, per_mille: u64) -> bool {
        self.are_on() && self.random.chance(per_mille)
    }

    async fn delay(&self) {
        if self.strikes(20) {
            sleep(Duration::from_millis(self.random.below(3000))).await;
        } else if self.strikes(300) {
            sleep(Duration::from_millis(self.random.below(200))).await;
        }
    }

    /// A request that never arrives.
    async fn before(&self) -> Result<(), ApiError> {
        self.delay().await;
        if self.strikes(20) {
            return Err(ApiError::unavailable("the request was lost"));
        }
        Ok(())
    }

    /// A reply that never arrives, though the write was done.
    async fn after<T>(&self, result: Result<T, ApiError>) -> Result<T, ApiError> {
        if self.strikes(25) {
            return Err(ApiError::unavailable("the reply was lost"));
        }
        self.delay().await;
        result
    }
}

/// A client with faults.
pub struct Faulty {
    pub inner: Arc<dyn Client>,
    pub faults: Arc<Faults>,
}

#[async_trait]
impl Client for Faulty {
    async fn get(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Value>, ApiError> {
        self.faults.before().await?;
        self.inner.get(resource, namespace, name).await
    }

    async fn list(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<List, ApiError> {
        self.faults.before().await?;
        let list = self.inner.list(resource, namespace, options).await;
        self.faults.delay().await;
        list
    }

    async fn watch(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<WatchStream, ApiError> {
        if self.faults.strikes(5) {
            return Err(ApiError::expired("too old resource version"));
        }
        let inner = self.inner.watch(resource, namespace, options).await?;
        let state = (inner, self.faults.clone(), false);
        let faulty = stream::unfold(state, |(mut inner, faults, ended)| async move {
            if ended {
                return None;
            }
            let event = inner.next().await?;
            if faults.strikes(30) {
                sleep(Duration::from_millis(faults.random.below(5000))).await;
            }
            if faults.strikes(3) {
                let error = ApiError::expired("the watcher fell behind");
                return Some((Err(error), (inner, faults, true)));
            }
            if faults.strikes(5) {
                return None;
            }
            Some((event, (inner, faults, false)))
        });
        Ok(faulty.boxed())
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
        self.faults.before().await?;
        let result =
            self.inner.create(resource, namespace, name, subresource, object, options).await;
        self.faults.after(result).await
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
        self.faults.before().await?;
        let result =
            self.inner.update(resource, namespace, name, subresource, object, options).await;
        self.faults.after(result).await
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
        self.faults.before().await?;
        let result =
            self.inner.patch(resource, namespace, name, subresource, kind, patch, options).await;
        self.faults.after(result).await
    }

    async fn delete(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        self.faults.before().await?;
        let result = self.inner.delete(resource, namespace, name, options).await;
        self.faults.after(result).await
    }
}
