//! The pod's status on its way to the API, and the pod's leave from there.

use std::sync::Arc;

use timonier_client::{DeleteOptions, PatchType, Preconditions, WriteOptions};
use timonier_meta::gvk::resources;
use timonier_meta::{ApiError, Duration, Time};
use timonier_object::{Value, value};
use timonier_pod::Stage;

use super::{Outcome, Worker};

/// The first delay after a failed write; doubled up to the last.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(10);
/// What is not urgent waits so long for more: a pod that starts fast is written once, not at each
/// step.
const GATHER: Duration = Duration::from_millis(50);

/// What has been reported.
#[derive(Default)]
pub(super) struct Report {
    /// The last status that the API has taken.
    sent: Option<Value>,
    /// The status that is on its way.
    on_its_way: Option<Value>,
    /// The object has changed: see whether somebody else has written the status.
    pub check: bool,
    retry_at: Option<Time>,
    /// When what has been gathered is sent.
    send_at: Option<Time>,
    retry: Duration,
    deleting: bool,
    deleted: bool,
}

impl Worker {
    /// Sends the status where it has changed, one write at a time, and in the end takes the pod
    /// out of the API.
    pub(super) fn report(&mut self, stage: Stage, now: Time) {
        if self.memory.gone || self.report.on_its_way.is_some() || self.report.deleting {
            return;
        }
        let status = timonier_pod::status(
            &self.pod,
            &self.observed,
            &self.memory,
            &self.shared.facts,
            stage,
            now,
        );
        if std::mem::take(&mut self.report.check) && drifted(self.pod.at("status"), &status) {
            self.report.sent = None;
        }
        // What the API has already, at the agent's start, is not written again.
        if self.report.sent.is_none() && holds(self.pod.at("status"), &status) {
            self.report.sent = Some(status.clone());
        }
        if self.report.retry_at.is_some_and(|at| at > now) {
            return;
        }
        self.report.retry_at = None;
        if self.report.sent.as_ref() == Some(&status) {
            self.report.send_at = None;
            if stage == Stage::Terminated && self.pod.is_deleting() && !self.report.deleted {
                self.delete();
            }
            return;
        }
        let due = self.report.send_at.is_some_and(|at| at <= now);
        if due || stage == Stage::Terminated || urgent(self.pod.at("status"), &status) {
            self.send(status);
        } else if self.report.send_at.is_none() {
            self.report.send_at = Some(now + GATHER);
        }
    }

    /// When a failed write is due again.
    pub(super) fn report_due(&self) -> Option<Time> {
        let idle = self.memory.gone || self.report.on_its_way.is_some() || self.report.deleting;
        let times = [self.report.retry_at, self.report.send_at];
        times.into_iter().flatten().min().filter(|_| !idle)
    }

    fn send(&mut self, status: Value) {
        let shared = self.shared.clone();
        let pod = self.pod.clone();
        let patch = patch(&pod, &status);
        self.report.on_its_way = Some(status);
        self.report.send_at = None;
        self.tasks.spawn(async move {
            let options =
                WriteOptions { field_manager: "kubelet".into(), ..WriteOptions::default() };
            let result = shared
                .client
                .patch(
                    &resources::PODS,
                    pod.namespace(),
                    pod.name(),
                    "status",
                    PatchType::Strategic,
                    patch,
                    &options,
                )
                .await;
            Outcome::Status(result)
        });
    }

    pub(super) fn reported(&mut self, result: Result<Arc<Value>, ApiError>, now: Time) {
        let status = self.report.on_its_way.take();
        match result {
            Ok(pod) => {
                self.report.sent = status;
                self.report.retry_at = None;
                self.report.retry = Duration::ZERO;
                if pod.uid() == self.pod.uid() && pod.revision() > self.pod.revision() {
                    self.pod = pod;
                }
            }
            // The watch will say so.
            Err(error) if error.is_not_found() => self.report.sent = status,
            Err(error) => self.failed(&error, now),
        }
    }

    fn delete(&mut self) {
        let shared = self.shared.clone();
        let pod = self.pod.clone();
        self.report.deleting = true;
        self.tasks.spawn(async move {
            let uid = Some(pod.at("metadata.uid").smol());
            let options = DeleteOptions {
                grace_period_seconds: Some(0),
                preconditions: Preconditions { uid, resource_version: None },
                ..DeleteOptions::default()
            };
            let result =
                shared.client.delete(&resources::PODS, pod.namespace(), pod.name(), &options).await;
            Outcome::Deleted(result.map(|_| ()))
        });
    }

