//! Servers behind an APIService, which leave it to this server to say who asks and who may.
//!
//! Who they are is told by the binding that every such server comes with: a ClusterRoleBinding of
//! `system:auth-delegator` to its service account. This is the one binding that counts before
//! there is role-based access control, and only masters can write it.

use timonier_object::Value;

use crate::{Attributes, ServiceAccountName};

/// Upstream's role that a delegator is bound to.
const ROLE: &str = "system:auth-delegator";

/// Whether a ClusterRoleBinding makes the service account a delegator.
pub fn is_bound(binding: &Value, account: &ServiceAccountName<'_>) -> bool {
    let role = binding.at("roleRef");
    role.at("kind").str() == "ClusterRole"
        && role.at("name").str() == ROLE
        && binding.at("subjects").items().iter().any(|subject| {
            subject.at("kind").str() == "ServiceAccount"
                && subject.at("namespace").str() == account.namespace
                && subject.at("name").str() == account.name
        })
}

/// Whether a delegator may do this: upstream's roles `system:auth-delegator` and
/// `extension-apiserver-authentication-reader`, and what the library of such servers reads before
/// it is ready, which is nothing secret.
pub fn may(a: &Attributes<'_>) -> bool {
    if !a.is_resource || !a.subresource.is_empty() {
        return false;
    }
    let reads = matches!(a.verb, "get" | "list" | "watch");
    match (a.group, a.resource) {
        ("authentication.k8s.io", "tokenreviews")
        | ("authorization.k8s.io", "subjectaccessreviews") => a.verb == "create",
        ("", "configmaps") => {
            reads && (a.namespace, a.name) == ("kube-system", "extension-apiserver-authentication")
        }
        ("", "namespaces") | ("admissionregistration.k8s.io", _) => reads,
        ("flowcontrol.apiserver.k8s.io", "flowschemas" | "prioritylevelconfigurations") => reads,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;
    use crate::User;

    #[test]
    fn only_the_named_account_of_the_named_role() {
        let binding = |kind: &str, role: &str| {
            value!({ "roleRef": { "kind": (kind), "name": (role) }, "subjects": [
                { "kind": "User", "name": "b" },
                { "kind": "ServiceAccount", "namespace": "a", "name": "b" } ] })
        };
        let account = |namespace, name| ServiceAccountName { namespace, name };
        assert!(is_bound(&binding("ClusterRole", ROLE), &account("a", "b")));
        for (namespace, name) in [("a", "x"), ("x", "b"), ("", "b")] {
            assert!(!is_bound(&binding("ClusterRole", ROLE), &account(namespace, name)));
        }
        assert!(!is_bound(&binding("ClusterRole", "cluster-admin"), &account("a", "b")));
        assert!(!is_bound(&binding("Role", ROLE), &account("a", "b")));
    }

    #[test]
    fn what_it_may() {
        let user = User::service_account("a", "b", "u");
        let may = |verb: &str, group: &str, resource: &str, namespace: &str, name: &str| {
            let is_resource = true;
            may(&Attributes {
                is_resource,
                group,
                resource,
                namespace,
                name,
                ..Attributes::of_path(&user, verb, "")
            })
        };
        assert!(may("create", "authentication.k8s.io", "tokenreviews", "", ""));
        assert!(may("list", "", "namespaces", "", ""));
        assert!(may("get", "", "configmaps", "kube-system", "extension-apiserver-authentication"));
        assert!(!may("get", "", "configmaps", "a", "extension-apiserver-authentication"));
        assert!(!may("list", "", "configmaps", "kube-system", ""));
        assert!(!may("delete", "", "namespaces", "", ""));
        assert!(!may("list", "", "secrets", "", ""));
    }
}
