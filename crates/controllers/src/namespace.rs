//! Namespace: empties one that is being deleted, pods first, then finishes it
//! (upstream `pkg/controller/namespace`).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::gvk::resources::{NAMESPACES, PODS};
use timonier_meta::{GroupVersionResource, ObjectKey};
use timonier_object::Value;
use timonier_reconcile::{Change, Context, Plan, Propagation, Reconciler, World, Write};

use crate::common::conditions::{self, Condition};

/// The finalizer in `spec.finalizers` that stands for the content.
const FINALIZER: &str = "kubernetes";

/// The controller of Namespaces. What a namespace can hold it learns from the world's resources.
pub struct Namespaces;

impl Reconciler for Namespaces {
    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![NAMESPACES]
    }

    fn watches_all(&self) -> bool {
        true
    }

    fn concerns(&self, change: &Change, world: &World) -> Vec<ObjectKey> {
        let key = if change.is(&NAMESPACES) {
            change.key.clone()
        } else {
            ObjectKey::new("", change.key.namespace.clone())
        };
        let deleting = world.get(&NAMESPACES, &key).is_some_and(|n| n.is_deleting());
        if deleting { vec![key] } else { Vec::new() }
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        let Some(namespace) = world.get(&NAMESPACES, key).filter(|n| n.is_deleting()) else {
            return Plan::nothing();
        };
        let finalizers = namespace.at("spec.finalizers").items();
        if !finalizers.iter().any(|f| f.str() == FINALIZER) {
            return Plan::nothing();
        }
        let content = content(world, &key.name);
        if content.is_empty() {
            return finish(namespace, world);
        }
        let mut plan = Plan::nothing();
        plan.writes.extend(status(namespace, &content, context));
        // Pods first: what they rely on, such as network policies, must outlive them.
        let pods_left = content.iter().any(|(r, _)| *r == PODS);
        for (resource, objects) in content.iter().filter(|(r, _)| !pods_left || *r == PODS) {
            let live = objects.iter().filter(|o| !o.is_deleting());
            plan.writes.extend(
                live.map(|o| Write::delete(resource, o).propagate(Propagation::Background)),
            );
        }
        plan
    }
}

type Content = Vec<(GroupVersionResource, Vec<Arc<Value>>)>;

fn content(world: &World, namespace: &str) -> Content {
    let mut content = Content::new();
    for info in world.resources().filter(|i| i.namespaced) {
        let objects: Vec<_> =
            world.table(&info.resource).in_namespace(namespace).cloned().collect();
        if !objects.is_empty() {
            content.push((info.resource.clone(), objects));
        }
    }
    content
}

/// Takes the finalizer away, once it is sure that nothing was created before the deletion that is
/// not observed yet.
fn finish(namespace: &Value, world: &World) -> Plan {
    let revision = namespace.revision();
    let behind = |r: &GroupVersionResource| world.table(r).synced().is_none_or(|s| s < revision);
    let wait: Vec<_> = world
        .resources()
        .filter(|i| i.namespaced && behind(&i.resource))
        .map(|i| (i.resource.group_resource(), revision))
        .collect();
    if !wait.is_empty() {
        return Plan { wait, ..Plan::default() };
    }
    let mut changed = namespace.clone();
    let rest = namespace.at("spec.finalizers").items().iter().filter(|f| f.str() != FINALIZER);
    changed.set("spec.finalizers", Value::array(rest.cloned()));
    Plan::write(Write::update_subresource(&NAMESPACES, "finalize", changed))
}

