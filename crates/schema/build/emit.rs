//! Writes the tables as Rust constants.

use std::collections::HashMap;
use std::fmt::Write;

use crate::facts::{FieldFacts, Go, Struct};
use crate::schemas::Schemas;

/// The flags of `src/node.rs`.
const POINTER: u32 = 1;
const OMIT_EMPTY: u32 = 1 << 1;
const OMIT_ZERO: u32 = 1 << 2;
const REQUIRED: u32 = 1 << 3;
const LIST_SET: u32 = 1 << 7;
const LIST_MAP: u32 = 1 << 8;
const LIST_ATOMIC: u32 = 1 << 9;
const ATOMIC: u32 = 1 << 10;
const PATCH_MERGE: u32 = 1 << 11;
const PATCH_RETAIN_KEYS: u32 = 1 << 12;
const GRANULAR: u32 = 1 << 14;

/// Types with a JSON form of their own, and the variant of `Type` that stands for each.
pub const SPECIAL: [(&str, &str); 10] = [
    ("apiextensions.v1.JSON", "Json"),
    ("apiextensions.v1.JSONSchemaPropsOrArray", "SchemaOrArray"),
    ("apiextensions.v1.JSONSchemaPropsOrBool", "SchemaOrBool"),
    ("apiextensions.v1.JSONSchemaPropsOrStringArray", "SchemaOrStrings"),
    ("intstr.IntOrString", "IntOrString"),
    ("meta.v1.FieldsV1", "FieldsV1"),
    ("meta.v1.MicroTime", "MicroTime"),
    ("meta.v1.Time", "Time"),
    ("resource.Quantity", "Quantity"),
    ("runtime.RawExtension", "RawExtension"),
];

#[derive(Default)]
pub struct Tables {
    text: String,
    interned: HashMap<String, u32>,
    nodes: Vec<String>,
    node_ids: HashMap<String, usize>,
    definitions: Vec<String>,
    properties: Vec<String>,
    names: Vec<String>,
    pub definition_descriptions: Vec<String>,
    pub property_descriptions: Vec<String>,
}

/// What a field adds to its type's node.
#[derive(Default)]
struct Extra<'a> {
    flags: u32,
    keys: &'a str,
    merge_key: &'a str,
    default: &'a str,
    allowed: &'a str,
    format: &'a str,
}

impl<'a> Extra<'a> {
    /// What goes to a list's items or a map's values: the enum is theirs.
    fn inner(&self) -> Extra<'a> {
        Extra { allowed: self.allowed, ..Extra::default() }
    }
}

impl Tables {
    pub fn build(structs: &[Struct], schemas: &Schemas) -> Tables {
        let mut t = Tables::default();
        let mut names: Vec<String> = structs.iter().map(|s| s.name.clone()).collect();
        names.extend(SPECIAL.iter().map(|(name, _)| name.to_string()));
        names.sort();
        t.names = names.clone();
        // The nodes of the definitions come first, in their order.
        for (i, name) in names.iter().enumerate() {
            let kind = special(name).unwrap_or("Struct");
            let go = Go::Named(name.clone()).print();
            let node = t.write_node(kind, 0, i as u32, &go, &Extra::default());
            assert_eq!(t.push_node(node), i, "{name} twice");
        }
        for name in &names {
            match structs.iter().find(|s| s.name == *name) {
                Some(s) => t.add_struct(s, schemas),
                None => t.add_special(name, schemas),
            }
        }
        t
    }

    fn add_special(&mut self, name: &str, schemas: &Schemas) {
        let name_text = self.intern(name);
        let none = self.intern("");
        let first = self.properties.len();
        self.definitions.push(definition(&name_text, first, 0, 0, &none));
        self.definition_descriptions.push(schemas.description(name, None));
    }

    fn add_struct(&mut self, s: &Struct, schemas: &Schemas) {
        schemas.check(s);
        let first = self.properties.len();
        for f in &s.fields {
            let node = self.field_node(s, f, schemas);
            let (name, inlined) = (self.intern(&f.name), self.intern(f.attribute("in")));
            let n = f.number;
            self.properties.push(format!(
                "Property {{ name: {name}, inlined: {inlined}, node: {node}, number: [{}, {}, {}] }}",
                n[0], n[1], n[2]
            ));
            self.property_descriptions.push(schemas.description(&s.name, Some(&f.name)));
        }
        let (name, unions) = (self.intern(&s.name), self.intern(&s.unions));
        let flags = if s.atomic { ATOMIC } else { 0 };
        self.definitions.push(definition(&name, first, s.fields.len(), flags, &unions));
        self.definition_descriptions.push(schemas.description(&s.name, None));
    }

