//! What a node may do (upstream `plugin/pkg/auth/authorizer/node` and the role `system:node`):
//! its own object and lease, its pods, and of what pods read only what pods on this node read.

use alloc::string::String;

use timonier_object::Value;

use crate::{Attributes, User, groups};

/// The ConfigMap by which nodes that join learn of their cluster.
const CLUSTER: (&str, &str) = ("kube-public", "timonier-cluster");
/// Where nodes' leases are.
const LEASES: &str = "kube-node-lease";

/// What is to be said of a node's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    Allow,
    /// Refused unless a pod on the node refers to the object ([`refers`]), or is it.
    Related,
    Refuse(String),
    /// Not a matter of nodes; the other authorizers decide.
    Other,
}

/// The node that a user is. A name counts only with the group that the cluster's authority
/// writes into a kubelet's certificate.
pub fn node_name(user: &User) -> Option<&str> {
    let name = user.name.strip_prefix("system:node:")?;
    (!name.is_empty() && user.in_group(groups::NODES)).then_some(name)
}

/// The rule for a request of the node `node`.
pub fn rule(node: &str, a: &Attributes<'_>) -> Rule {
    if !a.is_resource {
        return Rule::Other;
    }
    let reads = matches!(a.verb, "get" | "list" | "watch");
    let own = |text: &str| match a.name == text {
        true => Rule::Allow,
        false => Rule::Refuse(String::from("can only access the node's own object")),
    };
    let allow_if = |fine: bool| if fine { Rule::Allow } else { Rule::Other };
    match (a.group, a.resource, a.subresource) {
        ("", "secrets" | "configmaps", "") if reads => match a.resource {
            "configmaps" if (a.namespace, a.name) == CLUSTER => Rule::Allow,
            _ => related(a),
        },
        ("", "persistentvolumeclaims", "") if a.verb == "get" => related(a),
        ("", "serviceaccounts", "token") if a.verb == "create" => related(a),
        ("", "serviceaccounts", "") if a.verb == "get" => related(a),
        ("", "persistentvolumes", "") => allow_if(a.verb == "get"),
        ("", "nodes", "") => match a.verb {
            // Whom a creation is about is not known here; admission sees to it.
            "create" | "get" | "list" | "watch" => Rule::Allow,
            "update" | "patch" => own(node),
            _ => Rule::Other,
        },
        ("", "nodes", "status") if matches!(a.verb, "update" | "patch") => own(node),
        ("", "pods", "") if reads => pods(node, a),
        ("", "pods", "") => allow_if(a.verb == "delete"),
        ("", "pods", "status") => allow_if(matches!(a.verb, "update" | "patch")),
        ("", "pods", "eviction") => allow_if(a.verb == "create"),
        ("", "events", "") => allow_if(matches!(a.verb, "create" | "update" | "patch")),
        ("", "services" | "namespaces" | "endpoints", "")
        | ("discovery.k8s.io", "endpointslices", "")
        | ("networking.k8s.io", "servicecidrs" | "networkpolicies", "")
        | ("node.k8s.io", "runtimeclasses", "")
        | ("storage.k8s.io", "csidrivers" | "storageclasses" | "volumeattachments", "") => {
            allow_if(reads)
        }
        ("coordination.k8s.io", "leases", "") if a.namespace == LEASES => match a.verb {
            "create" => Rule::Allow,
            "get" | "update" | "patch" | "delete" => own(node),
            _ => Rule::Other,
        },
        ("certificates.k8s.io", "certificatesigningrequests", "") => {
            allow_if(reads || a.verb == "create")
        }
        ("authentication.k8s.io", "tokenreviews", "")
        | ("authorization.k8s.io", "subjectaccessreviews" | "localsubjectaccessreviews", "") => {
            allow_if(a.verb == "create")
        }
        _ => Rule::Other,
    }
}

/// A node reads its own pods, one by one or by a selector for itself.
fn pods(node: &str, a: &Attributes<'_>) -> Rule {
    let own = a.fields.is_some_and(|fields| fields.exact("spec.nodeName") == Some(node));
    match a.verb {
        "list" | "watch" if own => Rule::Allow,
        "list" | "watch" if a.name.is_empty() => {
            let why = "can only list/watch pods with spec.nodeName field selector";
            Rule::Refuse(String::from(why))
        }
        _ => related(a),
    }
}

