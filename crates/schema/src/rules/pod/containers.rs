//! Containers, init containers, ephemeral containers.

use alloc::collections::BTreeSet;
use alloc::format;

use timonier_meta::names;

use super::super::at::{At, Errors};
use super::super::common::{check, demand, port};
use super::Pod;
use super::env::{env, env_from};
use super::probes::hooks;
use super::resources::{Owner, resources};
use super::security::container_security;
use super::volumes::mounts;

/// Checks `containers`.
pub fn containers(e: &mut Errors, pod: &Pod<'_>) {
    let at = pod.spec.get("containers");
    if at.is_empty() {
        at.required(e, "");
        return;
    }
    let mut names = BTreeSet::new();
    for container in at.items() {
        common(e, &container, pod);
        let name = container.get("name");
        if !names.insert(name.str()) {
            name.bad_duplicate(e, name.str());
        }
        hooks(e, &container, pod.grace, pod.os);
        restart_policy(e, &container);
    }
    host_ports(e, at.items());
}

/// Checks `initContainers`.
pub fn init_containers(e: &mut Errors, pod: &Pod<'_>) {
    let at = pod.spec.get("initContainers");
    let regular = pod.spec.get("containers");
    let mut names: BTreeSet<&str> = regular.items().map(|c| c.get("name").str()).collect();
    for container in at.items() {
        common(e, &container, pod);
        let policy = container.get("restartPolicy");
        if !policy.is_set() {
            if !container.get("restartPolicyRules").is_empty() {
                policy.required(e, "must specify restartPolicy when restart rules are used");
            }
        } else if policy.str() != "Always" {
            restart_policy(e, &container);
        } else if !container.get("restartPolicyRules").is_empty() {
            container.get("restartPolicyRules").forbidden(
                e,
                "restartPolicyRules are not allowed for init containers with restart policy Always",
            );
        }
        let name = container.get("name");
        if names.contains(name.str()) {
            name.bad_duplicate(e, name.str());
        } else if !name.is_empty() {
            names.insert(name.str());
        }
        // Upstream checks each alone and so calls it the first of the list.
        host_ports(e, core::iter::once(container.named(at.path.index(0))));
        if policy.str() == "Always" {
            hooks(e, &container, pod.grace, pod.os);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            let field = container.get(field);
            if field.is_set() {
                let why = "may not be set for init containers without restartPolicy=Always";
                field.forbidden(e, why);
            }
        }
    }
}

