//! Stateful sets.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use timonier_meta::names;
use timonier_object::Value;

use super::at::{At, Errors, same};
use super::common::{
    at_most_all, check, int_or_percent, int_or_percent_value, is_blank_selector, label_selector,
};
use super::pod::template;
use super::storage::claims;
use super::workloads::{always_running, matching_labels};

/// Fields of the specification that may change.
const MUTABLE: [&str; 7] = [
    "replicas",
    "template",
    "updateStrategy",
    "minReadySeconds",
    "ordinals",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
];

/// Checks a stateful set.
pub fn stateful_set(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let spec = At::top(new).get("spec");
    check_spec(e, &spec, old.is_none());
    let Some(old) = old else { return };
    let rest = |spec: &Value| {
        let mut rest = spec.clone();
        for field in MUTABLE {
            rest.remove(field);
        }
        rest
    };
    if !same(&rest(spec.value), &rest(old.at("spec"))) {
        spec.forbidden(e, "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
    }
}

fn check_spec(e: &mut Errors, spec: &At<'_>, is_new: bool) {
    let management = spec.get("podManagementPolicy");
    match management.str() {
        "" => management.required(e, ""),
        "OrderedReady" | "Parallel" => {}
        _ => management.bad_str(e, "must be 'OrderedReady' or 'Parallel'"),
    }
    update_strategy(e, &spec.get("updateStrategy"));
    let retention = spec.get("persistentVolumeClaimRetentionPolicy");
    if retention.is_set() {
        for field in ["whenDeleted", "whenScaled"] {
            retention.get(field).one_of(e, &["Retain", "Delete"]);
        }
    }
    if is_new {
        for claim in spec.get("volumeClaimTemplates").items() {
            claims::spec(e, &claim.get("spec"));
        }
    }
    for field in ["replicas", "minReadySeconds"] {
        spec.get(field).non_negative(e);
    }
    spec.get("ordinals.start").non_negative(e);
    let service = spec.get("serviceName");
    if is_new && !service.is_empty() {
        check(e, &service, names::dns1123_label);
    }
    let selector = spec.get("selector");
    if !selector.is_set() {
        selector.required(e, "");
    } else {
        label_selector(e, &selector);
        if is_blank_selector(selector.value) {
            selector.invalid(e, "empty selector is invalid for statefulset");
        }
    }
    let at = spec.get("template");
    let completed = completed_template(spec);
    let whole = At { value: &completed, path: at.path.clone() };
    if matching_labels(e, &selector, &whole, "") {
        template(e, &whole);
    }
    always_running(e, &at, "StatefulSet");
}

/// The template as its pods will be: named by the set, with a volume for every claim.
fn completed_template(spec: &At<'_>) -> Value {
    let mut template = spec.value.at("template").clone();
    let claims = spec.value.at("volumeClaimTemplates").items();
    let pod = template.entry("spec");
    pod.remove("hostname");
    pod.remove("subdomain");
    if claims.is_empty() {
        return template;
    }
    let mut names = BTreeSet::new();
    let mut volumes: Vec<Value> = Vec::new();
    for claim in claims {
        let name = claim.at("metadata.name").str();
        if !names.insert(name) {
            continue;
        }
        volumes.push(timonier_object::value!({
            "name": name, "persistentVolumeClaim": { "claimName": name }
        }));
    }
    let own = pod.at("volumes").items().iter();
    volumes.extend(own.filter(|volume| !names.contains(volume.at("name").str())).cloned());
    pod.set("volumes", volumes);
    template
}

fn update_strategy(e: &mut Errors, at: &At<'_>) {
    let rolling = at.get("rollingUpdate");
    match at.get("type").str() {
        "" => at.required(e, ""),
        "OnDelete" => {
            if rolling.is_set() {
                rolling.bad(
                    e,
                    printed(rolling.value),
                    "only allowed for updateStrategy 'RollingUpdate'",
                );
            }
        }
        "RollingUpdate" => {
            rolling.get("partition").non_negative(e);
            let unavailable = rolling.get("maxUnavailable");
            if unavailable.is_set() {
                int_or_percent(e, &unavailable);
                if int_or_percent_value(unavailable.value) == 0 {
                    unavailable.invalid(e, "cannot be 0");
                }
                at_most_all(e, &unavailable);
            }
        }
        kind => {
            let printed = timonier_object::value!({
                "Type": kind, "RollingUpdate": (printed(rolling.value))
            });
            at.bad(e, printed, "must be 'RollingUpdate' or 'OnDelete'");
        }
    }
}

/// As upstream's own type prints.
fn printed(rolling: &Value) -> Value {
    if rolling.is_null() {
        return Value::Null;
    }
    timonier_object::value!({
        "Partition": (rolling.at("partition").int_or(0)),
        "MaxUnavailable": (rolling.at("maxUnavailable").clone())
    })
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    fn set() -> Value {
        value!({ "spec": {
            "replicas": 1, "podManagementPolicy": "OrderedReady", "serviceName": "s",
            "selector": { "matchLabels": { "app": "a" } },
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } },
            "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } }],
            "template": { "metadata": { "labels": { "app": "a" } }, "spec": {
                "containers": [{ "name": "c", "image": "i", "imagePullPolicy": "Always",
                    "terminationMessagePolicy": "File", "resources": {},
                    "volumeMounts": [{ "name": "data", "mountPath": "/data" }] }],
                "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
                "terminationGracePeriodSeconds": 30, "securityContext": {} } } } })
    }

    #[test]
    fn claims_are_volumes_and_only_some_fields_change() {
        let mut e = Errors::new();
        stateful_set(&mut e, &set(), None);
        assert!(e.is_empty(), "{e:?}");
        let mut scaled = set();
        scaled.set("spec.replicas", 3i64);
        stateful_set(&mut e, &scaled, Some(&set()));
        assert!(e.is_empty(), "{e:?}");
        let mut other = set();
        other.set("spec.serviceName", "t");
        stateful_set(&mut e, &other, Some(&set()));
        assert_eq!(e.len(), 1);
        assert!(e[0].detail.starts_with("updates to statefulset spec"));
    }
}
