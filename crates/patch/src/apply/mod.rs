//! Server-side apply: objects are merged field by field, and every field has managers (upstream's
//! `structured-merge-diff` and `apimachinery/pkg/util/managedfields`).
//!
//! ```text
//! update: (old, new) ─► what changed ─► fields change hands
//! apply:  live + applied ─► merged ─► what is applied no more goes ─► conflicts, or fields change hands
//! ```
//!
//! Fields of other versions are taken for fields of the present one: where two versions name a
//! field differently, its managers are not found.

mod compare;
mod managers;
mod merge;
mod path;
pub mod scale;
mod set;
#[cfg(test)]
mod tests;
mod typed;

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use timonier_meta::Time;
use timonier_object::{Value, json};
use timonier_schema::Schema;

use compare::{Comparison, compare};
use managers::{Managed, Manager, Managers};
use path::show;
use set::FieldSet;
use typed::Typ;

/// The annotation of client-side apply.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A write, as far as it matters who makes it.
#[derive(Clone, Copy)]
pub struct Writer<'a> {
    pub schema: Schema<'a>,
    /// The manager's name.
    pub manager: &'a str,
    /// Empty where the object itself is written.
    pub subresource: &'a str,
    /// Fields of the top that such a write does not decide.
    pub ignored: &'a [&'a str],
    pub now: Time,
}

/// Why an apply did not take place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ApplyError {
    /// The applied object is not one of its kind.
    Untyped(String),
    /// Others manage fields that the applied object sets: manager and field of each.
    Conflicts(Vec<(String, String)>),
}

impl ApplyError {
    /// Upstream's message.
    pub fn message(&self) -> String {
        let list = match self {
            ApplyError::Untyped(text) => return text.clone(),
            ApplyError::Conflicts(list) => list,
        };
        if let [(manager, field)] = &list[..] {
            return format!("Apply failed with 1 conflict: conflict with {manager}: {field}");
        }
        let mut lines = Vec::new();
        let mut last = "";
        for (manager, field) in list {
            if manager != last {
                lines.push(format!("conflicts with {manager}:"));
            }
            last = manager;
            lines.push(format!("- {field}"));
        }
        format!("Apply failed with {} conflicts: {}", list.len(), lines.join("\n"))
    }
}

/// The `managedFields` of an object after a create (`old` is null), an update or a patch. `sent`
/// is what the writer says of them: an empty list makes the server forget them.
pub fn update(writer: &Writer<'_>, old: &Value, new: &Value, sent: Option<&Value>) -> Value {
    let sent = sent.filter(|_| writer.subresource.is_empty());
    let empty = |v: &Value| v.items().is_empty() || v.items().len() == 1 && v.items()[0].is_empty();
    if sent.is_some_and(|v| v.as_array().is_some() && empty(v)) {
        return Value::Null;
    }
    let stored = old.at("metadata.managedFields");
    let mut all = sent.and_then(managers::parse).filter(|m| !m.is_empty());
    let all = all.take().or_else(|| managers::parse(stored)).unwrap_or_default();
    if all.is_empty() && !old.is_null() {
        return Value::Null;
    }
    to_value(track(writer, old, new, all, writer.manager))
}

/// Applies an object to the live one, which is null where there is none. Gives the object with
/// its `managedFields`. With `force` fields are taken from others.
pub fn apply(
    writer: &Writer<'_>,
    live: &Value,
    applied: &Value,
    force: bool,
) -> Result<Value, ApplyError> {
    let typ = Typ::Known(writer.schema);
    let errors = typed::check(typ, applied);
    if !errors.is_empty() {
        let text = match &errors[..] {
            [one] => one.clone(),
            many => format!("errors:\n  {}", many.join("\n  ")),
        };
        let kind = format!(
            "{}/{}; {}, Kind={}",
            applied.namespace(),
            applied.name(),
            applied.api_version(),
            applied.kind()
        );
        let text = format!("failed to create typed patch object ({kind}): {text}");
        return Err(ApplyError::Untyped(text));
    }
    let before = live.at("metadata.managedFields");
    let mut bare = live.clone();
    bare.make_object();
    forget(&mut bare);
    let mut all = managers::parse(before).unwrap_or_default();
    if all.is_empty() && !live.is_null() {
        all = track(writer, &Value::Null, &bare, all, "before-first-apply");
    }
    let mut result = merged(writer, &bare, applied, all.clone(), force);
    if let Err(list) = &result
        && writer.manager == "kubectl"
    {
        // Who comes from client-side apply keeps what it has applied.
        let own = applied_before(writer, &bare);
        let list: Vec<_> = list.iter().filter(|(_, path)| !own.contains(path)).cloned().collect();
        result = match list.is_empty() {
            true => merged(writer, &bare, applied, all, true),
            false => Err(list),
        };
    }
    let (mut object, all) = result.map_err(ApplyError::Conflicts)?;
    let synced = writer.manager == "kubectl" && object.annotation(LAST_APPLIED).is_some();
    if synced {
        note_applied(&mut object, applied);
    }
    let fields = match same_but_times(&all, before) && object == bare {
        true => before.clone(),
        false => managers::to_value(&all),
    };
    object.set("metadata.managedFields", fields);
    Ok(object)
}

fn forget(object: &mut Value) {
    object.remove("metadata.managedFields");
}

fn to_value(all: Managers) -> Value {
    if all.is_empty() { Value::Null } else { managers::to_value(&all) }
}