/// A request that names no object cannot be related to one.
fn related(a: &Attributes<'_>) -> Rule {
    if a.name.is_empty() || a.namespace.is_empty() {
        return Rule::Refuse(String::from("No Object name found"));
    }
    Rule::Related
}

/// Whether a pod refers to an object of its namespace: a Secret, a ConfigMap, a claim, or its
/// service account.
pub fn refers(pod: &Value, resource: &str, name: &str) -> bool {
    let spec = pod.at("spec");
    match resource {
        "serviceaccounts" => spec.at("serviceAccountName").str() == name,
        "persistentvolumeclaims" => spec.at("volumes").items().iter().any(|v| {
            v.at("persistentVolumeClaim.claimName").str() == name
                || (v.get("ephemeral").is_some() && is_claim_of(pod, v, name))
        }),
        "secrets" => {
            let pulls = spec.at("imagePullSecrets").items();
            pulls.iter().any(|s| s.at("name").str() == name) || mentions(spec, true, Some(name))
        }
        "configmaps" => mentions(spec, false, Some(name)),
        _ => false,
    }
}

/// Whether a pod refers to any Secret.
pub fn uses_secrets(pod: &Value) -> bool {
    let spec = pod.at("spec");
    !spec.at("imagePullSecrets").is_empty() || mentions(spec, true, None)
}

/// Whether the field has this value, or any.
fn is(value: &Value, path: &str, name: Option<&str>) -> bool {
    let value = value.at(path).str();
    name.map_or(!value.is_empty(), |name| value == name)
}

/// A generic ephemeral volume's claim is named after the pod and the volume.
fn is_claim_of(pod: &Value, volume: &Value, claim: &str) -> bool {
    let rest = claim.strip_prefix(pod.name()).and_then(|r| r.strip_prefix('-'));
    rest.is_some_and(|r| r == volume.at("name").str())
}

fn mentions(spec: &Value, secret: bool, name: Option<&str>) -> bool {
    let (env_from, key_ref) = match secret {
        true => ("secretRef.name", "valueFrom.secretKeyRef.name"),
        false => ("configMapRef.name", "valueFrom.configMapKeyRef.name"),
    };
    let kinds = ["containers", "initContainers", "ephemeralContainers"];
    let mut containers = kinds.iter().flat_map(|kind| spec.at(kind).items());
    let in_container = |c: &Value| {
        c.at("envFrom").items().iter().any(|e| is(e, env_from, name))
            || c.at("env").items().iter().any(|e| is(e, key_ref, name))
    };
    containers.any(in_container)
        || spec.at("volumes").items().iter().any(|v| in_volume(v, secret, name))
}

fn in_volume(volume: &Value, secret: bool, name: Option<&str>) -> bool {
    let mut sources = volume.at("projected.sources").items().iter();
    if !secret {
        return is(volume, "configMap.name", name)
            || sources.any(|s| is(s, "configMap.name", name));
    }
    // The drivers of volumes name their Secrets each in its own way (upstream
    // `pkg/api/v1/pod.VisitPodSecretNames`).
    const DRIVERS: [&str; 9] = [
        "azureFile.secretName",
        "cephfs.secretRef.name",
        "cinder.secretRef.name",
        "flexVolume.secretRef.name",
        "rbd.secretRef.name",
        "scaleIO.secretRef.name",
        "iscsi.secretRef.name",
        "storageos.secretRef.name",
        "csi.nodePublishSecretRef.name",
    ];
    is(volume, "secret.secretName", name)
        || sources.any(|s| is(s, "secret.name", name))
        || DRIVERS.iter().any(|path| is(volume, path, name))
}

#[cfg(test)]
mod tests {
    use smol_str::SmolStr;
    use timonier_meta::Selector;
    use timonier_object::value;

    use super::*;

    fn of(verb: &str, resource: &str, namespace: &str, name: &str) -> Rule {
        let user = User::authenticated("system:node:a", [SmolStr::new(groups::NODES)]);
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let group = match resource {
            "leases" => "coordination.k8s.io",
            "certificatesigningrequests" => "certificates.k8s.io",
            _ => "",
        };
        let a = Attributes {
            is_resource: true,
            group,
            version: "v1",
            resource,
            subresource,
            namespace,
            name,
            ..Attributes::of_path(&user, verb, "")
        };
        rule(node_name(&user).unwrap(), &a)
    }

