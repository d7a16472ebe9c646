//! The specification of a pod, field by field in upstream's order.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use timonier_meta::{Quantity, names};
use timonier_object::Value;

use super::super::at::{At, Errors};
use super::super::common::{bad_quantity, check as check_text, labels, legacy_ip, quantity};
use super::containers::{containers, ephemeral_containers, init_containers};
use super::resources::{Owner, is_huge, resources};
use super::scheduling::{affinity, gates, tolerations, topology_spread};
use super::security::{host_process, operating_system, own_users, pod_security};
use super::volumes::volumes;
use super::{Pod, all_containers};

/// Whose specification it is.
#[derive(Clone, Copy)]
pub enum Of<'a> {
    Pod { name: &'a str, mirror: bool },
    Template,
}

/// Checks a specification.
pub fn check(e: &mut Errors, spec: &At<'_>, of: Of<'_>) {
    let (name, mirror, is_pod) = match of {
        Of::Pod { name, mirror } => (name, mirror, true),
        Of::Template => ("", false, false),
    };
    let grace = spec.get("terminationGracePeriodSeconds");
    if !grace.is_set() {
        grace.required(e, "");
    }
    let good = volumes(e, &spec.get("volumes"), name, is_pod);
    let pod = Pod::new(spec, good);
    claims(e, &spec.get("resourceClaims"), mirror);
    containers(e, &pod);
    init_containers(e, &pod);
    ephemeral_containers(e, &pod);
    pod_resources(e, &pod);
    host_network(e, spec, is_pod);
    spec.get("restartPolicy").required_one_of(e, &["Always", "OnFailure", "Never"]);
    spec.get("dnsPolicy")
        .required_one_of(e, &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    labels(e, &spec.get("nodeSelector"));
    pod_security(e, &pod);
    affinity(e, &spec.get("affinity"));
    dns_config(e, spec);
    gates(e, spec);
    topology_spread(e, &spec.get("topologySpreadConstraints"));
    host_process(e, &pod);
    own_users(e, &pod);
    hostname_override(e, spec);
    small_fields(e, spec);
    tolerations(e, &spec.get("tolerations"));
    last_fields(e, &pod);
}

fn small_fields(e: &mut Errors, spec: &At<'_>) {
    for (field, rule) in [
        ("serviceAccountName", names::dns1123_subdomain as super::super::common::Check),
        ("nodeName", names::dns1123_subdomain),
    ] {
        let at = spec.get(field);
        if !at.is_empty() {
            check_text(e, &at, rule);
        }
    }
    let deadline = spec.get("activeDeadlineSeconds");
    if deadline.is_set() {
        deadline.within(e, 1, i64::from(i32::MAX));
    }
    for field in ["hostname", "subdomain"] {
        let at = spec.get(field);
        if !at.is_empty() {
            check_text(e, &at, names::dns1123_label);
        }
    }
}

fn last_fields(e: &mut Errors, pod: &Pod<'_>) {
    let spec = &pod.spec;
    for alias in spec.get("hostAliases").items() {
        legacy_ip(e, &alias.get("ip"));
        for name in alias.get("hostnames").items() {
            check_text(e, &name, names::dns1123_subdomain);
        }
    }
    let class = spec.get("priorityClassName");
    if !class.is_empty() {
        check_text(e, &class, names::dns1123_subdomain);
    }
    let runtime = spec.get("runtimeClassName");
    if runtime.is_set() {
        check_text(e, &runtime, names::dns1123_subdomain);
    }
    let preemption = spec.get("preemptionPolicy");
    if preemption.is_set() {
        preemption.required_one_of(e, &["PreemptLowerPriority", "Never"]);
    }
    let overhead = spec.get("overhead");
    if overhead.is_set() {
        let list = timonier_object::value!({ "limits": (overhead.value.clone()) });
        let at = At { value: &list, path: overhead.path.clone() };
        resources(e, &at, Owner::Container, &BTreeSet::new());
    }
    operating_system(e, pod);
    file_keys(e, pod);
}

fn claims(e: &mut Errors, at: &At<'_>, mirror: bool) {
    let mut seen = BTreeSet::new();
    for claim in at.items() {
        if mirror {
            At::new(at.value, "[]").forbidden(e, "static pods do not support resource claims");
            continue;
        }
        let name = claim.get("name");
        if name.is_empty() {
            name.required(e, "");
        } else if seen.contains(name.str()) {
            name.bad_duplicate(e, name.str());
        } else {
            check_text(e, &name, names::dns1123_label);
            seen.insert(name.str());
        }
        let (direct, template) =
            (claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName"));
        let printed = timonier_object::value!({
            "Name": (name.value.clone()),
            "ResourceClaimName": (direct.value.clone()),
            "ResourceClaimTemplateName": (template.value.clone())
        });
        if direct.is_set() && template.is_set() {
            claim.bad(e, &printed, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified");
        }
        if !direct.is_set() && !template.is_set() {
            claim.bad(
                e,
                &printed,
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            );
        }
        for at in [direct, template] {
            if at.is_set() {
                check_text(e, &at, names::dns1123_subdomain);
            }
        }
    }
}

/// Pod-level resources: allowed names, and not less than the containers need.
fn pod_resources(e: &mut Errors, pod: &Pod<'_>) {
    let at = pod.spec.get("resources");
    if !at.is_set() {
        return;
    }
    if pod.os == Some("windows") {
        at.forbidden(e, "may not be set for a windows pod");
        return;
    }
    if at.get("claims").is_set() {
        at.get("claims").forbidden(e, "claims may not be set for Resources at pod-level");
    }
    resources(e, &at, Owner::Pod, &pod.claims);
    for (name, amount) in at.get("requests").entries() {
        let needed = aggregate(&pod.spec, "requests", name);
        if needed > quantity(amount.value) {
            let why = alloc::format!(
                "must be greater than or equal to aggregate container requests of {needed}"
            );
            bad_quantity(e, &amount, why);
        }
    }
    for (name, amount) in at.get("limits").entries() {
        let needed = aggregate(&pod.spec, "limits", name);
        if is_huge(name) && needed > quantity(amount.value) {
            let why = alloc::format!(
                "must be greater than or equal to aggregate container limits of {needed}"
            );
            bad_quantity(e, &amount.named(at.path.child("limits").key(name)), why);
        }
    }
    for (i, container) in pod.spec.get("containers").items().enumerate() {
        for (name, limit) in container.get("resources.limits").entries() {
            let most = at.get("limits").entry(name);
            if most.is_set() && quantity(limit.value) > quantity(most.value) {
                let path = at.path.child("containers").index(i).key(name).child("limits");
                let most = quantity(most.value);
                let why = alloc::format!("must be less than or equal to pod limits of {most}");
                bad_quantity(e, &limit.named(path), why);
            }
        }
    }
}

/// What the containers need together: init containers run one by one, beside the sidecars that
/// started before them.
fn aggregate(spec: &At<'_>, list: &str, resource: &str) -> Quantity {
    let of =
        |container: &At<'_>| quantity(container.get("resources").get(list).entry(resource).value);
    let mut total = Quantity::default();
    for container in spec.get("containers").items() {
        total = total + of(&container);
    }
    let (mut sidecars, mut highest) = (Quantity::default(), Quantity::default());
    for container in spec.get("initContainers").items() {
        let own = of(&container);
        let running = sidecars + own;
        if container.get("restartPolicy").str() == "Always" {
            sidecars = running;
            total = total + own;
        }
        highest = highest.max(running);
    }
    total.max(highest)
}

/// On the host's network a port is the host's port.
fn host_network(e: &mut Errors, spec: &At<'_>, is_pod: bool) {
    if !spec.get("hostNetwork").bool() {
        return;
    }
    for container in spec.get("containers").items() {
        for port in container.get("ports").items() {
            let (host, own) = (port.get("hostPort"), port.get("containerPort").int());
            if (is_pod || host.int() != 0) && host.int() != own {
                host.bad_int(e, "must match `containerPort` when `hostNetwork` is true");
            }
        }
    }
}

fn dns_config(e: &mut Errors, spec: &At<'_>) {
    let at = spec.get("dnsConfig");
    let servers = at.get("nameservers");
    if spec.get("dnsPolicy").str() == "None" {
        if !at.is_set() {
            at.required(e, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if servers.is_empty() {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            servers.required(e, why);
            return;
        }
    }
    if servers.len() > 3 {
        servers.invalid(e, "must not have more than 3 nameservers");
    }
    for server in servers.items() {
        legacy_ip(e, &server);
    }
    let searches = at.get("searches");
    if searches.len() > 32 {
        searches.invalid(e, "must not have more than 32 search paths");
    }
    let texts: Vec<&str> = searches.value.items().iter().map(|s| s.str()).collect();
    if texts.join(" ").len() > 2048 {
        searches.invalid(
            e,
            "must not have more than 2048 characters (including spaces) in the search list",
        );
    }
    for search in searches.items().filter(|s| s.str() != ".") {
        let text = search.str().strip_suffix('.').unwrap_or(search.str());
        for why in underscored_subdomain(text) {
            search.bad(e, super::super::common::show_str(text), why);
        }
    }
    for option in at.get("options").items() {
        if option.get("name").is_empty() {
            option.required(e, "must not be empty");
        }
    }
}

fn underscored_subdomain(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > 253 {
        errors.push("must be no more than 253 characters".to_string());
    }
    let label = |label: &str| {
        let b = label.strip_prefix('_').unwrap_or(label).as_bytes();
        let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        !b.is_empty()
            && edge(b[0])
            && edge(b[b.len() - 1])
            && b.iter().all(|&c| edge(c) || c == b'-' || c == b'_')
    };
    if !text.split('.').all(label) {
        errors.push(r"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')".to_string());
    }
    errors
}

fn hostname_override(e: &mut Errors, spec: &At<'_>) {
    let at = spec.get("hostnameOverride");
    if !at.is_set() {
        return;
    }
    if spec.get("setHostnameAsFQDN").bool() {
        at.forbidden(e, "may not be specified when setHostnameAsFQDN is true");
    }
    if spec.get("hostNetwork").bool() {
        at.forbidden(e, "may not be specified when hostNetwork is true");
    }
    if at.str().len() > 64 {
        at.too_long(e, 64);
    }
    check_text(e, &at, names::dns1123_subdomain);
}

/// Files that environments are read from lie in empty directories of the pod.
fn file_keys(e: &mut Errors, pod: &Pod<'_>) {
    let volumes = pod.spec.value.at("volumes").items().iter();
    let volumes: BTreeMap<&str, &Value> = volumes.map(|v| (v.at("name").str(), v)).collect();
    for container in all_containers(&pod.spec) {
        for variable in container.get("env").items() {
            let key = variable.get("valueFrom.fileKeyRef");
            if !key.is_set() {
                continue;
            }
            let name = key.get("volumeName");
            match volumes.get(name.str()) {
                None => name.not_found(e),
                Some(volume) if volume.get("emptyDir").is_none() => {
                    name.bad_str(e, "referenced volume must be of type emptyDir");
                }
                Some(_) => {}
            }
        }
    }
}
