//! Reading an object's metadata.

use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::{GroupVersion, GroupVersionKind, ObjectKey, Time};

use crate::Value;

/// One entry of `metadata.ownerReferences`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnerReference {
    pub api_version: SmolStr,
    pub kind: SmolStr,
    pub name: SmolStr,
    pub uid: SmolStr,
    pub controller: bool,
    pub block_owner_deletion: bool,
}

impl From<&OwnerReference> for Value {
    fn from(r: &OwnerReference) -> Value {
        crate::value!({
            "apiVersion": (&r.api_version), "kind": (&r.kind), "name": (&r.name), "uid": (&r.uid),
            "controller": (r.controller), "blockOwnerDeletion": (r.block_owner_deletion),
        })
    }
}

impl Value {
    /// `kind`.
    pub fn kind(&self) -> &str {
        self.at("kind").str()
    }

    /// `apiVersion`.
    pub fn api_version(&self) -> &str {
        self.at("apiVersion").str()
    }

    /// Group, version and kind; `None` where the type is not stated or malformed.
    pub fn gvk(&self) -> Option<GroupVersionKind> {
        let GroupVersion { group, version } = GroupVersion::parse(self.api_version())?;
        if version.is_empty() || self.kind().is_empty() {
            return None;
        }
        Some(GroupVersionKind { group, version, kind: self.kind().into() })
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.at("metadata.name").str()
    }

    /// `metadata.namespace`, empty for cluster-scoped objects.
    pub fn namespace(&self) -> &str {
        self.at("metadata.namespace").str()
    }

    /// Namespace and name.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace(), self.name())
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> &str {
        self.at("metadata.uid").str()
    }

    /// `metadata.resourceVersion`.
    pub fn resource_version(&self) -> &str {
        self.at("metadata.resourceVersion").str()
    }

    /// `metadata.resourceVersion` as a store revision; 0 where it is none.
    pub fn revision(&self) -> u64 {
        self.resource_version().parse().unwrap_or(0)
    }

    /// `metadata.generation`.
    pub fn generation(&self) -> i64 {
        self.at("metadata.generation").int_or(0)
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.at("metadata.labels").get(key).and_then(Value::as_str)
    }

    /// An annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.at("metadata.annotations").get(key).and_then(Value::as_str)
    }

    /// `metadata.finalizers`.
    pub fn finalizers(&self) -> impl Iterator<Item = &str> {
        self.at("metadata.finalizers").items().iter().map(Value::str)
    }

    /// `metadata.creationTimestamp`.
    pub fn created(&self) -> Option<Time> {
        self.time("metadata.creationTimestamp")
    }

    /// `metadata.deletionTimestamp`.
    pub fn deleted(&self) -> Option<Time> {
        self.time("metadata.deletionTimestamp")
    }

    /// Whether the object is being deleted.
    pub fn is_deleting(&self) -> bool {
        self.at("metadata.deletionTimestamp").as_str().is_some()
    }

    /// The time at a path.
    pub fn time(&self, path: &str) -> Option<Time> {
        self.at(path).as_str().and_then(Time::parse)
    }

    /// `metadata.ownerReferences`.
    pub fn owners(&self) -> Vec<OwnerReference> {
        self.at("metadata.ownerReferences")
            .items()
            .iter()
            .map(|r| OwnerReference {
                api_version: r.at("apiVersion").smol(),
                kind: r.at("kind").smol(),
                name: r.at("name").smol(),
                uid: r.at("uid").smol(),
                controller: r.at("controller").bool(),
                block_owner_deletion: r.at("blockOwnerDeletion").bool(),
            })
            .collect()
    }

    /// The owner reference with `controller: true`.
    pub fn controller(&self) -> Option<OwnerReference> {
        self.owners().into_iter().find(|r| r.controller)
    }

    /// The entry of `status.conditions` with this type.
    pub fn condition(&self, kind: &str) -> Option<&Value> {
        self.at("status.conditions").items().iter().find(|c| c.at("type").str() == kind)
    }

    /// Whether the condition's status is `True`.
    pub fn condition_is_true(&self, kind: &str) -> bool {
        self.condition(kind).is_some_and(|c| c.at("status").str() == "True")
    }
}
