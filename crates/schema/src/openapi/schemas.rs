//! Definitions: the built-in schemas as OpenAPI writes them.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use timonier_meta::{GroupVersion, GroupVersionKind};
use timonier_object::{Map, Value, value};

use super::custom;
use crate::builtin;
use crate::catalogue::Catalogue;
use crate::decode;
use crate::node::Type;
use crate::row::ResourceRow;
use crate::schema::{Field, ListType, Schema};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn reference(self, name: &str) -> Value {
        let place = match self {
            Dialect::V2 => "#/definitions/",
            Dialect::V3 => "#/components/schemas/",
        };
        value!({ "$ref": (format!("{place}{name}")) })
    }
}

/// The definitions of a document: whatever is referred to comes in.
pub(super) struct Schemas<'a> {
    catalogue: &'a Catalogue,
    dialect: Dialect,
    descriptions: Vec<String>,
    /// Short names of built-in definitions still to be written.
    open: Vec<String>,
    seen: BTreeSet<String>,
    done: BTreeMap<String, Value>,
    packages: BTreeMap<String, GroupVersion>,
}

impl<'a> Schemas<'a> {
    pub fn new(catalogue: &'a Catalogue, dialect: Dialect) -> Self {
        let packages = builtin::rows().into_iter().map(|row| {
            let gv = row.gvr.group_version();
            (builtin::package(&gv.group, &gv.version), gv)
        });
        Schemas {
            catalogue,
            dialect,
            descriptions: builtin::descriptions(),
            open: Vec::new(),
            seen: BTreeSet::new(),
            done: BTreeMap::new(),
            packages: packages.collect(),
        }
    }

    /// A reference to a built-in definition by its short name.
    pub fn refer(&mut self, short: &str) -> Value {
        if self.seen.insert(short.to_string()) {
            self.open.push(short.to_string());
        }
        self.dialect.reference(&full_name(short))
    }

    /// A reference to a kind, or to its list.
    pub fn refer_kind(&mut self, row: &ResourceRow, list: bool) -> Value {
        if !row.is_custom() {
            let package = builtin::package(&row.gvk.group, &row.gvk.version);
            let kind = if list { &row.list_kind } else { &row.gvk.kind };
            return self.refer(&format!("{package}.{kind}"));
        }
        let name = custom_name(&row.gvk);
        if self.seen.insert(name.clone()) {
            let schema = custom::kind(self, row);
            self.done.insert(name.clone(), schema);
        }
        if !list {
            return self.dialect.reference(&name);
        }
        let list_name =
            custom_name(&GroupVersionKind { kind: row.list_kind.clone(), ..row.gvk.clone() });
        if self.seen.insert(list_name.clone()) {
            let schema = custom::list(self, row, self.dialect.reference(&name));
            self.done.insert(list_name.clone(), schema);
        }
        self.dialect.reference(&list_name)
    }

    /// The definitions, after everything that they refer to has come in.
    pub fn finish(mut self) -> Value {
        while let Some(short) = self.open.pop() {
            let schema = self.built_in(&short);
            self.done.insert(full_name(&short), schema);
        }
        self.done.into_iter().collect()
    }

    fn built_in(&mut self, short: &str) -> Value {
        if short == "meta.v1.Patch" {
            return value!({
                "description": "A change to an object, in the form that the content type names.",
                "type": "object",
            });
        }
        let Some(schema) = builtin::schema_named(short) else { return Value::object() };
        let mut out = match schema.kind() {
            Type::Struct => self.object(schema),
            kind => special(kind, self.dialect),
        };
        let description = self.descriptions.get(schema.id as usize).cloned().unwrap_or_default();
        describe(&mut out, &description);
        let kinds = self.kinds(short, schema);
        if !kinds.is_empty() {
            out.set_key("x-kubernetes-group-version-kind", Value::array(kinds));
        }
        out
    }

    /// The kinds that a definition stands for.
    fn kinds(&self, short: &str, schema: Schema<'_>) -> Vec<Value> {
        let is_kind = schema.field("kind").is_some_and(|f| f.inlined().any(|n| n == "TypeMeta"));
        let Some((package, kind)) =
            short.rsplit_once('.').filter(|_| is_kind || short == "meta.v1.WatchEvent")
        else {
            return Vec::new();
        };
        let core = GroupVersion::new_static("", "v1");
        let of: Vec<GroupVersion> = match (package, kind) {
            ("meta.v1", "DeleteOptions" | "WatchEvent") => self.catalogue.group_versions(),
            ("meta.v1", _) => alloc::vec![core],
            (package, _) => self.packages.get(package).cloned().into_iter().collect(),
        };
        let gvk = |gv: GroupVersion| value!({ "group": (gv.group), "version": (gv.version), "kind": kind });
        of.into_iter().map(gvk).collect()
    }

