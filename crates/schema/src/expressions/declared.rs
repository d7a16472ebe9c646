//! The types of the kinds of objects: built-in ones, and those of definitions.

use alloc::format;
use alloc::vec::Vec;

use timonier_cel::{ObjectType, Type};
use timonier_meta::{GroupVersionKind, SmolStr};
use timonier_object::Value;

use crate::Catalogue;
use crate::crd::declare;
use crate::node::Type as Kind;
use crate::schema::Schema;

/// The type of a kind's objects, by the built-in catalogue and by CustomResourceDefinitions.
/// `None` for a kind that neither knows.
pub fn type_of_kind(gvk: &GroupVersionKind, definitions: &[&Value]) -> Option<Type> {
    if let Some(row) = Catalogue::builtin().by_kind(gvk) {
        return Some(built_in(row.schema(), &gvk.kind, &mut Vec::new()));
    }
    let schema = definitions.iter().find_map(|definition| {
        let spec = definition.at("spec");
        let ours = spec.at("group").str() == gvk.group && spec.at("names.kind").str() == gvk.kind;
        let mut versions = spec.at("versions").items().iter().filter(|_| ours);
        versions.find(|v| v.at("name").str() == gvk.version && v.at("served").bool())
    })?;
    declare::type_of(schema.at("schema.openAPIV3Schema"), &gvk.kind, true)
}

/// The kind of a resource, by the same sources.
pub fn kind_of_resource(
    group: &str,
    version: &str,
    resource: &str,
    definitions: &[&Value],
) -> Option<GroupVersionKind> {
    if let Some(row) = Catalogue::builtin().resource(group, version, resource) {
        return Some(row.gvk.clone());
    }
    let found = definitions.iter().find(|definition| {
        let spec = definition.at("spec");
        let mut versions = spec.at("versions").items().iter();
        spec.at("group").str() == group
            && spec.at("names.plural").str() == resource
            && versions.any(|v| v.at("name").str() == version && v.at("served").bool())
    })?;
    let kind = found.at("spec.names.kind").smol();
    Some(GroupVersionKind { group: group.into(), version: version.into(), kind })
}

/// `above` holds the definitions that the schema stands in: what holds itself is dyn within.
fn built_in<'a>(schema: Schema<'a>, name: &str, above: &mut Vec<&'a str>) -> Type {
    match schema.kind() {
        Kind::Bool => Type::Bool,
        Kind::Int32 | Kind::Int64 => Type::Int,
        Kind::Float => Type::Double,
        Kind::String => Type::Str,
        Kind::Bytes => Type::Bytes,
        Kind::Time | Kind::MicroTime => Type::Timestamp,
        Kind::Array => {
            let item = schema.items().map(|s| built_in(s, &format!("{name}.@idx"), above));
            Type::list(item.unwrap_or(Type::Dyn))
        }
        Kind::Map => {
            let value = schema.values().map(|s| built_in(s, &format!("{name}.@elem"), above));
            Type::map(Type::Str, value.unwrap_or(Type::Dyn))
        }
        Kind::Struct => {
            let definition = schema.definition_name().unwrap_or("");
            if above.contains(&definition) {
                return Type::Dyn;
            }
            above.push(definition);
            let field = |f: crate::schema::Field<'a>| {
                let ty = built_in(f.schema, &format!("{name}.{}", f.name), above);
                (SmolStr::from(f.name), ty)
            };
            let fields: Vec<(SmolStr, Type)> = schema.fields().map(field).collect();
            above.pop();
            Type::object(ObjectType::new(name, fields))
        }
        _ => Type::Dyn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expressions::compile;
    use timonier_cel::Environment;
    use timonier_object::value;

    #[test]
    fn kinds_have_types() {
        let gvk = kind_of_resource("apps", "v1", "deployments", &[]).unwrap();
        let scope = Environment::new().with("object", type_of_kind(&gvk, &[]).unwrap());
        let wrong = |source: &str| compile(source, &scope, &[]).err().unwrap_or_default();
        assert_eq!(wrong("object.spec.template.spec.containers[0].ports[0].containerPort > 1"), "");
        assert_eq!(
            wrong("object.metadata.labels.size() > 0 && object.metadata.__namespace__ == ''"),
            ""
        );
        assert_eq!(
            wrong("object.metadata.creationTimestamp < timestamp('2026-01-01T00:00:00Z')"),
            ""
        );
        assert!(wrong("object.spec.replica > 1").contains("undefined field 'replica'"));
        assert!(wrong("object.spec.replicas == 'x'").contains("applied to '(int, string)'"));
        let definition = value!({ "spec": { "group": "g", "names": { "kind": "K", "plural": "ks" },
            "versions": [{ "name": "v1", "served": true, "schema": { "openAPIV3Schema": {
                "type": "object", "properties": { "a": { "type": "integer" } } } } }] } });
        let gvk = kind_of_resource("g", "v1", "ks", &[&definition]).unwrap();
        assert_eq!(gvk.kind, "K");
        assert!(matches!(type_of_kind(&gvk, &[&definition]), Some(Type::Object(_))));
        assert_eq!(kind_of_resource("g", "v2", "ks", &[&definition]), None);
    }

    #[test]
    fn every_kind_has_a_type() {
        for row in Catalogue::builtin().rows() {
            assert!(matches!(type_of_kind(&row.gvk, &[]), Some(Type::Object(_))), "{:?}", row.gvk);
        }
    }
}
