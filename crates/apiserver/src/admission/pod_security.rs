//! Pods and what makes them keep to the level of their namespace. Upstream's plug-in `PodSecurity`;
//! the decisions are `timonier_policy::pod_security`. What would be noted in an audit log (the mode
//! `audit`) has no reader here: there is no audit log.

use timonier_meta::ApiError;
use timonier_meta::gvk::resources::{NAMESPACES, PODS};
use timonier_object::Value;
use timonier_policy::pod_security::{self, Policy};

use super::{Operation, Request};

/// Writes to a pod that change nothing of what it may do.
const OTHER_SUBRESOURCES: [&str; 8] =
    ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

/// Refuses pods below the namespace's level, warns of others and of what makes them, and refuses
/// wrong labels.
pub fn check(request: &Request<'_>, object: &Value) -> Result<(), ApiError> {
    if request.operation == Operation::Delete {
        return Ok(());
    }
    let gvr = &request.call.row.gvr;
    match (&*gvr.group, &*gvr.resource) {
        ("", "namespaces") if request.subresource.is_empty() => namespace(request, object),
        ("", "pods") if !OTHER_SUBRESOURCES.contains(&request.subresource) => pod(request, object),
        (group, resource) if request.subresource.is_empty() => {
            if let Some(path) = template_path(group, resource) {
                template(request, object.at(path));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Where a kind has its template of pods.
fn template_path(group: &str, resource: &str) -> Option<&'static str> {
    match (group, resource) {
        ("", "podtemplates") => Some("template"),
        ("", "replicationcontrollers") | ("batch", "jobs") => Some("spec.template"),
        ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets") => {
            Some("spec.template")
        }
        ("batch", "cronjobs") => Some("spec.jobTemplate.spec.template"),
        _ => None,
    }
}

fn namespace(request: &Request<'_>, object: &Value) -> Result<(), ApiError> {
    let (new, errors) = Policy::of(object.at("metadata.labels"));
    let Some(old) = request.old else {
        return match errors.as_slice() {
            [] => Ok(()),
            errors => Err(request.call.invalid(object.name(), errors)),
        };
    };
    let (old, before) = Policy::of(old.at("metadata.labels"));
    if !errors.is_empty() && errors != before {
        return Err(request.call.invalid(object.name(), &errors));
    }
    if pod_security::needs_evaluation(&new, &old) {
        let pods = request.call.server.peek_all(&PODS, object.name());
        let pods = pods.iter().map(|pod| &**pod);
        for warning in pod_security::evaluate_namespace(object.name(), new.enforce, pods) {
            request.call.warn(warning);
        }
    }
    Ok(())
}

/// The policy of the request's namespace; `None` where that is gone.
fn policy(request: &Request<'_>) -> Option<Policy> {
    let namespace = request.call.server.peek(&NAMESPACES, "", request.call.namespace())?;
    Some(Policy::of(namespace.at("metadata.labels")).0)
}

fn pod(request: &Request<'_>, object: &Value) -> Result<(), ApiError> {
    let Some(policy) = policy(request) else {
        let why = format!("failed to lookup namespace {:?}", request.call.namespace());
        return Err(ApiError::internal(why));
    };
    if policy.is_open() || request.old.is_some_and(|old| !pod_security::is_significant(object, old))
    {
        return Ok(());
    }
    let (metadata, spec) = (object.at("metadata"), object.at("spec"));
    if let Some(why) = pod_security::refusal(&policy, metadata, spec) {
        return Err(request.forbidden(object, &why));
    }
    warn(request, &policy, metadata, spec);
    Ok(())
}

fn template(request: &Request<'_>, template: &Value) {
    let Some(policy) = policy(request) else { return };
    if !policy.is_open() && !template.is_null() {
        warn(request, &policy, template.at("metadata"), template.at("spec"));
    }
}

fn warn(request: &Request<'_>, policy: &Policy, metadata: &Value, spec: &Value) {
    if let Some(warning) = pod_security::warning(policy, metadata, spec) {
        request.call.warn(warning);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_that_makes_pods_has_its_template() {
        assert_eq!(template_path("apps", "deployments"), Some("spec.template"));
        assert_eq!(template_path("batch", "cronjobs"), Some("spec.jobTemplate.spec.template"));
        assert_eq!(template_path("apps", "controllerrevisions"), None);
    }
}
