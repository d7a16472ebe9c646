//! The client without HTTP: the same verbs, called directly.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use timonier_client::{
    Client, DeleteOptions, List, ListOptions, PatchType, WatchEvent, WatchStream, WriteOptions,
};
use timonier_meta::{ApiError, GroupVersionKind, GroupVersionResource, Reason};
use timonier_object::Value;
use timonier_policy::User;

use crate::call::{Call, Object};
use crate::query::{FieldValidation, ListQuery, Match, WriteQuery};
use crate::request::RequestInfo;
use crate::server::ApiServer;
use crate::strategy::Part;
use crate::subresources::{binding, eviction, finalize, scale, token};
use crate::verbs::update::Updated;
use crate::verbs::watch::Change;
use crate::verbs::{create, delete, get, list, patch, update, watch};
use crate::{admission, decode, reviews, strategy};

/// A component's connection to the API server in its own process.
pub struct InProcess {
    server: Arc<ApiServer>,
    user: User,
}

impl InProcess {
    /// A client that acts as `user`.
    pub fn new(server: Arc<ApiServer>, user: User) -> Self {
        InProcess { server, user }
    }

    fn info(
        &self,
        verb: &'static str,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        subresource: &str,
    ) -> RequestInfo {
        // As in a URL, a namespace's own name is its namespace.
        let of_itself = resource.group.is_empty() && resource.resource == "namespaces";
        RequestInfo {
            is_resource: true,
            verb,
            group: resource.group.clone(),
            version: resource.version.clone(),
            resource: resource.resource.clone(),
            namespace: if of_itself { name.into() } else { namespace.into() },
            name: name.into(),
            subresource: subresource.into(),
            ..RequestInfo::default()
        }
    }

    /// A selector for one name counts as that name when the request is authorized, as in a URL.
    fn collection(
        &self,
        verb: &'static str,
        resource: &GroupVersionResource,
        namespace: &str,
        options: &ListOptions,
    ) -> RequestInfo {
        let name = options.field_selector.exact("metadata.name").unwrap_or_default();
        let mut info = self.info(verb, resource, namespace, "", "");
        info.name = name.into();
        info.name_from_selector = true;
        info.fields = options.field_selector.clone();
        info
    }

    /// Finds the row and asks the authorizer, as for a request over HTTP.
    fn call<'a>(&'a self, info: &'a RequestInfo) -> Result<Call<'a>, ApiError> {
        let call = Call::find(&self.server, &self.user, info).ok_or_else(not_served)?;
        call.authorize()?;
        self.server.check_store()?;
        Ok(call)
    }
}

fn not_served() -> ApiError {
    ApiError::new(404, Reason::NotFound, "the server could not find the requested resource")
}

fn list_query(options: &ListOptions) -> ListQuery {
    ListQuery {
        labels: options.label_selector.clone(),
        fields: options.field_selector.clone(),
        resource_version: options.revision.map(|r| r.to_string()).unwrap_or_default(),
        revision: options.revision,
        matching: if options.revision.is_some() { Match::NotOlderThan } else { Match::Unset },
        limit: options.limit,
        continue_token: options.continue_token.clone().unwrap_or_default(),
        bookmarks: true,
        ..ListQuery::default()
    }
}

fn write_query(options: &WriteOptions) -> WriteQuery {
    WriteQuery {
        dry_run: options.dry_run,
        field_validation: FieldValidation::Ignore,
        ..WriteQuery::default()
    }
}

