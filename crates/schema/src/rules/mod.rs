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

mod addresses;
mod aggregation;
mod at;
mod autoscaling;
mod batch;
mod certificates;
mod client_config;
mod common;
mod config;
mod cron;
mod custom_rules;
mod definition;
mod devices;
mod endpoints;
mod events;
mod flow;
mod job_status;
mod networking;
mod node;
mod pod;
mod policies;
mod quota;
mod rbac;
mod reviews;
mod service;
mod statefulset;
mod storage;
mod structural;
mod webhooks;
mod workloads;

use alloc::vec::Vec;

use timonier_meta::{ErrorKind, FieldError, FieldPath};
use timonier_object::Value;

use crate::ResourceRow;
use crate::crd::values;

const DEVICES: &str = "resource.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";

/// What is wrong with a new object of the row's kind. Custom resources have the rules of their
/// schema.
pub fn validate_create(row: &ResourceRow, new: &Value) -> Vec<FieldError> {
    let mut e = Vec::new();
    if let Some(version) = &row.version {
        return custom(row, version, new, None);
    }
    match (row.gvk.group.as_str(), row.gvk.kind.as_str()) {
        ("", "Pod") => pod::create(&mut e, new),
        ("", "Service") => service::create(&mut e, new),
        ("", "PersistentVolumeClaim") => storage::claims::create(&mut e, new),
        (group, kind) => either(&mut e, group, kind, new, None),
    }
    e
}

/// What is wrong with a custom resource: by its schema first, then by its validation rules.
fn custom(row: &ResourceRow, version: &Value, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = values::validate(version.at("schema.openAPIV3Schema"), new, old);
    let Some(rules) = &row.validations else { return errors };
    let blocks = |e: &FieldError| {
        use ErrorKind::{Required, TooLong, TooMany, TypeInvalid};
        matches!(e.kind, Required | TooLong | TooMany | TypeInvalid)
    };
    if errors.iter().any(blocks) {
        let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
        errors.push(FieldError::invalid(&FieldPath::new("<nil>"), "null", why));
    } else {
        errors.extend(rules.validate(new, old));
    }
    errors
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
    if let Some(version) = &row.version {
        return custom(row, version, new, Some(old));
    }
    let (group, kind) = (row.gvk.group.as_str(), row.gvk.kind.as_str());
    match subresource {
        "" | "scale" => changed(&mut e, group, kind, new, old),
        "status" => changed_status(&mut e, group, kind, new, old),
        "finalize" => config::namespace(&mut e, new),
        "ephemeralcontainers" => pod::ephemeral_containers(&mut e, new, old),
        "resize" => pod::resize(&mut e, new, old),
        "approval" => certificates::request(&mut e, new, Some(old), "approval"),
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
        ("apiregistration.k8s.io", "APIService") => aggregation::api_service_status(e, new),
        ("", "Namespace") => config::namespace_status(e, new),
        ("", "Node") => node::node(e, new, Some(old)),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaling::status(e, new),
        ("", "ResourceQuota") => quota::quota_status(e, new),
        ("policy", "PodDisruptionBudget") => config::budget_status(e, new),
        ("batch", "Job") => job_status::status(e, new, old),
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            certificates::request(e, new, Some(old), "status");
        }
        ("storage.k8s.io", "VolumeAttachment") => storage::attachments::attachment_status(e, new),
        ("flowcontrol.apiserver.k8s.io", _) => flow::conditions(e, new),
        (DEVICES, "ResourceClaim") => devices::status(e, new, old),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => {
            policies::policy_status(e, new);
        }
        ("networking.k8s.io", "Ingress") => {
            let path = "status.loadBalancer.ingress";
            let (new, old) = (at::At::top(new), at::At::top(old));
            service::load_balancer_points(e, &new.get(path), &old.get(path), false);
        }
        ("", "ReplicationController") | ("apps", _) => {
            workloads::update_status(e, kind, new, old);
        }
        _ => {}
    }
}

