//! From a body to an object that its kind's schema knows.

use bytes::Bytes;
use http::HeaderMap;
use timonier_meta::{ApiError, GroupVersionKind};
use timonier_object::{Value, json, value, yaml};
use timonier_schema::{ResourceRow, Schema, decode as schema_decode};

use crate::call::Call;
use crate::http::body::{self, MediaType};
use crate::query::FieldValidation;
use crate::structure;

/// An object as it was sent, and the fields that were set twice.
pub struct Sent {
    pub object: Value,
    pub duplicates: Vec<String>,
}

/// Reads a body by its content type. `expected` is the kind that errors name.
pub fn body(
    call: &Call<'_>,
    headers: &HeaderMap,
    bytes: &Bytes,
    expected: &GroupVersionKind,
) -> Result<Sent, ApiError> {
    let unrecognized = |why: String| {
        ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why} ({})",
            expected.kind,
            summary(bytes)
        ))
    };
    match body::media_type(headers)? {
        MediaType::Json => {
            let decoded = json::decode_strict(bytes).map_err(unrecognized)?;
            let sent = Sent { object: decoded.value, duplicates: decoded.duplicates };
            only_objects(sent).map_err(unrecognized)
        }
        MediaType::Yaml => {
            let text = std::str::from_utf8(bytes).map_err(|e| unrecognized(e.to_string()))?;
            let object = yaml::decode(text).map_err(unrecognized)?;
            only_objects(Sent { object, duplicates: Vec::new() }).map_err(unrecognized)
        }
        MediaType::Protobuf => {
            let object = structure::protobuf(call, bytes).map_err(unrecognized)?;
            Ok(Sent { object, duplicates: Vec::new() })
        }
    }
}

fn only_objects(sent: Sent) -> Result<Sent, String> {
    match &sent.object {
        Value::Object(_) => Ok(sent),
        other => Err(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
            other.type_name()
        )),
    }
}

/// The first bytes of a body, as upstream shows them in errors.
fn summary(bytes: &Bytes) -> String {
    let head = &bytes[..bytes.len().min(30)];
    let more = if bytes.len() > 30 { " ..." } else { "" };
    if bytes.is_empty() {
        return "<empty>".into();
    }
    match std::str::from_utf8(head) {
        Ok(text) => format!("{text:?}{more}"),
        Err(_) => {
            let hex: String = head.iter().map(|b| format!("{b:02x}")).collect();
            format!("{hex:?}{more}")
        }
    }
}

/// Makes an object fit its row's schema: types are checked (400), unknown fields dropped and, as
/// `validation` says, told or refused.
pub fn accept(
    call: &Call<'_>,
    mut object: Value,
    duplicates: Vec<String>,
    validation: FieldValidation,
) -> Result<Value, ApiError> {
    let row: &ResourceRow = &call.row;
    if object.at("metadata.managedFields").as_array().is_some_and(|list| list.is_empty()) {
        // An empty list makes the server forget; the typed form would not know it from none.
        object.set("metadata.managedFields", value!([{}]));
    }
    finish(call, &row.gvk, object, duplicates, validation, |v| schema_decode::decode(row, v))
}

/// As [`accept`], for a kind that is not the row's.
pub fn accept_as(
    call: &Call<'_>,
    gvk: &GroupVersionKind,
    object: Value,
    duplicates: Vec<String>,
    validation: FieldValidation,
) -> Result<Value, ApiError> {
    let catalogue = call.catalogue.clone();
    let schema: Option<Schema<'_>> = catalogue.schema_of(gvk);
    finish(call, gvk, object, duplicates, validation, |v| match schema {
        Some(schema) => schema_decode::typed(schema, v),
        None => Ok(Vec::new()),
    })
}

fn finish(
    call: &Call<'_>,
    gvk: &GroupVersionKind,
    mut object: Value,
    duplicates: Vec<String>,
    validation: FieldValidation,
    decode: impl FnOnce(&mut Value) -> Result<Vec<String>, String>,
) -> Result<Value, ApiError> {
    let refuse = |why: &str| ApiError::bad_request(schema_decode::cannot_be_handled(gvk, why));
    let mut messages = decode(&mut object).map_err(|why| refuse(&why))?;
    messages.extend(duplicates.iter().map(|path| format!("duplicate field {path:?}")));
    match validation {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => messages.into_iter().for_each(|m| call.warn(m)),
        FieldValidation::Strict if messages.is_empty() => {}
        FieldValidation::Strict => {
            return Err(refuse(&schema_decode::strict_error(&messages)));
        }
    }
    Ok(object)
}
