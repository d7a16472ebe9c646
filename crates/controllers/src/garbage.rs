//! The garbage collector: deletes what has lost its owners, and carries out foreground and orphan
//! deletion (upstream `pkg/controller/garbagecollector`). Its keys are uids.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::{Duration, GroupResource, GroupVersionResource, ObjectKey};
use timonier_object::{OwnerReference, Value, value};
use timonier_reconcile::{
    Change, Context, PatchKind, Plan, Propagation, Reason, Reconciler, ResourceInfo, World, Write,
};

use crate::common::finalizers::{self, has};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
/// When an owner of an unknown kind is looked for again.
const UNKNOWN_KIND: Duration = Duration::from_secs(30);

/// The garbage collector. The owner graph is the world's index of owners.
pub struct GarbageCollector;

impl Reconciler for GarbageCollector {
    fn name(&self) -> &'static str {
        "garbage-collector-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        Vec::new()
    }

    fn watches_all(&self) -> bool {
        true
    }

    fn concerns(&self, change: &Change, world: &World) -> Vec<ObjectKey> {
        if change.resource.resource == "events" {
            return Vec::new();
        }
        let mut uids: Vec<SmolStr> = Vec::new();
        match &change.new {
            Some(new) => {
                if !new.at("metadata.ownerReferences").items().is_empty() || new.is_deleting() {
                    uids.push(new.uid().into());
                }
                if has(new, FOREGROUND) && new.is_deleting() {
                    uids.extend(dependents(world, new.uid()).map(|(_, d)| d.uid().into()));
                }
            }
            None => {
                let gone = change.old.iter();
                uids.extend(gone.flat_map(|old| {
                    dependents(world, old.uid()).map(|(_, d)| SmolStr::new(d.uid()))
                }));
            }
        }
        // An owner that waits for its dependents.
        for owner in change.old.iter().flat_map(|old| old.owners()) {
            if world.by_uid(&owner.uid).is_some_and(|(_, o)| o.is_deleting()) {
                uids.push(owner.uid);
            }
        }
        uids.into_iter().map(|uid| ObjectKey::new("", uid)).collect()
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        let Some((info, object)) = world.by_uid(&key.name) else { return Plan::nothing() };
        if object.is_deleting() {
            if has(object, ORPHAN) {
                return orphan_dependents(info, object, world);
            }
            if has(object, FOREGROUND) {
                return await_dependents(info, object, world);
            }
            return Plan::nothing();
        }
        let owners = object.owners();
        if owners.is_empty() {
            return Plan::nothing();
        }
        let state = Owners::of(object, info, &owners, world);
        if !state.wait.is_empty() {
            return Plan { wait: state.wait, ..Plan::default() };
        }
        let mut plan = collect(info, object, &state, world);
        plan.because.extend(state.because);
        if state.unknown {
            plan.requeue(context.now + UNKNOWN_KIND);
        }
        plan
    }
}

/// How an object's owners stand.
#[derive(Default)]
struct Owners<'a> {
    solid: Vec<&'a OwnerReference>,
    /// Absent.
    dangling: Vec<&'a OwnerReference>,
    /// Deleted in the foreground: they wait for this object.
    waiting: Vec<&'a OwnerReference>,
    wait: Vec<(GroupResource, u64)>,
    because: Vec<Reason>,
    unknown: bool,
}

impl<'a> Owners<'a> {
    fn of(
        object: &Value,
        info: &ResourceInfo,
        owners: &'a [OwnerReference],
        world: &World,
    ) -> Self {
        let mut all = Owners::default();
        for owner in owners {
            let found = world.by_uid(&owner.uid).filter(|(i, o)| {
                i.kind == owner.kind
                    && o.name() == owner.name
                    && (!i.namespaced || o.namespace() == object.namespace())
            });
            match found {
                Some((_, o)) if o.is_deleting() && has(o, FOREGROUND) => all.waiting.push(owner),
                Some(_) => all.solid.push(owner),
                None => all.absent(object, info, owner, world),
            }
        }
        all
    }

