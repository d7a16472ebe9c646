//! Horizontal pod autoscalers.

use alloc::format;
use alloc::vec::Vec;

use timonier_meta::{GroupVersion, names};
use timonier_object::Value;

use super::at::{At, Errors};
use super::common::{demand, non_negative_quantity, quantity, show_str};
use super::pod::resources::{Owner, resource_name};

/// Checks an autoscaler of either version; metrics and behaviour are the newer one's.
pub fn autoscaler(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let spec = At::top(new).get("spec");
    let (min, max) = (spec.get("minReplicas"), spec.get("maxReplicas"));
    if min.is_set() && min.int() < 1 {
        min.bad_int(e, "must be greater than or equal to 1");
    }
    if max.int() < 1 {
        max.bad_int(e, "must be greater than 0");
    }
    if min.is_set() && max.int() < min.int() {
        max.bad_int(e, "must be greater than or equal to `minReplicas`");
    }
    let aim = spec.get("scaleTargetRef");
    let kept = old.is_some_and(|old| {
        let before = old.at("spec.scaleTargetRef");
        ["kind", "apiVersion"].iter().all(|field| before.at(field) == aim.value.at(field))
    });
    named(e, &aim);
    if !kept {
        version(e, &aim, aim.get("kind").str() == "ReplicationController");
    }
    let metrics = spec.get("metrics");
    for item in metrics.items() {
        metric(e, &item);
    }
    let outside = metrics.items().any(|m| matches!(m.get("type").str(), "Object" | "External"));
    if min.is_set() && min.int() == 0 && !outside {
        metrics.forbidden(e, "must specify at least one Object or External metric to support scaling to zero replicas");
    }
    for rules in ["scaleUp", "scaleDown"] {
        let at = spec.get("behavior").get(rules);
        if at.is_set() {
            scaling_rules(e, &at);
        }
    }
}

/// Checks a written status.
pub fn status(e: &mut Errors, new: &Value) {
    let status = At::top(new).get("status");
    status.get("currentReplicas").non_negative(e);
    status.get("desiredReplicas").non_negative(e);
}

fn named(e: &mut Errors, at: &At<'_>) {
    demand(e, &at.get("kind"), names::path_segment);
    demand(e, &at.get("name"), names::path_segment);
}

/// Demands an API version; the core group's only where it may be.
fn version(e: &mut Errors, at: &At<'_>, core: bool) {
    let version = at.get("apiVersion");
    if GroupVersion::parse(version.str()).is_none() {
        let why = format!("unexpected GroupVersion string: {}", version.str());
        version.bad_str(e, why);
    } else if !version.str().contains('/') && !core {
        version.bad_str(e, "apiVersion must specify API group");
    }
}

const TYPES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

const TYPE_NAMES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

fn metric(e: &mut Errors, at: &At<'_>) {
    let kind = at.get("type");
    if kind.is_empty() {
        kind.required(e, "must specify a metric source type");
    }
    kind.one_of(e, &TYPE_NAMES);
    let present: Vec<&str> =
        TYPES.iter().map(|(_, field)| *field).filter(|field| at.get(field).is_set()).collect();
    if let Some(field) = present.first() {
        source(e, &at.get(field), field);
    }
    let expected = TYPES.iter().find(|(name, _)| *name == kind.str()).map(|(_, field)| *field);
    match expected {
        Some(field) if !at.get(field).is_set() => {
            at.get(field).required(e, "must populate information for the given metric source");
        }
        Some(_) => {}
        None => kind.unsupported(e, &TYPE_NAMES),
    }
    if present.len() != 1 {
        for field in present.iter().filter(|field| Some(**field) != expected) {
            at.get(field).forbidden(e, "must populate the given metric source only");
        }
    }
}

