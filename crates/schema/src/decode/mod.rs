//! Turns what a client sent into what the API server holds, as a round trip through upstream's Go
//! types does: wrong types are refused with Go's texts, unknown fields are dropped and reported,
//! nulls and empty values go or come as the Go type says, scalars take their canonical form.
//!
//! The rules are those of `sigs.k8s.io/json` (case-sensitive, integers kept).

mod prune;
mod scalar;
mod zero;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use timonier_meta::GroupVersionKind;
use timonier_object::{Map, Value};

use crate::node::Type;
use crate::row::ResourceRow;
use crate::schema::{Field, Schema};

pub use zero::zero;

/// At most this many unknown fields are reported, as upstream.
const MAX_UNKNOWN: usize = 100;

/// Decodes an object of a resource in place and gives the messages of the unknown fields that it
/// dropped, such as `unknown field "spec.foo"`. The error is the decoder's text; see
/// [`cannot_be_handled`].
pub fn decode(row: &ResourceRow, object: &mut Value) -> Result<Vec<String>, String> {
    if row.is_custom() { prune::decode_custom(row, object) } else { typed(row.schema(), object) }
}

/// Decodes a value of a built-in type in place, as [`decode`].
pub fn typed(schema: Schema<'_>, value: &mut Value) -> Result<Vec<String>, String> {
    let mut decoder = Decoder::default();
    decoder.value(schema, value)?;
    if value.is_null() {
        *value = zero(schema);
    }
    match decoder.saved {
        Some(first) => Err(first),
        None => Ok(decoder.unknown.into_messages()),
    }
}

/// The messages of the fields that the schema does not know; the object stays as it is.
pub fn unknown_fields(row: &ResourceRow, object: &Value) -> Vec<String> {
    decode(row, &mut object.clone()).unwrap_or_default()
}

/// Drops the fields that the schema does not know and leaves everything else as it is, values of a
/// wrong type included.
pub fn prune(row: &ResourceRow, object: &mut Value) -> Vec<String> {
    prune::prune(row.schema(), object)
}

/// The message of the 400 answer for a body that does not decode.
pub fn cannot_be_handled(gvk: &GroupVersionKind, error: &str) -> String {
    format!("{0} in version {1:?} cannot be handled as a {0}: {error}", gvk.kind, gvk.version)
}

/// The error of strict field validation, from the messages of unknown and duplicate fields.
pub fn strict_error(messages: &[String]) -> String {
    format!("strict decoding error: {}", messages.join(", "))
}

/// Messages of unknown fields, without repetition and bounded.
#[derive(Default)]
struct Unknown {
    messages: Vec<String>,
    path: String,
}

impl Unknown {
    /// Goes to a field; the result is what [`Unknown::leave`] takes.
    fn enter(&mut self, name: &str) -> usize {
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        before
    }

    fn enter_item(&mut self, index: usize) -> usize {
        let before = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        before
    }

    fn leave(&mut self, before: usize) {
        self.path.truncate(before);
    }

    fn report(&mut self, name: &str) {
        if self.messages.len() < MAX_UNKNOWN {
            let before = self.enter(name);
            let message = format!("unknown field {:?}", self.path);
            if !self.messages.contains(&message) {
                self.messages.push(message);
            }
            self.leave(before);
        }
    }

    fn into_messages(self) -> Vec<String> {
        self.messages
    }
}

#[derive(Default)]
struct Decoder {
    unknown: Unknown,
    /// The first error after which Go goes on decoding; it counts only if no other stops it.
    saved: Option<String>,
    /// The struct whose field is being decoded, and the fields on the way, for errors.
    within: String,
    fields: Vec<String>,
}

impl Decoder {
    /// Decodes a value that may be null. An error ends the whole decoding.
    fn value(&mut self, schema: Schema<'_>, value: &mut Value) -> Result<(), String> {
        if value.is_null() {
            return Ok(());
        }
        match (schema.kind(), &mut *value) {
            (Type::Struct, Value::Object(map)) => self.object(schema, map),
            (Type::Map, Value::Object(map)) => self.map(schema, map),
            (Type::Array, Value::Array(_)) => self.array(schema, value),
            (Type::Struct | Type::Map | Type::Array, other) => {
                let what = json_type(other);
                self.save_type_error(what, schema.go_type());
                Ok(())
            }
            (Type::SchemaOrArray | Type::SchemaOrBool | Type::SchemaOrStrings, _) => {
                self.schema_or(schema, value)
            }
            _ => scalar::decode(self, schema, value),
        }
    }

