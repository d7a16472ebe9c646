//! Read, change, write back: what update, patch and the writing subresources have in common.

use std::sync::Arc;

use bytes::Bytes;
use smol_str::SmolStr;
use timonier_meta::{ApiError, FieldError, FieldPath};
use timonier_object::Value;
use timonier_store::{Error, Expect, Item};

use crate::admission::{self, Operation, Request, resource_quota};
use crate::call::{Call, Object};
use crate::network::Reservation;
use crate::strategy::Part;
use crate::verbs::fresh;
use crate::{
    managed, metadata, network, particulars, rules, storage, strategy, structure, versions,
};

/// An unconditional write that loses against others tries again this often.
const ATTEMPTS: usize = 100;

/// What a write is about.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    pub name: &'a str,
    pub subresource: &'a str,
    pub part: Part,
    pub dry_run: bool,
    /// Whether the change is an apply, which has settled who manages which fields.
    pub applied: bool,
}

/// Changes an object: `change` makes the new one of the old one, and runs again where somebody
/// else wrote in between. A resource version in its result that is not the old one's is a 409.
/// A write that changes nothing is not stored.
pub async fn modify(
    call: &Call<'_>,
    write: Write<'_>,
    change: impl FnMut(&Value) -> Result<Value, ApiError> + Send,
) -> Result<Object, ApiError> {
    run(call, write, true, change).await
}

/// As [`modify`], for what the server itself does of an object because of a request that admission
/// has seen in its own form: a binding, an eviction.
pub async fn modify_unasked(
    call: &Call<'_>,
    write: Write<'_>,
    change: impl FnMut(&Value) -> Result<Value, ApiError> + Send,
) -> Result<Object, ApiError> {
    run(call, write, false, change).await
}

async fn run(
    call: &Call<'_>,
    write: Write<'_>,
    asks: bool,
    mut change: impl FnMut(&Value) -> Result<Value, ApiError> + Send,
) -> Result<Object, ApiError> {
    for _ in 0..ATTEMPTS {
        let item = fresh::find(call, write.name).await?;
        let item = item.ok_or_else(|| call.not_found(write.name))?;
        let old = call.read(&item).await?;
        let changed = change(&old).and_then(|new| {
            check_preconditions(call, write.name, &new, &old)?;
            Ok(new)
        });
        let mut new = match changed {
            Ok(new) => new,
            Err(refusal) if fresh::is_newest(call, &item).await? => return Err(refusal),
            Err(_) => continue,
        };
        let sent = strategy::prepare_update(call, write.part, &mut new, &old);
        particulars::on_update(call, &mut new, &old);
        structure::default(&call.row, &mut new, call.server.env.now());
        if write.applied {
            managed::put(&mut new, sent.unwrap_or_default());
        } else {
            managed::on_update(call, write.part, &mut new, &old, sent.as_ref());
        }
        let request = Request {
            call,
            operation: Operation::Update,
            subresource: write.subresource,
            old: Some(&old),
            dry_run: write.dry_run,
        };
        if asks {
            admission::mutate(&request, &mut new).await?;
        }
        let mut reservation = network::begin(call, &mut new, Some(&old), write.dry_run).await?;
        let states = States { item: &item, old: &old, new };
        let request = (&request, asks);
        let result = checked_and_stored(request, &write, states, &mut reservation).await;
        reservation.end().await;
        match result {
            Ok(None) => {}
            Ok(Some(object)) => return Ok(object),
            Err(error) => return Err(error),
        }
    }
    Err(ApiError::modified(&call.resource(), write.name))
}

fn check_preconditions(
    call: &Call<'_>,
    name: &str,
    new: &Value,
    old: &Value,
) -> Result<(), ApiError> {
    let version = new.resource_version();
    if !version.is_empty() && version != "0" && version != old.resource_version() {
        return Err(ApiError::modified(&call.resource(), name));
    }
    if !new.uid().is_empty() && new.uid() != old.uid() {
        let why = format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            new.uid(),
            old.uid()
        );
        return Err(ApiError::conflict(&call.resource(), name, &why));
    }
    Ok(())
}

