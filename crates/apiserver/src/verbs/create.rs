//! `create`: decode, default, admit, validate, store.

use timonier_meta::ApiError;
use timonier_object::Value;
use timonier_store::{Error, Expect};

use crate::admission::{self, Operation, Request, resource_quota};
use crate::call::{Call, Object};
use crate::network::Reservation;
use crate::{managed, metadata, network, particulars, rules, strategy, structure, versions, write};

/// A name that a `generateName` made can be taken; upstream tries this often.
const GENERATE_ATTEMPTS: usize = 8;

/// Creates an object. `object` is what the client wrote, with unknown fields already dealt with.
pub async fn create(call: &Call<'_>, object: Value, dry_run: bool) -> Result<Object, ApiError> {
    create_with(call, object, dry_run, false).await
}

/// Creates what was applied; it says itself who manages which fields.
pub async fn create_applied(
    call: &Call<'_>,
    object: Value,
    dry_run: bool,
) -> Result<Object, ApiError> {
    create_with(call, object, dry_run, true).await
}

async fn create_with(
    call: &Call<'_>,
    object: Value,
    dry_run: bool,
    applied: bool,
) -> Result<Object, ApiError> {
    let generated = object.name().is_empty() && !object.at("metadata.generateName").is_empty();
    let attempts = if generated { GENERATE_ATTEMPTS } else { 1 };
    let mut last = Err(ApiError::internal("no attempt was made"));
    for _ in 0..attempts {
        last = attempt(call, object.clone(), dry_run, applied).await;
        match &last {
            Err(e) if e.is_already_exists() => {}
            _ => return last,
        }
    }
    last
}

async fn attempt(
    call: &Call<'_>,
    mut object: Value,
    dry_run: bool,
    applied: bool,
) -> Result<Object, ApiError> {
    let fields = object.at("metadata.managedFields").clone();
    let request =
        Request { call, operation: Operation::Create, subresource: "", old: None, dry_run };
    strategy::prepare_create(call, &mut object)?;
    particulars::on_create(call, &mut object);
    structure::default(&call.row, &mut object, call.server.env.now());
    if applied {
        managed::put(&mut object, fields);
    } else {
        managed::on_create(call, &mut object);
    }
    admission::mutate(&request, &mut object).await?;
    let mut reservation = network::begin(call, &mut object, None, dry_run).await?;
    let result = checked_and_stored(&request, object, dry_run, &mut reservation).await;
    reservation.end().await;
    result
}

async fn checked_and_stored(
    request: &Request<'_>,
    object: Value,
    dry_run: bool,
    reservation: &mut Reservation,
) -> Result<Object, ApiError> {
    let call = request.call;
    let mut errors = metadata::validate_create(&call.row, &object);
    errors.extend(rules::validate_create(call, &object));
    if !errors.is_empty() {
        return Err(call.invalid(object.name(), &errors));
    }
    admission::validate(request, Some(&object)).await?;
    let name = object.name().to_string();
    let key = call.key(&name);
    let charge = resource_quota::charge(request, &object, dry_run).await?;
    if dry_run {
        return match call.server.store.snapshot().get(&key) {
            Some(_) => Err(exists(call, &name)),
            None => Ok(Object::made(object)),
        };
    }
    let bytes = crate::storage::encode(&versions::to_storage(call, object).await?);
    let put = write::put(call, key, bytes, Expect::Absent);
    let error = match std::mem::take(reservation).around(put).await {
        Ok(item) => return call.object(item).await,
        Err(Error::Conflict { .. }) => exists(call, &name),
        Err(error) => write::error(call, &name, error),
    };
    charge.undo(call.server).await;
    Err(error)
}

/// The name is taken. Where the server made it up, the client may try again.
fn exists(call: &Call<'_>, name: &str) -> ApiError {
    ApiError::already_exists(&call.resource(), name)
}
