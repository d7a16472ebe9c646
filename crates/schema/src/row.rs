//! A row of the catalogue: what is known of one resource.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::{GroupVersionKind, GroupVersionResource};
use timonier_object::Value;

use crate::builtin;
use crate::columns::{self, Column};
use crate::crd::conversion::Conversion;
use crate::crd::validations::Rules;
use crate::node::{Arena, Type};
use crate::schema::Schema;

/// A set of API verbs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Verbs(pub(crate) u16);

impl Verbs {
    pub(crate) const NAMES: [&str; 8] =
        ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    pub const CREATE: Verbs = Verbs(1);
    pub const GET: Verbs = Verbs(8);
    pub const UPDATE: Verbs = Verbs(64);
    /// get, patch, update: what a status subresource has.
    pub const CHANGE: Verbs = Verbs(8 | 32 | 64);
    /// create and get: streams.
    pub const STREAM: Verbs = Verbs(1 | 8);
    /// create, delete, get, patch, update: proxies.
    pub const PROXY: Verbs = Verbs(1 | 2 | 8 | 32 | 64);
    /// What is left of a custom resource while its definition is being deleted.
    pub const WITHOUT_CREATE: Verbs = Verbs(255 & !1);
    pub const READ: Verbs = Verbs(8 | 16);
    pub const ALL: Verbs = Verbs(255);
    /// All but deletecollection: namespaces.
    pub const ONE_BY_ONE: Verbs = Verbs(255 & !4);

    /// The verbs' names in order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().enumerate().filter(move |(i, _)| self.0 & (1 << i) != 0).map(|(_, n)| *n)
    }

    /// Whether the verb is in the set.
    pub fn has(self, verb: &str) -> bool {
        self.names().any(|n| n == verb)
    }
}

/// A subresource of a resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subresource {
    pub name: SmolStr,
    /// The kind of its body or answer.
    pub kind: GroupVersionKind,
    pub verbs: Verbs,
}

/// What `status` a new object has, whatever its writer says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InitialStatus {
    /// As written (kinds without a status subresource, nodes).
    Keep,
    /// Empty.
    Drop,
    /// Empty but for its phase.
    Phase(&'static str),
}

/// The rule that names of objects follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameRule {
    /// RFC 1123 subdomain.
    Subdomain,
    /// RFC 1123 label.
    Label,
    /// RFC 1035 label.
    Label1035,
    /// Anything that can be one segment of a path.
    PathSegment,
    /// An IP address in canonical form.
    Ip,
    /// `version.group` of an APIService, `plural.group` of a CustomResourceDefinition.
    Special,
}

/// How objects are created and updated; the flags are upstream's registry strategies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Strategy {
    /// PUT creates what is missing.
    pub create_on_update: bool,
    /// PUT may leave out the resource version.
    pub unconditional_update: bool,
    /// `metadata.generation` counts changes of the specification (of everything but metadata and
    /// status, where there is no `spec`).
    pub generation: bool,
    pub initial_status: InitialStatus,
    pub names: NameRule,
    /// A delete is answered with the object's last state; otherwise with a `Status`, once the
    /// object is gone.
    pub delete_returns_object: bool,
}

/// A field that a field selector may name, next to `metadata.name` and `metadata.namespace`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selectable {
    /// As it stands in the selector.
    pub label: SmolStr,
    /// Where its value is; the later ones where the earlier are empty.
    pub paths: Vec<SmolStr>,
}

/// Where the numbers of a scale are in an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScalePaths {
    pub replicas: SmolStr,
    pub status: SmolStr,
    /// A selector, or in custom resources its text; empty where there is none.
    pub selector: SmolStr,
}

/// One resource in one version.
#[derive(Clone, Debug)]
pub struct ResourceRow {
    pub gvr: GroupVersionResource,
    pub gvk: GroupVersionKind,
    pub list_kind: SmolStr,
    pub singular: SmolStr,
    pub short_names: Vec<SmolStr>,
    pub categories: Vec<SmolStr>,
    pub namespaced: bool,
    pub verbs: Verbs,
    pub subresources: Vec<Subresource>,
    pub selectable: Vec<Selectable>,
    pub strategy: Strategy,
    /// The resource and version in which objects are stored. Where it is not `gvr`, see
    /// [`crate::convert`].
    pub storage: GroupVersionResource,
    /// Reviews and bindings are answered and never stored.
    pub stored: bool,
    /// A hash of a custom resource's schema; 0 for built-in rows.
    pub(crate) fingerprint: u64,
    /// The version's entry in the CustomResourceDefinition; `None` for built-in rows.
    pub(crate) version: Option<Arc<Value>>,
    /// The webhook that turns custom resources into other versions; `None` where only their
    /// `apiVersion` changes, and for built-in rows.
    pub conversion: Option<Arc<Conversion>>,
    /// The validation rules of a custom resource's schema, where it has some.
    pub(crate) validations: Option<Arc<Rules>>,
    pub(crate) arena: Option<Arc<Arena>>,
    pub(crate) root: u32,
}

