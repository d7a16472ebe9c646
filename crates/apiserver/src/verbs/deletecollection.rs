//! `deletecollection`: delete everything that a list selects.

use timonier_client::DeleteOptions;
use timonier_meta::ApiError;

use crate::call::{Call, Object};
use crate::query::ListQuery;
use crate::verbs::{delete, list};

/// What was deleted, and the revision that it was selected at.
pub struct DeletedCollection {
    pub objects: Vec<Object>,
    pub revision: u64,
}

/// Deletes each selected object. One that somebody else has deleted meanwhile counts as deleted.
pub async fn delete_collection(
    call: &Call<'_>,
    query: &ListQuery,
    options: &DeleteOptions,
) -> Result<DeletedCollection, ApiError> {
    let page = list::list(call, query).await?;
    let mut objects = Vec::with_capacity(page.items.len());
    for item in &page.items {
        let object = item.peek(call);
        // Over all namespaces the URL names none; the key does.
        let info = crate::request::RequestInfo {
            namespace: object.namespace().into(),
            ..call.info.clone()
        };
        let Some(one) = Call::find(call.server, call.user, &info) else { continue };
        match delete::delete(&one, object.name(), options).await {
            Ok(deleted) => objects.push(deleted.object().clone()),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(DeletedCollection { objects, revision: page.revision })
}