/// Kinds whose rules are nearly the same for new and for changed objects.
fn either(e: &mut Vec<FieldError>, group: &str, kind: &str, new: &Value, old: Option<&Value>) {
    match (group, kind) {
        ("apiregistration.k8s.io", "APIService") => aggregation::api_service(e, new),
        ("apps", "Deployment") => workloads::deployment(e, new, old),
        ("apps", "ReplicaSet") => workloads::replica_set(e, new, old),
        ("apps", "DaemonSet") => workloads::daemon_set(e, new, old),
        ("apps", "StatefulSet") => statefulset::stateful_set(e, new, old),
        ("batch", "Job") => batch::job(e, new, old),
        ("batch", "CronJob") => batch::cron_job(e, new, old),
        ("apps", "ControllerRevision") => workloads::controller_revision(e, new, old),
        ("", "ReplicationController") => workloads::replication_controller(e, new),
        ("", "PersistentVolume") => storage::volumes::volume(e, new, old),
        ("storage.k8s.io", "StorageClass") => storage::classes::storage_class(e, new, old),
        ("storage.k8s.io", "VolumeAttributesClass") => {
            storage::classes::attributes_class(e, new, old);
        }
        ("storage.k8s.io", "CSIDriver") => storage::classes::csi_driver(e, new, old),
        ("storage.k8s.io", "CSIStorageCapacity") => {
            storage::classes::storage_capacity(e, new, old);
        }
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            certificates::request(e, new, old, "");
        }
        ("storage.k8s.io", "VolumeAttachment") => storage::attachments::attachment(e, new, old),
        ("storage.k8s.io", "CSINode") => storage::attachments::node(e, new, old),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => flow::schema(e, new),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => flow::level(e, new),
        ("networking.k8s.io", "IPAddress") => addresses::address(e, new, old),
        ("networking.k8s.io", "ServiceCIDR") => addresses::range(e, new, old),
        ("apiextensions.k8s.io", _) => definition::definition(e, new, old),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaling::autoscaler(e, new, old),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => {
            webhooks::configuration(e, new, false);
        }
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => {
            webhooks::configuration(e, new, true);
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => policies::policy(e, new),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding") => {
            policies::binding(e, new);
        }
        ("", "Event") => events::event(e, new, old, false),
        ("events.k8s.io", "Event") => events::event(e, new, old, true),
        ("", "ConfigMap") => config::config_map(e, new, old),
        ("", "Secret") => config::secret(e, new, old),
        ("", "Namespace") if old.is_none() => config::namespace(e, new),
        ("", "Node") => node::node(e, new, old),
        ("", "Endpoints") => endpoints::endpoints(e, new, old),
        ("", "ResourceQuota") => quota::quota(e, new, old),
        ("", "LimitRange") => quota::limit_range(e, new),
        ("discovery.k8s.io", "EndpointSlice") => endpoints::slice(e, new, old),
        ("coordination.k8s.io", "Lease") => config::lease(e, new),
        ("scheduling.k8s.io", "PriorityClass") => config::priority_class(e, new, old),
        ("node.k8s.io", "RuntimeClass") => config::runtime_class(e, new, old),
        ("policy", "PodDisruptionBudget") => config::budget(e, new),
        ("networking.k8s.io", "NetworkPolicy") => networking::network_policy(e, new),
        ("networking.k8s.io", "Ingress") => networking::ingress(e, new, old),
        ("networking.k8s.io", "IngressClass") => networking::ingress_class(e, new, old),
        (DEVICES, "ResourceClaim") => devices::claim(e, new, old),
        (DEVICES, "ResourceClaimTemplate") => devices::template(e, new, old),
        (DEVICES, "DeviceClass") => devices::class(e, new),
        (DEVICES, "ResourceSlice") => devices::slice(e, new, old),
        ("authorization.k8s.io", "SelfSubjectRulesReview") => {}
        ("authorization.k8s.io", kind) => reviews::access(e, new, kind),
        (RBAC, "Role") => rbac::role(e, new, true),
        (RBAC, "ClusterRole") => rbac::role(e, new, false),
        (RBAC, "RoleBinding") => rbac::binding(e, new, old, true),
        (RBAC, "ClusterRoleBinding") => rbac::binding(e, new, old, false),
        ("", "PodTemplate") => workloads::pod_template(e, new),
        _ => {}
    }
}