    /// An owner that is not observed: absent for sure only if its resource is known, and observed
    /// further than the dependent that names it.
    fn absent(
        &mut self,
        object: &Value,
        info: &ResourceInfo,
        owner: &'a OwnerReference,
        world: &World,
    ) {
        let Some(theirs) = world.resource_of_kind(&owner.api_version, &owner.kind) else {
            self.unknown = true;
            self.solid.push(owner);
            return;
        };
        if theirs.namespaced && !info.namespaced {
            let message = format!(
                "ownerRef [{}/{}, namespace: , name: {}, uid: {}] does not exist in namespace \"\"",
                owner.api_version, owner.kind, owner.name, owner.uid
            );
            self.because.push(Reason::warning(object, "OwnerRefInvalidNamespace", message));
            self.solid.push(owner);
            return;
        }
        let revision = object.revision();
        if world.table(&theirs.resource).synced().is_some_and(|s| s >= revision) {
            self.dangling.push(owner);
        } else {
            self.wait.push((theirs.resource.group_resource(), revision));
        }
    }
}

fn collect(info: &ResourceInfo, object: &Value, owners: &Owners<'_>, world: &World) -> Plan {
    let lost = owners.dangling.len() + owners.waiting.len();
    if lost == 0 {
        return Plan::nothing();
    }
    if !owners.solid.is_empty() {
        return Plan::write(drop_owners(info, object, |uid| {
            owners.dangling.iter().chain(&owners.waiting).any(|o| o.uid == uid)
        }));
    }
    let has_dependents = dependents(world, object.uid()).next().is_some();
    let deleting = |o: &Value| o.is_deleting() && has(o, FOREGROUND);
    let in_a_circle = !owners.waiting.is_empty()
        && dependents(world, object.uid()).any(|(_, dependent)| deleting(dependent))
        && object.owners().iter().any(|o| o.block_owner_deletion);
    if in_a_circle {
        return Plan::write(block_nobody(info, object));
    }
    let how = if !owners.waiting.is_empty() && has_dependents || has(object, FOREGROUND) {
        Propagation::Foreground
    } else if has(object, ORPHAN) {
        Propagation::Orphan
    } else {
        Propagation::Background
    };
    Plan::write(Write::delete(&info.resource, object).unchanged(object).propagate(how))
}

/// Takes the owner out of its dependents, then lets it go.
fn orphan_dependents(info: &ResourceInfo, owner: &Value, world: &World) -> Plan {
    let mut plan = Plan::nothing();
    for (resource, dependent) in dependents(world, owner.uid()) {
        plan.writes.push(drop_owners(resource, dependent, |uid| uid == owner.uid()));
    }
    plan.writes.push(finalizers::drop_one(&info.resource, owner, ORPHAN));
    plan
}

/// Lets an owner go once nothing that blocks it is left.
fn await_dependents(info: &ResourceInfo, owner: &Value, world: &World) -> Plan {
    let blocked = dependents(world, owner.uid())
        .any(|(_, d)| d.owners().iter().any(|o| o.uid == owner.uid() && o.block_owner_deletion));
    if blocked {
        return Plan::nothing();
    }
    Plan::write(finalizers::drop_one(&info.resource, owner, FOREGROUND))
}

/// A merge patch serves custom resources too; the version guards the list that it replaces.
fn drop_owners(info: &ResourceInfo, object: &Value, lost: impl Fn(&str) -> bool) -> Write {
    let all = object.at("metadata.ownerReferences").items().iter();
    let rest = Value::array(all.filter(|o| !lost(o.at("uid").str())).cloned());
    let version = object.resource_version();
    let patch = value!({ "metadata": { "resourceVersion": version, "ownerReferences": rest } });
    Write::patch(&info.resource, object, PatchKind::Merge, patch)
}

/// Where owners wait for each other in a circle, one of them must stop to hold up its owners.
/// What else is to be done with it follows when that is seen.
fn block_nobody(info: &ResourceInfo, object: &Value) -> Write {
    let mut owners = object.at("metadata.ownerReferences").clone();
    for owner in owners.make_array().iter_mut() {
        owner.set("blockOwnerDeletion", false);
    }
    let version = object.resource_version();
    let patch = value!({ "metadata": { "resourceVersion": version, "ownerReferences": owners } });
    Write::patch(&info.resource, object, PatchKind::Merge, patch)
}

fn dependents<'a>(
    world: &'a World,
    uid: &'a str,
) -> impl Iterator<Item = (&'a ResourceInfo, &'a Arc<Value>)> {
    world
        .resources()
        .filter(|info| info.resource.resource != "events")
        .flat_map(move |info| world.table(&info.resource).owned_by(uid).map(move |o| (info, o)))
}

#[cfg(test)]
mod tests {
    use timonier_meta::gvk::resources::{PODS, REPLICASETS};
    use timonier_reconcile::Operation;

