//! What was observed of the cluster.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::{GroupResource, GroupVersion, GroupVersionResource, ObjectKey, Time};
use timonier_object::Value;

use crate::Change;
use crate::table::{EMPTY, Table};

/// What discovery says about a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceInfo {
    pub resource: GroupVersionResource,
    pub kind: SmolStr,
    pub namespaced: bool,
}

/// One table per resource, by group and plural (each resource is observed in one version).
#[derive(Clone, Debug, Default)]
pub struct World {
    tables: BTreeMap<GroupResource, (ResourceInfo, Table)>,
    uids: BTreeMap<SmolStr, (GroupResource, ObjectKey)>,
}

impl World {
    /// A world without resources.
    pub fn new() -> Self {
        World::default()
    }

    /// Makes a resource known; its table is empty and not synced until the first list.
    pub fn register(&mut self, info: ResourceInfo) {
        let name = info.resource.group_resource();
        match self.tables.get_mut(&name) {
            Some((known, _)) => *known = info,
            None => {
                self.tables.insert(name, (info, Table::default()));
            }
        }
    }

    /// Forgets a resource (a CustomResourceDefinition that was deleted); gives the changes.
    pub fn forget(&mut self, resource: &GroupResource) -> Vec<Change> {
        let keys: Vec<ObjectKey> = self.table_of(resource).keys().cloned().collect();
        let changes = keys.iter().filter_map(|key| self.take(resource, key)).collect();
        self.tables.remove(resource);
        changes
    }

    /// The resources that are known, in order.
    pub fn resources(&self) -> impl Iterator<Item = &ResourceInfo> {
        self.tables.values().map(|(info, _)| info)
    }

    /// What is known about a resource.
    pub fn info(&self, resource: &GroupResource) -> Option<&ResourceInfo> {
        self.tables.get(resource).map(|(info, _)| info)
    }

    /// The resource of a kind; the version may be another than the one observed.
    pub fn resource_of_kind(&self, api_version: &str, kind: &str) -> Option<&ResourceInfo> {
        let group = GroupVersion::parse(api_version)?.group;
        self.resources().find(|i| i.kind == kind && i.resource.group == group)
    }

    /// The table of a resource; an empty one where there is none.
    pub fn table(&self, resource: &GroupVersionResource) -> &Table {
        self.table_of(&resource.group_resource())
    }

    /// The table of a resource; an empty one where there is none.
    pub fn table_of(&self, resource: &GroupResource) -> &Table {
        self.tables.get(resource).map_or(&EMPTY, |(_, table)| table)
    }

    /// An object.
    pub fn get(&self, resource: &GroupVersionResource, key: &ObjectKey) -> Option<&Arc<Value>> {
        self.table(resource).get(key)
    }

    /// The object with a uid, and its resource.
    pub fn by_uid(&self, uid: &str) -> Option<(&ResourceInfo, &Arc<Value>)> {
        let (resource, key) = self.uids.get(uid)?;
        let (info, table) = self.tables.get(resource)?;
        Some((info, table.get(key)?))
    }

    /// Takes in an object that was created or changed. `None` where it is older than what is
    /// known, or of an unknown resource.
    pub fn put(
        &mut self,
        resource: &GroupResource,
        object: Arc<Value>,
        now: Time,
    ) -> Option<Change> {
        let (_, table) = self.tables.get_mut(resource)?;
        let (key, revision) = (object.key(), object.revision());
        if table.get(&key).is_some_and(|known| known.revision() > revision) {
            return None;
        }
        table.progress(revision);
        let old = table.put(object.clone(), now);
        if let Some(old) = &old
            && old.uid() != object.uid()
        {
            self.uids.remove(old.uid());
        }
        self.uids.insert(object.uid().into(), (resource.clone(), key.clone()));
        Some(Change { resource: resource.clone(), key, old, new: Some(object) })
    }

    /// Takes in that an object was deleted, in its last state with the revision of the deletion.
    pub fn remove(
        &mut self,
        resource: &GroupResource,
        last: &Arc<Value>,
        now: Time,
    ) -> Option<Change> {
        let (_, table) = self.tables.get_mut(resource)?;
        table.progress(last.revision());
        table.note_gone(&last.key(), now);
        self.take(resource, &last.key())
    }

