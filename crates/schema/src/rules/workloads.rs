//! Deployments, replica sets, replication controllers, daemon sets, pod templates, controller
//! revisions.

use timonier_object::Value;

use super::at::{At, Errors, immutable, show, show_map};
use super::common::{
    at_most_all, int_or_percent, int_or_percent_value, is_blank_selector, label_selector, selects,
};
use super::pod::template;

/// Checks a deployment.
pub fn deployment(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let spec = At::top(new).get("spec");
    spec.get("replicas").non_negative(e);
    selector_and_template(e, &spec, "deployment");
    strategy(e, &spec.get("strategy"));
    spec.get("minReadySeconds").non_negative(e);
    spec.get("revisionHistoryLimit").non_negative(e);
    let deadline = spec.get("progressDeadlineSeconds");
    if deadline.is_set() {
        deadline.non_negative(e);
        if deadline.int() <= spec.get("minReadySeconds").int() {
            deadline.bad_int(e, "must be greater than minReadySeconds");
        }
    }
    same_selector(e, &spec, old);
}

/// Checks a replica set.
pub fn replica_set(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let spec = At::top(new).get("spec");
    spec.get("replicas").non_negative(e);
    spec.get("minReadySeconds").non_negative(e);
    selector_and_template(e, &spec, "deployment");
    same_selector(e, &spec, old);
}

fn same_selector(e: &mut Errors, spec: &At<'_>, old: Option<&Value>) {
    if let Some(old) = old {
        immutable(e, &spec.get("selector"), &At::top(old).get("spec.selector"));
    }
}

/// The selector is there, is not blank, and selects what the template makes.
fn selector_and_template(e: &mut Errors, spec: &At<'_>, kind: &str) {
    let selector = spec.get("selector");
    if !selector.is_set() {
        selector.required(e, "");
    } else {
        label_selector(e, &selector);
        if is_blank_selector(selector.value) {
            let why = alloc::format!("empty selector is invalid for {kind}");
            selector.invalid(e, why);
        }
    }
    let at = spec.get("template");
    if !matching_labels(e, &selector, &at, "invalid label selector") {
        return;
    }
    template(e, &at);
    always_running(e, &at, "ReplicaSet");
}

/// Whether the selector can be read; then the template's labels must meet it. No selector at all
/// selects nothing.
pub fn matching_labels(
    e: &mut Errors,
    selector: &At<'_>,
    template: &At<'_>,
    unreadable: &str,
) -> bool {
    match selects(selector.value, template.value.at("metadata.labels")) {
        None if selector.is_set() => {
            selector.invalid(e, unreadable);
            return false;
        }
        Some(true) => {}
        Some(false) if is_blank_selector(selector.value) && selector.is_set() => {}
        None | Some(false) => labels_differ(e, template),
    }
    true
}

fn labels_differ(e: &mut Errors, template: &At<'_>) {
    let labels = template.get("metadata.labels");
    labels.bad(e, show_map(labels.value), "`selector` does not match template `labels`");
}

/// Pods that are kept running restart always and have no deadline.
pub fn always_running(e: &mut Errors, template: &At<'_>, kind: &str) {
    template.get("spec.restartPolicy").one_of(e, &["Always"]);
    let deadline = template.get("spec.activeDeadlineSeconds");
    if deadline.is_set() {
        deadline.forbidden(e, alloc::format!("activeDeadlineSeconds in {kind} is not Supported"));
    }
}

fn strategy(e: &mut Errors, at: &At<'_>) {
    let rolling = at.get("rollingUpdate");
    match at.get("type").str() {
        "Recreate" => {
            if rolling.is_set() {
                let why = "may not be specified when strategy `type` is 'Recreate'";
                rolling.forbidden(e, why);
            }
        }
        "RollingUpdate" => {
            if !rolling.is_set() {
                rolling.required(e, "this should be defaulted and never be nil");
                return;
            }
            let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
            int_or_percent(e, &unavailable);
            int_or_percent(e, &surge);
            let of = |at: &At<'_>| int_or_percent_value(at.value);
            if of(&unavailable) == 0 && of(&surge) == 0 {
                unavailable.invalid(e, "may not be 0 when `maxSurge` is 0");
            }
            at_most_all(e, &unavailable);
        }
        kind => {
            // Upstream prints the whole strategy as its own type does.
            let printed = timonier_object::value!({
                "Type": kind,
                "RollingUpdate": (internal_rolling(rolling.value))
            });
            unsupported(e, at, &printed, &["Recreate", "RollingUpdate"]);
        }
    }
}