    use super::*;
    use crate::common::testing::{body, object, plan_key, pod, short, world};

    fn set(extra: &str) -> Value {
        let mut set = object(
            r#"{"apiVersion":"apps/v1","kind":"ReplicaSet",
                "metadata":{"name":"web","namespace":"ns","uid":"uid-web"}}"#,
        );
        if !extra.is_empty() {
            set.set("metadata.deletionTimestamp", "2026-01-01T00:00:00Z");
            set.set("metadata.finalizers", value!([extra]));
        }
        set
    }

    fn child(revision: &str) -> Value {
        let mut pod = pod("p", &set(""), value!({}), true);
        pod.set("metadata.resourceVersion", revision);
        pod
    }

    fn of(world: &World, uid: &str) -> Plan {
        plan_key(&GarbageCollector, world, &ObjectKey::new("", uid))
    }

    #[test]
    fn an_object_whose_owner_is_gone_is_deleted() {
        assert_eq!(of(&world([set(""), child("1")]), "uid-p"), Plan::nothing());
        let plan = of(&world([child("1")]), "uid-p");
        let Operation::Delete { preconditions, propagation, .. } = &plan.writes[0].operation else {
            panic!()
        };
        assert_eq!(preconditions.uid.as_deref(), Some("uid-p"));
        assert_eq!(*propagation, Some(Propagation::Background));
    }

    #[test]
    fn an_owner_that_may_not_be_observed_yet_is_waited_for() {
        let plan = of(&world([child("5")]), "uid-p");
        assert_eq!(plan.wait, [(REPLICASETS.group_resource(), 5)]);
        assert!(plan.writes.is_empty());
    }

    #[test]
    fn an_owner_of_the_same_name_and_another_uid_does_not_count() {
        let mut other = set("");
        other.set("metadata.uid", "another");
        assert_eq!(short(&of(&world([other, child("1")]), "uid-p")), ["delete pods p"]);
    }

    #[test]
    fn a_lost_owner_among_others_is_taken_out() {
        let mut child = child("1");
        let reference =
            value!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": "gone" });
        child.entry("metadata.ownerReferences").make_array().push(reference);
        let plan = of(&world([set(""), child]), "uid-p");
        assert_eq!(body(&plan, &PODS).owners().len(), 1);
    }

    #[test]
    fn foreground_deletion_goes_from_the_leaves_up() {
        let full = world([set(FOREGROUND), child("1")]);
        assert_eq!(of(&full, "uid-web"), Plan::nothing());
        assert_eq!(short(&of(&full, "uid-p")), ["delete pods p"]);
        let plan = of(&world([set(FOREGROUND)]), "uid-web");
        assert_eq!(body(&plan, &REPLICASETS).at("metadata.finalizers"), &value!([]));
    }

    #[test]
    fn orphans_are_let_go_before_their_owner() {
        let plan = of(&world([set(ORPHAN), child("1")]), "uid-web");
        assert_eq!(short(&plan), ["patch pods p", "patch replicasets web"]);
        assert_eq!(body(&plan, &PODS).at("metadata.ownerReferences"), &value!([]));
    }

    #[test]
    fn a_circle_of_owners_is_broken() {
        // p owns the set that owns p.
        let mut owner = set(FOREGROUND);
        owner.set(
            "metadata.ownerReferences",
            value!([{ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "uid-p",
                "blockOwnerDeletion": true }]),
        );
        let mut pod = child("1");
        pod.entry("metadata.ownerReferences").make_array()[0].set("blockOwnerDeletion", true);
        let plan = of(&world([owner.clone(), pod.clone()]), "uid-p");
        assert_eq!(short(&plan), ["patch pods p"]);
        assert!(!body(&plan, &PODS).owners()[0].block_owner_deletion);
        pod.entry("metadata.ownerReferences").make_array()[0].set("blockOwnerDeletion", false);
        let full = world([owner, pod]);
        assert_eq!(short(&of(&full, "uid-p")), ["delete pods p"]);
        assert_eq!(short(&of(&full, "uid-web")), ["patch replicasets web"], "it waits no longer");
    }

    #[test]
    fn owners_of_unknown_kinds_are_kept() {
        let mut child = child("1");
        child.entry("metadata.ownerReferences").make_array()[0].set("kind", "Strange");
        let plan = of(&world([child]), "uid-p");
        assert!(plan.writes.is_empty() && plan.requeue_at.is_some());
    }
}
