//! `autoscaling/v1` and `v2` HorizontalPodAutoscaler. `v2` is stored; what `v1` has no field for
//! travels in annotations, as JSON of v1's older types.

use alloc::string::String;
use alloc::vec::Vec;

use timonier_object::{Value, json, value};

use super::rename;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

type Names = &'static [(&'static str, &'static str)];

/// For each kind of metric: its fields in v1 and in v2.
const SPEC: [(&str, Names); 5] = [
    (
        "resource",
        &[
            ("targetAverageUtilization", "target.averageUtilization"),
            ("targetAverageValue", "target.averageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            ("targetAverageUtilization", "target.averageUtilization"),
            ("targetAverageValue", "target.averageValue"),
        ],
    ),
    (
        "pods",
        &[
            ("metricName", "metric.name"),
            ("selector", "metric.selector"),
            ("targetAverageValue", "target.averageValue"),
        ],
    ),
    (
        "object",
        &[
            ("target", "describedObject"),
            ("metricName", "metric.name"),
            ("selector", "metric.selector"),
            ("targetValue", "target.value"),
            ("averageValue", "target.averageValue"),
        ],
    ),
    (
        "external",
        &[
            ("metricName", "metric.name"),
            ("metricSelector", "metric.selector"),
            ("targetValue", "target.value"),
            ("targetAverageValue", "target.averageValue"),
        ],
    ),
];

const STATUS: [(&str, Names); 5] = [
    (
        "resource",
        &[
            ("currentAverageUtilization", "current.averageUtilization"),
            ("currentAverageValue", "current.averageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            ("currentAverageUtilization", "current.averageUtilization"),
            ("currentAverageValue", "current.averageValue"),
        ],
    ),
    (
        "pods",
        &[
            ("metricName", "metric.name"),
            ("selector", "metric.selector"),
            ("currentAverageValue", "current.averageValue"),
        ],
    ),
    (
        "object",
        &[
            ("target", "describedObject"),
            ("metricName", "metric.name"),
            ("selector", "metric.selector"),
            ("currentValue", "current.value"),
            ("averageValue", "current.averageValue"),
        ],
    ),
    (
        "external",
        &[
            ("metricName", "metric.name"),
            ("metricSelector", "metric.selector"),
            ("currentValue", "current.value"),
            ("currentAverageValue", "current.averageValue"),
        ],
    ),
];

pub(super) fn to_v1(v: &mut Value) {
    let metrics = v.remove("spec.metrics").unwrap_or_default();
    let cpu = metrics.items().iter().find(|m| is_cpu(m, "target"));
    if let Some(utilization) = cpu.map(|m| m.at("resource.target.averageUtilization").clone()) {
        v.set("spec.targetCPUUtilizationPercentage", utilization);
    }
    let others: Vec<Value> = metrics
        .items()
        .iter()
        .filter(|m| !is_cpu(m, "target"))
        .map(|m| metric_to_v1(m, &SPEC))
        .collect();
    annotate(v, METRICS, &Value::array(others));
    let current = v.remove("status.currentMetrics").unwrap_or_default();
    for m in current.items().iter().filter(|m| is_cpu(m, "current")) {
        let utilization = m.at("resource.current.averageUtilization").clone();
        v.set("status.currentCPUUtilizationPercentage", utilization);
    }
    let current = current.items().iter().map(|m| metric_to_v1(m, &STATUS));
    annotate(v, CURRENT_METRICS, &Value::array(current));
    let conditions = v.remove("status.conditions").unwrap_or_default();
    annotate(v, CONDITIONS, &conditions);
    let behavior = v.remove("spec.behavior").unwrap_or_default();
    annotate(v, BEHAVIOR, &with_keys(&behavior, capital));
}

pub(super) fn to_v2(v: &mut Value) {
    let mut metrics: Vec<Value> = Vec::new();
    if let Some(others) = annotation(v, METRICS) {
        metrics.extend(others.items().iter().map(spec_to_v2));
    }
    let utilization = v.remove("spec.targetCPUUtilizationPercentage");
    if let Some(utilization) = utilization.filter(|u| !u.is_null()) {
        metrics.push(cpu_target(utilization));
    } else if metrics.is_empty() {
        metrics.push(cpu_target(Value::from(80)));
    }
    v.set("spec.metrics", metrics);
    if let Some(behavior) = annotation(v, BEHAVIOR).filter(|b| !b.is_empty()) {
        v.set("spec.behavior", with_keys(&behavior, lower));
    }
    let current = v.remove("status.currentCPUUtilizationPercentage").unwrap_or_default();
    if !current.is_null() {
        let metric = value!({
            "type": "Resource",
            "resource": { "name": "cpu", "current": { "averageUtilization": current } },
        });
        v.set("status.currentMetrics", Value::array([metric]));
    }
    if let Some(current) = annotation(v, CURRENT_METRICS) {
        let metrics = current.items().iter().map(|m| metric_to_v2(m, &STATUS));
        v.set("status.currentMetrics", Value::array(metrics));
    }
    if let Some(conditions) = annotation(v, CONDITIONS) {
        v.set("status.conditions", conditions);
    }
    if let Some(annotations) = v.find_mut("metadata.annotations") {
        let all = annotations.make_object();
        [METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR].iter().for_each(|name| {
            all.remove(name);
        });
    }
}

/// Whether a metric is the processor use that v1 has a field for.
fn is_cpu(metric: &Value, of: &str) -> bool {
    let resource = metric.at("resource");
    let utilization = resource.get(of).map(|t| t.at("averageUtilization"));
    metric.at("type").str() == "Resource"
        && resource.at("name").str() == "cpu"
        && utilization.is_some_and(|u| !u.is_null())
}

fn cpu_target(utilization: Value) -> Value {
    value!({
        "type": "Resource",
        "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": utilization } },
    })
}