    fn object(&mut self, schema: Schema<'_>) -> Value {
        let mut out = value!({ "type": "object" });
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in schema.fields() {
            let value = self.property(field);
            properties.insert(field.name, value);
            if field.schema.is_required() {
                required.push(Value::from(field.name));
            }
        }
        if !properties.is_empty() {
            properties.sort_keys();
            out.set("properties", properties);
        }
        if !required.is_empty() {
            required.sort_by(|a, b| a.str().cmp(b.str()));
            out.set("required", required);
        }
        if let Some((arena, d)) = schema.definition() {
            let unions = arena.text(d.unions);
            if let Ok(unions) = timonier_object::json::decode(unions.as_bytes()) {
                out.set("x-kubernetes-unions", unions);
            }
        }
        if schema.is_atomic() {
            out.set("x-kubernetes-map-type", "atomic");
        }
        out
    }

    fn property(&mut self, field: Field<'_>) -> Value {
        let description = self.description(field);
        let mut out = self.value(field.schema, &description);
        if field.schema.states_granular() {
            out.set("x-kubernetes-map-type", "granular");
        }
        if let (Dialect::V3, Some(default)) = (self.dialect, default_of(field.schema, true)) {
            out.set("default", default);
        }
        patch_extensions(field.schema, &mut out);
        out
    }