impl ResourceRow {
    /// The schema of the resource's objects.
    pub fn schema(&self) -> Schema<'_> {
        Schema { arena: self.arena.as_deref().unwrap_or(builtin::arena()), id: self.root }
    }

    /// Whether the row comes from a CustomResourceDefinition.
    pub fn is_custom(&self) -> bool {
        self.arena.is_some()
    }

    /// A subresource by name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// The columns of the resource's tables.
    pub fn columns(&self) -> Vec<Column> {
        match &self.version {
            Some(version) => columns::custom_columns(version.at("additionalPrinterColumns")),
            None => columns::columns(&self.gvr),
        }
    }

    /// Where the scale subresource finds its numbers, as paths of fields.
    pub fn scale_paths(&self) -> ScalePaths {
        let path = |field: &str| -> SmolStr {
            let scale = self.version.as_ref().map(|v| v.at("subresources.scale").at(field).str());
            scale.unwrap_or_default().trim_start_matches('.').into()
        };
        match self.version {
            Some(_) => ScalePaths {
                replicas: path("specReplicasPath"),
                status: path("statusReplicasPath"),
                selector: path("labelSelectorPath"),
            },
            None => ScalePaths {
                replicas: "spec.replicas".into(),
                status: "status.replicas".into(),
                selector: "spec.selector".into(),
            },
        }
    }

    /// What a client is told that uses the version, where it is deprecated.
    pub fn deprecation(&self) -> Option<String> {
        let version = self.version.as_ref().filter(|v| v.at("deprecated").bool())?;
        let own = version.at("deprecationWarning").str();
        Some(match own {
            "" => {
                format!("{}/{} {} is deprecated", self.gvk.group, self.gvk.version, self.gvk.kind)
            }
            own => own.to_string(),
        })
    }

    /// Whether there is a status subresource, so that spec and status are written apart.
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// Checks the label of a field selector. The error is upstream's text.
    pub fn check_field_label(&self, label: &str) -> Result<(), String> {
        // Upstream's own label functions of cluster-scoped kinds do not know the namespace.
        let own = !self.selectable.is_empty() && !self.is_custom();
        let known = label == "metadata.name"
            || label == "metadata.namespace" && (self.namespaced || !own)
            || self.selectable.iter().any(|s| s.label == label);
        if known {
            return Ok(());
        }
        Err(match (self.selectable.is_empty(), self.gvk.kind.as_str()) {
            (true, _) => format!(
                "{label:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
            ),
            (false, "Job") => format!("field label {label:?} not supported for Job"),
            (false, "ResourceSlice") => {
                format!("field label not supported for {}: {label}", self.gvk)
            }
            _ => format!("field label not supported: {label}"),
        })
    }

    /// An object's value for the label of a field selector; an absent field has its type's zero
    /// value. `None` where the resource has no such label.
    pub fn field_value(&self, object: &Value, label: &str) -> Option<SmolStr> {
        match label {
            "metadata.name" => return Some(object.name().into()),
            "metadata.namespace" => return Some(object.namespace().into()),
            _ => {}
        }
        let field = self.selectable.iter().find(|s| s.label == label)?;
        let set = field.paths.iter().map(|p| object.at(p)).find(|v| !v.is_empty());
        Some(match set {
            Some(Value::Str(s)) => s.clone(),
            Some(v @ (Value::Bool(_) | Value::Int(_))) => v.to_string().into(),
            _ => self.zero(field),
        })
    }

    fn zero(&self, field: &Selectable) -> SmolStr {
        let schema = field.paths.first().and_then(|p| self.schema().at(p));
        match schema.map(Schema::kind) {
            Some(Type::Bool) => "false".into(),
            Some(Type::Int32 | Type::Int64) => "0".into(),
            _ => SmolStr::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;
    use crate::Catalogue;

    #[test]
    fn field_labels_and_values_are_upstreams() {
        let c = Catalogue::builtin();
        let pods = c.resource("", "v1", "pods").unwrap();
        assert_eq!(
            pods.check_field_label("spec.foo"),
            Err("field label not supported: spec.foo".into())
        );
        let pod = value!({ "metadata": { "name": "a" }, "spec": { "nodeName": "n" } });
        assert_eq!(pods.field_value(&pod, "spec.nodeName").unwrap(), "n");
        assert_eq!(pods.field_value(&pod, "spec.hostNetwork").unwrap(), "false");
        assert_eq!(pods.field_value(&pod, "status.phase").unwrap(), "");
        assert_eq!(pods.field_value(&pod, "status.foo"), None);
        let maps = c.resource("", "v1", "configmaps").unwrap();
        assert_eq!(
            maps.check_field_label("data").unwrap_err(),
            "\"data\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
        let event = value!({ "reportingComponent": "kubelet", "source": {} });
        let events = c.resource("", "v1", "events").unwrap();
        assert_eq!(events.field_value(&event, "source").unwrap(), "kubelet");
    }

    #[test]
    fn verbs_print_in_order() {
        assert!(Verbs::ALL.names().eq(Verbs::NAMES));
        assert!(Verbs::CHANGE.names().eq(["get", "patch", "update"]));
        assert!(!Verbs::ONE_BY_ONE.has("deletecollection"));
    }
}
