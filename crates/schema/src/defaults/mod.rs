//! Defaulting as upstream's API server does it before admission.
//!
//! A walk over the object applies, struct by struct and parents first: the constant defaults of
//! the struct's definition (`table`), its computed defaults (the other files), and what its fields'
//! facts say (`default=`).

mod apps;
mod core;
mod extensions;
mod pods;
mod table;

use timonier_meta::{Quantity, Time};
use timonier_object::{Value, json};

use crate::node::Type;
use crate::row::ResourceRow;
use crate::schema::Schema;

/// Fills in what the writer left out. The object has been decoded ([`crate::decode`]); custom
/// resources get the defaults of their schema. `now` is the time of a device taint.
pub fn default_object(row: &ResourceRow, object: &mut Value, now: Time) {
    default_value(row.schema(), object, now);
}

/// Fills in a value of any schema, such as a subresource's body.
pub fn default_value(schema: Schema<'_>, value: &mut Value, now: Time) {
    match (schema.kind(), &mut *value) {
        (Type::Struct, Value::Object(_)) => {
            if let Some(name) = schema.definition_name() {
                constants(schema, name, value);
                computed(name, value, now);
            }
            fields(schema, value, now);
        }
        (Type::Array, Value::Array(items)) => {
            let Some(schema) = schema.items() else { return };
            items.iter_mut().for_each(|item| default_value(schema, item, now));
        }
        (Type::Map, Value::Object(map)) => {
            let Some(values) = schema.values() else { return };
            map.iter_mut().for_each(|(_, v)| default_value(values, v, now));
            if schema.go_type() == "v1.ResourceList" {
                map.iter_mut().for_each(|(_, v)| round_up(v));
            }
        }
        _ => {}
    }
}

fn fields(schema: Schema<'_>, value: &mut Value, now: Time) {
    let Value::Object(map) = value else { return };
    for field in schema.fields() {
        let of = field.schema;
        if of.default_json().is_some() && is_unset(of, map.get(field.name)) {
            let default = of.default_value().unwrap_or_default();
            // A default that JSON would leave out again is none.
            if of.rules().is_some()
                || !of.is_built_in()
                || of.is_pointer()
                || !default.is_empty()
                || map.contains_key(field.name)
            {
                map.insert(field.name, default);
            }
        }
        // In custom resources null is a value only where the schema says so.
        if !of.is_built_in() && !of.is_nullable() && map.get(field.name).is_some_and(Value::is_null)
        {
            map.remove(field.name);
        }
        if let Some(child) = map.get_mut(field.name) {
            default_value(of, child, now);
        }
    }
}

/// Whether Go sees the field as unset: a nil pointer, or the zero value of what is not a pointer.
fn is_unset(schema: Schema<'_>, value: Option<&Value>) -> bool {
    match value {
        None => true,
        Some(Value::Null) => schema.is_built_in() || !schema.is_nullable(),
        Some(v) => !schema.is_pointer() && schema.is_built_in() && v.is_empty(),
    }
}

fn constants(schema: Schema<'_>, name: &str, value: &mut Value) {
    let Ok(found) = table::CONSTANTS.binary_search_by(|(n, _)| (*n).cmp(name)) else { return };
    for (path, default) in table::CONSTANTS[found].1 {
        let unset = schema.at(path).is_some_and(|s| is_unset(s, value.find(path)));
        // A path goes on below structs only, which decoding has made.
        if unset {
            value.set(path, json::decode(default.as_bytes()).unwrap_or_default());
        }
    }
}

fn computed(name: &str, v: &mut Value, now: Time) {
    match name {
        "core.v1.Volume" => pods::volume(v),
        "core.v1.Container" | "core.v1.EphemeralContainer" => pods::container(v),
        "core.v1.Pod" => pods::pod(v),
        "core.v1.Service" => core::service(v),
        "core.v1.Endpoints" => core::endpoints(v),
        "core.v1.ReplicationController" => core::replication_controller(v),
        "core.v1.Namespace" => core::namespace(v),
        "core.v1.NodeStatus" => core::node_status(v),
        "core.v1.LimitRangeItem" => core::limit_range_item(v),
        "core.v1.Secret" => core::secret(v),
        "apps.v1.Deployment" => apps::deployment(v),
        "apps.v1.DaemonSet" => apps::daemon_set(v),
        "apps.v1.StatefulSet" => apps::stateful_set(v),
        "batch.v1.Job" => apps::job(v),
        "autoscaling.v2.HorizontalPodAutoscaler" => apps::autoscaler(v),
        "networking.v1.NetworkPolicy" => extensions::network_policy(v),
        "networking.v1.IngressClass" => extensions::ingress_class(v),
        "rbac.v1.Subject" => extensions::subject(v),
        "resource.v1.ExactDeviceRequest" | "resource.v1.DeviceSubRequest" => {
            extensions::device_request(v);
        }
        "resource.v1.DeviceTaint" => set_default(v, "timeAdded", now.rfc3339()),
        "apiextensions.v1.CustomResourceDefinition" => extensions::definition(v),
        _ => {}
    }
}

/// Sets a path that is absent or null.
fn set_default(v: &mut Value, path: &str, default: impl Into<Value>) {
    if v.at(path).is_null() {
        v.set(path, default);
    }
}

/// Sets a path that is absent or the zero value of its type.
fn set_empty(v: &mut Value, path: &str, default: impl Into<Value>) {
    if v.at(path).is_empty() {
        v.set(path, default);
    }
}

/// Resource amounts are kept in thousandths.
fn round_up(v: &mut Value) {
    let fine = v.str().ends_with(['n', 'u']);
    if let (true, Ok(q)) = (fine, Quantity::parse(v.str())) {
        *v = Value::from(alloc::format!("{}", Quantity::millis(q.milli_value())));
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;
    use crate::{Catalogue, decode};

    pub(super) fn defaulted(group: &str, plural: &str, mut v: Value) -> Value {
        let c = Catalogue::builtin();
        let row = c.preferred(&timonier_meta::GroupResource {
            group: group.into(),
            resource: plural.into(),
        });
        let row = row.unwrap();
        decode::decode(row, &mut v).unwrap();
        default_object(row, &mut v, Time::from_unix(0));
        let once = v.clone();
        default_object(row, &mut v, Time::from_unix(0));
        assert_eq!(v, once, "defaulting again changes nothing");
        v
    }

    #[test]
    fn the_table_is_sorted_and_knows_its_fields() {
        assert!(table::CONSTANTS.is_sorted_by(|a, b| a.0 < b.0));
        for (name, defaults) in table::CONSTANTS {
            let schema = crate::builtin::schema_named(name).unwrap_or_else(|| panic!("{name}"));
            for (path, default) in *defaults {
                assert!(schema.at(path).is_some(), "{name}.{path}");
                assert!(json::decode(default.as_bytes()).is_ok(), "{name}.{path}");
            }
        }
    }

    #[test]
    fn resource_amounts_are_rounded_up_to_thousandths() {
        let mut v = value!({ "spec": { "hard": { "cpu": "1500u", "memory": "1Gi" } } });
        v = defaulted("", "resourcequotas", v);
        assert_eq!(v.at("spec.hard"), &value!({ "cpu": "2m", "memory": "1Gi" }));
    }

    #[test]
    fn facts_give_defaults_too() {
        let v = defaulted(
            "",
            "pods",
            value!({ "spec": { "containers": [{ "ports": [{ "containerPort": 1 }] }] } }),
        );
        assert_eq!(
            v.at("spec.containers").items()[0].at("ports").items()[0].at("protocol").str(),
            "TCP"
        );
    }
}
