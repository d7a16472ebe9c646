//! `delete`: at once, after a grace period, or when finalizers are done.
//! The order of the decisions is upstream's `registry.Store.Delete`.

use timonier_client::{DeleteOptions, Preconditions, Propagation};
use timonier_meta::{ApiError, Duration, Time};
use timonier_object::{Value, value};
use timonier_store::{Error, Expect};

use crate::admission::{self, Operation, Request};
use crate::call::{Call, Object};
use crate::verbs::fresh;
use crate::{particulars, storage, versions, write};

/// What a delete did.
pub enum Deleted {
    /// The object is gone; this was its last state.
    Gone(Object),
    /// The object stays until its grace period and finalizers are over.
    Pending(Object),
}

impl Deleted {
    /// The object's last or present state.
    pub fn object(&self) -> &Object {
        match self {
            Deleted::Gone(object) | Deleted::Pending(object) => object,
        }
    }

    /// What upstream answers: of most kinds that are gone only a `Status`.
    pub fn answer(&self, call: &Call<'_>) -> Object {
        match self {
            Deleted::Gone(object) if !returns_object(call) => {
                let object = object.peek(call);
                Object::made(success(call, object.name(), object.uid()))
            }
            Deleted::Gone(object) | Deleted::Pending(object) => object.clone(),
        }
    }
}

fn success(call: &Call<'_>, name: &str, uid: &str) -> Value {
    let mut details = value!({ "name": name });
    if !call.row.gvr.group.is_empty() {
        details.set("group", &call.row.gvr.group);
    }
    details.set("kind", &call.row.gvr.resource);
    details.set("uid", uid);
    value!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": (details) })
}

/// The kinds whose registries set `ReturnDeletedObject`. Upstream's document does not say so of
/// namespaces, which is what the row is for.
fn returns_object(call: &Call<'_>) -> bool {
    let gvr = &call.row.gvr;
    call.row.strategy.delete_returns_object || gvr.group.is_empty() && gvr.resource == "namespaces"
}

/// An object that others write all the time is tried again this often.
const ATTEMPTS: usize = 100;

/// Deletes the object `name` of the request's collection.
pub async fn delete(
    call: &Call<'_>,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted, ApiError> {
    run(call, name, options, true).await
}

/// As [`delete`], because of a request that admission has seen in its own form: an eviction.
pub async fn delete_unasked(
    call: &Call<'_>,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted, ApiError> {
    run(call, name, options, false).await
}

async fn run(
    call: &Call<'_>,
    name: &str,
    options: &DeleteOptions,
    asks: bool,
) -> Result<Deleted, ApiError> {
    warn_of_orphans(call, options);
    for _ in 0..ATTEMPTS {
        let item = fresh::find(call, name).await?.ok_or_else(|| call.not_found(name))?;
        let old = call.read(&item).await?;
        if let Err(refusal) = check_preconditions(call, name, &old, &options.preconditions) {
            match fresh::is_newest(call, &item).await? {
                true => return Err(refusal),
                false => continue,
            }
        }
        if asks {
            let (operation, dry_run) = (Operation::Delete, options.dry_run);
            let request = Request { call, operation, subresource: "", old: Some(&old), dry_run };
            admission::validate(&request, None).await?;
        }
        let (new, gone) = match plan(call, &old, options) {
            Plan::Nothing => return Ok(Deleted::Pending(call.known(item, &old))),
            Plan::Remove => (None, true),
            Plan::Keep(new) if new == old => {
                return Ok(Deleted::Pending(call.known(item, &old)));
            }
            Plan::Keep(new) => (Some(new), false),
        };
        if options.dry_run {
            let object = new.map_or_else(|| call.known(item, &old), Object::made);
            return Ok(if gone { Deleted::Gone(object) } else { Deleted::Pending(object) });
        }
        let Some(new) = new else {
            match write::remove(call, name, &item, &old).await? {
                Some(object) => return Ok(Deleted::Gone(object)),
                None => continue,
            }
        };
        let bytes = storage::encode(&versions::to_storage(call, new).await?);
        match write::put(call, item.key.clone(), bytes, Expect::Revision(item.mod_revision)).await {
            Ok(item) => return Ok(Deleted::Pending(call.object(item).await?)),
            Err(Error::Conflict { current: None }) => return Err(call.not_found(name)),
            Err(Error::Conflict { .. }) => {}
            Err(error) => return Err(write::error(call, name, error)),
        }
    }
    Err(ApiError::modified(&call.resource(), name))
}

/// 409 where the object is not the one that was meant.
pub fn check_preconditions(
    call: &Call<'_>,
    name: &str,
    old: &Value,
    preconditions: &Preconditions,
) -> Result<(), ApiError> {
    let conflict = |why: String| Err(ApiError::conflict(&call.resource(), name, &why));
    if let Some(uid) = preconditions.uid.as_ref().filter(|u| *u != old.uid()) {
        return conflict(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            old.uid()
        ));
    }
    let version = preconditions.resource_version.as_ref();
    if let Some(version) = version.filter(|v| *v != old.resource_version()) {
        return conflict(format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The object might have been modified",
            old.resource_version()
        ));
    }
    Ok(())
}

