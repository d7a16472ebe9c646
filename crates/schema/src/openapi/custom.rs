//! Definitions of custom resources, as upstream makes them of a CustomResourceDefinition.

use alloc::format;
use alloc::vec::Vec;

use timonier_meta::GroupVersionKind;
use timonier_object::{SmolStr, Value, value};

use super::schemas::{Dialect, Schemas};
use crate::row::ResourceRow;

/// The definition of a custom resource's kind.
pub(super) fn kind(schemas: &mut Schemas<'_>, row: &ResourceRow) -> Value {
    let stated = row.version.as_ref().map_or(&Value::Null, |v| v.at("schema.openAPIV3Schema"));
    let dialect = schemas.dialect();
    // What knows v2 takes the properties for all there are: an object that may have others has none.
    let open = dialect == Dialect::V2 && set(stated, PRESERVE);
    let mut out = value!({ "type": "object" });
    if !open && stated.as_object().is_some() {
        out = structural(stated, dialect);
        type_and_metadata(schemas, &mut out, "core.v1.Pod");
        embedded(schemas, &mut out);
    }
    identify(&mut out, row, &row.gvk.kind);
    out
}

/// The definition of the list of a custom resource; `item` refers to its kind.
pub(super) fn list(schemas: &mut Schemas<'_>, row: &ResourceRow, item: Value) -> Value {
    let doc = format!("List of {}. More info: {CONVENTIONS}", row.gvr.resource);
    let mut out = value!({
        "description": (format!("{} is a list of {}", row.list_kind, row.gvk.kind)),
        "type": "object",
        "required": ["items"],
        "properties": {
            "items": { "description": doc, "type": "array", "items": item },
        },
    });
    type_and_metadata(schemas, &mut out, "core.v1.PodList");
    identify(&mut out, row, &row.list_kind);
    out
}

const CONVENTIONS: &str =
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";
const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";

/// What is published as it is stated. False and empty say nothing and are left out.
const COPIED: [&str; 24] = [
    "description",
    "title",
    "format",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "enum",
    "maxProperties",
    "minProperties",
    "x-kubernetes-validations",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    PRESERVE,
    EMBEDDED,
    INT_OR_STRING,
];

fn set(schema: &Value, key: &str) -> bool {
    schema.get(key).is_some_and(Value::bool)
}

/// A structural schema in a dialect: v2 knows neither alternatives nor defaults, and what may be
/// null or have unknown fields has no structure in it.
fn structural(stated: &Value, dialect: Dialect) -> Value {
    let v2 = dialect == Dialect::V2;
    let (nullable, preserve) = (set(stated, "nullable"), set(stated, PRESERVE));
    let open = v2 && (nullable || preserve);
    let mut out = Value::object();
    for (key, value) in stated.entries().filter(|(key, _)| COPIED.contains(key)) {
        let says = !matches!(value, Value::Null | Value::Bool(false)) && value.as_str() != Some("");
        if says {
            out.make_object().insert(key, value.clone());
        }
    }
    let kind = stated.at("type").str();
    let bare = v2
        && (nullable
            || preserve && kind == "object"
            || kind == "array" && (open || stated.get("items").is_none()));
    if !kind.is_empty() && !bare {
        out.set("type", kind);
    }
    if !open {
        structure(stated, dialect, &mut out);
    }
    let values = stated.at("additionalProperties");
    match values {
        Value::Object(_) => out.set("additionalProperties", structural(values, dialect)),
        Value::Bool(_) => out.set("additionalProperties", values),
        _ => {}
    }
    let required = required(stated, v2);
    if !required.is_empty() {
        out.set("required", required);
    }
    if !v2 {
        alternatives(stated, &mut out);
        if nullable {
            out.set("nullable", true);
        }
        if let Some(default) = stated.get("default").filter(|d| !d.is_null()) {
            out.set("default", default);
        }
    }
    out
}

/// Properties and items.
fn structure(stated: &Value, dialect: Dialect, out: &mut Value) {
    if let Some(properties) = stated.at("properties").as_object() {
        let all = properties.iter().map(|(name, s)| (name, structural(s, dialect)));
        out.set("properties", all.collect::<Value>());
    }
    let items = stated.at("items");
    if items.as_object().is_some() {
        out.set("items", structural(items, dialect));
    }
}

/// The required fields; v2 cannot say that a field is required and null.
fn required(stated: &Value, v2: bool) -> Vec<Value> {
    if v2 && set(stated.at("additionalProperties"), "nullable") {
        return Vec::new();
    }
    let open = set(stated, PRESERVE) || set(stated, "nullable");
    let null = |name: &Value| {
        let field = stated.at("properties").get(name.str());
        v2 && !open && field.is_some_and(|f| set(f, "nullable"))
    };
    stated.at("required").items().iter().filter(|name| !null(name)).cloned().collect()
}

