//! The catalogue: one row per resource, built in or added at run time.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::{GroupResource, GroupVersion, GroupVersionKind, GroupVersionResource};

use crate::builtin;
use crate::row::ResourceRow;
use crate::schema::Schema;

/// All resources that a cluster serves. A catalogue does not change: a change makes a new one,
/// which shares the rows, and whoever holds an older one keeps reading it.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    rows: BTreeMap<GroupVersionResource, Arc<ResourceRow>>,
    kinds: BTreeMap<GroupVersionKind, Arc<ResourceRow>>,
}

impl Catalogue {
    /// The resources of Kubernetes v1.35 in its stable group-versions.
    pub fn builtin() -> Arc<Self> {
        let mut catalogue = Catalogue::default();
        for row in builtin::rows() {
            catalogue.insert(Arc::new(row));
        }
        Arc::new(catalogue)
    }

    fn insert(&mut self, row: Arc<ResourceRow>) {
        self.kinds.insert(row.gvk.clone(), row.clone());
        self.rows.insert(row.gvr.clone(), row);
    }

    /// A resource by the parts of its URL.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<ResourceRow>> {
        self.rows.get(&GroupVersionResource {
            group: group.into(),
            version: version.into(),
            resource: plural.into(),
        })
    }

    /// A resource by its full name.
    pub fn by_resource(&self, gvr: &GroupVersionResource) -> Option<&Arc<ResourceRow>> {
        self.rows.get(gvr)
    }

    /// The resource that has this kind.
    pub fn by_kind(&self, gvk: &GroupVersionKind) -> Option<&Arc<ResourceRow>> {
        self.kinds.get(gvk)
    }

    /// The row in the group's most preferred version.
    pub fn preferred(&self, resource: &GroupResource) -> Option<&Arc<ResourceRow>> {
        let found = |row: &&Arc<ResourceRow>| {
            row.gvr.resource == resource.resource && row.gvr.group == resource.group
        };
        let best = self.rows().filter(found).map(|r| &r.gvr.version);
        let version = best.min_by(|a, b| crate::discovery::version_order(a, b))?.clone();
        self.resource(&resource.group, &version, &resource.resource)
    }

    /// All rows, ordered by group, version, and plural.
    pub fn rows(&self) -> impl Iterator<Item = &Arc<ResourceRow>> {
        self.rows.values()
    }

    /// The rows of a group-version in order of their plurals.
    pub fn group_version(&self, gv: &GroupVersion) -> impl Iterator<Item = &Arc<ResourceRow>> {
        let first =
            GroupVersionResource { resource: SmolStr::default(), ..gv_resource(gv.to_owned()) };
        let gv = gv.clone();
        self.rows
            .range(first..)
            .map(|(_, row)| row)
            .take_while(move |r| r.gvr.group == gv.group && r.gvr.version == gv.version)
    }

    /// The group-versions that have rows, in order of their names.
    pub fn group_versions(&self) -> Vec<GroupVersion> {
        let mut all: Vec<GroupVersion> = Vec::new();
        for row in self.rows() {
            let gv = row.gvr.group_version();
            if all.last() != Some(&gv) {
                all.push(gv);
            }
        }
        all
    }

    /// Whether a resource is built in, or would stand in a group-version that is. No definition has
    /// a say there: as upstream, where the server of definitions is asked last.
    pub fn is_built_in(&self, gvr: &GroupVersionResource) -> bool {
        let same = |own: &GroupVersionResource| {
            own.group == gvr.group && (own.version == gvr.version || own.resource == gvr.resource)
        };
        self.rows().any(|row| !row.is_custom() && same(&row.gvr))
    }

    /// A catalogue with these rows added; a custom row of the same resource is replaced. Rows of
    /// what is built in are left out.
    pub fn with(&self, rows: impl IntoIterator<Item = ResourceRow>) -> Arc<Self> {
        let mut next = self.clone();
        for row in rows {
            if next.is_built_in(&row.gvr) {
                continue;
            }
            next.remove(&row.gvr.clone());
            next.insert(Arc::new(row));
        }
        Arc::new(next)
    }

    /// A catalogue without the custom rows of a resource, in all versions. Built-in rows stay.
    pub fn without(&self, resource: &GroupResource) -> Arc<Self> {
        let mut next = self.clone();
        let gone: Vec<GroupVersionResource> = next
            .rows
            .iter()
            .filter(|(gvr, row)| row.is_custom() && gvr.group_resource() == *resource)
            .map(|(gvr, _)| gvr.clone())
            .collect();
        gone.iter().for_each(|gvr| next.remove(gvr));
        Arc::new(next)
    }

    fn remove(&mut self, gvr: &GroupVersionResource) {
        if let Some(row) = self.rows.remove(gvr) {
            self.kinds.remove(&row.gvk);
        }
    }

    /// The schema of a kind: a row's, a subresource's (`Scale`, `Eviction`), an option's
    /// (`DeleteOptions` in any group-version), `Status`, or a list's.
    pub fn schema_of(&self, gvk: &GroupVersionKind) -> Option<Schema<'_>> {
        if let Some(row) = self.kinds.get(gvk) {
            return Some(row.schema());
        }
        builtin::schema_of(gvk)
    }
}

