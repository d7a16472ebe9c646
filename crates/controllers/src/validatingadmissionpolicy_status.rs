//! Says in the status of a ValidatingAdmissionPolicy what does not fit the types of the objects
//! that it is about (upstream `pkg/controller/validatingadmissionpolicystatus`).

use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::CUSTOMRESOURCEDEFINITIONS;
use timonier_meta::{GroupVersionResource, ObjectKey};
use timonier_object::{Value, value};
use timonier_policy::validating::check_types;
use timonier_reconcile::{Change, Context, Plan, Reconciler, World, Write};

pub(crate) const POLICIES: GroupVersionResource = GroupVersionResource::new_static(
    "admissionregistration.k8s.io",
    "v1",
    "validatingadmissionpolicies",
);

/// The controller of the type checks of policies. A policy is checked once for each of its
/// generations, with the definitions that there are then.
pub struct PolicyTypes;

impl Reconciler for PolicyTypes {
    fn name(&self) -> &'static str {
        "validatingadmissionpolicy-status-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![POLICIES, CUSTOMRESOURCEDEFINITIONS]
    }

    fn concerns(&self, change: &Change, _: &World) -> Vec<ObjectKey> {
        if change.is(&POLICIES) { vec![change.key.clone()] } else { Vec::new() }
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, _: &Context<'_>) -> Plan {
        let Some(policy) = world.get(&POLICIES, key).filter(|p| !p.is_deleting()) else {
            return Plan::nothing();
        };
        if policy.at("status.observedGeneration").int_or(0) >= policy.generation() {
            return Plan::nothing();
        }
        let definitions: Vec<&Value> =
            world.table(&CUSTOMRESOURCEDEFINITIONS).iter().map(|d| &**d).collect();
        let warnings = check_types(policy, &definitions);
        let mut checked = Value::object();
        if !warnings.is_empty() {
            checked.set("expressionWarnings", Value::array(warnings));
        }
        let status = value!({
            "observedGeneration": (policy.generation()), "typeChecking": checked });
        let mut changed = Value::clone(policy);
        changed.set("status", status);
        Plan::write(Write::update_status(&POLICIES, changed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{object, plan_key, world};

    #[test]
    fn a_generation_is_checked_once() {
        let mut policy = object(
            r#"{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingAdmissionPolicy",
                "metadata":{"name":"p","generation":2},
                "spec":{"matchConstraints":{"resourceRules":[{"apiGroups":["apps"],"apiVersions":["v1"],
                            "resources":["deployments"]}]},
                        "validations":[{"expression":"object.spec.replica > 1"}]}}"#,
        );
        let key = ObjectKey::new("", "p");
        let found = plan_key(&PolicyTypes, &world([policy.clone()]), &key);
        let written = alloc::format!("{found:?}");
        assert!(written.contains("undefined field 'replica'"), "{written}");
        policy.set("status.observedGeneration", 2);
        assert_eq!(plan_key(&PolicyTypes, &world([policy]), &key), Plan::nothing());
    }
}