fn source(e: &mut Errors, at: &At<'_>, field: &str) {
    let aim = at.get("target");
    let (value, average) = (aim.get("value"), aim.get("averageValue"));
    match field {
        "object" | "external" | "pods" => {
            if field == "object" {
                named(e, &at.get("describedObject"));
                version(e, &at.get("describedObject"), true);
            }
            let name = at.get("metric.name");
            if name.is_empty() {
                name.required(e, "must specify a metric name");
            } else {
                name.each(e, names::path_segment(name.str()));
            }
            target(e, &aim);
            let neither = !value.is_set() && !average.is_set();
            match field {
                "object" if neither => {
                    average.required(e, "must set either a target value or averageValue");
                }
                "external" if neither => average
                    .required(e, "must set either a target value for metric or a per-pod target"),
                "external" if value.is_set() && average.is_set() => value.forbidden(
                    e,
                    "may not set both a target value for metric and a per-pod target",
                ),
                "pods" if !average.is_set() => {
                    average.required(e, "must specify a positive target averageValue");
                }
                _ => {}
            }
        }
        _ => resource(e, at, field == "containerResource"),
    }
}

fn resource(e: &mut Errors, at: &At<'_>, of_container: bool) {
    let (name, container) = (at.get("name"), at.get("container"));
    if name.is_empty() {
        name.required(e, "must specify a resource name");
    } else if of_container {
        resource_name(e, &name, name.str(), Owner::Container);
    }
    if of_container && container.is_empty() {
        container.required(e, "must specify a container");
    } else if of_container {
        container.each(e, names::dns1123_label(container.str()));
    }
    let aim = at.get("target");
    target(e, &aim);
    let (use_of, average) = (aim.get("averageUtilization"), aim.get("averageValue"));
    if !use_of.is_set() && !average.is_set() {
        use_of.required(e, "must set either a target raw value or a target utilization");
    }
    if use_of.is_set() && average.is_set() {
        average.forbidden(e, "may not set both a target raw value and a target utilization");
    }
}

fn target(e: &mut Errors, at: &At<'_>) {
    let kind = at.get("type");
    if kind.is_empty() {
        kind.required(e, "must specify a metric target type");
    }
    if !matches!(kind.str(), "Utilization" | "Value" | "AverageValue") {
        kind.bad_str(e, "must be either Utilization, Value, or AverageValue");
    }
    for field in ["value", "averageValue"] {
        let at = at.get(field);
        let amount = quantity(at.value);
        if at.is_set() && (amount.is_negative() || amount.is_zero()) {
            at.bad(e, show_str(&format!("{amount}")), "must be positive");
        }
    }
    let used = at.get("averageUtilization");
    if used.is_set() && used.int() < 1 {
        used.bad_int(e, "must be greater than 0");
    }
}

fn scaling_rules(e: &mut Errors, at: &At<'_>) {
    let (window, select) = (at.get("stabilizationWindowSeconds"), at.get("selectPolicy"));
    if window.int() < 0 {
        window.bad_int(e, "must be greater than or equal to zero");
    }
    if window.int() > 3600 {
        window.bad_int(e, "must be less than or equal to 3600");
    }
    if select.is_set() {
        select.one_of(e, &["Disabled", "Max", "Min"]);
    }
    let policies = at.get("policies");
    if policies.is_empty() {
        policies.required(e, "must specify at least one Policy");
    }
    for policy in policies.items() {
        policy.get("type").one_of(e, &["Percent", "Pods"]);
        policy.get("value").positive(e);
        let period = policy.get("periodSeconds");
        period.positive(e);
        if period.int() > 1800 {
            period.bad_int(e, "must be less than or equal to 1800");
        }
    }
    non_negative_quantity(e, &at.get("tolerance"));
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use timonier_object::value;

    use super::*;

    #[test]
    fn bounds_and_metrics() {
        let hpa = value!({ "spec": { "minReplicas": 3, "maxReplicas": 2,
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "a" },
            "metrics": [{ "type": "Resource" }] } });
        let mut e = Errors::new();
        autoscaler(&mut e, &hpa, None);
        let texts: Vec<String> = e.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`",
                "spec.metrics[0].resource: Required value: must populate information for the given metric source"
            ]
        );
    }
}