fn metric_to_v1(metric: &Value, names: &[(&str, Names)]) -> Value {
    let mut out = metric.clone();
    for (kind, names) in names {
        let Some(source) = out.get_mut(kind).filter(|s| !s.is_null()) else { continue };
        // v2's target is an object where v1's is a reference: take it out first.
        rename(source, names.iter().map(|(_, v2)| (*v2, moved(v2))));
        for gone in ["metric", "target", "current"] {
            source.remove(gone);
        }
        rename(source, names.iter().map(|(v1, v2)| (moved(v2), *v1)));
    }
    out
}

fn metric_to_v2(metric: &Value, names: &[(&str, Names)]) -> Value {
    let mut out = metric.clone();
    for (kind, names) in names {
        let Some(source) = out.get_mut(kind).filter(|s| !s.is_null()) else { continue };
        rename(source, names.iter().map(|(v1, v2)| (*v1, moved(v2))));
        rename(source, names.iter().map(|(_, v2)| (moved(v2), *v2)));
    }
    out
}

/// A name that no field has, for the time of the move.
fn moved(v2: &str) -> &'static str {
    match v2 {
        "describedObject" => "/object",
        "metric.name" => "/name",
        "metric.selector" => "/selector",
        "target.value" | "current.value" => "/value",
        "target.averageUtilization" | "current.averageUtilization" => "/averageUtilization",
        _ => "/averageValue",
    }
}

fn spec_to_v2(metric: &Value) -> Value {
    let mut out = metric_to_v2(metric, &SPEC);
    for (kind, _) in SPEC {
        let Some(source) = out.get_mut(kind).filter(|s| !s.is_null()) else { continue };
        let has = |field: &str| !source.at("target").at(field).is_null();
        let ty = match kind {
            "resource" | "containerResource" if has("averageUtilization") => "Utilization",
            "object" if !has("averageValue") => "Value",
            "external" if has("value") => "Value",
            _ => "AverageValue",
        };
        source.set("target.type", ty);
    }
    out
}

fn annotate(v: &mut Value, name: &str, content: &Value) {
    if !content.is_empty() {
        let annotations = v.entry("metadata.annotations").make_object();
        annotations.insert(name, Value::from(json::to_string(content)));
    }
}

fn annotation(v: &Value, name: &str) -> Option<Value> {
    v.annotation(name).and_then(|text| json::decode(text.as_bytes()).ok())
}

/// Behavior is written with the names of upstream's internal type, which start with a capital.
fn with_keys(v: &Value, key: fn(&str) -> String) -> Value {
    match v {
        Value::Object(map) => map.iter().map(|(k, v)| (key(k), with_keys(v, key))).collect(),
        Value::Array(items) => Value::array(items.iter().map(|i| with_keys(i, key))),
        other => other.clone(),
    }
}

fn capital(name: &str) -> String {
    let mut out = String::from(name);
    if let Some(first) = out.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    out
}

fn lower(name: &str) -> String {
    let mut out = String::from(name);
    if let Some(first) = out.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    out
}