    /// Takes in a complete list: what is not in it is gone.
    pub fn replace(
        &mut self,
        resource: &GroupResource,
        items: Vec<Arc<Value>>,
        revision: u64,
        now: Time,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let Some((_, table)) = self.tables.get(resource) else { return changes };
        let listed: BTreeMap<ObjectKey, Arc<Value>> =
            items.into_iter().map(|o| (o.key(), o)).collect();
        let gone: Vec<ObjectKey> =
            table.keys().filter(|k| !listed.contains_key(k)).cloned().collect();
        for key in &gone {
            changes.extend(self.take(resource, key));
            if let Some((_, table)) = self.tables.get_mut(resource) {
                table.note_gone(key, now);
            }
        }
        for (key, object) in listed {
            let known = self.table_of(resource).get(&key);
            let same = known.is_some_and(|known| {
                known.uid() == object.uid() && known.resource_version() == object.resource_version()
            });
            if !same {
                changes.extend(self.put(resource, object, now));
            }
        }
        self.progress(resource, revision);
        changes
    }

    /// Takes in that everything up to this revision was observed (a bookmark).
    pub fn progress(&mut self, resource: &GroupResource, revision: u64) {
        if let Some((_, table)) = self.tables.get_mut(resource) {
            table.progress(revision);
        }
    }

    fn take(&mut self, resource: &GroupResource, key: &ObjectKey) -> Option<Change> {
        let (_, table) = self.tables.get_mut(resource)?;
        let old = table.take(key)?;
        self.uids.remove(old.uid());
        Some(Change { resource: resource.clone(), key: key.clone(), old: Some(old), new: None })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use timonier_meta::gvk::resources::{PODS, REPLICASETS};
    use timonier_object::value;

    use super::*;

    fn pod(name: &str, revision: i64, owner: &str, node: &str) -> Arc<Value> {
        let owners = if owner.is_empty() {
            value!([])
        } else {
            value!([{ "uid": owner, "controller": true }])
        };
        let version = alloc::format!("{revision}");
        Arc::new(value!({
            "metadata": { "name": name, "namespace": "ns", "uid": name,
                          "resourceVersion": version, "ownerReferences": owners },
            "spec": { "nodeName": node },
        }))
    }

    fn world() -> World {
        let mut world = World::new();
        world.register(ResourceInfo { resource: PODS, kind: "Pod".into(), namespaced: true });
        world
    }

    fn names<'a>(objects: impl Iterator<Item = &'a Arc<Value>>) -> Vec<&'a str> {
        objects.map(|o| o.name()).collect()
    }

    #[test]
    fn indexes_follow_changes() {
        let (mut world, pods) = (world(), PODS.group_resource());
        world.put(&pods, pod("a", 1, "rs", ""), Time(0));
        world.put(&pods, pod("b", 2, "", "n1"), Time(0));
        let t = world.table(&PODS);
        assert_eq!(names(t.controlled_by("rs")), ["a"]);
        assert_eq!(names(t.orphans_in("ns")), ["b"]);
        assert_eq!(names(t.on_node("n1")), ["b"]);
        let change = world.put(&pods, pod("a", 3, "", "n1"), Time(5)).unwrap();
        assert_eq!(change.old.unwrap().revision(), 1);
        let t = world.table(&PODS);
        assert_eq!(names(t.controlled_by("rs")), [""; 0]);
        assert_eq!(names(t.on_node("n1")), ["a", "b"]);
        assert_eq!((t.synced(), t.seen_at(&ObjectKey::new("ns", "a"))), (Some(3), Some(Time(5))));
        assert_eq!(world.by_uid("a").unwrap().1.name(), "a");
        world.remove(&pods, &pod("a", 4, "", "n1"), Time(0)).unwrap();
        assert!(world.by_uid("a").is_none());
        assert_eq!(names(world.table(&PODS).on_node("n1")), ["b"]);
    }

    #[test]
    fn older_states_do_not_overwrite_newer_ones() {
        let (mut world, pods) = (world(), PODS.group_resource());
        world.put(&pods, pod("a", 5, "", ""), Time(0));
        assert!(world.put(&pods, pod("a", 4, "x", ""), Time(0)).is_none());
        assert_eq!(names(world.table(&PODS).orphans_in("ns")), ["a"]);
        assert!(world.put(&REPLICASETS.group_resource(), pod("a", 9, "", ""), Time(0)).is_none());
    }

    #[test]
    fn a_list_replaces_everything_and_reports_only_changes() {
        let (mut world, pods) = (world(), PODS.group_resource());
        for (name, revision) in [("a", 1), ("b", 2), ("c", 3)] {
            world.put(&pods, pod(name, revision, "", ""), Time(0));
        }
        let list = vec![pod("b", 2, "", ""), pod("c", 6, "", ""), pod("d", 5, "", "")];
        let changes = world.replace(&pods, list, 7, Time(0));
        let seen: Vec<_> = changes
            .iter()
            .map(|c| (c.key.name.as_str(), c.old.is_some(), c.new.is_some()))
            .collect();
        assert_eq!(seen, [("a", true, false), ("c", true, true), ("d", false, true)]);
        assert_eq!(world.table(&PODS).synced(), Some(7));
    }
}
