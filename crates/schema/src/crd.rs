//! CustomResourceDefinitions as rows: structural schemas from `openAPIV3Schema`.

pub mod conversion;
pub mod declare;
mod formats;
pub mod names;
pub mod validations;
pub mod values;

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::{GroupVersionKind, GroupVersionResource};
use timonier_object::{Value, json};

use crate::builtin;
use crate::node::{Arena, Definition, Node, Property, Text, Type, flag};
use crate::row::{InitialStatus, NameRule, ResourceRow, Selectable, Strategy, Subresource, Verbs};
use conversion::Conversion;

/// Deeper schemas are refused.
const MAX_DEPTH: usize = 64;
/// Larger schemas are refused.
const MAX_NODES: usize = 100_000;

/// The keys of JSONSchemaProps that say something of structure; all others are rules for values.
const STRUCTURAL: [&str; 17] = [
    "type",
    "properties",
    "items",
    "additionalProperties",
    "required",
    "default",
    "nullable",
    "format",
    "description",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "$schema",
    "id",
];

/// The rows of a CustomResourceDefinition: one for each version that is served, and while it is
/// being deleted one for the version in which objects are stored. The names are
/// those of `status.acceptedNames` where they are set, of `spec.names` otherwise. The error says
/// which version's schema is not structural.
pub fn rows(definition: &Value) -> Result<Vec<ResourceRow>, String> {
    let spec = definition.at("spec");
    let accepted = definition.at("status.acceptedNames");
    let names = if accepted.at("plural").is_empty() { spec.at("names") } else { accepted };
    let versions = spec.at("versions").items();
    let storage = versions.iter().find(|v| v.at("storage").bool()).map(|v| v.at("name").smol());
    let conversion = Conversion::of(definition).map(Arc::new);
    let mut rows = Vec::new();
    // While a definition goes, its objects are reached in the version in which they are stored,
    // also where that was not served: else they would stay behind.
    let ends = definition.is_deleting();
    let served = |v: &Value| v.at("served").bool() || ends && v.at("storage").bool();
    for version in versions.iter().filter(|v| served(v)) {
        let name = version.at("name").smol();
        let row = row(spec, names, version, storage.as_ref().unwrap_or(&name), ends)
            .map_err(|e| format!("version {name:?}: {e}"))?;
        rows.push(ResourceRow { conversion: conversion.clone(), ..row });
    }
    Ok(rows)
}

fn row(
    spec: &Value,
    names: &Value,
    version: &Value,
    storage: &SmolStr,
    definition_ends: bool,
) -> Result<ResourceRow, String> {
    let (group, plural) = (spec.at("group").smol(), names.at("plural").smol());
    let gvk = GroupVersionKind {
        group: group.clone(),
        version: version.at("name").smol(),
        kind: names.at("kind").smol(),
    };
    let gvr = GroupVersionResource {
        group: group.clone(),
        version: gvk.version.clone(),
        resource: plural.clone(),
    };
    let schema = version.at("schema.openAPIV3Schema");
    let (arena, root) = Builder::build(schema)?;
    let list = |field: &str| names.at(field).items().iter().map(Value::smol).collect();
    let subresources = subresources(&gvk, version);
    let has_status = subresources.iter().any(|s| s.name == "status");
    let or = |field: &str, other: String| match names.at(field).smol() {
        set if set.is_empty() => SmolStr::from(other),
        set => set,
    };
    Ok(ResourceRow {
        list_kind: or("listKind", format!("{}List", gvk.kind)),
        singular: or("singular", gvk.kind.to_lowercase()),
        short_names: list("shortNames"),
        categories: list("categories"),
        namespaced: spec.at("scope").str() == "Namespaced",
        verbs: if definition_ends { Verbs::WITHOUT_CREATE } else { Verbs::ALL },
        subresources,
        selectable: selectable(version),
        strategy: Strategy {
            create_on_update: false,
            unconditional_update: false,
            generation: true,
            initial_status: if has_status { InitialStatus::Drop } else { InitialStatus::Keep },
            names: NameRule::Subdomain,
            delete_returns_object: false,
        },
        storage: GroupVersionResource { group, version: storage.clone(), resource: plural },
        stored: true,
        conversion: None,
        fingerprint: fingerprint(&[spec, names, version]),
        arena: Some(Arc::new(arena)),
        version: Some(Arc::new(version.clone())),
        validations: validations::Rules::compile(schema).map(Arc::new),
        root,
        gvr,
        gvk,
    })
}