    fn description(&self, field: Field<'_>) -> String {
        let at = field.schema.arena.definitions.len() + field.index as usize;
        self.descriptions.get(at).cloned().unwrap_or_default()
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The description of a field of a built-in definition.
    pub fn text_of(&self, short: &str, field: &str) -> String {
        let field = builtin::schema_named(short).and_then(|schema| schema.field(field));
        field.map(|field| self.description(field)).unwrap_or_default()
    }

    /// A reference to a definition, described as a field of another one.
    pub fn described_reference(&mut self, short: &str, like: &str, field: &str) -> Value {
        let mut out = self.refer(short);
        if self.dialect == Dialect::V3 {
            out = value!({ "allOf": [(out)] });
        }
        describe(&mut out, &self.text_of(like, field));
        out
    }

    /// A value's schema, described.
    fn value(&mut self, schema: Schema<'_>, description: &str) -> Value {
        let mut out = match schema.kind() {
            kind if is_referred(kind) => return self.reference(schema, description),
            Type::Array => {
                let items = schema.items().map(|items| self.item(items));
                value!({ "type": "array", "items": items })
            }
            Type::Map => {
                let values = schema.values().map(|values| self.item(values));
                value!({ "type": "object", "additionalProperties": values })
            }
            kind => scalar(kind, schema.format()),
        };
        describe(&mut out, description);
        self.extensions(schema, &mut out);
        out
    }

    /// Items and map values; v3 gives them their zero value as default.
    fn item(&mut self, schema: Schema<'_>) -> Value {
        let mut out = self.value(schema, "");
        if let (Dialect::V3, Some(default)) = (self.dialect, default_of(schema, false)) {
            // A reference stands alone or in allOf.
            if let Some(reference) = out.as_object_mut().and_then(|m| m.remove("$ref")) {
                out = value!({ "allOf": [{ "$ref": reference }] });
            }
            out.set("default", default);
        }
        out
    }

    fn reference(&mut self, schema: Schema<'_>, description: &str) -> Value {
        let name = schema.referred_name();
        let mut out = self.refer(name);
        let has_default = default_of(schema, true).is_some();
        if self.dialect == Dialect::V3 && (!description.is_empty() || has_default) {
            out = value!({ "allOf": [(out)] });
        }
        describe(&mut out, description);
        out
    }

    fn extensions(&self, schema: Schema<'_>, out: &mut Value) {
        let allowed: Vec<&str> = schema.allowed().collect();
        if !allowed.is_empty() {
            out.set("enum", allowed);
        }
        if schema.list_type_stated() {
            out.set(
                "x-kubernetes-list-type",
                match schema.list_type() {
                    ListType::Atomic => "atomic",
                    ListType::Set => "set",
                    ListType::Map => "map",
                },
            );
            let keys: Vec<&str> = schema.list_keys().collect();
            if !keys.is_empty() {
                out.set("x-kubernetes-list-map-keys", keys);
            }
        }
        if schema.kind() == Type::Map && schema.is_atomic() {
            out.set("x-kubernetes-map-type", "atomic");
        }
    }
}

trait SetKey {
    /// Sets a key that may hold dots.
    fn set_key(&mut self, key: &str, value: Value);
}

impl SetKey for Value {
    fn set_key(&mut self, key: &str, value: Value) {
        self.make_object().insert(key, value);
    }
}

/// Types that have a definition of their own.
fn is_referred(kind: Type) -> bool {
    use Type::*;
    !matches!(kind, Any | Bool | Int32 | Int64 | Float | String | Bytes | Array | Map)
}

fn describe(out: &mut Value, description: &str) {
    if !description.is_empty() {
        out.make_object().insert_first("description", Value::from(description));
    }
}

fn patch_extensions(schema: Schema<'_>, out: &mut Value) {
    if let Some(key) = schema.merge_key() {
        out.set("x-kubernetes-patch-merge-key", key);
    }
    let strategy = match (schema.patch_merges(), schema.patch_retains_keys()) {
        (true, true) => "merge,retainKeys",
        (true, false) => "merge",
        (false, true) => "retainKeys",
        (false, false) => return,
    };
    out.set("x-kubernetes-patch-strategy", strategy);
}

/// The default that v3 publishes: the stated one, or the zero value of what Go does not point to.
fn default_of(schema: Schema<'_>, is_field: bool) -> Option<Value> {
    if let Some(stated) = schema.default_value() {
        return Some(stated);
    }
    if schema.is_pointer() {
        return None;
    }
    match schema.kind() {
        Type::Struct => Some(Value::object()),
        _ if is_field && schema.omits_empty() => None,
        Type::Bool | Type::Int32 | Type::Int64 | Type::Float | Type::String => {
            Some(decode::zero(schema))
        }
        _ => None,
    }
}

fn scalar(kind: Type, format: &str) -> Value {
    let name = match kind {
        Type::Bool => "boolean",
        Type::Int32 | Type::Int64 => "integer",
        Type::Float => "number",
        Type::Any | Type::Json | Type::IntOrString => return Value::object(),
        Type::Struct | Type::RawExtension => "object",
        _ => "string",
    };
    let mut out = value!({ "type": name });
    let format = match (kind, format) {
        (Type::Bytes, _) => "byte",
        (Type::Int32, "") => "int32",
        (Type::Int64, "") => "int64",
        (Type::Float, "") => "double",
        (_, format) => format,
    };
    if !format.is_empty() {
        out.set("format", format);
    }
    out
}

/// The definitions of types with a JSON form of their own.
fn special(kind: Type, dialect: Dialect) -> Value {
    match (kind, dialect) {
        (Type::Time | Type::MicroTime, _) => value!({ "type": "string", "format": "date-time" }),
        (Type::RawExtension | Type::FieldsV1, _) => value!({ "type": "object" }),
        (Type::Quantity, Dialect::V3) => {
            value!({ "oneOf": [{ "type": "string" }, { "type": "number" }] })
        }
        (Type::Quantity, Dialect::V2) => value!({ "type": "string" }),
        (Type::IntOrString, Dialect::V3) => value!({
            "format": "int-or-string", "oneOf": [{ "type": "integer" }, { "type": "string" }],
        }),
        (Type::IntOrString, Dialect::V2) => value!({ "type": "string", "format": "int-or-string" }),
        _ => Value::object(),
    }
}

/// `core.v1.Pod` to `io.k8s.api.core.v1.Pod`.
fn full_name(short: &str) -> String {
    let package = short.split('.').next().unwrap_or(short);
    let root = match package {
        "meta" => "io.k8s.apimachinery.pkg.apis.",
        "resource" if short.matches('.').count() == 1 => "io.k8s.apimachinery.pkg.api.",
        "intstr" => "io.k8s.apimachinery.pkg.util.",
        "runtime" => "io.k8s.apimachinery.pkg.",
        "apiextensions" => "io.k8s.apiextensions-apiserver.pkg.apis.",
        "apiregistration" => "io.k8s.kube-aggregator.pkg.apis.",
        _ => "io.k8s.api.",
    };
    format!("{root}{short}")
}

/// `stable.example.com/v1 CronTab` to `com.example.stable.v1.CronTab`.
fn custom_name(gvk: &GroupVersionKind) -> String {
    let mut parts: Vec<&str> = gvk.group.rsplit('.').collect();
    parts.push(&gvk.version);
    parts.push(&gvk.kind);
    parts.join(".")
}
