//! The built-in schemas and resources: constant data, made by the build script from the facts and
//! `k8s-openapi`.

mod resources;

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use timonier_meta::GroupVersionKind;

use crate::node::{Arena, Definition, Node, Property, Text, Type};
use crate::row::ResourceRow;
use crate::schema::Schema;

include!(concat!(env!("OUT_DIR"), "/tables.rs"));

static ARENA: Arena = Arena {
    text: Cow::Borrowed(TEXT),
    nodes: Cow::Borrowed(&NODES),
    properties: Cow::Borrowed(&PROPERTIES),
    definitions: Cow::Borrowed(&DEFINITIONS),
    rules: Vec::new(),
};

/// A hash of everything the tables were made from; it names the OpenAPI documents.
pub(crate) const FINGERPRINT: u64 = DATA_HASH;

pub(crate) fn arena() -> &'static Arena {
    &ARENA
}

/// Rows of all stable built-in resources.
pub(crate) fn rows() -> Vec<ResourceRow> {
    resources::RESOURCES.iter().map(resources::Resource::row).collect()
}

/// The number of a definition by its name, such as `core.v1.Pod`.
pub(crate) fn definition(name: &str) -> Option<u32> {
    let found = DEFINITIONS.binary_search_by(|d| ARENA.text(d.name).cmp(name)).ok()?;
    u32::try_from(found).ok()
}

/// The schema of a definition by its name. The nodes of the definitions themselves come first in
/// the table, in the definitions' order.
pub(crate) fn schema_named(name: &str) -> Option<Schema<'static>> {
    definition(name).map(|id| Schema { arena: &ARENA, id })
}

/// The schema of a built-in kind. Options and `Status` are in every group-version, as upstream.
pub(crate) fn schema_of(gvk: &GroupVersionKind) -> Option<Schema<'static>> {
    const EVERYWHERE: [&str; 6] = [
        "CreateOptions",
        "DeleteOptions",
        "GetOptions",
        "ListOptions",
        "PatchOptions",
        "UpdateOptions",
    ];
    if EVERYWHERE.contains(&gvk.kind.as_str()) || gvk.group.is_empty() && gvk.kind == "Status" {
        return schema_named(&alloc::format!("meta.v1.{}", gvk.kind));
    }
    let package = package(&gvk.group, &gvk.version);
    schema_named(&alloc::format!("{package}.{}", gvk.kind))
}

/// The Go package of a group-version: `core.v1` of the core group, `rbac.v1`, `apps.v1`.
pub(crate) fn package(group: &str, version: &str) -> String {
    let short = match group {
        "" => "core",
        group => group.split('.').next().unwrap_or(group),
    };
    alloc::format!("{short}.{version}")
}

/// The descriptions of all definitions, then of all properties, in the tables' order; unpacked on
/// each call, because only OpenAPI documents need them.
pub(crate) fn descriptions() -> Vec<String> {
    let mut unpacked = Vec::with_capacity(DESCRIPTIONS.len() * 8);
    let mut reader = flate2::Decompress::new(true);
    loop {
        let from = reader.total_in() as usize;
        let status = reader
            .decompress_vec(&DESCRIPTIONS[from..], &mut unpacked, flate2::FlushDecompress::None)
            .expect("the build script packed them");
        match status {
            flate2::Status::StreamEnd => break,
            _ => unpacked.reserve(DESCRIPTIONS.len()),
        }
    }
    let text = String::from_utf8(unpacked).expect("the build script packed UTF-8");
    text.split('\0').map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_fit_together() {
        assert_eq!(descriptions().len(), DEFINITIONS.len() + PROPERTIES.len());
        for id in 0..DEFINITIONS.len() as u32 {
            let schema = Schema { arena: &ARENA, id };
            let name = ARENA.text(DEFINITIONS[id as usize].name);
            assert_eq!(definition(name), Some(id));
            for field in schema.fields() {
                assert!(!field.name.is_empty() && !field.schema.go_type().is_empty(), "{name}");
            }
        }
    }
}