    fn object(&mut self, schema: Schema<'_>, map: &mut Map) -> Result<(), String> {
        let outer = (self.within.clone(), self.fields.len());
        let name = schema.definition_name().unwrap_or("");
        let struct_name = name.rsplit('.').next().unwrap_or(name);
        let mut result = Ok(());
        map.retain(|key, value| {
            let Some(field) = schema.field(key) else {
                self.unknown.report(key);
                return false;
            };
            if result.is_ok() {
                self.enter_field(struct_name, field);
                let before = self.unknown.enter(key);
                result = self.value(field.schema, value);
                self.unknown.leave(before);
                // A stopping error has been given its context by now.
                self.within.clone_from(&outer.0);
                self.fields.truncate(outer.1);
            }
            !value.is_null()
        });
        zero::complete(schema, map);
        result
    }

    fn enter_field(&mut self, struct_name: &str, field: Field<'_>) {
        self.within.clear();
        self.within.push_str(struct_name);
        self.fields.extend(field.inlined().map(str::to_string));
        self.fields.push(field.name.to_string());
    }

    fn map(&mut self, schema: Schema<'_>, map: &mut Map) -> Result<(), String> {
        let Some(values) = schema.values() else { return Ok(()) };
        for (key, value) in map.iter_mut() {
            let before = self.unknown.enter(key);
            let result = self.value(values, value);
            self.unknown.leave(before);
            result?;
            if value.is_null() && !values.is_pointer() {
                *value = zero(values);
            }
        }
        Ok(())
    }

    fn array(&mut self, schema: Schema<'_>, value: &mut Value) -> Result<(), String> {
        let (Some(schema), Value::Array(items)) = (schema.items(), value) else { return Ok(()) };
        for (i, item) in items.iter_mut().enumerate() {
            let before = self.unknown.enter_item(i);
            let result = self.value(schema, item);
            self.unknown.leave(before);
            result?;
            if item.is_null() && !schema.is_pointer() {
                *item = zero(schema);
            }
        }
        Ok(())
    }

    /// The unions of a JSON schema with something else. Go decodes them apart, so that their
    /// errors start at the schema.
    fn schema_or(&mut self, schema: Schema<'_>, value: &mut Value) -> Result<(), String> {
        let Some(inner) = schema.json_schema() else { return Ok(()) };
        match (schema.kind(), &mut *value) {
            (_, Value::Object(_)) => self.apart(inner, value),
            (Type::SchemaOrBool, Value::Bool(_)) => Ok(()),
            (Type::SchemaOrBool, _) => Err("boolean or JSON schema expected".to_string()),
            (Type::SchemaOrArray, Value::Array(items)) => {
                items.iter_mut().try_for_each(|item| self.apart(inner, item))
            }
            (Type::SchemaOrStrings, Value::Array(items)) => {
                match items.iter().find(|i| !matches!(i, Value::Str(_) | Value::Null)) {
                    Some(bad) => Err(self.type_error(json_type(bad), "string")),
                    None => Ok(()),
                }
            }
            _ => {
                *value = Value::Null;
                Ok(())
            }
        }
    }

    fn apart(&mut self, schema: Schema<'_>, value: &mut Value) -> Result<(), String> {
        let mut decoder = Decoder::default();
        decoder.value(schema, value)?;
        decoder.saved.map_or(Ok(()), Err)
    }

    fn save(&mut self, error: String) {
        self.saved.get_or_insert(error);
    }

    fn save_type_error(&mut self, what: &str, go: &str) {
        let error = self.type_error(what, go);
        self.save(error);
    }

    /// Go's `UnmarshalTypeError`.
    fn type_error(&self, what: &str, go: &str) -> String {
        if self.fields.is_empty() {
            return format!("json: cannot unmarshal {what} into Go value of type {go}");
        }
        let path = self.fields.join(".");
        format!(
            "json: cannot unmarshal {what} into Go struct field {}.{path} of type {go}",
            self.within
        )
    }
}

