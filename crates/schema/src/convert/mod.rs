//! Between the version of a request and the version that is stored, for the two built-in kinds
//! that are served in more than one: Event and HorizontalPodAutoscaler. Custom resources change
//! their `apiVersion` only; what a webhook does to them, see [`crate::crd::conversion`].

mod autoscaler;
mod event;

use alloc::string::ToString;

use timonier_meta::Time;
use timonier_object::Value;

use crate::builtin;
use crate::row::ResourceRow;
use crate::{decode, defaults};

/// Turns an object of the row's version into the stored one. The object has been decoded.
pub fn to_storage(row: &ResourceRow, object: &mut Value) {
    if row.storage == row.gvr {
        return;
    }
    match row.gvr.resource.as_str() {
        "horizontalpodautoscalers" if !row.is_custom() => autoscaler::to_v2(object),
        "events" if !row.is_custom() => event::to_core(object),
        _ => {}
    }
    finish(object, &row.storage.group_version().to_string(), row);
}

/// Turns a stored object into one of the row's version.
pub fn from_storage(row: &ResourceRow, object: &mut Value) {
    if row.is_custom() {
        // It may have been stored by another version of the definition.
        object.set("apiVersion", row.gvr.group_version().to_string());
        decode::prune(row, object);
        defaults::default_object(row, object, Time::default());
        return;
    }
    if row.storage == row.gvr {
        return;
    }
    match row.gvr.resource.as_str() {
        "horizontalpodautoscalers" if !row.is_custom() => autoscaler::to_v1(object),
        "events" if !row.is_custom() => event::from_core(object),
        _ => {}
    }
    finish(object, &row.gvr.group_version().to_string(), row);
}

/// States the version and gives empty fields the form of the new type.
fn finish(object: &mut Value, api_version: &str, row: &ResourceRow) {
    object.set("apiVersion", api_version);
    if row.is_custom() {
        return;
    }
    let schema = object.gvk().and_then(|gvk| builtin::schema_of(&gvk));
    if let Some(schema) = schema {
        // What was decoded before conversion cannot have a wrong type after it.
        let _ = decode::typed(schema, object);
    }
}

/// Moves fields to other paths; what is not there stays away.
fn rename(object: &mut Value, from_to: impl IntoIterator<Item = (&'static str, &'static str)>) {
    for (from, to) in from_to {
        if let Some(value) = object.remove(from) {
            object.set(to, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;
    use crate::Catalogue;

    #[test]
    fn events_go_there_and_back() {
        let c = Catalogue::builtin();
        let row = c.resource("events.k8s.io", "v1", "events").unwrap();
        let mut v = value!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "a" },
            "eventTime": "2026-01-01T00:00:00.000001Z", "reportingController": "c", "note": "hello",
            "regarding": { "kind": "Pod", "name": "p" }, "deprecatedCount": 2, "reason": "r",
            "deprecatedSource": { "component": "x" },
        });
        decode::decode(row, &mut v).unwrap();
        let original = v.clone();
        to_storage(row, &mut v);
        assert_eq!(v.api_version(), "v1");
        assert_eq!(v.at("involvedObject.name").str(), "p");
        assert_eq!((v.at("message").str(), v.at("count").as_i64()), ("hello", Some(2)));
        assert_eq!(v.at("reportingComponent").str(), "c");
        assert!(v.get("firstTimestamp").is_some_and(Value::is_null));
        from_storage(row, &mut v);
        assert_eq!(v, original);
    }

    #[test]
    fn autoscalers_go_there_and_back() {
        let c = Catalogue::builtin();
        let row = c.resource("autoscaling", "v1", "horizontalpodautoscalers").unwrap();
        let mut v = value!({
            "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
            "metadata": { "name": "a" },
            "spec": {
                "maxReplicas": 3, "targetCPUUtilizationPercentage": 50,
                "scaleTargetRef": { "kind": "Deployment", "name": "d" },
            },
        });
        decode::decode(row, &mut v).unwrap();
        let original = v.clone();
        to_storage(row, &mut v);
        assert_eq!(v.api_version(), "autoscaling/v2");
        let metric = &v.at("spec.metrics").items()[0];
        assert_eq!(metric.at("resource.target.averageUtilization").as_i64(), Some(50));
        from_storage(row, &mut v);
        assert_eq!(v, original);
    }

    #[test]
    fn what_v1_of_an_autoscaler_lacks_is_kept_in_annotations() {
        let c = Catalogue::builtin();
        let v2 = c.resource("autoscaling", "v2", "horizontalpodautoscalers").unwrap();
        let v1 = c.resource("autoscaling", "v1", "horizontalpodautoscalers").unwrap();
        let mut v = value!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": { "name": "a", "annotations": { "x": "y" } },
            "spec": {
                "maxReplicas": 3, "scaleTargetRef": { "kind": "Deployment", "name": "d" },
                "metrics": [
                    { "type": "Pods", "pods": {
                        "metric": { "name": "m" },
                        "target": { "type": "AverageValue", "averageValue": "5" } } },
                    { "type": "External", "external": {
                        "metric": { "name": "e" }, "target": { "type": "Value", "value": "1" } } }
                ],
                "behavior": { "scaleUp": { "selectPolicy": "Max", "policies": [
                    { "type": "Pods", "value": 4, "periodSeconds": 15 }] } },
            },
            "status": { "conditions": [{ "type": "AbleToScale", "status": "True" }], "desiredReplicas": 1 },
        });
        decode::decode(v2, &mut v).unwrap();
        let original = v.clone();
        from_storage(v1, &mut v);
        assert!(v.at("spec.metrics").is_null() && v.at("spec.behavior").is_null());
        let annotation = v.annotation("autoscaling.alpha.kubernetes.io/metrics").unwrap();
        assert!(annotation.contains("\"metricName\":\"m\""), "{annotation}");
        to_storage(v1, &mut v);
        assert_eq!(v, original);
    }
}
