//! What Go writes of a struct: which empty fields go and which absent fields come.

use timonier_object::{Map, Value};

use crate::node::Type;
use crate::schema::Schema;

/// What Go writes for a type's zero value; null for pointers, lists, maps and times.
pub fn zero(schema: Schema<'_>) -> Value {
    if schema.is_pointer() {
        return Value::Null;
    }
    match schema.kind() {
        Type::Bool | Type::SchemaOrBool => Value::Bool(false),
        Type::Int32 | Type::Int64 | Type::Float | Type::IntOrString => Value::Int(0),
        Type::String => Value::from(""),
        Type::Quantity => Value::from("0"),
        Type::Struct => {
            let mut map = Map::new();
            complete(schema, &mut map);
            Value::Object(map)
        }
        _ => Value::Null,
    }
}

/// Makes a struct's decoded fields what Go would write: drops empty ones that JSON omits and adds
/// absent ones that it does not.
pub(super) fn complete(schema: Schema<'_>, map: &mut Map) {
    for field in schema.fields() {
        let of = field.schema;
        match map.get(field.name) {
            Some(value) => {
                let gone = of.omits_zero() && !of.is_pointer() && *value == zero(of)
                    || of.omits_empty() && !of.is_pointer() && is_empty(of, value);
                if gone {
                    map.remove(field.name);
                }
            }
            None => {
                // Go's omitempty does not know an empty struct.
                let is_struct = !of.is_pointer() && !can_be_empty(of);
                if !of.omits_zero() && (!of.omits_empty() || is_struct) {
                    map.insert(field.name, zero(of));
                }
            }
        }
    }
}

fn can_be_empty(schema: Schema<'_>) -> bool {
    matches!(
        schema.kind(),
        Type::Bool
            | Type::Int32
            | Type::Int64
            | Type::Float
            | Type::String
            | Type::Bytes
            | Type::Array
            | Type::Map
    )
}

fn is_empty(schema: Schema<'_>, value: &Value) -> bool {
    can_be_empty(schema) && value.is_empty()
}
