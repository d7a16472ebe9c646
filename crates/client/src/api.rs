//! The calls of the API as a trait.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use smol_str::SmolStr;
use timonier_meta::{ApiError, GroupVersionResource, Selector};
use timonier_object::Value;

/// What a list or watch selects and where it starts.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    pub label_selector: Selector,
    pub field_selector: Selector,
    /// For a list: at least this revision. For a watch: events after this revision; `None` starts
    /// with the present objects as `Added`, closed by an `InitialEventsEnd` bookmark.
    pub revision: Option<u64>,
    /// Most items of one page; 0 for all.
    pub limit: usize,
    pub continue_token: Option<String>,
}

/// A page of a list.
#[derive(Clone, Debug, Default)]
pub struct List {
    pub items: Vec<Arc<Value>>,
    /// The revision of the collection.
    pub revision: u64,
    pub continue_token: Option<String>,
}

/// Options of create, update and patch.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    pub dry_run: bool,
    /// The field manager; the component's name for in-process clients.
    pub field_manager: SmolStr,
}

/// What becomes of the objects that an object owns when it is deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// What must hold for a delete to take place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    pub uid: Option<SmolStr>,
    pub resource_version: Option<SmolStr>,
}

/// Options of a delete.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    pub preconditions: Preconditions,
    pub dry_run: bool,
}

/// The form of a patch's body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PatchType {
    Json,
    Merge,
    Strategic,
    /// Server-side apply.
    Apply,
}

/// One event of a watch.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    Added(Arc<Value>),
    Modified(Arc<Value>),
    /// The last state, with the revision of the deletion.
    Deleted(Arc<Value>),
    /// Everything up to this revision has been sent.
    Bookmark {
        revision: u64,
        initial_events_end: bool,
    },
}

/// Events in order. After an `Err` (410 `Expired` where the revision is compacted or the watcher
/// fell behind) the stream ends.
pub type WatchStream = BoxStream<'static, Result<WatchEvent, ApiError>>;

/// A connection to an API server. The namespace is empty for cluster-scoped resources, and for
/// lists and watches over all namespaces. `subresource` is empty for the object itself.
// A patch has that many parts; a struct for them would hide which is which.
#[allow(clippy::too_many_arguments)]
#[async_trait]
pub trait Client: Send + Sync {
    async fn get(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Value>, ApiError>;

    async fn list(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<List, ApiError>;

    async fn watch(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<WatchStream, ApiError>;

    /// Creates an object, or with a name and a subresource a subresource of it (`binding`,
    /// `eviction`, `token`); gives what the server answers.
    async fn create(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        subresource: &str,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError>;

    /// Replaces an object or its subresource; a `metadata.resourceVersion` is a precondition.
    async fn update(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        subresource: &str,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError>;

    async fn patch(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        subresource: &str,
        kind: PatchType,
        patch: Value,
        options: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError>;

    /// Deletes an object; gives its last state, or the object where the deletion is still to
    /// finish.
    async fn delete(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Arc<Value>, ApiError>;
}
