//! The types of a CustomResourceDefinition's schema, as validation rules see them.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_cel::{ListKind, ListType, ObjectType, Type};
use timonier_object::Value;

/// The type of what a schema describes; `None` where it says nothing of structure: rules cannot
/// read that. `name` is for errors. A `resource` has a kind and a name of its own.
pub fn type_of(schema: &Value, name: &str, resource: bool) -> Option<Type> {
    if flag(schema, "x-kubernetes-int-or-string") {
        return Some(Type::Dyn);
    }
    match schema.at("type").str() {
        "array" => {
            let items = schema.at("items");
            let item = type_of(items, &format!("{name}.@idx"), is_resource(items))?;
            Some(Type::List(Arc::new(ListType { item, kind: list_kind(schema) })))
        }
        "object" => object(schema, name, resource),
        "string" => Some(match schema.at("format").str() {
            "byte" => Type::Bytes,
            "duration" => Type::Duration,
            "date" | "date-time" => Type::Timestamp,
            _ => Type::Str,
        }),
        "boolean" => Some(Type::Bool),
        "number" => Some(Type::Double),
        "integer" => Some(Type::Int),
        _ if resource => object(schema, name, true),
        _ => None,
    }
}

/// Whether the schema is of an object within the object that is one of its own.
pub fn is_resource(schema: &Value) -> bool {
    flag(schema, "x-kubernetes-embedded-resource")
}

fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name).is_some_and(Value::bool)
}

/// What `x-kubernetes-list-type` says.
pub fn list_kind(schema: &Value) -> ListKind {
    let keys = || schema.get("x-kubernetes-list-map-keys").map_or(&[][..], Value::items);
    match schema.get("x-kubernetes-list-type").map_or("", Value::str) {
        "set" => ListKind::Set,
        "map" => ListKind::Map(keys().iter().map(Value::smol).collect()),
        _ => ListKind::Atomic,
    }
}

fn object(schema: &Value, name: &str, resource: bool) -> Option<Type> {
    let values = schema.at("additionalProperties");
    if values.as_object().is_some() {
        let value = type_of(values, &format!("{name}.@elem"), is_resource(values))?;
        return Some(Type::map(Type::Str, value));
    }
    let field = |(key, schema): (&str, &Value)| {
        let ty = type_of(schema, &format!("{name}.{key}"), is_resource(schema))?;
        Some((SmolStr::from(key), ty))
    };
    let mut fields: Vec<(SmolStr, Type)> =
        schema.at("properties").entries().filter_map(field).collect();
    if resource {
        fields.retain(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata"));
        let named = ["name", "generateName"].map(|n| (SmolStr::new_static(n), Type::Str));
        let metadata = ObjectType::new(format!("{name}.metadata"), named);
        fields.push(("apiVersion".into(), Type::Str));
        fields.push(("kind".into(), Type::Str));
        fields.push(("metadata".into(), Type::object(metadata)));
    }
    Some(Type::object(ObjectType::new(name, fields)))
}
