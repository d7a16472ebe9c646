//! The compact form of a schema: nodes in tables that refer to each other by number.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use timonier_object::Value;

/// What values a node takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    /// Anything: a custom resource's `x-kubernetes-preserve-unknown-fields` without a type.
    Any,
    Bool,
    Int32,
    Int64,
    Float,
    String,
    /// Base64 in JSON.
    Bytes,
    Array,
    Map,
    /// An object with known fields.
    Struct,
    IntOrString,
    Quantity,
    /// RFC 3339, seconds.
    Time,
    /// RFC 3339, microseconds.
    MicroTime,
    /// The set of fields of server-side apply.
    FieldsV1,
    /// An embedded object of any kind.
    RawExtension,
    /// Any JSON.
    Json,
    /// A JSON schema or an array of them.
    SchemaOrArray,
    /// A JSON schema or a boolean.
    SchemaOrBool,
    /// A JSON schema or an array of strings.
    SchemaOrStrings,
}

pub(crate) mod flag {
    pub const POINTER: u32 = 1;
    pub const OMIT_EMPTY: u32 = 1 << 1;
    pub const OMIT_ZERO: u32 = 1 << 2;
    pub const REQUIRED: u32 = 1 << 3;
    pub const NULLABLE: u32 = 1 << 4;
    pub const PRESERVE: u32 = 1 << 5;
    pub const EMBEDDED: u32 = 1 << 6;
    pub const LIST_SET: u32 = 1 << 7;
    pub const LIST_MAP: u32 = 1 << 8;
    pub const LIST_ATOMIC: u32 = 1 << 9;
    pub const ATOMIC: u32 = 1 << 10;
    pub const PATCH_MERGE: u32 = 1 << 11;
    pub const PATCH_RETAIN_KEYS: u32 = 1 << 12;
    /// The child is in the built-in arena, whatever arena the node is in.
    pub const FOREIGN: u32 = 1 << 13;
    /// Apart from its definition, the struct here is not atomic.
    pub const GRANULAR: u32 = 1 << 14;
}

/// A piece of an arena's text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Text {
    pub at: u32,
    pub len: u32,
}

/// A value's schema and what its field adds to it.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub kind: Type,
    pub flags: u32,
    /// The definition of a struct; the node of an array's items or a map's values.
    pub child: u32,
    /// The Go type as errors print it.
    pub go: Text,
    /// Keys of a list map, with commas between.
    pub keys: Text,
    pub merge_key: Text,
    /// JSON.
    pub default: Text,
    /// Values with `|` between.
    pub allowed: Text,
    pub format: Text,
    /// The entry of `rules` plus one; 0 is none.
    pub rules: u32,
}

/// A struct's fields: a range of the properties, sorted as the Go type has them.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    /// Such as `core.v1.PodSpec`; empty where the struct has no name.
    pub name: Text,
    pub first: u32,
    pub count: u32,
    pub flags: u32,
    /// JSON of the unions that OpenAPI publishes.
    pub unions: Text,
}

#[derive(Clone, Debug)]
pub(crate) struct Property {
    pub name: Text,
    /// The Go structs inlined on the way to the field, with dots between.
    pub inlined: Text,
    pub node: u32,
    /// Protobuf field numbers from the outer message inwards; 0 ends.
    pub number: [u8; 3],
}

/// The tables of a set of schemas. The built-in one is constant data and costs nothing to load.
#[derive(Clone, Debug)]
pub(crate) struct Arena {
    pub text: Cow<'static, str>,
    pub nodes: Cow<'static, [Node]>,
    pub properties: Cow<'static, [Property]>,
    pub definitions: Cow<'static, [Definition]>,
    /// Value validations of custom resources: the part of JSONSchemaProps that says nothing of
    /// structure.
    pub rules: Vec<Value>,
}

impl Arena {
    pub fn text(&self, t: Text) -> &str {
        let at = t.at as usize;
        self.text.get(at..at + t.len as usize).unwrap_or("")
    }
}
