//! Dropping of unknown fields, and the decoding of custom resources.

use alloc::string::String;
use alloc::vec::Vec;

use timonier_object::Value;

use super::{Unknown, typed};
use crate::builtin;
use crate::node::Type;
use crate::row::ResourceRow;
use crate::schema::Schema;

/// Drops what the schema does not know and reports it; nothing else changes.
pub(super) fn prune(schema: Schema<'_>, value: &mut Value) -> Vec<String> {
    let mut unknown = Unknown::default();
    walk(schema, value, &mut unknown);
    unknown.into_messages()
}

/// Custom resources: metadata decodes as the typed ObjectMeta, everything else is pruned by the
/// structural schema.
pub(super) fn decode_custom(row: &ResourceRow, object: &mut Value) -> Result<Vec<String>, String> {
    let mut unknown = Unknown::default();
    if let Some(metadata) = object.get_mut("metadata") {
        decode_metadata(metadata, &mut unknown)?;
    }
    walk(row.schema(), object, &mut unknown);
    Ok(unknown.into_messages())
}

fn decode_metadata(metadata: &mut Value, unknown: &mut Unknown) -> Result<(), String> {
    let schema = builtin::schema_named("meta.v1.ObjectMeta").expect("facts have ObjectMeta");
    for message in typed(schema, metadata)? {
        let field = message.trim_start_matches("unknown field ").trim_matches('"');
        let before = unknown.enter("metadata");
        unknown.report(field);
        unknown.leave(before);
    }
    Ok(())
}

fn walk(schema: Schema<'_>, value: &mut Value, unknown: &mut Unknown) {
    match (schema.kind(), value) {
        (Type::Struct, Value::Object(map)) => {
            let embedded = schema.is_embedded_resource();
            map.retain(|key, value| {
                let Some(field) = schema.field(key) else {
                    let own = embedded && matches!(key, "apiVersion" | "kind" | "metadata");
                    let kept = own || schema.preserves_unknown();
                    if !kept {
                        unknown.report(key);
                    }
                    return kept;
                };
                let before = unknown.enter(key);
                walk(field.schema, value, unknown);
                unknown.leave(before);
                true
            });
        }
        (Type::Map, Value::Object(map)) => {
            let Some(values) = schema.values() else { return };
            for (key, value) in map.iter_mut() {
                let before = unknown.enter(key);
                walk(values, value, unknown);
                unknown.leave(before);
            }
        }
        (Type::Array, Value::Array(items)) => {
            let Some(schema) = schema.items() else { return };
            for (i, item) in items.iter_mut().enumerate() {
                let before = unknown.enter_item(i);
                walk(schema, item, unknown);
                unknown.leave(before);
            }
        }
        _ => {}
    }
}
