//! The schema of a value: what everybody asks about a field.

use core::fmt;

use timonier_object::Value;

use crate::builtin;
use crate::node::{Arena, Definition, Node, Type, flag};

/// How server-side apply sees a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListType {
    Atomic,
    Set,
    /// Items are told apart by [`Schema::list_keys`].
    Map,
}

/// The schema of a value, seen from the field that holds it. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Schema<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) id: u32,
}

/// A field of a struct.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    pub name: &'a str,
    pub schema: Schema<'a>,
    pub(crate) index: u32,
}

impl<'a> Schema<'a> {
    pub(crate) fn node(self) -> &'a Node {
        &self.arena.nodes[self.id as usize]
    }

    fn has(self, flag: u32) -> bool {
        self.node().flags & flag != 0
    }

    fn child_arena(self) -> &'a Arena {
        if self.has(flag::FOREIGN) { builtin::arena() } else { self.arena }
    }

    pub(crate) fn definition(self) -> Option<(&'a Arena, &'a Definition)> {
        if self.kind() != Type::Struct {
            return None;
        }
        let arena = self.child_arena();
        Some((arena, &arena.definitions[self.node().child as usize]))
    }

    /// What values it takes.
    pub fn kind(self) -> Type {
        self.node().kind
    }

    /// The fields of a struct in the Go type's order.
    pub fn fields(self) -> impl ExactSizeIterator<Item = Field<'a>> {
        let (arena, range) = match self.definition() {
            Some((arena, d)) => (arena, d.first..d.first + d.count),
            None => (self.arena, 0..0),
        };
        range.map(move |index| field_at(arena, index))
    }

    /// A field of a struct.
    pub fn field(self, name: &str) -> Option<Field<'a>> {
        self.fields().find(|f| f.name == name)
    }

    /// The schema of an object's field: a struct's field or a map's value.
    pub fn property(self, name: &str) -> Option<Schema<'a>> {
        match self.kind() {
            Type::Struct => self.field(name).map(|f| f.schema),
            Type::Map => self.values(),
            _ => None,
        }
    }

    /// The schema of an array's items.
    pub fn items(self) -> Option<Schema<'a>> {
        (self.kind() == Type::Array)
            .then(|| Schema { arena: self.child_arena(), id: self.node().child })
    }

    /// The schema of a map's values.
    pub fn values(self) -> Option<Schema<'a>> {
        (self.kind() == Type::Map)
            .then(|| Schema { arena: self.child_arena(), id: self.node().child })
    }

    /// The name of the built-in definition that stands for the type.
    pub(crate) fn referred_name(self) -> &'static str {
        let arena = builtin::arena();
        arena.definitions.get(self.node().child as usize).map_or("", |d| arena.text(d.name))
    }

    /// The JSON schema in a union with something else, in CustomResourceDefinitions.
    pub(crate) fn json_schema(self) -> Option<Schema<'static>> {
        builtin::schema_named("apiextensions.v1.JSONSchemaProps")
    }

    /// The schema at a path of field names with dots between; items and map values are entered
    /// with `*`.
    pub fn at(self, path: &str) -> Option<Schema<'a>> {
        path.split('.').try_fold(self, |schema, name| match name {
            "*" => schema.items().or(schema.values()),
            name => schema.property(name),
        })
    }

    /// How server-side apply sees the list.
    pub fn list_type(self) -> ListType {
        match () {
            () if self.has(flag::LIST_SET) => ListType::Set,
            () if self.has(flag::LIST_MAP) => ListType::Map,
            () => ListType::Atomic,
        }
    }

    /// Whether the list's type is stated; OpenAPI publishes only stated ones.
    pub fn list_type_stated(self) -> bool {
        self.has(flag::LIST_SET | flag::LIST_MAP | flag::LIST_ATOMIC)
    }

    /// The keys of a list map.
    pub fn list_keys(self) -> impl Iterator<Item = &'a str> {
        self.arena.text(self.node().keys).split(',').filter(|k| !k.is_empty())
    }

    /// Whether server-side apply sees the map or struct as one value.
    pub fn is_atomic(self) -> bool {
        let defined = || self.definition().is_some_and(|(_, d)| d.flags & flag::ATOMIC != 0);
        self.has(flag::ATOMIC) || !self.states_granular() && defined()
    }

    /// Whether the field says that server-side apply goes into the map or struct.
    pub(crate) fn states_granular(self) -> bool {
        self.has(flag::GRANULAR)
    }

    /// Whether a strategic merge patch merges the list (by [`Schema::merge_key`], or as a set of
    /// scalars where there is none) instead of replacing it.
    pub fn patch_merges(self) -> bool {
        self.has(flag::PATCH_MERGE)
    }

    /// Whether a strategic merge patch may carry `$retainKeys` here (`patchStrategy: retainKeys`).
    pub fn patch_retains_keys(self) -> bool {
        self.has(flag::PATCH_RETAIN_KEYS)
    }

    /// The key by which a strategic merge patch tells items apart.
    pub fn merge_key(self) -> Option<&'a str> {
        Some(self.arena.text(self.node().merge_key)).filter(|k| !k.is_empty())
    }

    /// The default that OpenAPI publishes, as JSON text; for server-side apply these are the
    /// defaults of list keys.
    pub fn default_json(self) -> Option<&'a str> {
        Some(self.arena.text(self.node().default)).filter(|k| !k.is_empty())
    }

    /// The default as a value.
    pub fn default_value(self) -> Option<Value> {
        self.default_json().and_then(|json| timonier_object::json::decode(json.as_bytes()).ok())
    }

    /// The values that OpenAPI publishes; none where every value is open.
    pub fn allowed(self) -> impl Iterator<Item = &'a str> {
        let text = self.arena.text(self.node().allowed);
        text.split('|').take(if text.is_empty() { 0 } else { usize::MAX })
    }

    /// Whether OpenAPI lists the field as required.
    pub fn is_required(self) -> bool {
        self.has(flag::REQUIRED)
    }

    /// Whether an explicit null is a value here (custom resources).
    pub fn is_nullable(self) -> bool {
        self.has(flag::NULLABLE)
    }

    /// Whether unknown fields are kept.
    pub fn preserves_unknown(self) -> bool {
        self.has(flag::PRESERVE)
            || matches!(self.kind(), Type::Any | Type::Json | Type::RawExtension | Type::FieldsV1)
    }

    /// Whether the object here has `apiVersion`, `kind` and `metadata` of its own.
    pub fn is_embedded_resource(self) -> bool {
        self.has(flag::EMBEDDED)
    }

    /// Whether Go holds a pointer, so that a zero value differs from an absent one.
    pub fn is_pointer(self) -> bool {
        self.has(flag::POINTER)
    }

    /// Whether JSON leaves the field out when it is empty (`omitempty`).
    pub fn omits_empty(self) -> bool {
        self.has(flag::OMIT_EMPTY)
    }

    /// Whether JSON leaves the field out when it is a struct's zero value (`omitzero`).
    pub fn omits_zero(self) -> bool {
        self.has(flag::OMIT_ZERO)
    }

    /// The Go type as errors print it, such as `[]v1.Container`.
    pub fn go_type(self) -> &'a str {
        self.arena.text(self.node().go)
    }

    /// Whether the schema is one of the built-in types', so that Go's rules hold.
    pub fn is_built_in(self) -> bool {
        core::ptr::eq(self.arena, builtin::arena())
    }

    /// OpenAPI's format, empty where there is none.
    pub fn format(self) -> &'a str {
        self.arena.text(self.node().format)
    }

    /// The name of a struct's definition, such as `core.v1.PodSpec`.
    pub fn definition_name(self) -> Option<&'a str> {
        self.definition().map(|(arena, d)| arena.text(d.name)).filter(|n| !n.is_empty())
    }

    /// The validations of a custom resource's value: JSONSchemaProps without structure.
    pub fn rules(self) -> Option<&'a Value> {
        self.arena.rules.get((self.node().rules as usize).checked_sub(1)?)
    }
}