#[async_trait]
impl Client for InProcess {
    async fn get(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Value>, ApiError> {
        let info = self.info("get", resource, namespace, name, "");
        let call = self.call(&info)?;
        Ok(get::get(&call, None).await?.value(&call))
    }

    async fn list(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<List, ApiError> {
        let info = self.collection("list", resource, namespace, options);
        let call = self.call(&info)?;
        let page = list::list(&call, &list_query(options)).await?;
        Ok(List {
            items: page.items.iter().map(|object| object.value(&call)).collect(),
            revision: page.revision,
            continue_token: Some(page.continue_token).filter(|t| !t.is_empty()),
        })
    }

    async fn watch(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<WatchStream, ApiError> {
        let info = self.collection("watch", resource, namespace, options);
        let call = self.call(&info)?;
        let mut query = list_query(options);
        query.send_initial_events = options.revision.is_none().then_some(true);
        let watch = watch::watch(&call, &query).await?;
        Ok(watch.run(event).boxed())
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
        let info = self.info("create", resource, namespace, name, subresource);
        let mut call = self.call(&info)?;
        call.manager = options.field_manager.clone();
        let dry_run = options.dry_run;
        let made = match subresource {
            "" => {
                let object = accept(&call, object)?;
                match reviews::create(&call, object.clone()) {
                    Some(answered) => answered?,
                    None => create::create(&call, object, dry_run).await?,
                }
            }
            "binding" => {
                let body = asked(&call, &binding::KIND, object, dry_run).await?;
                binding::create(&call, name, &body, dry_run).await?
            }
            "eviction" => {
                let body = asked(&call, &eviction::KIND, object, dry_run).await?;
                eviction::create(&call, name, &body, dry_run).await?
            }
            "token" => {
                let body = asked(&call, &token::KIND, object, dry_run).await?;
                token::create(&call, name, body).await?
            }
            _ => return Err(not_served()),
        };
        Ok(made.value(&call))
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
        let info = self.info("update", resource, namespace, name, subresource);
        let mut call = self.call(&info)?;
        call.manager = options.field_manager.clone();
        let dry_run = options.dry_run;
        let changed: Object = match subresource {
            "" | "status" => {
                let part = if subresource.is_empty() { Part::Main } else { Part::Status };
                let object = accept(&call, object)?;
                match update::update(&call, object, part, dry_run).await? {
                    Updated::Changed(object) | Updated::Created(object) => object,
                }
            }
            "scale" => scale::update(&call, object, dry_run).await?,
            "finalize" => finalize::update(&call, object, dry_run).await?,
            "approval" => crate::subresources::approval::update(&call, object, dry_run).await?,
            _ => return Err(not_served()),
        };
        Ok(changed.value(&call))
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
        let info = self.info("patch", resource, namespace, name, subresource);
        let mut call = self.call(&info)?;
        call.manager = options.field_manager.clone();
        let options = write_query(options);
        let changed = match subresource {
            "" | "status" if kind == PatchType::Apply => {
                let part = if subresource.is_empty() { Part::Main } else { Part::Status };
                patch::apply_object(&call, patch, part, &options).await?.1
            }
            "" => patch::patch(&call, kind, &patch, Part::Main, &options).await?,
            "status" => patch::patch(&call, kind, &patch, Part::Status, &options).await?,
            "scale" => scale::patch(&call, kind, &patch, options.dry_run).await?,
            _ => return Err(not_served()),
        };
        Ok(changed.value(&call))
    }

    async fn delete(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        let info = self.info("delete", resource, namespace, name, "");
        let call = self.call(&info)?;
        Ok(delete::delete(&call, name, options).await?.object().value(&call))
    }
}

/// The object with its type, made to fit the schema as one from outside would be.
fn accept(call: &Call<'_>, mut object: Value) -> Result<Value, ApiError> {
    strategy::check_type(call, &mut object)?;
    decode::accept(call, object, Vec::new(), FieldValidation::Ignore)
}

/// The body of a subresource that admission webhooks have seen.
async fn asked(
    call: &Call<'_>,
    gvk: &GroupVersionKind,
    mut body: Value,
    dry_run: bool,
) -> Result<Value, ApiError> {
    strategy::check_kind(gvk, &mut body)?;
    let mut body = decode::accept_as(call, gvk, body, Vec::new(), FieldValidation::Ignore)?;
    admission::webhooks::body(call, gvk, &mut body, dry_run).await?;
    Ok(body)
}

fn event(call: &Call<'_>, change: Change) -> WatchEvent {
    match change {
        Change::Added(object) => WatchEvent::Added(object.value(call)),
        Change::Modified(object) => WatchEvent::Modified(object.value(call)),
        Change::Deleted(object) => WatchEvent::Deleted(object.value(call)),
        Change::Bookmark { revision, initial_events_end } => {
            WatchEvent::Bookmark { revision, initial_events_end }
        }
    }
}