/// `allOf`, `anyOf`, `oneOf` and `not`. That a value is a number or a text is told by the
/// alternatives too.
fn alternatives(stated: &Value, out: &mut Value) {
    let nested = |schema: &Value| structural(schema, Dialect::V3);
    for key in ["allOf", "anyOf", "oneOf"] {
        let list = stated.at(key).items();
        if !list.is_empty() {
            out.set(key, Value::array(list.iter().map(nested)));
        }
    }
    if stated.at("not").as_object().is_some() {
        out.set("not", nested(stated.at("not")));
    }
    if !set(stated, INT_OR_STRING) {
        return;
    }
    let both = || value!([{ "type": "integer" }, { "type": "string" }]);
    let said = stated.at("anyOf") == &both()
        || stated.at("allOf").items().first().is_some_and(|first| first.at("anyOf") == &both());
    if said {
        return;
    }
    if stated.at("anyOf").is_empty() {
        out.set("anyOf", both());
    } else {
        out.entry("allOf").make_array().insert(0, value!({ "anyOf": (both()) }));
    }
}

/// The fields that every object has, described as those of `like`.
fn type_and_metadata(schemas: &mut Schemas<'_>, out: &mut Value, like: &str) {
    let metadata = match like {
        "core.v1.PodList" => "meta.v1.ListMeta",
        _ => "meta.v1.ObjectMeta",
    };
    let metadata = schemas.described_reference(metadata, like, "metadata");
    for name in ["apiVersion", "kind"] {
        let mut field = value!({ "type": "string" });
        field.make_object().insert_first("description", schemas.text_of(like, name).into());
        out.entry("properties").make_object().insert(name, field);
    }
    let properties = out.entry("properties").make_object();
    properties.insert("metadata", metadata);
    properties.sort_keys();
}

/// Completes the objects within the object that are resources of their own.
fn embedded(schemas: &mut Schemas<'_>, schema: &mut Value) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.iter_mut().for_each(|(_, field)| embedded(schemas, field));
    }
    for within in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(within).filter(|s| s.as_object().is_some()) {
            embedded(schemas, inner);
        }
    }
    let open = schemas.dialect() == Dialect::V2 && set(schema, PRESERVE);
    if open || !set(schema, EMBEDDED) {
        return;
    }
    type_and_metadata(schemas, schema, "core.v1.Pod");
    let required = schema.entry("required").make_array();
    for name in ["kind", "apiVersion"].map(Value::from) {
        if !required.contains(&name) {
            required.push(name);
        }
    }
}

