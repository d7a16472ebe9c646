//! Nodes change what is theirs, and nothing of it that decides which pods they get. Upstream's
//! plug-in `NodeRestriction`.

use timonier_meta::gvk::resources::{PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS};
use timonier_meta::{ApiError, GroupVersionResource};
use timonier_object::Value;
use timonier_policy::node::node_name;
use timonier_policy::{Attributes, Authorizer, Decision};

use super::{Operation, Request};
use crate::call::Call;

const CSIDRIVERS: GroupVersionResource =
    GroupVersionResource::new_static("storage.k8s.io", "v1", "csidrivers");
/// Labels that an administrator's isolation of nodes rests on.
const RESTRICTED: &str = "node-restriction.kubernetes.io";
/// Labels of Kubernetes' own domains that a kubelet may set.
const OWN_LABELS: [&str; 14] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.kubernetes.io/region",
    "failure-domain.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "node.kubernetes.io/windows-build",
];
/// Domains below which a kubelet may set any label.
const OWN_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// Refuses what a node does to others; `object` is the new state, `None` in a delete.
pub fn check(request: &Request<'_>, object: Option<&Value>) -> Result<(), ApiError> {
    let Some(node) = node_name(request.call.user) else { return Ok(()) };
    let gvr = &request.call.row.gvr;
    match (&*gvr.group, &*gvr.resource) {
        ("", "pods") => pod(request, node, object),
        ("", "nodes") => own_node(request, node, object),
        ("coordination.k8s.io", "leases") => lease(request, node, object),
        _ => Ok(()),
    }
}

fn pod(request: &Request<'_>, node: &str, object: Option<&Value>) -> Result<(), ApiError> {
    let refuse = |about: &Value, why: String| Err(request.forbidden(about, &why));
    let Some(old) = request.old else {
        let about = object.unwrap_or(&Value::Null);
        return refuse(about, format!("node {node:?} can only create pods that mirror its own"));
    };
    if old.at("spec.nodeName").str() != node {
        let what = match (request.operation, request.subresource) {
            (Operation::Delete, _) => "delete pods",
            (_, "eviction") => "evict pods",
            _ => "update pod status for pods",
        };
        let why = format!("node {node:?} can only {what} with spec.nodeName set to itself");
        return refuse(old, why);
    }
    let changed = object.is_some_and(|o| o.at("metadata.labels") != old.at("metadata.labels"));
    if changed {
        let why = format!("node {node:?} cannot update labels through pod status");
        return refuse(old, why);
    }
    if object.is_some_and(|o| !same_list(o, old, "status.resourceClaimStatuses")) {
        let why = format!("node {node:?} cannot update resource claim statues");
        return refuse(old, why);
    }
    Ok(())
}

/// Whether a list is the same; an empty one is as good as none.
fn same_list(a: &Value, b: &Value, path: &str) -> bool {
    a.at(path).items() == b.at(path).items()
}

fn own_node(request: &Request<'_>, node: &str, object: Option<&Value>) -> Result<(), ApiError> {
    let Some(object) = object else { return Ok(()) };
    let refuse = |why: String| Err(request.forbidden(object, &why));
    if object.name() != node {
        return refuse(format!("node {node:?} is not allowed to modify node {:?}", object.name()));
    }
    let empty = Value::Null;
    let old = request.old.unwrap_or(&empty);
    // A new node may register with taints; later they are the control plane's.
    if request.old.is_some() && object.at("spec.taints") != old.at("spec.taints") {
        return refuse(format!("node {node:?} is not allowed to modify taints"));
    }
    // An owner that does not exist takes the Node with it, and a new one registers as it likes.
    if request.old.is_some() && !same_list(object, old, "metadata.ownerReferences") {
        return refuse(format!("node {node:?} is not allowed to modify ownerReferences"));
    }
    let (before, after) = (old.at("metadata.labels"), object.at("metadata.labels"));
    let differs = |key: &str| before.get(key) != after.get(key);
    let keys = before.entries().chain(after.entries()).map(|(key, _)| key);
    let mut wrong: Vec<&str> = keys.filter(|key| differs(key) && !may_set(key)).collect();
    wrong.sort_unstable();
    wrong.dedup();
    if wrong.is_empty() {
        return Ok(());
    }
    let verb = if request.old.is_some() { "modify" } else { "set the following" };
    refuse(format!("is not allowed to {verb} labels: {}", wrong.join(", ")))
}

/// Whether a kubelet may set this label of its node.
fn may_set(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else { return true };
    let below = |root: &str| {
        domain == root || domain.strip_suffix(root).is_some_and(|rest| rest.ends_with('.'))
    };
    if below(RESTRICTED) {
        return false;
    }
    let kubernetes = below("kubernetes.io") || below("k8s.io");
    !kubernetes || OWN_LABELS.contains(&key) || OWN_DOMAINS.iter().any(|root| below(root))
}

fn lease(request: &Request<'_>, node: &str, object: Option<&Value>) -> Result<(), ApiError> {
    let about = object.or(request.old).unwrap_or(&Value::Null);
    if about.name() == node {
        return Ok(());
    }
    let why = "can only access node lease with the same name as the requesting node";
    Err(request.forbidden(about, why))
}