/// A JSON value as Go's errors name it.
fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Int(_) | Value::Float(_) => "number",
        Value::Str(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::{json, value};

    use super::*;
    use crate::Catalogue;

    fn run(plural: &str, body: &str) -> Result<(String, Vec<String>), String> {
        let c = Catalogue::builtin();
        let row = c.resource("", "v1", plural).or(c.resource("apps", "v1", plural)).unwrap();
        let mut v = json::decode(body.as_bytes()).unwrap();
        decode(row, &mut v).map(|unknown| (json::to_string(&v), unknown))
    }

    #[test]
    fn wrong_types_give_gos_texts() {
        for (plural, body, error) in [
            (
                "pods",
                r#"{"spec":{"containers":"x"}}"#,
                "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container",
            ),
            (
                "pods",
                r#"{"spec":{"containers":[{"ports":[{"containerPort":"80"}]}]}}"#,
                "json: cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
            ),
            (
                "deployments",
                r#"{"spec":{"replicas":1.5}}"#,
                "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                "deployments",
                r#"{"spec":{"replicas":3000000000}}"#,
                "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                "configmaps",
                r#"{"data":{"a":1},"metadata":{"labels":[]}}"#,
                "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
            ),
            (
                "pods",
                r#"{"spec":{"containers":[{"livenessProbe":{"httpGet":1}}]}}"#,
                "json: cannot unmarshal number into Go struct field Probe.spec.containers.livenessProbe.ProbeHandler.httpGet of type v1.HTTPGetAction",
            ),
            ("secrets", r#"{"data":{"a":"%"}}"#, "illegal base64 data at input byte 0"),
            (
                "pods",
                r#"{"metadata":{"creationTimestamp":1}}"#,
                "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.creationTimestamp of type string",
            ),
            ("pods", "[]", "json: cannot unmarshal array into Go value of type v1.Pod"),
        ] {
            assert_eq!(run(plural, body).unwrap_err(), error, "{body}");
        }
    }

    #[test]
    fn unknown_fields_are_dropped_and_named() {
        let (text, unknown) = run(
            "pods",
            r#"{"spec":{"containers":[{"name":"a","foo":1}],"foo":{"x":1}},"metadata":{"labels":{"k":"v"}},"Kind":1}"#,
        )
        .unwrap();
        assert_eq!(
            unknown,
            [
                "unknown field \"spec.containers[0].foo\"",
                "unknown field \"spec.foo\"",
                "unknown field \"Kind\""
            ]
        );
        assert_eq!(
            text,
            r#"{"spec":{"containers":[{"name":"a","resources":{}}]},"metadata":{"labels":{"k":"v"}},"status":{}}"#
        );
        assert_eq!(
            strict_error(&unknown[..2]),
            "strict decoding error: unknown field \"spec.containers[0].foo\", unknown field \"spec.foo\""
        );
    }

    #[test]
    fn empty_values_go_and_come_as_in_go() {
        let (text, _) = run(
            "deployments",
            r#"{"metadata":{"labels":{},"annotations":null},"spec":{"replicas":0,"paused":false,"selector":null,"template":{"metadata":{"creationTimestamp":null},"spec":{"containers":null,"hostNetwork":false}}}}"#,
        )
        .unwrap();
        assert_eq!(
            text,
            r#"{"metadata":{},"spec":{"replicas":0,"template":{"metadata":{},"spec":{"containers":null}},"selector":null,"strategy":{}},"status":{}}"#
        );
    }

    #[test]
    fn scalars_take_their_canonical_form() {
        let (text, _) = run(
            "pods",
            r#"{"metadata":{"creationTimestamp":"2026-01-02T03:04:05.678+01:00"},"spec":{"containers":[{"name":"","resources":{"limits":{"cpu":0.5,"memory":"1024Mi","x":"0.1"}},"readinessProbe":{"httpGet":{"port":"80"}}}]}}"#,
        )
        .unwrap();
        assert!(text.contains(r#""creationTimestamp":"2026-01-02T02:04:05Z""#), "{text}");
        assert!(text.contains(r#""limits":{"cpu":"500m","memory":"1Gi","x":"100m"}"#), "{text}");
        assert!(text.contains(r#""httpGet":{"port":"80"}"#), "{text}");
        assert!(
            run("pods", r#"{"spec":{"overhead":{"cpu":"1Kb"}}}"#)
                .unwrap_err()
                .starts_with("quantities must match the regular expression")
        );
    }

    #[test]
    fn the_400_text_is_upstreams() {
        let gvk = GroupVersionKind::new_static("", "v1", "Pod");
        assert_eq!(
            cannot_be_handled(&gvk, "x"),
            "Pod in version \"v1\" cannot be handled as a Pod: x"
        );
    }

    #[test]
    fn pruning_keeps_wrong_types() {
        let c = Catalogue::builtin();
        let mut v = value!({ "spec": { "containers": "x", "a": 1 } });
        let unknown = prune(c.resource("", "v1", "pods").unwrap(), &mut v);
        assert_eq!(unknown, ["unknown field \"spec.a\""]);
        assert_eq!(v, value!({ "spec": { "containers": "x" } }));
    }
}