/// Fields that an ephemeral container may not have.
const NOT_EPHEMERAL: [&str; 7] = [
    "ports",
    "resources",
    "resizePolicy",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// Checks `ephemeralContainers`.
pub fn ephemeral_containers(e: &mut Errors, pod: &Pod<'_>) {
    let (regular, init) = (pod.spec.get("containers"), pod.spec.get("initContainers"));
    let others: BTreeSet<&str> =
        regular.items().chain(init.items()).map(|c| c.get("name").str()).collect();
    let mut names = others.clone();
    for container in pod.spec.get("ephemeralContainers").items() {
        common(e, &container, pod);
        image_space(e, &container);
        let (name, target) = (container.get("name"), container.get("targetContainerName"));
        if !names.insert(name.str()) {
            name.bad_duplicate(e, name.str());
        }
        if !target.is_empty() && !others.contains(target.str()) {
            target.not_found(e);
        }
        for field in NOT_EPHEMERAL {
            let at = container.get(field);
            if !super::super::at::same(at.value, &timonier_object::Value::Null) {
                at.forbidden(e, "cannot be set for an Ephemeral Container");
            }
        }
        for mount in container.get("volumeMounts").items() {
            for field in ["subPath", "subPathExpr"] {
                let at = mount.get(field);
                if !at.is_empty() {
                    at.forbidden(e, "cannot be set for an Ephemeral Container");
                }
            }
        }
    }
}

/// Images of pods (not of templates) have no space around them.
pub fn image_space(e: &mut Errors, container: &At<'_>) {
    let image = container.get("image");
    if image.str().trim() != image.str() {
        image.bad_str(e, "must not have leading or trailing whitespace");
    }
}

fn common(e: &mut Errors, container: &At<'_>, pod: &Pod<'_>) {
    demand(e, &container.get("name"), names::dns1123_label);
    container.get("image").demand(e);
    container
        .get("terminationMessagePolicy")
        .required_one_of(e, &["File", "FallbackToLogsOnError"]);
    ports(e, &container.get("ports"));
    env(e, &container.get("env"));
    env_from(e, &container.get("envFrom"));
    mounts(e, container, &pod.volumes);
    container.get("imagePullPolicy").required_one_of(e, &["Always", "IfNotPresent", "Never"]);
    resources(e, &container.get("resources"), Owner::Container, &pod.claims);
    resize_policy(e, &container.get("resizePolicy"), pod.restart);
    container_security(e, &container.get("securityContext"), pod.host_users);
}

fn ports(e: &mut Errors, at: &At<'_>) {
    let mut names = BTreeSet::new();
    for item in at.items() {
        let name = item.get("name");
        if !name.is_empty() {
            let before = e.len();
            check(e, &name, names::port_name);
            if e.len() == before && !names.insert(name.str()) {
                name.bad_duplicate(e, name.str());
            }
        }
        let number = item.get("containerPort");
        if number.int() == 0 {
            number.required(e, "");
        } else {
            port(e, &number);
        }
        if item.get("hostPort").int() != 0 {
            port(e, &item.get("hostPort"));
        }
        item.get("protocol").required_one_of(e, &["SCTP", "TCP", "UDP"]);
    }
}

fn host_ports<'a>(e: &mut Errors, containers: impl Iterator<Item = At<'a>>) {
    let mut seen = BTreeSet::new();
    for container in containers {
        for item in container.get("ports").items() {
            let host = item.get("hostPort");
            if host.int() == 0 {
                continue;
            }
            let (protocol, ip) = (item.get("protocol").str(), item.get("hostIP").str());
            let text = format!("{protocol}/{ip}/{}", host.int());
            if seen.contains(&text) {
                host.bad_duplicate(e, &text);
            } else {
                seen.insert(text);
            }
        }
    }
}

fn resize_policy(e: &mut Errors, at: &At<'_>, pod_restart: &str) {
    let mut seen = BTreeSet::new();
    for item in at.items() {
        let name = item.get("resourceName").named(at.path.clone());
        let restart = item.get("restartPolicy").named(at.path.clone());
        if !seen.insert(name.str()) {
            item.bad_duplicate(e, name.str());
        }
        name.required_one_of(e, &["cpu", "memory"]);
        restart.required_one_of(e, &["NotRequired", "RestartContainer"]);
        if pod_restart == "Never" && restart.str() != "NotRequired" {
            restart.bad_str(e, "must be 'NotRequired' when `restartPolicy` is 'Never'");
        }
    }
}

fn restart_policy(e: &mut Errors, container: &At<'_>) {
    let (policy, rules) = (container.get("restartPolicy"), container.get("restartPolicyRules"));
    if policy.is_set() {
        policy.one_of(e, &["Always", "Never", "OnFailure"]);
    } else if !rules.is_empty() {
        policy.required(e, "must specify restartPolicy when restart rules are used");
    }
    if rules.len() > 20 {
        rules.too_long(e, 20);
    }
    for rule in rules.items() {
        rule.get("action").one_of(e, &["Restart"]);
        let codes = rule.get("exitCodes");
        if !codes.is_set() {
            codes.required(e, "must be specified");
            continue;
        }
        codes.get("operator").one_of(e, &["In", "NotIn"]);
        if codes.get("values").len() > 255 {
            codes.get("values").too_long(e, 255);
        }
    }
}
