//! Pods, pod templates and everything that has a pod's specification in it: upstream's
//! `ValidatePodSpec` and what surrounds it.

mod annotations;
mod containers;
pub mod diff;
mod env;
mod probes;
pub mod resources;
mod scheduling;
mod security;
mod spec;
mod status;
mod update;
mod volumes;

pub use scheduling::{EFFECTS, node_selector, tolerations};
pub use status::update as update_status;
pub use update::{ephemeral_containers, resize, update};

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use timonier_object::Value;

use super::at::{At, Errors};
use super::common::{annotations as plain_annotations, labels};

/// A pod's specification and what its rules need to know of it.
pub struct Pod<'a> {
    pub spec: At<'a>,
    /// Volumes without errors, by name.
    pub volumes: BTreeMap<&'a str, &'a Value>,
    /// Names of the resource claims.
    pub claims: BTreeSet<&'a str>,
    /// `terminationGracePeriodSeconds`.
    pub grace: Option<i64>,
    /// `os.name`.
    pub os: Option<&'a str>,
    /// `restartPolicy`.
    pub restart: &'a str,
    /// Whether users are the host's.
    pub host_users: bool,
}

impl<'a> Pod<'a> {
    fn new(spec: &At<'a>, volumes: BTreeMap<&'a str, &'a Value>) -> Self {
        let value = spec.value;
        let claims = value.at("resourceClaims").items().iter().map(|c| c.at("name").str());
        Pod {
            spec: spec.clone(),
            volumes,
            claims: claims.filter(|name| !name.is_empty()).collect(),
            grace: value.at("terminationGracePeriodSeconds").as_i64(),
            os: value.at("os").get("name").and_then(Value::as_str),
            restart: value.at("restartPolicy").str(),
            host_users: value.at("hostUsers").as_bool().unwrap_or(true),
        }
    }
}

/// All containers of a specification, init containers first, ephemeral ones last.
pub fn all_containers<'a>(spec: &At<'a>) -> Vec<At<'a>> {
    let mut all = Vec::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        all.extend(spec.get(list).items());
    }
    all
}

/// Checks a new pod.
pub fn create(e: &mut Errors, pod: &Value) {
    let top = At::top(pod);
    of_pod(e, &top);
    let spec = top.get("spec");
    if !spec.get("ephemeralContainers").is_empty() {
        spec.get("ephemeralContainers").forbidden(e, "cannot be set on create");
    }
    if !spec.get("nodeName").is_empty() && !spec.get("schedulingGates").is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        spec.get("nodeName").forbidden(e, why);
    }
    annotations::matching(e, &top.get("metadata"), &spec);
}

/// What new and changed pods have in common.
fn of_pod(e: &mut Errors, top: &At<'_>) {
    let spec = top.get("spec");
    annotations::specific(e, &top.get("metadata.annotations"), &spec);
    let name = top.get("metadata.name").str();
    let mirror = top.value.annotation("kubernetes.io/config.mirror").is_some();
    spec::check(e, &spec, spec::Of::Pod { name, mirror });
    if spec.get("serviceAccountName").is_empty() {
        for volume in spec.get("volumes").items() {
            for source in volume.get("projected.sources").items() {
                let token = source.get("serviceAccountToken");
                if token.is_set() {
                    let why = "must not be specified when serviceAccountName is not set";
                    token.forbidden(e, why);
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        for container in spec.get(list).items() {
            containers::image_space(e, &container);
        }
    }
}

/// Checks a pod template (metadata and specification).
pub fn template(e: &mut Errors, at: &At<'_>) {
    let (metadata, spec) = (at.get("metadata"), at.get("spec"));
    labels(e, &metadata.get("labels").named(at.path.child("labels")));
    let notes = metadata.get("annotations").named(at.path.child("annotations"));
    plain_annotations(e, &notes);
    annotations::specific(e, &notes, &spec);
    spec::check(e, &spec, spec::Of::Template);
    annotations::matching(e, &metadata, &spec);
    let ephemeral = spec.get("ephemeralContainers");
    if !ephemeral.is_empty() {
        ephemeral.forbidden(e, "ephemeral containers not allowed in pod template");
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use timonier_object::value;

    use super::*;

    fn texts(pod: &Value) -> Vec<String> {
        let mut e = Errors::new();
        create(&mut e, pod);
        e.iter().map(ToString::to_string).collect()
    }

    /// A pod as defaulting leaves it.
    fn pod() -> Value {
        value!({ "metadata": { "name": "p", "namespace": "d" }, "spec": {
            "containers": [{ "name": "c", "image": "i", "imagePullPolicy": "Always",
                "terminationMessagePolicy": "File", "resources": {} }],
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
            "terminationGracePeriodSeconds": 30, "securityContext": {} } })
    }

    #[test]
    fn a_plain_pod_is_right() {
        assert!(texts(&pod()).is_empty(), "{:?}", texts(&pod()));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let mut p = pod();
        p.set("spec.restartPolicy", "Sometimes");
        p.set("spec.hostname", "A");
        p.entry("spec.containers").make_array()[0]
            .set("volumeMounts", value!([{ "name": "v", "mountPath": "/v" }]));
        let found = texts(&p);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[0], "spec.containers[0].volumeMounts[0].name: Not found: \"v\"");
        assert_eq!(
            found[1],
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\""
        );
        assert!(found[2].starts_with("spec.hostname: Invalid value: \"A\": a lowercase RFC 1123"));
    }
}