enum Plan {
    /// The deletion under way goes on as it is.
    Nothing,
    Remove,
    /// Store this; the object goes later.
    Keep(Value),
}

/// What a delete makes of the object.
fn plan(call: &Call<'_>, old: &Value, options: &DeleteOptions) -> Plan {
    let now = call.server.env.now();
    let mut new = old.clone();
    let grace = grace(call, old, options);
    if old.is_deleting() {
        return match (old.at("metadata.deletionGracePeriodSeconds").as_i64(), grace) {
            // Only a shorter grace period counts.
            (Some(pending), Some(wanted)) if pending > 0 => {
                let shorter = options.grace_period_seconds.is_some() && wanted < pending;
                if shorter { shorten(&mut new, pending, wanted) } else { Plan::Nothing }
            }
            _ => keep_or_remove(call, new, options, now, 0),
        };
    }
    keep_or_remove(call, new, options, now, grace.unwrap_or(0))
}

fn shorten(new: &mut Value, pending: i64, wanted: i64) -> Plan {
    if wanted == 0 && new.finalizers().next().is_none() {
        return Plan::Remove;
    }
    if let Some(deleted) = new.deleted() {
        let moved = deleted - Duration::from_secs(pending) + Duration::from_secs(wanted);
        new.set("metadata.deletionTimestamp", moved.rfc3339());
    }
    new.set("metadata.deletionGracePeriodSeconds", wanted);
    Plan::Keep(new.take())
}

fn keep_or_remove(
    call: &Call<'_>,
    mut new: Value,
    options: &DeleteOptions,
    now: Time,
    grace: i64,
) -> Plan {
    set_collector_finalizers(call, &mut new, options);
    if !new.is_deleting() {
        particulars::on_delete(call, &mut new);
    }
    let namespace = new.kind() == "Namespace" && !new.at("spec.finalizers").is_empty();
    let held = new.finalizers().next().is_some() || namespace;
    if grace == 0 && !held {
        return Plan::Remove;
    }
    if !new.is_deleting() {
        let at = now + Duration::from_secs(grace);
        new.set("metadata.deletionTimestamp", at.rfc3339());
        new.set("metadata.deletionGracePeriodSeconds", grace);
        if new.generation() > 0 {
            new.set("metadata.generation", new.generation() + 1);
        }
    }
    if namespace {
        new.set("status.phase", "Terminating");
        if let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("deletionGracePeriodSeconds");
        }
    }
    Plan::Keep(new)
}

/// The grace period; only pods have one.
fn grace(call: &Call<'_>, old: &Value, options: &DeleteOptions) -> Option<i64> {
    if call.row.gvr.resource != "pods" || !call.row.gvr.group.is_empty() {
        return None;
    }
    let unscheduled = old.at("spec.nodeName").str().is_empty();
    let over = matches!(old.at("status.phase").str(), "Succeeded" | "Failed");
    if unscheduled || over {
        return Some(0);
    }
    let wanted = options.grace_period_seconds;
    let period = wanted.unwrap_or_else(|| old.at("spec.terminationGracePeriodSeconds").int_or(30));
    Some(if period < 0 { 1 } else { period.min(LONGEST_GRACE) })
}

/// A century, in seconds. A longer period would put the end into a year that clients cannot read;
/// upstream's own arithmetic overflows after 292 years.
const LONGEST_GRACE: i64 = 100 * 365 * 24 * 3600;

/// The finalizers by which the garbage collector learns what becomes of dependents.
fn set_collector_finalizers(call: &Call<'_>, new: &mut Value, options: &DeleteOptions) {
    if call.row.storage.resource == "events" {
        return;
    }
    let has = |name: &str| new.finalizers().any(|f| f == name);
    let (orphan, foreground) = match options.propagation {
        Some(Propagation::Orphan) => (true, false),
        Some(Propagation::Background) => (false, false),
        Some(Propagation::Foreground) => (false, true),
        None if has("orphan") => (true, false),
        None if has("foregroundDeletion") => (false, true),
        None => (orphans_by_default(call), false),
    };
    let mut finalizers: Vec<Value> = new
        .finalizers()
        .filter(|f| !matches!(*f, "orphan" | "foregroundDeletion"))
        .map(Value::from)
        .collect();
    if orphan {
        finalizers.push("orphan".into());
    }
    if foreground {
        finalizers.push("foregroundDeletion".into());
    }
    if finalizers.is_empty() {
        new.remove("metadata.finalizers");
    } else {
        new.set("metadata.finalizers", Value::array(finalizers));
    }
}

/// The kinds that keep their pods unless told otherwise, for the sake of old clients.
fn orphans_by_default(call: &Call<'_>) -> bool {
    matches!(
        (call.row.gvr.group.as_str(), call.row.gvr.resource.as_str()),
        ("batch", "jobs") | ("", "replicationcontrollers")
    )
}

fn warn_of_orphans(call: &Call<'_>, options: &DeleteOptions) {
    if options.propagation.is_none()
        && call.row.gvr.group == "batch"
        && call.row.gvr.resource == "jobs"
    {
        call.warn("child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning");
    }
}