/// Refuses a node the eviction of a pod that is not on it.
pub fn check_eviction(call: &Call<'_>, name: &str) -> Result<(), ApiError> {
    let Some(node) = node_name(call.user) else { return Ok(()) };
    let pod = call.server.peek(&PODS, call.namespace(), name);
    let pod = pod.ok_or_else(|| call.not_found(name))?;
    if pod.at("spec.nodeName").str() == node {
        return Ok(());
    }
    let why = format!("node {node:?} can only evict pods with spec.nodeName set to itself");
    Err(ApiError::forbidden(&call.resource(), name, &why))
}

/// Refuses a node a token that is not for a pod on it.
pub fn check_token(call: &Call<'_>, request: &Value) -> Result<(), ApiError> {
    let Some(node) = node_name(call.user) else { return Ok(()) };
    let bound = request.at("spec.boundObjectRef");
    let refuse = |why: &str| Err(ApiError::forbidden(&call.resource(), call.info.path_name(), why));
    if bound.at("kind").str() != "Pod" || bound.at("name").str().is_empty() {
        return refuse("node requested token not bound to a pod");
    }
    if bound.at("uid").str().is_empty() {
        return refuse("node requested token with a pod binding without a uid");
    }
    match call.server.peek(&PODS, call.namespace(), bound.at("name").str()) {
        Some(pod) if pod.uid() != bound.at("uid").str() => {
            let uid = bound.at("uid").str();
            refuse(&format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            ))
        }
        Some(pod) if pod.at("spec.nodeName").str() == node => {
            check_audience(call, request, &pod).or_else(|why| refuse(&why))
        }
        Some(_) => refuse("node requested token bound to a pod scheduled on a different node"),
        None => Err(ApiError::not_found(&PODS.group_resource(), bound.at("name").str())),
    }
}

/// A node gets tokens for the audiences that the pod's volumes are for, and for others only where
/// an authorizer says so.
fn check_audience(call: &Call<'_>, request: &Value, pod: &Value) -> Result<(), String> {
    let audience = match request.at("spec.audiences").items() {
        [] => "",
        [one] => one.str(),
        _ => return Err("node may only request 0 or 1 audiences".into()),
    };
    let mut volumes = pod.at("spec.volumes").items().iter();
    if volumes.any(|volume| is_for(call, pod, volume, audience)) {
        return Ok(());
    }
    let attributes = Attributes {
        verb: "request-serviceaccounts-token-audience",
        is_resource: true,
        version: "v1",
        resource: audience,
        namespace: call.namespace(),
        name: call.info.path_name(),
        ..Attributes::of_path(call.user, "", "")
    };
    if matches!(call.server.authorize(&attributes), Decision::Allow(_)) {
        return Ok(());
    }
    let user = &call.user.name;
    Err(format!(
        "audience {audience:?} not found in pod spec volume, {user} is not authorized to request tokens for this audience"
    ))
}

/// Whether a volume holds tokens for the audience, or its driver asks for such.
fn is_for(call: &Call<'_>, pod: &Value, volume: &Value, audience: &str) -> bool {
    let token = |source: &Value| {
        let token = source.at("serviceAccountToken");
        !token.is_null() && token.at("audience").str() == audience
    };
    if volume.at("projected.sources").items().iter().any(token) {
        return true;
    }
    let server = call.server;
    let driver_of = |claim: &str| {
        let claim = server.peek(&PERSISTENTVOLUMECLAIMS, pod.namespace(), claim)?;
        let volume = server.peek(&PERSISTENTVOLUMES, "", claim.at("spec.volumeName").str())?;
        Some(volume.at("spec.csi.driver").smol())
    };
    let driver = match volume {
        v if !v.at("ephemeral.volumeClaimTemplate").is_null() => {
            driver_of(&format!("{}-{}", pod.name(), v.at("name").str()))
        }
        v if !v.at("persistentVolumeClaim").is_null() => {
            driver_of(v.at("persistentVolumeClaim.claimName").str())
        }
        v => Some(v.at("csi.driver").smol()),
    };
    let driver = driver.and_then(|name| server.peek(&CSIDRIVERS, "", &name));
    driver.is_some_and(|driver| {
        let requests = driver.at("spec.tokenRequests").items();
        requests.iter().any(|r| r.at("audience").str() == audience)
    })
}

#[cfg(test)]
mod tests {
    use super::may_set;

    #[test]
    fn labels_that_isolate_nodes_are_not_theirs() {
        for fine in [
            "zone",
            "example.com/a",
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
            "kubelet.kubernetes.io/x",
            "a.node.kubernetes.io/x",
            "notkubernetes.io/x",
        ] {
            assert!(may_set(fine), "{fine}");
        }
        for wrong in [
            "node-restriction.kubernetes.io/a",
            "x.node-restriction.kubernetes.io/a",
            "node-role.kubernetes.io/control-plane",
            "kubernetes.io/x",
            "a.k8s.io/x",
        ] {
            assert!(!may_set(wrong), "{wrong}");
        }
    }
}