fn same_but_times(all: &Managers, before: &Value) -> bool {
    let Some(old) = managers::parse(before) else { return false };
    let plain = |m: &Managers| -> Vec<(Manager, FieldSet, smol_str::SmolStr)> {
        m.iter().map(|(k, v)| (k.clone(), v.fields.clone(), v.api_version.clone())).collect()
    };
    plain(&old) == plain(all)
}

/// What a writer that does not apply changes of the managers.
fn track(writer: &Writer<'_>, old: &Value, new: &Value, mut all: Managers, name: &str) -> Managers {
    let typ = Typ::Known(writer.schema);
    let (mut old, mut new) = (old.clone(), new.clone());
    old.make_object();
    forget(&mut old);
    forget(&mut new);
    let changed = compare(typ, &old, &new).without(writer.ignored);
    hand_over(&mut all, &changed, None);
    let own = strip(changed.modified.union(&changed.added));
    if !own.is_empty() {
        let version = new.api_version();
        let managed = all
            .entry(Manager::new(name, false, version, writer.subresource))
            .or_insert_with(|| Managed { api_version: version.into(), ..Managed::default() });
        managed.fields = managed.fields.union(&own);
        managed.time = Some(writer.now);
    }
    managers::cap(&mut all);
    all
}

/// Takes what changed from everybody but one.
fn hand_over(all: &mut Managers, changed: &Comparison, but: Option<&Manager>) {
    let taken = changed.modified.union(&changed.added).union(&changed.removed);
    for (manager, managed) in all.iter_mut() {
        if Some(manager) != but {
            managed.fields = managed.fields.difference(&taken);
        }
    }
    all.retain(|_, managed| !managed.fields.is_empty());
}

/// The fields that nobody manages: they are the server's, or name the object.
fn strip(fields: FieldSet) -> FieldSet {
    let field = |name: &str| path::Step::Field(name.into());
    let mut server = FieldSet::default();
    for name in ["apiVersion", "kind", "metadata"] {
        server.insert(&[field(name)]);
    }
    for name in [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ] {
        server.insert(&[field("metadata"), field(name)]);
    }
    fields.difference(&server)
}

type Merged = Result<(Value, Managers), Vec<(String, String)>>;

/// Merges, drops what is applied no more, and settles who manages what.
fn merged(
    writer: &Writer<'_>,
    live: &Value,
    applied: &Value,
    mut all: Managers,
    force: bool,
) -> Merged {
    let typ = Typ::Known(writer.schema);
    let manager = Manager::new(writer.manager, true, "", writer.subresource);
    let mut object = merge::merge(typ, live, applied);
    let mut fields = typed::fields(typ, applied);
    writer.ignored.iter().for_each(|name| fields.without_field(name));
    let last = all.get(&manager).map(|m| m.fields.clone()).unwrap_or_default();
    let managed =
        Managed { fields, api_version: applied.api_version().into(), time: Some(writer.now) };
    all.insert(manager.clone(), managed);
    if !last.is_empty() {
        object = prune(typ, &object, &all, &last);
    }
    let changed = compare(typ, live, &object).without(writer.ignored);
    let taken = changed.modified.union(&changed.added);
    let mut conflicts = Vec::new();
    for (other, managed) in all.iter().filter(|(m, _)| **m != manager) {
        let both = managed.fields.intersection(&taken);
        conflicts.extend(both.paths().iter().map(|path| (other.show(), show(path))));
    }
    if !force && !conflicts.is_empty() {
        conflicts.sort();
        return Err(conflicts);
    }
    hand_over(&mut all, &changed, Some(&manager));
    if let Some(managed) = all.get_mut(&manager) {
        managed.fields = strip(core::mem::take(&mut managed.fields));
    }
    all.retain(|_, managed| !managed.fields.is_empty());
    Ok((object, all))
}

/// Drops what the manager applied last time, and nobody applies or manages now.
fn prune(typ: Typ<'_>, merged: &Value, all: &Managers, last: &FieldSet) -> Value {
    let last = last.with_named(typ);
    let without = |set: &FieldSet| typed::remove(typ, merged, set).unwrap_or_default();
    let pruned = without(&last);
    let owned = all.values().fold(FieldSet::default(), |set, m| set.union(&m.fields));
    let fields = typed::fields(typ, merged).with_named(typ);
    let kept = typed::fields(typ, &pruned).with_named(typ).union(&owned.with_named(typ));
    let pruned = without(&fields.difference(&kept));
    let left = typed::fields(typ, &pruned).with_named(typ);
    without(&fields.difference(&left).intersection(&last))
}

/// The fields that client-side apply has set and that are still so.
fn applied_before(writer: &Writer<'_>, live: &Value) -> BTreeSet<String> {
    let typ = Typ::Known(writer.schema);
    let text = live.annotation(LAST_APPLIED).unwrap_or_default();
    let Ok(last) = json::decode(text.as_bytes()) else { return BTreeSet::new() };
    if last.api_version() != live.api_version() {
        return BTreeSet::new();
    }
    let differ = compare(typ, &last, live);
    let own = typed::fields(typ, &last)
        .difference(&differ.modified)
        .difference(&differ.added)
        .difference(&differ.removed);
    own.paths().iter().map(|path| show(path)).collect()
}

/// Keeps the annotation of client-side apply in step.
fn note_applied(object: &mut Value, applied: &Value) {
    let mut plain = applied.clone();
    if let Some(notes) = plain.find_mut("metadata.annotations").and_then(Value::as_object_mut) {
        notes.remove(LAST_APPLIED);
    }
    let text = json::to_string(&plain).to_string() + "\n";
    object.entry("metadata.annotations").make_object().insert(LAST_APPLIED, text.into());
}
