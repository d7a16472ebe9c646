//! Worlds for tests.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use timonier_meta::gvk::resources as r;
use timonier_meta::{GroupVersionResource, ObjectKey, Time};
use timonier_object::{Value, json, value};
use timonier_reconcile::{Context, Operation, Plan, Reconciler, ResourceInfo, World, Write};

/// The time of all tests.
pub const NOW: &str = "2026-01-01T01:00:00Z";

pub fn now() -> Time {
    Time::parse(NOW).unwrap()
}

/// A world that knows the usual resources and holds these objects.
pub fn world(objects: impl IntoIterator<Item = Value>) -> World {
    let mut world = World::new();
    for (resource, kind, namespaced) in [
        (crate::validatingadmissionpolicy_status::POLICIES, "ValidatingAdmissionPolicy", false),
        (r::CUSTOMRESOURCEDEFINITIONS, "CustomResourceDefinition", false),
        (r::NAMESPACES, "Namespace", false),
        (r::NODES, "Node", false),
        (r::PODS, "Pod", true),
        (r::SERVICES, "Service", true),
        (r::ENDPOINTS, "Endpoints", true),
        (r::ENDPOINTSLICES, "EndpointSlice", true),
        (r::SERVICEACCOUNTS, "ServiceAccount", true),
        (r::CONFIGMAPS, "ConfigMap", true),
        (r::SECRETS, "Secret", true),
        (r::DEPLOYMENTS, "Deployment", true),
        (r::REPLICASETS, "ReplicaSet", true),
        (r::REPLICATIONCONTROLLERS, "ReplicationController", true),
        (r::DAEMONSETS, "DaemonSet", true),
        (r::STATEFULSETS, "StatefulSet", true),
        (r::CONTROLLERREVISIONS, "ControllerRevision", true),
        (r::PERSISTENTVOLUMECLAIMS, "PersistentVolumeClaim", true),
        (r::PERSISTENTVOLUMES, "PersistentVolume", false),
        (crate::vac_protection::CLASSES, "VolumeAttributesClass", false),
        (r::JOBS, "Job", true),
        (r::CRONJOBS, "CronJob", true),
        (r::LEASES, "Lease", true),
        (r::PODDISRUPTIONBUDGETS, "PodDisruptionBudget", true),
        (r::RESOURCEQUOTAS, "ResourceQuota", true),
        (r::CERTIFICATESIGNINGREQUESTS, "CertificateSigningRequest", false),
    ] {
        let name = resource.group_resource();
        world.register(ResourceInfo { resource, kind: kind.into(), namespaced });
        world.progress(&name, 1);
    }
    objects.into_iter().for_each(|o| add(&mut world, o));
    world
}

/// Takes in an object as if it had just been observed. A missing uid is made from the name.
pub fn add(world: &mut World, mut object: Value) {
    if object.uid().is_empty() {
        let uid = alloc::format!("uid-{}", object.name());
        object.set("metadata.uid", uid);
    }
    if object.revision() == 0 {
        object.set("metadata.resourceVersion", "1");
    }
    let info = world.resource_of_kind(object.api_version(), object.kind()).unwrap();
    let name = info.resource.group_resource();
    world.put(&name, Arc::new(object), now());
}

/// An object from JSON.
pub fn object(text: &str) -> Value {
    json::decode(text.as_bytes()).unwrap()
}

/// A pod controlled by `owner` with these labels; running and ready if `ready`.
pub fn pod(name: &str, owner: &Value, labels: Value, ready: bool) -> Value {
    let reference = super::pods::controller_reference(owner);
    let (phase, status) = if ready { ("Running", "True") } else { ("Pending", "False") };
    value!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "ns", "uid": (alloc::format!("uid-{name}")),
                      "labels": labels, "resourceVersion": "1",
                      "creationTimestamp": "2026-01-01T00:00:00Z",
                      "ownerReferences": [(&reference)] },
        "spec": { "nodeName": "n1", "containers": [{ "name": "c", "image": "i" }] },
        "status": { "phase": phase, "podIP": "10.244.0.5", "podIPs": [{ "ip": "10.244.0.5" }],
                    "conditions": [{ "type": "Ready", "status": status,
                                     "lastTransitionTime": "2026-01-01T00:00:10Z" }] },
    })
}

/// What a reconciler plans for `ns/name` in a world.
pub fn plan(reconciler: &dyn Reconciler, world: &World, name: &str) -> Plan {
    plan_key(reconciler, world, &ObjectKey::new("ns", name))
}

/// What a reconciler plans for a key.
pub fn plan_key(reconciler: &dyn Reconciler, world: &World, key: &ObjectKey) -> Plan {
    reconciler.reconcile(key, world, &Context::at(now(), 7))
}

/// The plan in short: `create pods web-abc`, one line per write.
pub fn short(plan: &Plan) -> Vec<String> {
    plan.writes.iter().map(line).collect()
}

fn line(write: &Write) -> String {
    let verb = match &write.operation {
        Operation::Create { .. } => "create",
        Operation::Update { subresource: "", .. } => "update",
        Operation::Update { .. } => "update-status",
        Operation::Patch { .. } => "patch",
        Operation::Delete { .. } => "delete",
    };
    alloc::format!("{verb} {} {}", write.resource.resource, write.key.name)
}

/// The messages of all Events that the plan would record if all goes well.
pub fn events(plan: &Plan) -> Vec<String> {
    let writes = plan.writes.iter().filter_map(|w| w.event.as_ref());
    writes.chain(&plan.because).map(|r| alloc::format!("{}: {}", r.reason, r.message)).collect()
}

/// The object that the first write to this resource with a body carries.
pub fn body<'a>(plan: &'a Plan, resource: &GroupVersionResource) -> &'a Value {
    plan.writes
        .iter()
        .filter(|w| w.resource == *resource)
        .find_map(|w| match &w.operation {
            Operation::Create { object } | Operation::Update { object, .. } => Some(object),
            Operation::Patch { patch, .. } => Some(patch),
            Operation::Delete { .. } => None,
        })
        .unwrap_or_else(|| panic!("no body for {resource} in {:?}", short(plan)))
}
