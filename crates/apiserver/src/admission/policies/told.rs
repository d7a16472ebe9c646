//! What expressions are told of a request.

use std::borrow::Cow;
use std::sync::Arc;

use timonier_cel::Question;
use timonier_meta::ApiError;
use timonier_object::Value;
use timonier_policy::conditions::Facts;
use timonier_policy::webhooks::Asked;
use timonier_schema::ResourceRow;

use super::Asker;
use crate::admission::webhooks::ask::{About, seen};

/// A request in one version of its resource.
pub struct Told<'a> {
    request: Value,
    resource: Question,
    object: Cow<'a, Value>,
    old: Cow<'a, Value>,
    namespace: &'a Value,
    asker: Asker<'a>,
}

impl<'a> Told<'a> {
    /// The request as one to the version `row`. `name` is empty where none is known yet.
    /// Fails where a webhook has to convert its objects and does not.
    pub async fn of(
        about: &'a About<'a>,
        row: &Arc<ResourceRow>,
        asked: &Asked<'a>,
        name: &str,
    ) -> Result<Self, ApiError> {
        let call = about.call;
        let mut question = about.review(row, "v1", "", name).question();
        let mut request = question.entry("request").take();
        for field in ["uid", "object", "oldObject"] {
            request.remove(field);
        }
        let resource = Question {
            group: call.row.gvr.group.clone(),
            resource: call.row.gvr.resource.clone(),
            subresource: call.info.subresource.clone(),
            namespace: call.namespace().into(),
            name: name.into(),
            ..Question::default()
        };
        let other = *about.kind == call.row.gvk && row.gvr != call.row.gvr;
        let (mut object, mut old) = (Cow::Borrowed(asked.object), Cow::Borrowed(asked.old));
        if other {
            object = Cow::Owned(seen(call, row, asked.object).await?);
            old = Cow::Owned(seen(call, row, asked.old).await?);
        }
        let namespace = asked.namespace.unwrap_or(&Value::Null);
        Ok(Told { request, resource, object, old, namespace, asker: Asker { call } })
    }

    /// The facts, with params where there are some.
    pub fn facts<'f>(&'f self, params: &'f Value) -> Facts<'f> {
        Facts {
            object: &self.object,
            old: &self.old,
            request: &self.request,
            namespace: self.namespace,
            params,
            authorizer: &self.asker,
            resource: &self.resource,
        }
    }
}