fn internal_rolling(value: &Value) -> Value {
    if value.is_null() {
        return Value::Null;
    }
    timonier_object::value!({
        "MaxUnavailable": (or_zero(value.at("maxUnavailable"))),
        "MaxSurge": (or_zero(value.at("maxSurge")))
    })
}

fn or_zero(value: &Value) -> Value {
    if value.is_null() { Value::Int(0) } else { value.clone() }
}

fn unsupported(e: &mut Errors, at: &At<'_>, printed: &Value, values: &[&str]) {
    let mut error = timonier_meta::FieldError::not_supported(&at.path, "", values);
    error.value = show(printed);
    e.push(error);
}

/// Checks a daemon set.
pub fn daemon_set(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let spec = At::top(new).get("spec");
    same_selector(e, &spec, old);
    let (selector, at) = (spec.get("selector"), spec.get("template"));
    label_selector(e, &selector);
    if selects(selector.value, at.value.at("metadata.labels")) == Some(false) {
        labels_differ(e, &at);
    }
    if selector.is_set() && is_blank_selector(selector.value) {
        selector.invalid(e, "empty selector is invalid for daemonset");
    }
    template(e, &at);
    always_running(e, &at, "DaemonSet");
    spec.get("minReadySeconds").non_negative(e);
    let strategy = spec.get("updateStrategy");
    let rolling = strategy.get("rollingUpdate");
    match strategy.get("type").str() {
        "OnDelete" => {}
        "RollingUpdate" if !rolling.is_set() => rolling.required(e, ""),
        "RollingUpdate" => rolling_daemons(e, &rolling),
        kind => {
            let printed = timonier_object::value!({
                "Type": kind,
                "RollingUpdate": (internal_rolling(rolling.value))
            });
            unsupported(e, &strategy, &printed, &["RollingUpdate", "OnDelete"]);
        }
    }
    spec.get("revisionHistoryLimit").non_negative(e);
}

fn rolling_daemons(e: &mut Errors, at: &At<'_>) {
    let (unavailable, surge) = (at.get("maxUnavailable"), at.get("maxSurge"));
    int_or_percent(e, &unavailable);
    int_or_percent(e, &surge);
    at_most_all(e, &unavailable);
    at_most_all(e, &surge);
    match (int_or_percent_value(unavailable.value), int_or_percent_value(surge.value)) {
        (0, 0) => unavailable.required(e, "cannot be 0 when maxSurge is 0"),
        (0, _) | (_, 0) => {}
        _ => surge.invalid(e, "may not be set when maxUnavailable is non-zero"),
    }
}

/// Checks a replication controller.
pub fn replication_controller(e: &mut Errors, new: &Value) {
    let spec = At::top(new).get("spec");
    let (selector, at) = (spec.get("selector"), spec.get("template"));
    spec.get("minReadySeconds").non_negative(e);
    if selector.is_empty() {
        selector.required(e, "");
    }
    if !spec.get("replicas").is_set() {
        spec.get("replicas").required(e, "");
    }
    spec.get("replicas").non_negative(e);
    if !at.is_set() {
        at.required(e, "");
        return;
    }
    let labels = at.value.at("metadata.labels");
    if selector.value.entries().any(|(key, value)| labels.get(key) != Some(value)) {
        labels_differ(e, &at);
    }
    template(e, &at);
    always_running(e, &at, "ReplicationController");
}

/// Checks a pod template object.
pub fn pod_template(e: &mut Errors, new: &Value) {
    template(e, &At::top(new).get("template"));
}