fn gv_resource(gv: GroupVersion) -> GroupVersionResource {
    GroupVersionResource { group: gv.group, version: gv.version, resource: SmolStr::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_url_and_by_kind() {
        let c = Catalogue::builtin();
        let row = c.resource("apps", "v1", "deployments").unwrap();
        assert_eq!(row.list_kind, "DeploymentList");
        assert!(Arc::ptr_eq(row, c.by_kind(&row.gvk).unwrap()));
        assert!(c.resource("apps", "v1", "pods").is_none());
        let hpa = GroupResource::new_static("autoscaling", "horizontalpodautoscalers");
        assert_eq!(c.preferred(&hpa).unwrap().gvr.version, "v2");
        assert_eq!(c.group_version(&GroupVersion::new_static("apps", "v1")).count(), 5);
        assert_eq!(c.group_versions().len(), 22);
    }

    #[test]
    fn every_row_has_a_schema_of_its_kind() {
        for row in Catalogue::builtin().rows() {
            let name = row.schema().definition_name().unwrap();
            assert!(name.ends_with(&alloc::format!(".{}", row.gvk.kind)), "{name}");
            for sub in &row.subresources {
                assert!(
                    Catalogue::builtin().schema_of(&sub.kind).is_some(),
                    "{} {}",
                    row.gvr,
                    sub.name
                );
            }
        }
    }

    #[test]
    fn built_in_rows_cannot_be_removed() {
        let c = Catalogue::builtin();
        let pods = GroupResource::new_static("", "pods");
        assert!(c.without(&pods).preferred(&pods).is_some());
    }

    #[test]
    fn built_in_rows_cannot_be_replaced() {
        let rows = |group: &str, version: &str, plural: &str| {
            let definition = timonier_object::value!({ "spec": { "group": group, "scope": "Cluster",
                "names": { "plural": plural, "kind": "Ingress" }, "versions": [{ "name": version,
                    "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": { "type": "object" } } }] } });
            crate::crd::rows(&definition).unwrap()
        };
        let (c, group) = (Catalogue::builtin(), "networking.k8s.io");
        for (version, plural) in [("v1", "ingresses"), ("v9", "ingresses"), ("v1", "others")] {
            let with = c.with(rows(group, version, plural));
            assert_eq!(with.rows().count(), c.rows().count(), "{version} {plural}");
            let own = with.resource(group, "v1", "ingresses").unwrap();
            assert!(!own.is_custom() && Arc::ptr_eq(own, with.by_kind(&own.gvk).unwrap()));
        }
        let with = c.with(rows(group, "v9", "others"));
        assert!(with.resource(group, "v9", "others").is_some());
        assert_eq!(
            with.without(&GroupResource::new_static("networking.k8s.io", "others")).rows().count(),
            c.rows().count()
        );
    }
}