    fn field_node(&mut self, s: &Struct, f: &FieldFacts, schemas: &Schemas) -> usize {
        let mut extra = Extra::default();
        for (set, flag) in [
            (f.omit_empty, OMIT_EMPTY),
            (f.omit_zero, OMIT_ZERO),
            (is_required(s, f, schemas), REQUIRED),
        ] {
            extra.flags |= if set { flag } else { 0 };
        }
        for (key, value) in &f.attributes {
            match (key.as_str(), value.as_str()) {
                ("list", "atomic") => extra.flags |= LIST_ATOMIC,
                ("list", "set") => extra.flags |= LIST_SET,
                ("list", "map") => extra.flags |= LIST_MAP,
                ("map", "atomic") => extra.flags |= ATOMIC,
                ("map", "granular") => extra.flags |= GRANULAR,
                ("patch", "merge") => extra.flags |= PATCH_MERGE,
                ("patch", "retainKeys") => extra.flags |= PATCH_RETAIN_KEYS,
                ("patch", "merge,retainKeys") => extra.flags |= PATCH_MERGE | PATCH_RETAIN_KEYS,
                ("patch", "replace") => {}
                ("in", _) => {}
                ("keys", v) => extra.keys = v,
                ("key", v) => extra.merge_key = v,
                ("default", v) => extra.default = v,
                ("enum", v) => extra.allowed = v,
                _ => panic!("unknown attribute {key}={value} of {}.{}", s.name, f.name),
            }
        }
        let format = schemas.format(&s.name, &f.name);
        extra.format = &format;
        let mut go = f.go.clone();
        if let Go::Pointer(inner) = go {
            extra.flags |= POINTER;
            go = *inner;
        }
        self.type_node(&go, &go.print(), extra)
    }

    /// The node of a type; `go` is how errors print it.
    fn type_node(&mut self, ty: &Go, go: &str, extra: Extra<'_>) -> usize {
        let (kind, child) = match ty {
            Go::Pointer(inner) => {
                let extra = Extra { flags: extra.flags | POINTER, ..extra };
                return self.type_node(inner, &inner.print(), extra);
            }
            Go::Alias(_, under) => return self.type_node(under, go, extra),
            Go::Slice(item) => match &**item {
                Go::Basic(b) if b == "uint8" => ("Bytes", 0),
                item => ("Array", self.type_node(item, &item.print(), extra.inner())),
            },
            Go::Map(_, value) => ("Map", self.type_node(value, &value.print(), extra.inner())),
            Go::Named(name) => {
                let id = self.names.binary_search(name).unwrap_or_else(|_| panic!("no {name}"));
                (special(name).unwrap_or("Struct"), id)
            }
            Go::Basic(b) => match b.as_str() {
                "bool" => ("Bool", 0),
                "int32" | "uint16" => ("Int32", 0),
                "int64" | "int" => ("Int64", 0),
                "float64" => ("Float", 0),
                "string" => ("String", 0),
                other => panic!("unknown Go type {other}"),
            },
        };
        let extra =
            if kind == "Array" || kind == "Map" { Extra { allowed: "", ..extra } } else { extra };
        let node = self.write_node(kind, extra.flags, child as u32, go, &extra);
        self.push_node(node)
    }

    fn write_node(&mut self, kind: &str, flags: u32, child: u32, go: &str, e: &Extra) -> String {
        let texts = [go, e.keys, e.merge_key, e.default, e.allowed, e.format];
        let [go, keys, merge_key, default, allowed, format] = texts.map(|t| self.intern(t));
        format!(
            "Node {{ kind: Type::{kind}, flags: {flags}, child: {child}, go: {go}, keys: {keys}, \
             merge_key: {merge_key}, default: {default}, allowed: {allowed}, format: {format}, \
             rules: 0 }}"
        )
    }

    fn push_node(&mut self, node: String) -> usize {
        let next = self.nodes.len();
        *self.node_ids.entry(node.clone()).or_insert_with(|| {
            self.nodes.push(node);
            next
        })
    }

    fn intern(&mut self, s: &str) -> String {
        let at = match self.interned.get(s) {
            Some(at) => *at,
            None => {
                let at = self.text.len() as u32;
                self.text.push_str(s);
                self.interned.insert(s.into(), at);
                at
            }
        };
        format!("Text {{ at: {at}, len: {} }}", s.len())
    }

    /// The Rust source of the tables.
    pub fn source(&self, hash: u64) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "const DATA_HASH: u64 = {hash:#x};");
        let _ = writeln!(out, "static TEXT: &str = {:?};", self.text);
        for (name, ty, rows) in [
            ("NODES", "Node", &self.nodes),
            ("PROPERTIES", "Property", &self.properties),
            ("DEFINITIONS", "Definition", &self.definitions),
        ] {
            let _ = writeln!(out, "static {name}: [{ty}; {}] = [", rows.len());
            for row in rows {
                let _ = writeln!(out, "    {row},");
            }
            out.push_str("];\n");
        }
        out.push_str(
            "static DESCRIPTIONS: &[u8] = \
             include_bytes!(concat!(env!(\"OUT_DIR\"), \"/descriptions.z\"));\n",
        );
        out
    }
}

/// `k8s-openapi` requires the metadata of every kind and does not know lists.
fn is_required(s: &Struct, f: &FieldFacts, schemas: &Schemas) -> bool {
    match f.name.as_str() {
        "metadata" => !f.omit_empty,
        "items" if s.name.ends_with("List") => !f.omit_empty,
        // An optional field with a default is not required, whatever upstream's markers say.
        _ if f.omit_empty && !f.attribute("default").is_empty() => false,
        name => schemas.required(&s.name, name),
    }
}

fn definition(name: &str, first: usize, count: usize, flags: u32, unions: &str) -> String {
    format!(
        "Definition {{ name: {name}, first: {first}, count: {count}, flags: {flags}, \
         unions: {unions} }}"
    )
}

fn special(name: &str) -> Option<&'static str> {
    SPECIAL.iter().find(|(n, _)| *n == name).map(|(_, kind)| *kind)
}
