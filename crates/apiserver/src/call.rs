//! One request to a resource, on its way.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use smol_str::SmolStr;
use timonier_meta::{ApiError, GroupResource};
use timonier_object::{Value, json};
use timonier_policy::{Authorizer, Decision, User, forbidden};
use timonier_schema::{Catalogue, ResourceRow};
use timonier_store::Item;

use crate::request::RequestInfo;
use crate::server::ApiServer;
use crate::{objects, storage, versions};

/// A request to a resource: who asks, for what, and the row that says how.
pub struct Call<'a> {
    pub server: &'a Arc<ApiServer>,
    pub user: &'a User,
    pub info: &'a RequestInfo,
    pub row: Arc<ResourceRow>,
    pub catalogue: Arc<Catalogue>,
    /// Who is noted as the manager of what is written; empty where nobody said.
    pub manager: SmolStr,
    /// Whether what is created has managers from its first moment.
    pub follows: bool,
    warnings: Mutex<Vec<String>>,
}

/// Warnings beyond this many are not sent.
const MAX_WARNINGS: usize = 64;

impl<'a> Call<'a> {
    /// Finds the row. `None` where no such resource is served.
    pub fn find(server: &'a Arc<ApiServer>, user: &'a User, info: &'a RequestInfo) -> Option<Self> {
        let catalogue = server.catalogue();
        let row = catalogue.resource(&info.group, &info.version, &info.resource)?.clone();
        Some(Call {
            server,
            user,
            info,
            row,
            catalogue,
            manager: SmolStr::default(),
            follows: false,
            warnings: Mutex::default(),
        })
    }

    /// Refuses with 403 what no authorizer allows.
    pub fn authorize(&self) -> Result<(), ApiError> {
        let attributes = self.info.attributes(self.user);
        match self.server.authorize(&attributes) {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(why) | Decision::NoOpinion(why) => Err(forbidden(&attributes, &why)),
        }
    }

    /// The namespace of the request; empty for cluster-scoped resources.
    pub fn namespace(&self) -> &str {
        if self.row.namespaced { &self.info.namespace } else { "" }
    }

    /// The resource as errors name it.
    pub fn resource(&self) -> GroupResource {
        self.row.gvr.group_resource()
    }

    /// The key of an object of this resource in the request's namespace.
    pub fn key(&self, name: &str) -> SmolStr {
        storage::key(&self.row, self.namespace(), name)
    }

    /// The error that an object is not there.
    pub fn not_found(&self, name: &str) -> ApiError {
        ApiError::not_found(&self.resource(), name)
    }

    /// The 422 of an object of this kind.
    pub fn invalid(&self, name: &str, errors: &[timonier_meta::FieldError]) -> ApiError {
        ApiError::invalid(&self.row.gvk, name, errors)
    }

    /// Says something to the user beside the answer.
    pub fn warn(&self, text: impl Into<String>) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        let text = text.into();
        if warnings.len() < MAX_WARNINGS && !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// What was said, each once.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the stored bytes are what this request's version reads.
    pub fn stored_as_is(&self) -> bool {
        // Custom resources are pruned and completed by the definition as it is now.
        self.row.storage == self.row.gvr && !self.row.is_custom()
    }

    /// The item's object in the request's version, to be changed. Fails where a webhook has to
    /// convert it and does not.
    pub async fn read(&self, item: &Item) -> Result<Value, ApiError> {
        if self.row.conversion.is_none() {
            return Ok(self.read_as_is(item));
        }
        let objects = vec![objects::decode(item)];
        let read = versions::from_storage(self.server, &self.row, objects).await?;
        Ok(read.into_iter().next().unwrap_or_default())
    }

    /// The item's object, where no webhook converts it.
    fn read_as_is(&self, item: &Item) -> Value {
        let object = objects::decode(item);
        match self.stored_as_is() {
            true => object,
            false => versions::from_storage_as_is(&self.row, object),
        }
    }

    /// The item as an answer. Fails as [`Call::read`].
    pub async fn object(&self, item: Arc<Item>) -> Result<Object, ApiError> {
        Ok(match self.row.conversion {
            None => Object(Form::Stored(item)),
            Some(_) => Object::made(self.read(&item).await?),
        })
    }

    /// The items as answers; a webhook is asked once for all.
    pub async fn objects(&self, items: &[Arc<Item>]) -> Result<Vec<Object>, ApiError> {
        if self.row.conversion.is_none() {
            return Ok(items.iter().map(|item| Object(Form::Stored(item.clone()))).collect());
        }
        let objects = items.iter().map(|item| objects::decode(item)).collect();
        let read = versions::from_storage(self.server, &self.row, objects).await?;
        Ok(read.into_iter().map(Object::made).collect())
    }

    /// The item as an answer, where `value` is what it holds.
    pub fn known(&self, item: Arc<Item>, value: &Value) -> Object {
        match self.row.conversion {
            None => Object(Form::Stored(item)),
            Some(_) => {
                let mut value = value.clone();
                value.set("metadata.resourceVersion", item.mod_revision.to_string());
                Object::made(value)
            }
        }
    }
}

/// An object as an answer: stored bytes as they are, or a value that was made for the answer.
#[derive(Clone)]
pub struct Object(Form);

#[derive(Clone)]
enum Form {
    /// No webhook is needed to read it.
    Stored(Arc<Item>),
    Made(Arc<Value>),
}

impl Object {
    /// A value made for this answer.
    pub fn made(value: Value) -> Self {
        Object(Form::Made(Arc::new(value)))
    }

    /// The object in the request's version.
    pub fn value(&self, call: &Call<'_>) -> Arc<Value> {
        match &self.0 {
            Form::Stored(item) if call.stored_as_is() => call.server.objects.of(item),
            Form::Stored(item) => Arc::new(call.read_as_is(item)),
            Form::Made(value) => value.clone(),
        }
    }

    /// The object's JSON.
    pub fn bytes(&self, call: &Call<'_>) -> Bytes {
        match &self.0 {
            Form::Stored(item) if call.stored_as_is() => item.value.clone(),
            Form::Stored(item) => json::encode(&call.read_as_is(item)).into(),
            Form::Made(value) => json::encode(value).into(),
        }
    }

    /// The item's object for looking at once.
    pub fn peek(&self, call: &Call<'_>) -> Cow<'_, Value> {
        match &self.0 {
            Form::Stored(item) => Cow::Owned(call.read_as_is(item)),
            Form::Made(value) => Cow::Borrowed(value),
        }
    }
}
