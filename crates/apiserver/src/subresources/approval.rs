//! `approval`: who may sign a certificate request says so.

use timonier_meta::ApiError;
use timonier_object::Value;

use crate::call::{Call, Object};
use crate::strategy::{self, Part};
use crate::verbs::update::check_name;
use crate::write::{self, Write};

/// Makes the change of a certificate request that `approval` allows: its conditions, and the
/// metadata that any write may change.
pub fn change(old: &Value, body: &Value, now: &str) -> Value {
    let mut new = old.clone();
    let mut conditions = body.at("status.conditions").clone();
    for condition in conditions.as_array_mut().into_iter().flatten() {
        for field in ["lastUpdateTime", "lastTransitionTime"] {
            if condition.at(field).is_null() {
                condition.set(field, now);
            }
        }
    }
    if conditions.is_null() {
        new.remove("status.conditions");
    } else {
        new.set("status.conditions", conditions);
    }
    new.set("metadata", body.at("metadata"));
    new
}

/// Replaces the conditions.
pub async fn update(call: &Call<'_>, mut body: Value, dry_run: bool) -> Result<Object, ApiError> {
    let name = call.info.path_name();
    strategy::check_type(call, &mut body)?;
    check_name(&mut body, name)?;
    if body.resource_version().is_empty() {
        return Err(write::version_required(call, name));
    }
    let now = call.server.env.now().rfc3339();
    let write = Write { name, subresource: "approval", part: Part::Whole, dry_run, applied: false };
    write::modify(call, write, |old| Ok(change(old, &body, &now))).await
}
