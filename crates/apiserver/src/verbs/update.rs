//! `update`: replace an object, or its status.

use timonier_meta::ApiError;
use timonier_object::Value;

use crate::call::{Call, Object};
use crate::strategy::{self, Part};
use crate::verbs::{create, fresh};
use crate::write::{self, Write};

/// What an update did.
pub enum Updated {
    Changed(Object),
    Created(Object),
}

/// Replaces the object that the URL names. Of some kinds a missing one is created.
pub async fn update(
    call: &Call<'_>,
    mut object: Value,
    part: Part,
    dry_run: bool,
) -> Result<Updated, ApiError> {
    let name = call.info.path_name();
    strategy::check_type(call, &mut object)?;
    strategy::set_namespace(call, &mut object)?;
    check_name(&mut object, name)?;
    let stated = object.resource_version();
    let unconditional = stated.is_empty() || stated == "0";
    let exists = fresh::find(call, name).await?.is_some();
    if !exists && part == Part::Main && call.row.strategy.create_on_update && unconditional {
        return create::create(call, object, dry_run).await.map(Updated::Created);
    }
    if exists && unconditional && !call.row.strategy.unconditional_update {
        return Err(write::version_required(call, name));
    }
    let subresource = call.info.subresource.as_str();
    let write = Write { name, subresource, part, dry_run, applied: false };
    write::modify(call, write, |_| Ok(object.clone())).await.map(Updated::Changed)
}

/// Fills in the URL's name; 400 where the object says another.
pub fn check_name(object: &mut Value, name: &str) -> Result<(), ApiError> {
    let stated = object.name();
    if stated.is_empty() {
        object.set("metadata.name", name);
    } else if stated != name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({stated}) does not match the name on the URL ({name})"
        )));
    }
    Ok(())
}
