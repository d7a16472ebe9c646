//! The remaining groups.

use alloc::format;

use timonier_object::{Value, value};

use super::{set_default, set_empty};

pub(super) fn network_policy(v: &mut Value) {
    let types = match v.at("spec.egress").is_empty() {
        true => value!(["Ingress"]),
        false => value!(["Ingress", "Egress"]),
    };
    set_empty(v, "spec.policyTypes", types);
}

pub(super) fn ingress_class(v: &mut Value) {
    if !v.at("spec.parameters").is_null() {
        set_default(v, "spec.parameters.scope", "Cluster");
    }
}

pub(super) fn subject(v: &mut Value) {
    if matches!(v.at("kind").str(), "User" | "Group") {
        set_empty(v, "apiGroup", "rbac.authorization.k8s.io");
    }
}

pub(super) fn device_request(v: &mut Value) {
    set_empty(v, "allocationMode", "ExactCount");
    if v.at("allocationMode").str() == "ExactCount" {
        set_empty(v, "count", 1);
    }
}

/// A CustomResourceDefinition's names and stored version.
pub(super) fn definition(v: &mut Value) {
    let kind = v.at("spec.names.kind").smol();
    if !kind.is_empty() {
        set_empty(v, "spec.names.singular", kind.to_lowercase());
        set_empty(v, "spec.names.listKind", format!("{kind}List"));
    }
    let versions = v.at("spec.versions").items();
    let stored = versions.iter().find(|version| version.at("storage").bool());
    if let Some(name) = stored.map(|version| version.at("name").clone()) {
        set_empty(v, "status.storedVersions", Value::array([name]));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::defaulted;
    use super::*;

    #[test]
    fn policies_bindings_and_definitions() {
        let v = defaulted(
            "networking.k8s.io",
            "networkpolicies",
            value!({ "spec": { "egress": [{}] } }),
        );
        assert_eq!(v.at("spec.policyTypes"), &value!(["Ingress", "Egress"]));
        let v = defaulted(
            "rbac.authorization.k8s.io",
            "rolebindings",
            value!({ "subjects": [{ "kind": "User", "name": "a" }, { "kind": "ServiceAccount", "name": "b" }] }),
        );
        assert_eq!(v.at("roleRef.apiGroup").str(), "rbac.authorization.k8s.io");
        assert_eq!(v.at("subjects").items()[0].at("apiGroup").str(), "rbac.authorization.k8s.io");
        assert!(v.at("subjects").items()[1].at("apiGroup").is_null());
        let v = defaulted(
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            value!({ "spec": { "names": { "kind": "Foo" }, "versions": [{ "name": "v1", "storage": true }] } }),
        );
        assert_eq!(v.at("spec.names.listKind").str(), "FooList");
        assert_eq!(v.at("spec.conversion.strategy").str(), "None");
        assert_eq!(v.at("status.storedVersions"), &value!(["v1"]));
    }

    #[test]
    fn devices() {
        let v = defaulted(
            "resource.k8s.io",
            "resourceclaims",
            value!({ "spec": { "devices": { "requests": [{ "name": "a", "exactly": { "deviceClassName": "c" } }] } } }),
        );
        let exactly = v.at("spec.devices.requests").items()[0].at("exactly");
        assert_eq!(exactly.at("count").as_i64(), Some(1));
    }
}
