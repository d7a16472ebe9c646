//! The rules of each kind that no schema can say: upstream's hand-written validation.
//!
//! ```text
//! validate_create / validate_update ── by kind ─► pod/ · service · workloads · storage/ · …
//!                                                  └─ At (value + path) ─► FieldError
//! ```
//!
//! Objects come here decoded and defaulted; their metadata is checked elsewhere. Errors have
//! upstream's paths, order and texts. What upstream tolerates in objects that older versions
//! stored is not tolerated here: there are no such objects.

mod at;
mod batch;
mod certificates;
mod common;
mod cron;
mod pod;
mod service;
mod statefulset;
mod storage;
mod workloads;

use alloc::vec::Vec;

use timonier_meta::FieldError;
use timonier_object::Value;

use crate::ResourceRow;

/// What is wrong with a new object of the row's kind. Custom resources and kinds without rules
/// have no errors.
pub fn validate_create(row: &ResourceRow, new: &Value) -> Vec<FieldError> {
    let mut e = Vec::new();
    if row.is_custom() {
        return e;
    }
    match (row.gvk.group.as_str(), row.gvk.kind.as_str()) {
        ("", "Pod") => pod::create(&mut e, new),
        ("", "Service") => service::create(&mut e, new),
        ("", "PersistentVolumeClaim") => storage::claims::create(&mut e, new),
        (group, kind) => either(&mut e, group, kind, new, None),
    }
    e
}

/// What is wrong with a changed object of the row's kind. `subresource` is what was written:
/// empty for the object itself. Subresources whose writes the server makes itself have no rules.
pub fn validate_update(
    row: &ResourceRow,
    subresource: &str,
    new: &Value,
    old: &Value,
) -> Vec<FieldError> {
    let mut e = Vec::new();
    if row.is_custom() {
        return e;
    }
    let (group, kind) = (row.gvk.group.as_str(), row.gvk.kind.as_str());
    match subresource {
        "" | "scale" => changed(&mut e, group, kind, new, old),
        "status" => changed_status(&mut e, group, kind, new, old),
        "ephemeralcontainers" => pod::ephemeral_containers(&mut e, new, old),
        "resize" => pod::resize(&mut e, new, old),
        _ => {}
    }
    e
}

fn changed(e: &mut Vec<FieldError>, group: &str, kind: &str, new: &Value, old: &Value) {
    match (group, kind) {
        ("", "Pod") => pod::update(e, new, old),
        ("", "Service") => service::update(e, new, old),
        ("", "PersistentVolumeClaim") => storage::claims::update(e, new, old),
        _ => either(e, group, kind, new, Some(old)),
    }
}

fn changed_status(e: &mut Vec<FieldError>, group: &str, kind: &str, new: &Value, old: &Value) {
    match (group, kind) {
        ("", "Pod") => pod::update_status(e, new, old),
        ("", "Service") => service::update_status(e, new, old),
        ("", "PersistentVolumeClaim") => storage::claims::update_status(e, new),
        ("", "ReplicationController") | ("apps", _) => {
            workloads::update_status(e, kind, new, old);
        }
        _ => {}
    }
}

/// Kinds whose rules are nearly the same for new and for changed objects.
fn either(e: &mut Vec<FieldError>, group: &str, kind: &str, new: &Value, old: Option<&Value>) {
    match (group, kind) {
        ("apps", "Deployment") => workloads::deployment(e, new, old),
        ("apps", "ReplicaSet") => workloads::replica_set(e, new, old),
        ("apps", "DaemonSet") => workloads::daemon_set(e, new, old),
        ("apps", "StatefulSet") => statefulset::stateful_set(e, new, old),
        ("batch", "Job") => batch::job(e, new, old),
        ("batch", "CronJob") => batch::cron_job(e, new, old),
        ("apps", "ControllerRevision") => workloads::controller_revision(e, new, old),
        ("", "ReplicationController") => workloads::replication_controller(e, new),
        ("", "PodTemplate") => workloads::pod_template(e, new),
        _ => {}
    }
}