/// An object before and after a change, and as it is stored.
struct States<'a> {
    item: &'a Arc<Item>,
    old: &'a Value,
    new: Value,
}

/// `None` where somebody else wrote in between.
async fn checked_and_stored(
    (request, asks): (&Request<'_>, bool),
    write: &Write<'_>,
    States { item, old, new }: States<'_>,
    reservation: &mut Reservation,
) -> Result<Option<Object>, ApiError> {
    let call = request.call;
    let name = write.name;
    let mut errors = metadata::validate_update(&new, old);
    errors.extend(rules::validate_update(call, write.subresource, &new, old));
    if !errors.is_empty() {
        return Err(call.invalid(write.name, &errors));
    }
    if asks {
        admission::validate(request, Some(&new)).await?;
    }
    let charge = resource_quota::charge(request, &new, write.dry_run).await?;
    if write.dry_run {
        return Ok(Some(Object::made(new)));
    }
    if is_gone_after(&new) && old.is_deleting() {
        return remove(call, write.name, item, old).await;
    }
    if new == *old {
        return Ok(Some(call.known(item.clone(), old)));
    }
    let bytes = storage::encode(&versions::to_storage(call, new).await?);
    let write = put(call, item.key.clone(), bytes, Expect::Revision(item.mod_revision));
    let error = match std::mem::take(reservation).around(write).await {
        Ok(item) => return call.object(item).await.map(Some),
        Err(Error::Conflict { .. }) => Ok(None),
        Err(e) => Err(error(call, name, e)),
    };
    charge.undo(call.server).await;
    error
}

/// Whether nothing holds an object that is being deleted any longer.
pub fn is_gone_after(object: &Value) -> bool {
    object.is_deleting()
        && object.finalizers().next().is_none()
        && object.at("metadata.deletionGracePeriodSeconds").int_or(0) == 0
        && !(object.kind() == "Namespace"
            && object.api_version() == "v1"
            && !object.at("spec.finalizers").is_empty())
}

/// Removes the state `item` of an object, which was `old`. `None` where somebody else wrote in between.
pub async fn remove(
    call: &Call<'_>,
    name: &str,
    item: &Arc<Item>,
    old: &Value,
) -> Result<Option<Object>, ApiError> {
    let expect = Expect::Revision(item.mod_revision);
    match call.server.store.delete(item.key.clone(), expect).await {
        Ok(last) => {
            network::released(call, old).await;
            Ok(Some(call.known(last, old)))
        }
        Err(Error::Conflict { current: None }) => Err(call.not_found(name)),
        Err(Error::Conflict { .. }) => Ok(None),
        Err(e) => Err(error(call, name, e)),
    }
}

/// Stores bytes; Events go by themselves after a while.
pub fn put(
    call: &Call<'_>,
    key: SmolStr,
    bytes: Bytes,
    expect: Expect,
) -> impl Future<Output = Result<Arc<Item>, Error>> + Send + use<> {
    let storage = &call.row.storage;
    let ends = storage.resource == "events" && storage.group.is_empty();
    let server = call.server.clone();
    async move {
        match ends {
            true => server.store.put_with_ttl(key, bytes, expect, server.config.event_ttl).await,
            false => server.store.put(key, bytes, expect).await,
        }
    }
}

/// The answer to a failed write. Conflicts are the caller's to tell.
pub fn error(call: &Call<'_>, name: &str, error: Error) -> ApiError {
    match error {
        Error::Conflict { current: None } => call.not_found(name),
        Error::Conflict { .. } => ApiError::modified(&call.resource(), name),
        Error::TooLarge { limit, .. } => ApiError::too_large(&format!("limit is {limit}")),
        Error::Unavailable(why) => {
            let mut e = ApiError::unavailable(why);
            e.retry_after_seconds = 1;
            e
        }
        Error::Closed => ApiError::unavailable("the store is closed"),
        other => ApiError::internal(other),
    }
}

/// The 422 of an update without a resource version, of kinds that need one.
pub fn version_required(call: &Call<'_>, name: &str) -> ApiError {
    let path = FieldPath::new("metadata.resourceVersion");
    call.invalid(name, &[FieldError::invalid(&path, "0x0", "must be specified for an update")])
}