fn status(namespace: &Value, content: &Content, context: &Context<'_>) -> Option<Write> {
    let mut changed = namespace.clone();
    changed.set("status.phase", "Terminating");
    let remaining: Vec<String> = content
        .iter()
        .map(|(r, objects)| {
            format!("{}.{} has {} resource instances", r.resource, r.group, objects.len())
        })
        .collect();
    let mut holders: BTreeMap<SmolStr, usize> = BTreeMap::new();
    for object in content.iter().flat_map(|(_, objects)| objects) {
        for finalizer in object.finalizers() {
            *holders.entry(finalizer.into()).or_insert(0) += 1;
        }
    }
    let finalizing: Vec<String> =
        holders.iter().map(|(f, n)| format!("{f} in {n} resource instances")).collect();
    let remain = format!("Some resources are remaining: {}", remaining.join(", "));
    let finalize = format!(
        "Some content in the namespace has finalizers remaining: {}",
        finalizing.join(", ")
    );
    let failure = context
        .failure
        .map(|f| format!("Failed to delete all resource types, 1 remaining: {}", f.error));
    let list = changed.entry("status.conditions");
    for condition in [
        no(
            "NamespaceDeletionDiscoveryFailure",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        no(
            "NamespaceDeletionGroupVersionParsingFailure",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        match &failure {
            None => no(
                "NamespaceDeletionContentFailure",
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
            Some(why) => yes("NamespaceDeletionContentFailure", "ContentDeletionFailed", why),
        },
        yes("NamespaceContentRemaining", "SomeResourcesRemain", &remain),
        match finalizing.is_empty() {
            true => no(
                "NamespaceFinalizersRemaining",
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished",
            ),
            false => yes("NamespaceFinalizersRemaining", "SomeFinalizersRemain", &finalize),
        },
    ] {
        conditions::set(list, condition, context.now);
    }
    let differs = changed.at("status").to_string() != namespace.at("status").to_string();
    differs.then(|| Write::update_status(&NAMESPACES, changed))
}

fn yes<'a>(kind: &'a str, reason: &'a str, message: &'a str) -> Condition<'a> {
    Condition { kind, status: "True", reason, message }
}

fn no<'a>(kind: &'a str, reason: &'a str, message: &'a str) -> Condition<'a> {
    Condition { kind, status: "False", reason, message }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;
    use crate::common::testing::{add, body, object, plan_key, short, world};

    fn namespace(revision: &str) -> Value {
        let mut ns = object(
            r#"{"apiVersion":"v1","kind":"Namespace",
                "metadata":{"name":"ns","deletionTimestamp":"2026-01-01T00:00:00Z"},
                "spec":{"finalizers":["kubernetes"]},"status":{"phase":"Terminating"}}"#,
        );
        ns.set("metadata.resourceVersion", revision);
        ns
    }

    fn thing(kind: &str, name: &str) -> Value {
        let mut thing = value!({ "apiVersion": "v1", "kind": kind,
            "metadata": { "name": name, "namespace": "ns" } });
        if kind == "Pod" {
            thing.set("metadata.finalizers", value!(["x/y"]));
        }
        thing
    }

    #[test]
    fn pods_go_first_and_the_conditions_tell_what_is_left() {
        let key = ObjectKey::new("", "ns");
        let objects = [namespace("1"), thing("Pod", "p"), thing("ConfigMap", "c")];
        let mut world = world(objects);
        let plan = plan_key(&Namespaces, &world, &key);
        assert_eq!(short(&plan), ["update-status namespaces ns", "delete pods p"]);
        let remaining = body(&plan, &NAMESPACES).condition("NamespaceContentRemaining").unwrap();
        assert_eq!(
            remaining.at("message").str(),
            "Some resources are remaining: configmaps. has 1 resource instances, pods. has 1 resource instances"
        );
        let held = body(&plan, &NAMESPACES).condition("NamespaceFinalizersRemaining").unwrap();
        assert_eq!(
            held.at("message").str(),
            "Some content in the namespace has finalizers remaining: x/y in 1 resource instances"
        );
        let pod = world.get(&PODS, &ObjectKey::new("ns", "p")).unwrap().clone();
        world.remove(&PODS.group_resource(), &pod, crate::common::testing::now());
        let plan = plan_key(&Namespaces, &world, &key);
        assert_eq!(short(&plan), ["update-status namespaces ns", "delete configmaps c"]);
    }

    #[test]
    fn an_empty_namespace_is_finished_when_all_is_observed() {
        let key = ObjectKey::new("", "ns");
        let mut world = world([namespace("1")]);
        assert_eq!(
            body(&plan_key(&Namespaces, &world, &key), &NAMESPACES).at("spec.finalizers"),
            &value!([])
        );
        add(&mut world, namespace("5"));
        let plan = plan_key(&Namespaces, &world, &key);
        assert!(plan.writes.is_empty() && plan.wait.len() > 10);
        assert!(
            plan.wait
                .iter()
                .all(|(r, revision)| *r != NAMESPACES.group_resource() && *revision == 5)
        );
    }

    #[test]
    fn a_live_namespace_is_left_alone() {
        let mut live = namespace("1");
        live.remove("metadata.deletionTimestamp");
        let world = world([live, thing("Pod", "p")]);
        assert_eq!(plan_key(&Namespaces, &world, &ObjectKey::new("", "ns")), Plan::nothing());
    }
}
