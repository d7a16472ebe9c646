//! Admission: what the server adds to an object and what it refuses, whatever the schema says.
//! One plug-in, one file; the order is upstream's. Quotas come last of all, right before the write.

mod certificate_approval;
mod certificate_signing;
mod certificate_subject_restriction;
mod default_ingress_class;
mod default_storage_class;
mod default_tolerations;
mod limit_ranger;
mod namespace_lifecycle;
pub mod node_restriction;
mod node_taints;
mod pod_security;
pub mod pod_topology_labels;
pub mod policies;
mod priority;
mod pvc_resize;
pub mod resource_quota;
mod runtime_class;
mod service_account;
mod signers;
mod storage_protection;
pub mod webhooks;

use timonier_meta::ApiError;
use timonier_object::Value;

use crate::call::Call;

/// What is being done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    Create,
    Update,
    Delete,
}

impl Operation {
    /// The word of the admission API.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
        }
    }
}

/// A write on its way, as the plug-ins see it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub call: &'a Call<'a>,
    pub operation: Operation,
    pub subresource: &'a str,
    pub old: Option<&'a Value>,
    /// Nothing will be stored.
    pub dry_run: bool,
}

impl Request<'_> {
    /// Whether this is about a resource itself, not a subresource of it.
    fn is(&self, group: &str, resource: &str) -> bool {
        let gvr = &self.call.row.gvr;
        self.subresource.is_empty() && gvr.group == group && gvr.resource == resource
    }

    /// The 403 of a plug-in, about `object`.
    fn forbidden(&self, object: &Value, why: &str) -> ApiError {
        let name = match (object.name(), object.at("metadata.generateName").str()) {
            ("", "") => "Unknown",
            ("", generate) => generate,
            (name, _) => name,
        };
        ApiError::forbidden(&self.call.resource(), name, why)
    }
}

/// Runs the plug-ins that change objects.
pub async fn mutate(request: &Request<'_>, object: &mut Value) -> Result<(), ApiError> {
    namespace_lifecycle::check(request, Some(object))?;
    limit_ranger::mutate(request, object);
    service_account::mutate(request, object).await?;
    node_taints::mutate(request, object);
    priority::mutate(request, object)?;
    default_tolerations::mutate(request, object);
    default_storage_class::mutate(request, object);
    storage_protection::mutate(request, object);
    runtime_class::mutate(request, object)?;
    default_ingress_class::mutate(request, object);
    pod_topology_labels::mutate(request, object);
    webhooks::mutate(request, object).await
}

/// Runs the plug-ins that only refuse; `object` is the new state, `None` in a delete.
pub async fn validate(request: &Request<'_>, object: Option<&Value>) -> Result<(), ApiError> {
    namespace_lifecycle::check(request, object)?;
    node_restriction::check(request, object)?;
    if let Some(object) = object {
        limit_ranger::validate(request, object)?;
        service_account::validate(request, object)?;
        pod_security::check(request, object)?;
        priority::validate(request, object)?;
        pvc_resize::check(request, object)?;
        certificate_approval::check(request, object)?;
        certificate_signing::check(request, object)?;
        certificate_subject_restriction::check(request, object)?;
    }
    webhooks::validate(request, object).await
}
