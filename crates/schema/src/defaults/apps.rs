//! Workloads and autoscalers.

use timonier_object::{Value, value};

use super::{set_default, set_empty};

pub(super) fn deployment(v: &mut Value) {
    if v.at("spec.strategy.type").str() == "RollingUpdate" {
        set_default(v, "spec.strategy.rollingUpdate.maxUnavailable", "25%");
        set_default(v, "spec.strategy.rollingUpdate.maxSurge", "25%");
    }
}

pub(super) fn daemon_set(v: &mut Value) {
    if v.at("spec.updateStrategy.type").str() == "RollingUpdate" {
        set_default(v, "spec.updateStrategy.rollingUpdate.maxUnavailable", 1);
        set_default(v, "spec.updateStrategy.rollingUpdate.maxSurge", 0);
    }
}

pub(super) fn stateful_set(v: &mut Value) {
    if v.at("spec.updateStrategy.type").is_empty() {
        v.set("spec.updateStrategy.type", "RollingUpdate");
        set_default(v, "spec.updateStrategy.rollingUpdate", Value::object());
    }
    let rolls = v.at("spec.updateStrategy.type").str() == "RollingUpdate";
    if rolls && !v.at("spec.updateStrategy.rollingUpdate").is_null() {
        set_default(v, "spec.updateStrategy.rollingUpdate.partition", 0);
        set_default(v, "spec.updateStrategy.rollingUpdate.maxUnavailable", 1);
    }
}

pub(super) fn job(v: &mut Value) {
    if v.at("spec.parallelism").is_null() {
        set_default(v, "spec.completions", 1);
        // Where only completions were given, they stay.
        v.set("spec.parallelism", 1);
    }
    let per_index = !v.at("spec.backoffLimitPerIndex").is_null();
    set_default(v, "spec.backoffLimit", if per_index { i32::MAX } else { 6 });
    let labels = v.at("spec.template.metadata.labels").clone();
    if !labels.is_empty() {
        set_empty(v, "metadata.labels", labels);
    }
    let fails = !v.at("spec.podFailurePolicy").is_null();
    let replace = if fails { "Failed" } else { "TerminatingOrFailed" };
    set_default(v, "spec.podReplacementPolicy", replace);
}

pub(super) fn autoscaler(v: &mut Value) {
    set_empty(
        v,
        "spec.metrics",
        value!([{
            "type": "Resource",
            "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 80 } },
        }]),
    );
    if v.at("spec.behavior").is_null() {
        return;
    }
    let pods = value!({ "type": "Pods", "value": 4, "periodSeconds": 15 });
    let percent = value!({ "type": "Percent", "value": 100, "periodSeconds": 15 });
    set_default(v, "spec.behavior.scaleUp.stabilizationWindowSeconds", 0);
    for (direction, policies) in
        [("scaleUp", value!([(pods), (&percent)])), ("scaleDown", value!([(&percent)]))]
    {
        let rules = v.entry("spec.behavior").make_object().entry(direction);
        set_default(rules, "selectPolicy", "Max");
        set_default(rules, "policies", policies);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::defaulted;
    use super::*;

    #[test]
    fn deployments() {
        let v = defaulted("apps", "deployments", value!({ "spec": { "replicas": 0 } }));
        assert_eq!(v.at("spec.replicas").as_i64(), Some(0));
        assert_eq!(
            v.at("spec.strategy"),
            &value!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": "25%", "maxSurge": "25%" } })
        );
        let v = defaulted(
            "apps",
            "deployments",
            value!({ "spec": { "strategy": { "type": "Recreate" } } }),
        );
        assert_eq!(v.at("spec.strategy"), &value!({ "type": "Recreate" }));
        assert_eq!(v.at("spec.progressDeadlineSeconds").as_i64(), Some(600));
    }

    #[test]
    fn stateful_sets_and_their_claims() {
        let v = defaulted(
            "apps",
            "statefulsets",
            value!({ "spec": { "volumeClaimTemplates": [{ "metadata": { "name": "a" } }] } }),
        );
        assert_eq!(
            v.at("spec.updateStrategy"),
            &value!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 0, "maxUnavailable": 1 } })
        );
        let claim = &v.at("spec.volumeClaimTemplates").items()[0];
        assert_eq!(claim.at("status.phase").str(), "Pending");
        assert_eq!(claim.at("spec.volumeMode").str(), "Filesystem");
        assert_eq!(
            v.at("spec.persistentVolumeClaimRetentionPolicy"),
            &value!({ "whenDeleted": "Retain", "whenScaled": "Retain" })
        );
    }

    #[test]
    fn jobs() {
        let v = defaulted("batch", "jobs", value!({}));
        assert_eq!(v.at("spec.completions").as_i64(), Some(1));
        let v = defaulted("batch", "jobs", value!({ "spec": { "parallelism": 2 } }));
        assert!(v.at("spec.completions").is_null());
        let v = defaulted("batch", "jobs", value!({ "spec": { "completions": 5 } }));
        assert_eq!(v.at("spec.parallelism").as_i64(), Some(1));
        assert_eq!(v.at("spec.completions").as_i64(), Some(5));
        let v = defaulted("batch", "cronjobs", value!({}));
        assert!(v.at("spec.jobTemplate.spec.backoffLimit").is_null());
        assert_eq!(
            v.at("spec.jobTemplate.spec.template.spec.schedulerName").str(),
            "default-scheduler"
        );
    }

    #[test]
    fn autoscalers() {
        let v = defaulted(
            "autoscaling",
            "horizontalpodautoscalers",
            value!({ "spec": { "behavior": { "scaleDown": { "selectPolicy": "Min" } } } }),
        );
        assert_eq!(v.at("spec.behavior.scaleDown.selectPolicy").str(), "Min");
        assert!(v.at("spec.behavior.scaleDown.stabilizationWindowSeconds").is_null());
        assert_eq!(v.at("spec.behavior.scaleUp.policies").items().len(), 2);
        assert_eq!(v.at("spec.metrics").items().len(), 1);
    }
}