/// Says which kind the definition is, and what its objects are selected by.
fn identify(out: &mut Value, row: &ResourceRow, kind: &SmolStr) {
    let GroupVersionKind { group, version, .. } = &row.gvk;
    let out = out.make_object();
    let kinds = value!([{ "group": group, "version": version, "kind": kind }]);
    out.insert("x-kubernetes-group-version-kind", kinds);
    if !row.selectable.is_empty() {
        let fields = row.selectable.iter().map(|s| value!({ "fieldPath": (&s.label) }));
        out.insert("x-kubernetes-selectable-fields", Value::array(fields));
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{Catalogue, crd, openapi};

    fn published(schema: Value) -> (Value, Value) {
        let definition = value!({ "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "plural": "foos", "kind": "Foo" },
            "versions": [{ "name": "v1", "served": true, "storage": true,
                "selectableFields": [{ "jsonPath": ".spec.color" }],
                "schema": { "openAPIV3Schema": schema } }],
        } });
        let c = Catalogue::builtin().with(crd::rows(&definition).unwrap());
        let v3 = openapi::v3_document(&c, "apis/example.com/v1").unwrap();
        let v2 = openapi::v2(&c, &crate::aggregation::Aggregation::default());
        let name = "com.example.v1.Foo";
        (
            v2.at("definitions").get(name).unwrap().clone(),
            v3.at("components.schemas").get(name).unwrap().clone(),
        )
    }

    #[test]
    fn objects_have_described_types_and_metadata() {
        let (v2, v3) = published(value!({ "type": "object", "description": "A foo.",
            "properties": { "spec": { "type": "object", "required": ["a"], "properties": {
                "a": { "type": "string", "enum": ["x"], "default": "x" } } } } }));
        for out in [&v2, &v3] {
            assert_eq!(out.at("description").str(), "A foo.");
            let text = out.at("properties.apiVersion.description").str();
            assert!(text.starts_with("APIVersion defines"), "{text}");
            assert!(out.at("properties.kind.description").str().starts_with("Kind is"));
            let text = out.at("properties.metadata.description").str();
            assert!(text.starts_with("Standard object's metadata."), "{text}");
            assert_eq!(out.at("properties.spec.required"), &value!(["a"]));
            assert_eq!(
                out.get("x-kubernetes-selectable-fields"),
                Some(&value!([{ "fieldPath": "spec.color" }]))
            );
            assert_eq!(
                out.get("x-kubernetes-group-version-kind"),
                Some(&value!([{ "group": "example.com", "version": "v1", "kind": "Foo" }]))
            );
        }
        assert!(v2.at("properties.metadata").get("$ref").is_some());
        assert!(v3.at("properties.metadata.allOf").items()[0].get("$ref").is_some());
        let field = |default| {
            let mut field = value!({ "type": "string", "enum": ["x"] });
            if default {
                field.set("default", "x");
            }
            field
        };
        assert_eq!(v2.at("properties.spec.properties.a"), &field(false));
        assert_eq!(v3.at("properties.spec.properties.a"), &field(true));
    }

    #[test]
    fn without_a_schema_nothing_is_said_in_v2() {
        let (mut v2, v3) = published(value!({ "type": "object", "description": "Anything.",
            "x-kubernetes-preserve-unknown-fields": true }));
        v2.make_object().retain(|key, _| !key.starts_with("x-kubernetes"));
        assert_eq!(v2, value!({ "type": "object" }));
        assert_eq!(v3.at("description").str(), "Anything.");
        assert!(set(&v3, PRESERVE) && v3.find("properties.metadata").is_some());
    }

    #[test]
    fn v2_is_without_what_it_does_not_know() {
        let stated = value!({ "type": "object", "required": ["n", "m"], "properties": {
            "n": { "type": "array", "nullable": true, "items": { "type": "string" } },
            "m": { "type": "object", "additionalProperties": { "type": "integer", "nullable": true } },
            "p": { "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                   "properties": { "x": { "type": "string" } } },
            "i": { "x-kubernetes-int-or-string": true, "description": "" },
            "o": { "type": "string", "oneOf": [{ "pattern": "a" }, { "pattern": "b" }] },
        } });
        assert_eq!(
            structural(&stated, Dialect::V2),
            value!({ "type": "object", "required": ["m"], "properties": {
                "n": {},
                "m": { "type": "object", "additionalProperties": {} },
                "p": { "x-kubernetes-preserve-unknown-fields": true },
                "i": { "x-kubernetes-int-or-string": true },
                "o": { "type": "string" },
            } })
        );
        let v3 = structural(&stated, Dialect::V3);
        let both = value!([{ "type": "integer" }, { "type": "string" }]);
        assert_eq!(v3.at("properties.i.anyOf"), &both);
        assert_eq!(v3.at("properties.o.oneOf").items().len(), 2);
        assert!(set(v3.at("properties.n"), "nullable"));
        assert_eq!(v3.at("properties.p.properties.x.type").str(), "string");
        assert_eq!(v3.at("required"), &value!(["n", "m"]));
    }

    #[test]
    fn numbers_or_texts_say_so_once() {
        let both = value!([{ "type": "integer" }, { "type": "string" }]);
        let said = value!({ "x-kubernetes-int-or-string": true, "anyOf": (&both) });
        assert_eq!(structural(&said, Dialect::V3), said);
        let more = value!({ "x-kubernetes-int-or-string": true, "anyOf": [{ "pattern": "a" }] });
        assert_eq!(structural(&more, Dialect::V3).at("allOf"), &value!([{ "anyOf": (&both) }]));
    }

    #[test]
    fn objects_within_objects_are_completed() {
        let template = |open: bool| {
            let mut t = value!({ "type": "object", "x-kubernetes-embedded-resource": true,
                "properties": { "spec": { "type": "object" } } });
            if open {
                t.make_object().insert(PRESERVE, Value::Bool(true));
            }
            value!({ "type": "object", "properties": { "list": { "type": "array", "items": t } } })
        };
        let (v2, v3) = published(template(false));
        for out in [v2, v3] {
            let item = out.at("properties.list.items");
            assert_eq!(item.at("required"), &value!(["kind", "apiVersion"]));
            let names: Vec<&str> = item.at("properties").entries().map(|(k, _)| k).collect();
            assert_eq!(names, vec!["apiVersion", "kind", "metadata", "spec"]);
        }
        let (v2, v3) = published(template(true));
        assert!(v2.at("properties.list.items").get("properties").is_none());
        assert!(v3.at("properties.list.items.properties").get("metadata").is_some());
    }
}