    pub(super) fn deleted(&mut self, result: Result<(), ApiError>, now: Time) {
        self.report.deleting = false;
        match result {
            Ok(()) => self.report.deleted = true,
            Err(error) if error.is_not_found() || error.is_conflict() => self.report.deleted = true,
            Err(error) => self.failed(&error, now),
        }
    }

    fn failed(&mut self, error: &ApiError, now: Time) {
        tracing::warn!(pod = %self.pod.key(), %error, "writing to the API failed");
        let doubled = Duration((self.report.retry.0 * 2).min(LAST_RETRY.0));
        self.report.retry = doubled.max(FIRST_RETRY);
        self.report.retry_at = Some(now + self.report.retry);
    }
}

/// The strategic merge patch that makes the API's status ours, the conditions of others kept.
fn patch(pod: &Value, status: &Value) -> Value {
    let mut body = status.clone();
    for (field, _) in pod.at("status").entries() {
        if status.get(field).is_none() {
            body.set(field, Value::Null);
        }
    }
    // Conditions merge field by field: what is gone has to be named.
    if let Some(conditions) = body.get_mut("conditions").and_then(Value::as_array_mut) {
        for condition in conditions.iter_mut() {
            for field in ["message", "reason"] {
                if condition.get(field).is_none() {
                    condition.set(field, Value::Null);
                }
            }
        }
    }
    // Other lists that merge by key are replaced instead.
    for field in ["podIPs", "hostIPs"] {
        if let Some(list) = body.get_mut(field).and_then(Value::as_array_mut) {
            list.insert(0, value!({ "$patch": "replace" }));
        }
    }
    value!({ "metadata": { "uid": (pod.uid()) }, "status": body })
}

/// Whether the API's status says all that ours does.
fn holds(theirs: &Value, ours: &Value) -> bool {
    ours.entries().all(|(field, value)| {
        let there = theirs.get(field);
        value.is_empty() && there.is_none() || there == Some(value)
    })
}

/// Whether a status says what others wait for: another phase, or ready or no longer ready.
fn urgent(theirs: &Value, ours: &Value) -> bool {
    let ready = |status: &Value| {
        let list = status.at("conditions").items().iter();
        list.into_iter().any(|c| c.at("type").str() == "Ready" && c.at("status").str() == "True")
    };
    theirs.at("phase") != ours.at("phase") || ready(theirs) != ready(ours)
}

/// Whether somebody else has written what is ours to say.
fn drifted(theirs: &Value, ours: &Value) -> bool {
    if theirs.at("phase") != ours.at("phase") {
        return true;
    }
    let status = |conditions: &Value, kind: &str| {
        let list = conditions.at("conditions").items().iter();
        list.into_iter()
            .find(|c| c.at("type").str() == kind)
            .map(|c| c.at("status").str().to_string())
    };
    ["Ready", "ContainersReady", "Initialized"]
        .iter()
        .any(|kind| status(theirs, kind) != status(ours, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_name_what_is_gone() {
        let pod =
            value!({ "metadata": { "uid": "u" }, "status": { "reason": "x", "phase": "Pending" } });
        let status = value!({ "phase": "Running", "podIPs": [{ "ip": "1" }],
            "conditions": [{ "type": "Ready", "status": "True" }] });
        assert_eq!(
            patch(&pod, &status),
            value!({ "metadata": { "uid": "u" }, "status": { "phase": "Running", "reason": null,
                "podIPs": [{ "$patch": "replace" }, { "ip": "1" }],
                "conditions": [{ "type": "Ready", "status": "True", "message": null, "reason": null }] } })
        );
    }

    #[test]
    fn what_holds_and_what_drifts() {
        let ours =
            value!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] });
        assert!(holds(&ours, &ours) && !drifted(&ours, &ours));
        let mut theirs = ours.clone();
        theirs.set("conditions", value!([{ "type": "Ready", "status": "False" }]));
        assert!(!holds(&theirs, &ours) && drifted(&theirs, &ours));
    }
}