pub(crate) fn field_at(arena: &Arena, index: u32) -> Field<'_> {
    let p = &arena.properties[index as usize];
    Field { name: arena.text(p.name), schema: Schema { arena, id: p.node }, index }
}

impl<'a> Field<'a> {
    /// The Go structs inlined on the way to the field.
    pub(crate) fn inlined(&self) -> impl Iterator<Item = &'a str> {
        let arena = self.schema.arena;
        let text = arena.text(arena.properties[self.index as usize].inlined);
        text.split('.').filter(|s| !s.is_empty())
    }

    /// Protobuf field numbers from the outer message inwards; 0 ends.
    pub(crate) fn number(&self) -> [u8; 3] {
        self.schema.arena.properties[self.index as usize].number
    }
}

impl fmt::Debug for Schema<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({:?} {})", self.kind(), self.go_type())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalogue;

    #[test]
    fn facts_of_a_pod_are_upstreams() {
        let catalogue = Catalogue::builtin();
        let pod = catalogue.resource("", "v1", "pods").unwrap().schema();
        let containers = pod.at("spec.containers").unwrap();
        assert_eq!(containers.go_type(), "[]v1.Container");
        assert_eq!(containers.merge_key(), Some("name"));
        assert!(containers.patch_merges() && !containers.patch_retains_keys());
        assert!(containers.is_required() && containers.list_type() == ListType::Map);
        let ports = pod.at("spec.containers.*.ports").unwrap();
        assert!(ports.list_keys().eq(["containerPort", "protocol"]));
        assert_eq!(ports.merge_key(), Some("containerPort"));
        assert_eq!(ports.at("*.protocol").unwrap().default_json(), Some("\"TCP\""));
        assert!(pod.at("spec.volumes").unwrap().patch_retains_keys());
        assert!(pod.at("spec.nodeSelector").unwrap().is_atomic());
        assert_eq!(pod.at("spec.containers.*.resources.limits.*").unwrap().kind(), Type::Quantity);
        assert!(pod.at("spec.nothing").is_none());
        let volume = catalogue.resource("", "v1", "persistentvolumes").unwrap().schema();
        assert!(!volume.at("spec.claimRef").unwrap().is_atomic());
        assert!(pod.at("spec.imagePullSecrets.*").unwrap().is_atomic());
    }
}