    #[test]
    fn a_node_minds_its_own_business() {
        for (verb, resource, namespace, name) in [
            ("create", "nodes", "", ""),
            ("patch", "nodes/status", "", "a"),
            ("patch", "nodes", "", "a"),
            ("update", "leases", LEASES, "a"),
            ("patch", "pods/status", "ns", "p"),
            ("get", "configmaps", CLUSTER.0, CLUSTER.1),
            ("create", "certificatesigningrequests", "", ""),
        ] {
            assert_eq!(of(verb, resource, namespace, name), Rule::Allow, "{verb} {resource}");
        }
        for (verb, resource, namespace, name) in [
            ("patch", "nodes/status", "", "b"),
            ("patch", "nodes", "", "b"),
            ("delete", "nodes", "", "a"),
            ("update", "leases", LEASES, "b"),
            ("update", "leases", "default", "a"),
            ("list", "secrets", "", ""),
            ("list", "pods", "ns", ""),
            ("watch", "pods", "", ""),
            ("get", "pods", "ns", ""),
            ("list", "secrets", "ns", ""),
            ("update", "secrets", "ns", "s"),
            ("create", "pods", "ns", ""),
            ("create", "pods/exec", "ns", "p"),
            ("update", "certificatesigningrequests/approval", "", "c"),
            ("create", "deployments", "ns", ""),
        ] {
            let said = of(verb, resource, namespace, name);
            assert!(matches!(said, Rule::Refuse(_) | Rule::Other), "{verb} {resource}: {said:?}");
        }
        assert_eq!(of("get", "secrets", "ns", "s"), Rule::Related);
        assert_eq!(of("get", "pods", "ns", "p"), Rule::Related);
        assert_eq!(of("list", "pods", "ns", "p"), Rule::Related);
        let user = User::authenticated("system:node:a", [SmolStr::new(groups::NODES)]);
        for (text, allowed) in [
            ("spec.nodeName=a", true),
            ("status.phase!=Failed,spec.nodeName=a", true),
            ("spec.nodeName=b", false),
            ("spec.nodeName=b,spec.nodeName=a", false),
            ("spec.nodeName!=a", false),
            ("metadata.namespace=a", false),
        ] {
            let fields = Selector::parse_fields(text).unwrap();
            let a = Attributes {
                is_resource: true,
                version: "v1",
                resource: "pods",
                fields: Some(&fields),
                ..Attributes::of_path(&user, "watch", "")
            };
            assert_eq!(rule("a", &a) == Rule::Allow, allowed, "{text}");
        }
        assert_eq!(of("create", "serviceaccounts/token", "ns", "s"), Rule::Related);
        for (name, group) in
            [("system:node:a", "x"), ("system:node:", groups::NODES), ("a", groups::NODES)]
        {
            let user = User::authenticated(name, [SmolStr::new(group)]);
            assert_eq!(node_name(&user), None, "{name}");
        }
    }

    #[test]
    fn pods_refer_to_what_they_read() {
        let pod = value!({ "metadata": { "name": "p" }, "spec": {
            "serviceAccountName": "sa", "imagePullSecrets": [{ "name": "pull" }],
            "initContainers": [{ "envFrom": [{ "secretRef": { "name": "env" } }] }],
            "containers": [{ "env": [
                { "name": "A", "valueFrom": { "configMapKeyRef": { "name": "key" } } }] }],
            "volumes": [
                { "name": "v", "secret": { "secretName": "mount" } },
                { "name": "w", "projected": { "sources": [{ "configMap": { "name": "part" } }] } },
                { "name": "d", "persistentVolumeClaim": { "claimName": "claim" } },
                { "name": "e", "ephemeral": {} } ] } });
        for (resource, name) in [
            ("secrets", "pull"),
            ("secrets", "env"),
            ("secrets", "mount"),
            ("configmaps", "key"),
            ("configmaps", "part"),
            ("persistentvolumeclaims", "claim"),
            ("persistentvolumeclaims", "p-e"),
            ("serviceaccounts", "sa"),
        ] {
            assert!(refers(&pod, resource, name), "{resource} {name}");
            assert!(!refers(&pod, resource, "other"), "{resource}");
        }
        assert!(!refers(&pod, "secrets", "key") && !refers(&pod, "configmaps", "mount"));
        assert!(!refers(&pod, "persistentvolumeclaims", "p-v"));
        assert!(!refers(&value!({ "spec": {} }), "secrets", "other"));
    }
}