/// Checks a controller revision.
pub fn controller_revision(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let top = At::top(new);
    top.get("revision").non_negative(e);
    let data = top.get("data");
    match old {
        Some(old) if *data.value != *old.at("data") => data.invalid(e, super::at::IMMUTABLE),
        Some(_) => {}
        None if !data.is_set() => data.required(e, "data is mandatory"),
        None if data.value.as_object().is_none() => {
            data.required(e, "data must be a valid JSON object");
        }
        None => {}
    }
}

/// Which counts a status has, and which of them the count of replicas bounds.
struct Counts {
    all: &'static [&'static str],
    bounded: &'static [&'static str],
    /// How the last rule names the count of ready replicas.
    ready: &'static str,
}

const DEPLOYMENT: Counts = Counts {
    all: &[
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ],
    bounded: &["updatedReplicas", "readyReplicas", "availableReplicas"],
    ready: "readyReplicas",
};

const REPLICA_SET: Counts = Counts {
    all: &[
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
        "terminatingReplicas",
    ],
    bounded: &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
    ready: "readyReplicas",
};

const STATEFUL_SET: Counts = Counts {
    all: &[
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ],
    bounded: &["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"],
    ready: "status.readyReplicas",
};

const DAEMON_SET: Counts = Counts {
    all: &[
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ],
    bounded: &[],
    ready: "",
};

/// Checks a written status of one of these kinds.
pub fn update_status(e: &mut Errors, kind: &str, new: &Value, old: &Value) {
    let counts = match kind {
        "Deployment" => &DEPLOYMENT,
        "StatefulSet" => &STATEFUL_SET,
        "DaemonSet" => &DAEMON_SET,
        _ => &REPLICA_SET,
    };
    let status = At::top(new).get("status");
    for field in counts.all {
        status.get(field).non_negative(e);
    }
    for field in counts.bounded {
        if status.get(field).int() > status.get("replicas").int() {
            status.get(field).bad_int(e, "cannot be greater than status.replicas");
        }
    }
    let available = status.get("availableReplicas");
    if !counts.ready.is_empty() && available.int() > status.get("readyReplicas").int() {
        available.bad_int(e, alloc::format!("cannot be greater than {}", counts.ready));
    }
    let collisions = status.get("collisionCount");
    if collisions.int() < old.at("status.collisionCount").int_or(0) {
        collisions.bad_int(e, "cannot be decremented");
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use timonier_object::value;

    use super::*;

    fn deployment_of(labels: Value) -> Value {
        value!({ "spec": {
            "replicas": 1, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
            "selector": { "matchLabels": { "app": "a" } },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" } },
            "template": { "metadata": { "labels": labels }, "spec": {
                "containers": [{ "name": "c", "image": "i", "imagePullPolicy": "Always",
                    "terminationMessagePolicy": "File", "resources": {} }],
                "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
                "terminationGracePeriodSeconds": 30, "securityContext": {} } } } })
    }

    fn texts(e: &Errors) -> Vec<String> {
        e.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn selectors_select_their_templates_and_stay() {
        let good = deployment_of(value!({ "app": "a" }));
        let mut e = Errors::new();
        deployment(&mut e, &good, Some(&good));
        assert!(e.is_empty(), "{:?}", texts(&e));
        deployment(&mut e, &deployment_of(value!({ "app": "b" })), None);
        assert_eq!(
            texts(&e),
            [
                "spec.template.metadata.labels: Invalid value: {\"app\":\"b\"}: `selector` does not match template `labels`"
            ]
        );
        e.clear();
        let mut other = deployment_of(value!({ "app": "b" }));
        other.set("spec.selector.matchLabels.app", "b");
        deployment(&mut e, &other, Some(&good));
        assert_eq!(
            texts(&e),
            ["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable"]
        );
    }

    #[test]
    fn counts_of_a_status() {
        let new =
            value!({ "status": { "replicas": 1, "availableReplicas": 2, "readyReplicas": 1 } });
        let mut e = Errors::new();
        update_status(&mut e, "Deployment", &new, &Value::Null);
        assert_eq!(
            texts(&e),
            [
                "status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas"
            ]
        );
    }
}