fn subresources(gvk: &GroupVersionKind, version: &Value) -> Vec<Subresource> {
    let mut all = Vec::new();
    if version.find("subresources.status").is_some_and(|s| !s.is_null()) {
        all.push(Subresource { name: "status".into(), kind: gvk.clone(), verbs: Verbs::CHANGE });
    }
    if version.find("subresources.scale").is_some_and(|s| !s.is_null()) {
        let kind = GroupVersionKind::new_static("autoscaling", "v1", "Scale");
        all.push(Subresource { name: "scale".into(), kind, verbs: Verbs::CHANGE });
    }
    all
}

fn selectable(version: &Value) -> Vec<Selectable> {
    let fields = version.at("selectableFields").items().iter();
    fields
        .map(|f| {
            let path = SmolStr::from(f.at("jsonPath").str().trim_start_matches('.'));
            Selectable { label: path.clone(), paths: alloc::vec![path] }
        })
        .collect()
}

fn fingerprint(parts: &[&Value]) -> u64 {
    parts.iter().flat_map(|p| json::encode(p)).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Fills an arena.
struct Builder {
    arena: Arena,
    text: String,
    nodes: Vec<Node>,
    properties: Vec<Property>,
    definitions: Vec<Definition>,
}

impl Builder {
    /// The arena of a schema and its root's node.
    fn build(schema: &Value) -> Result<(Arena, u32), String> {
        let mut b = Builder {
            arena: Arena {
                text: Cow::Borrowed(""),
                nodes: Cow::Borrowed(&[]),
                properties: Cow::Borrowed(&[]),
                definitions: Cow::Borrowed(&[]),
                rules: Vec::new(),
            },
            text: String::new(),
            nodes: Vec::new(),
            properties: Vec::new(),
            definitions: Vec::new(),
        };
        let root = b.root(schema)?;
        let mut arena = b.arena;
        arena.text = Cow::Owned(b.text);
        arena.nodes = Cow::Owned(b.nodes);
        arena.properties = Cow::Owned(b.properties);
        arena.definitions = Cow::Owned(b.definitions);
        Ok((arena, root))
    }

    /// The object itself: what the schema says, and the fields that every object has.
    fn root(&mut self, schema: &Value) -> Result<u32, String> {
        let mut schema = schema.clone();
        schema.set("type", "object");
        let properties = schema.entry("properties").make_object();
        for name in ["apiVersion", "kind"] {
            if properties.get(name).is_none() {
                properties.insert(name, timonier_object::value!({ "type": "string" }));
            }
        }
        let metadata = properties.remove("metadata").unwrap_or_default();
        let object = self.node(&schema, 0)?;
        let node = self.metadata(&metadata)?;
        let name = self.intern("metadata");
        let definition = self.definition_of(object);
        self.properties.push(Property { name, inlined: Text::default(), node, number: [0; 3] });
        // The root's fields were written last, so that metadata stands directly behind them.
        self.definitions[definition].count += 1;
        Ok(object)
    }

    /// The metadata of an object: its own type is built in, what the schema adds are rules.
    fn metadata(&mut self, schema: &Value) -> Result<u32, String> {
        let rules = self.rules(schema);
        let child = builtin::definition("meta.v1.ObjectMeta").ok_or("facts have ObjectMeta")?;
        self.push(Node { rules, ..blank(Type::Struct, flag::FOREIGN, child) })
    }

    fn definition_of(&self, node: u32) -> usize {
        self.nodes[node as usize].child as usize
    }

    fn node(&mut self, schema: &Value, depth: usize) -> Result<u32, String> {
        if depth > MAX_DEPTH {
            return Err("the schema is nested too deeply".to_string());
        }
        let kind = kind_of(schema)?;
        let mut flags = self.flags(schema);
        let child = match kind {
            Type::Array => self.node(schema.at("items"), depth + 1)?,
            Type::Map => self.node(schema.at("additionalProperties"), depth + 1)?,
            Type::Struct => self.structure(schema, depth)?,
            _ => 0,
        };
        if schema.at("additionalProperties").bool() && kind == Type::Struct {
            flags |= flag::PRESERVE;
        }
        let rules = self.rules(schema);
        let default = schema.get("default").filter(|d| !d.is_null()).map(json::to_string);
        let keys: Vec<&str> =
            schema.at("x-kubernetes-list-map-keys").items().iter().map(Value::str).collect();
        let node = Node {
            keys: self.intern(&keys.join(",")),
            default: self.intern(&default.unwrap_or_default()),
            format: self.intern(schema.at("format").str()),
            rules,
            ..blank(kind, flags, child)
        };
        self.push(node)
    }

    fn structure(&mut self, schema: &Value, depth: usize) -> Result<u32, String> {
        let required: Vec<&str> = schema.at("required").items().iter().map(Value::str).collect();
        let mut fields = Vec::new();
        let embedded = schema.get("x-kubernetes-embedded-resource").is_some_and(Value::bool);
        let implied = |name: &str| embedded && schema.at("properties").get(name).is_none();
        let string = timonier_object::value!({ "type": "string" });
        for name in ["apiVersion", "kind"].into_iter().filter(|name| implied(name)) {
            let node = self.node(&string, depth + 1)?;
            fields.push((self.intern(name), node));
        }
        if implied("metadata") {
            let node = self.metadata(&Value::Null)?;
            fields.push((self.intern("metadata"), node));
        }
        for (name, field) in schema.at("properties").entries() {
            let node = match embedded && name == "metadata" {
                true => self.metadata(field)?,
                false => self.node(field, depth + 1)?,
            };
            if required.contains(&name) {
                self.nodes[node as usize].flags |= flag::REQUIRED;
            }
            let name = self.intern(name);
            fields.push((name, node));
        }
        let first = index(self.properties.len())?;
        let count = index(fields.len())?;
        for (name, node) in fields {
            self.properties.push(Property { name, inlined: Text::default(), node, number: [0; 3] });
        }
        let none = Text::default();
        self.definitions.push(Definition { name: none, first, count, flags: 0, unions: none });
        index(self.definitions.len() - 1)
    }

    fn flags(&self, schema: &Value) -> u32 {
        let on =
            |key: &str, flag: u32| if schema.get(key).is_some_and(Value::bool) { flag } else { 0 };
        let list = match schema.at("x-kubernetes-list-type").str() {
            "set" => flag::LIST_SET,
            "map" => flag::LIST_MAP,
            "atomic" => flag::LIST_ATOMIC,
            _ => 0,
        };
        let map = match schema.at("x-kubernetes-map-type").str() {
            "atomic" => flag::ATOMIC,
            "granular" => flag::GRANULAR,
            _ => 0,
        };
        on("nullable", flag::NULLABLE)
            | on("x-kubernetes-preserve-unknown-fields", flag::PRESERVE)
            | on("x-kubernetes-embedded-resource", flag::EMBEDDED)
            | list
            | map
    }

    /// Keeps what a schema says of values; gives the entry plus one, or 0.
    fn rules(&mut self, schema: &Value) -> u32 {
        let rules: Value = schema
            .entries()
            .filter(|(key, v)| !STRUCTURAL.contains(key) && !v.is_null())
            .map(|(key, v)| (key, v.clone()))
            .collect();
        if rules.is_empty() {
            return 0;
        }
        self.arena.rules.push(rules);
        u32::try_from(self.arena.rules.len()).unwrap_or(0)
    }

    fn push(&mut self, node: Node) -> Result<u32, String> {
        if self.nodes.len() >= MAX_NODES {
            return Err("the schema has too many fields".to_string());
        }
        self.nodes.push(node);
        index(self.nodes.len() - 1)
    }

    fn intern(&mut self, s: &str) -> Text {
        if s.is_empty() {
            return Text::default();
        }
        let text = Text { at: self.text.len() as u32, len: s.len() as u32 };
        self.text.push_str(s);
        text
    }
}

fn index(n: usize) -> Result<u32, String> {
    u32::try_from(n).map_err(|_| "the schema is too large".to_string())
}

fn blank(kind: Type, flags: u32, child: u32) -> Node {
    let none = Text::default();
    Node {
        kind,
        flags,
        child,
        go: none,
        keys: none,
        merge_key: none,
        default: none,
        allowed: none,
        format: none,
        rules: 0,
    }
}

fn kind_of(schema: &Value) -> Result<Type, String> {
    let set = |key: &str| schema.get(key).is_some_and(Value::bool);
    if set("x-kubernetes-int-or-string") {
        return Ok(Type::IntOrString);
    }
    let values = schema.at("additionalProperties");
    Ok(match schema.at("type").str() {
        "object" if values.as_object().is_some() => Type::Map,
        "object" => Type::Struct,
        "array" if schema.at("items").as_object().is_some() => Type::Array,
        "array" => return Err("an array must say what its items are".to_string()),
        "string" => Type::String,
        "boolean" => Type::Bool,
        "integer" if schema.at("format").str() == "int32" => Type::Int32,
        "integer" => Type::Int64,
        "number" => Type::Float,
        "" if set("x-kubernetes-preserve-unknown-fields") => Type::Any,
        "" => return Err("must not be empty for specified object fields".to_string()),
        other => return Err(format!("unknown type {other:?}")),
    })
}

#[cfg(test)]
mod tests {
    use timonier_meta::{GroupResource, GroupVersion, Time};
    use timonier_object::value;

    use super::*;
    use crate::{Catalogue, decode, defaults, discovery, openapi};

    fn definition() -> Value {
        value!({
            "metadata": { "name": "crontabs.stable.example.com" },
            "spec": {
                "group": "stable.example.com", "scope": "Namespaced",
                "names": { "plural": "crontabs", "kind": "CronTab", "shortNames": ["ct"] },
                "versions": [
                    { "name": "v1", "served": true, "storage": true,
                      "subresources": { "status": {}, "scale": { "specReplicasPath": ".spec.replicas" } },
                      "selectableFields": [{ "jsonPath": ".spec.color" }],
                      "schema": { "openAPIV3Schema": {
                        "type": "object", "description": "A table of jobs.",
                        "properties": {
                            "spec": {
                                "type": "object", "required": ["cronSpec"], "description": "What to do.",
                                "properties": {
                                    "cronSpec": { "type": "string", "pattern": "^x$", "description": "When." },
                                    "replicas": { "type": "integer", "default": 1, "minimum": 0 },
                                    "color": { "type": "string" },
                                    "port": { "x-kubernetes-int-or-string": true },
                                    "free": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
                                    "labels": { "type": "object", "additionalProperties": { "type": "string" } },
                                    "list": {
                                        "type": "array", "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["name"],
                                        "items": { "type": "object", "properties": { "name": { "type": "string" } } }
                                    }
                                }
                            },
                            "status": { "type": "object", "x-kubernetes-preserve-unknown-fields": true }
                        }
                    } } },
                    { "name": "v1beta1", "served": true, "storage": false,
                      "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } },
                    { "name": "v1alpha1", "served": false, "storage": false }
                ]
            }
        })
    }

    #[test]
    fn rows_are_served_and_found() {
        let rows = rows(&definition()).unwrap();
        assert_eq!(rows.len(), 2);
        let c = Catalogue::builtin().with(rows);
        let row = c.resource("stable.example.com", "v1", "crontabs").unwrap();
        assert_eq!((row.singular.as_str(), row.list_kind.as_str()), ("crontab", "CronTabList"));
        assert!(row.is_custom() && row.has_status() && row.subresource("scale").is_some());
        assert_eq!(row.check_field_label("spec.color"), Ok(()));
        assert!(row.check_field_label("spec.port").is_err());
        let beta = c.resource("stable.example.com", "v1beta1", "crontabs").unwrap();
        assert_eq!(beta.storage.version, "v1");
        let gv = GroupVersion::new_static("stable.example.com", "v1");
        assert_eq!(discovery::resources(&c, &gv).unwrap().at("resources").items().len(), 3);
        let gone = c.without(&GroupResource::new_static("stable.example.com", "crontabs"));
        assert!(discovery::resources(&gone, &gv).is_none());
        assert_eq!(gone.rows().count(), Catalogue::builtin().rows().count());
    }

    #[test]
    fn objects_are_pruned_and_defaulted() {
        let rows = rows(&definition()).unwrap();
        let mut v = value!({
            "apiVersion": "stable.example.com/v1", "kind": "CronTab", "x": 1,
            "metadata": { "name": "a", "y": 2, "labels": {} },
            "spec": { "cronSpec": "x", "z": 3, "free": { "q": 4 }, "labels": { "k": "v" },
                      "list": [{ "name": "n", "w": 5 }] },
        });
        let unknown = decode::decode(&rows[0], &mut v).unwrap();
        assert_eq!(
            unknown,
            [
                "unknown field \"metadata.y\"",
                "unknown field \"x\"",
                "unknown field \"spec.z\"",
                "unknown field \"spec.list[0].w\""
            ]
        );
        defaults::default_object(&rows[0], &mut v, Time::from_unix(0));
        assert_eq!(
            v.at("spec"),
            &value!({ "cronSpec": "x", "free": { "q": 4 }, "labels": { "k": "v" },
                      "list": [{ "name": "n" }], "replicas": 1 })
        );
        let error = decode::decode(&rows[0], &mut value!({ "metadata": { "labels": 1 } }));
        assert!(error.unwrap_err().contains("of type map[string]string"));
        let mut v = value!({ "anything": { "goes": 1 } });
        assert!(decode::decode(&rows[1], &mut v).unwrap().is_empty());
    }

    #[test]
    fn objects_within_objects_have_metadata() {
        let mut definition = definition();
        let template = value!({ "type": "object", "x-kubernetes-embedded-resource": true,
            "properties": { "metadata": { "type": "object", "properties": { "name": { "type": "string" } } },
                            "spec": { "type": "object" } } });
        let version = &mut definition.entry("spec.versions").make_array()[0];
        version.set("schema.openAPIV3Schema.properties.spec.properties.template", template);
        let rows = rows(&definition).unwrap();
        let mut v = value!({ "spec": { "template": { "apiVersion": "v1", "kind": "X", "apiversion": "y",
            "metadata": { "name": "a", "namespace": "b", "unknownSubMeta": 1 } } } });
        assert_eq!(
            decode::decode(&rows[0], &mut v).unwrap(),
            [
                "unknown field \"spec.template.apiversion\"",
                "unknown field \"spec.template.metadata.unknownSubMeta\""
            ]
        );
        assert_eq!(v.at("spec.template.metadata"), &value!({ "name": "a", "namespace": "b" }));
    }

    #[test]
    fn schemas_are_published() {
        let c = Catalogue::builtin().with(rows(&definition()).unwrap());
        let d = openapi::v3_document(&c, "apis/stable.example.com/v1").unwrap();
        let table = d.at("components.schemas").get("com.example.stable.v1.CronTab").unwrap();
        assert_eq!(table.at("description").str(), "A table of jobs.");
        let spec = table.at("properties.spec");
        assert_eq!(spec.at("required"), &value!(["cronSpec"]));
        let cron = spec.at("properties.cronSpec");
        assert_eq!(cron, &value!({ "type": "string", "pattern": "^x$", "description": "When." }));
        assert_eq!(spec.at("properties.replicas.default").as_i64(), Some(1));
        assert_eq!(spec.at("properties.list").get("x-kubernetes-list-type").unwrap().str(), "map");
        assert_eq!(
            spec.at("properties.port").get("x-kubernetes-int-or-string"),
            Some(&true.into())
        );
        let paths = d.at("paths").to_string();
        assert!(paths.contains("merge-patch+json") && !paths.contains("strategic-merge-patch"));
        assert!(table.at("properties.metadata").to_string().contains("ObjectMeta"));
        assert!(d.at("components.schemas").get("com.example.stable.v1.CronTabList").is_some());
        assert!(
            openapi::v2(&c, &crate::aggregation::Aggregation::default())
                .at("definitions")
                .get("com.example.stable.v1.CronTab")
                .is_some()
        );
        // The hash changes with the schema, and only this document's.
        let mut other = definition();
        other.set("spec.names.shortNames", Value::array(["c".into()]));
        let other = Catalogue::builtin().with(rows(&other).unwrap());
        let gv = GroupVersion::new_static("stable.example.com", "v1");
        assert_ne!(openapi::v3_hash(&c, &gv), openapi::v3_hash(&other, &gv));
        let apps = GroupVersion::new_static("apps", "v1");
        assert_eq!(openapi::v3_hash(&c, &apps), openapi::v3_hash(&other, &apps));
    }

    #[test]
    fn schemas_that_are_not_structural_are_refused() {
        for schema in [
            value!({ "properties": { "a": {} } }),
            value!({ "properties": { "a": { "type": "array" } } }),
            value!({ "properties": { "a": { "type": "wrong" } } }),
        ] {
            assert!(Builder::build(&schema).is_err(), "{schema}");
        }
        let mut deep = value!({ "type": "string" });
        for _ in 0..100 {
            deep = value!({ "type": "object", "properties": { "a": deep } });
        }
        assert!(Builder::build(&deep).is_err());
    }
}
