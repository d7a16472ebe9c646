//! Nothing is created in a namespace that does not exist or is being deleted, and the namespaces
//! of the system stay. Upstream's plug-in `NamespaceLifecycle`.

use timonier_meta::gvk::resources;
use timonier_meta::{ApiError, Cause};
use timonier_object::Value;

use super::{Operation, Request};

/// The namespaces that may not be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Refuses what does not fit the namespace's life.
pub fn check(request: &Request<'_>, object: Option<&Value>) -> Result<(), ApiError> {
    let call = request.call;
    if request.operation == Operation::Delete && request.is("", "namespaces") {
        let name = request.old.map_or("", Value::name);
        if IMMORTAL.contains(&name) {
            let why = "this namespace may not be deleted";
            return Err(ApiError::forbidden(&call.resource(), name, why));
        }
    }
    if request.operation != Operation::Create || !call.row.namespaced || !call.row.stored {
        return Ok(());
    }
    let name = call.namespace();
    let Some(namespace) = call.server.peek(&resources::NAMESPACES, "", name) else {
        return Err(ApiError::not_found(&resources::NAMESPACES.group_resource(), name));
    };
    if !namespace.is_deleting() && namespace.at("status.phase").str() != "Terminating" {
        return Ok(());
    }
    let why =
        format!("unable to create new content in namespace {name} because it is being terminated");
    let mut error = ApiError::forbidden(&call.resource(), object.map_or("", Value::name), &why);
    error.causes = vec![Cause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {name} is being terminated"),
        field: "metadata.namespace".into(),
    }];
    Err(error)
}
