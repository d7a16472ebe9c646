//! Who manages which fields of an object, written down with every write, and server-side apply.
//! The decisions are `timonier_patch::apply`.
//!
//! Objects that come over HTTP are followed from their creation. What components of this process
//! create (pods of controllers, events, leases: most objects there are) is followed from the first
//! apply on, whose manager then finds all earlier fields with `before-first-apply`, as upstream
//! does with objects older than the feature.

use http::HeaderMap;
use http::header::USER_AGENT;
use smol_str::SmolStr;
use timonier_meta::{ApiError, Cause, Reason};
use timonier_object::Value;
use timonier_patch::apply::{self, ApplyError, Writer};
use timonier_schema::{Catalogue, InitialStatus};

use crate::call::Call;
use crate::strategy::Part;
use crate::subresources::scale;

/// The longest name of a manager.
const MAX_NAME: usize = 128;

/// The manager of a request: what it says, or the program that sends it.
pub fn manager_of(stated: &str, headers: &HeaderMap) -> SmolStr {
    if !stated.is_empty() {
        return stated.into();
    }
    let agent = headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("");
    let program = agent.split('/').next().unwrap_or("");
    program.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect()
}

/// Notes who creates an object.
pub fn on_create(call: &Call<'_>, object: &mut Value) {
    if !call.follows {
        return;
    }
    let keeps_status = call.row.strategy.initial_status == InitialStatus::Keep;
    let ignored: &[&str] = if keeps_status { &[] } else { &["status"] };
    let writer = writer(call, ignored);
    let fields = apply::update(&Writer { subresource: "", ..writer }, &Value::Null, object, None);
    put(object, fields);
}

/// Notes who changes an object; `sent` is what the change says of the managers itself.
pub fn on_update(call: &Call<'_>, part: Part, new: &mut Value, old: &Value, sent: Option<&Value>) {
    let fields = apply::update(&writer(call, ignored(call, part)), old, new, sent);
    put(new, fields);
}

/// Applies an object to the one that is there; null where there is none.
pub fn apply(
    call: &Call<'_>,
    part: Part,
    live: &Value,
    applied: &Value,
    force: bool,
) -> Result<Value, ApiError> {
    let writer = writer(call, ignored(call, part));
    apply::apply(&writer, live, applied, force).map_err(refusal)
}

/// Applies a scale to the live one, whose managers are the object's that manage replicas.
pub fn apply_scale(
    call: &Call<'_>,
    live: &Value,
    applied: &Value,
    force: bool,
) -> Result<Value, ApiError> {
    let catalogue = Catalogue::builtin();
    let schema = catalogue.schema_of(&scale::KIND);
    let schema = schema.ok_or_else(|| ApiError::internal("no schema of scales"))?;
    let writer = Writer { schema, ..writer(call, &[]) };
    apply::apply(&writer, live, applied, force).map_err(refusal)
}

fn refusal(error: ApplyError) -> ApiError {
    let message = error.message();
    match error {
        ApplyError::Untyped(_) => ApiError::new(500, Reason::Unknown, message),
        ApplyError::Conflicts(list) => {
            let mut error = ApiError::new(409, Reason::Conflict, message);
            let cause = |(manager, field): (String, String)| Cause {
                reason: "FieldManagerConflict".into(),
                message: format!("conflict with {manager}"),
                field,
            };
            error.causes = list.into_iter().map(cause).collect();
            error
        }
    }
}

/// Sets or removes an object's managers.
pub fn put(object: &mut Value, fields: Value) {
    if fields.is_empty() {
        object.remove("metadata.managedFields");
    } else {
        object.set("metadata.managedFields", fields);
    }
}

fn writer<'a>(call: &'a Call<'_>, ignored: &'a [&'a str]) -> Writer<'a> {
    Writer {
        schema: call.row.schema(),
        manager: if call.manager.is_empty() { "unknown" } else { &call.manager },
        subresource: &call.info.subresource,
        ignored,
        now: call.server.env.now(),
    }
}

fn ignored(call: &Call<'_>, part: Part) -> &'static [&'static str] {
    match part {
        Part::Main if call.row.has_status() => &["status"],
        Part::Main | Part::Whole => &[],
        Part::Status => &["spec"],
    }
}
