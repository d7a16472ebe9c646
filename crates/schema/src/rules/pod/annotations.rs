//! Annotations of pods that mean something to the system.

use alloc::collections::BTreeSet;

use super::super::at::{At, Errors};
use super::super::common::{descending_path, show_str};
use super::all_containers;

pub const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Checks what annotations say against the specification.
pub fn specific(e: &mut Errors, at: &At<'_>, spec: &At<'_>) {
    let containers = all_containers(spec);
    let names: BTreeSet<&str> = containers.iter().map(|c| c.get("name").str()).collect();
    for (key, value) in at.entries() {
        let text = value.str();
        if key == MIRROR && spec.get("nodeName").is_empty() {
            value.bad_str(e, "must set spec.nodeName if mirror pod annotation is set");
        }
        if key == DELETION_COST {
            let plain = !text.starts_with('+') && (text == "0" || !text.starts_with('0'));
            if !plain || text.parse::<i32>().is_err() {
                value.bad_str(e, "must be a 32bit integer");
            }
        }
        if key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) {
            seccomp_value(e, &value.named(at.path.child(key)));
        }
        if let Some(name) = key.strip_prefix(APP_ARMOR) {
            if !names.contains(name) {
                value.bad(e, show_str(name), "container not found");
            }
            if !matches!(text, "" | "runtime/default" | "unconfined")
                && !text.starts_with("localhost/")
            {
                let why = alloc::format!("invalid AppArmor profile name: {}", show_str(text));
                value.bad_str(e, why);
            }
        }
    }
}

fn seccomp_value(e: &mut Errors, at: &At<'_>) {
    match at.str() {
        "runtime/default" | "docker/default" | "unconfined" => {}
        text => match text.strip_prefix("localhost/") {
            Some(path) => {
                let path = timonier_object::Value::from(path);
                descending_path(e, &At { value: &path, path: at.path.clone() });
            }
            None => at.bad_str(e, "must be a valid seccomp profile"),
        },
    }
}

/// Where a profile is given by annotation and by field, both say the same.
pub fn matching(e: &mut Errors, metadata: &At<'_>, spec: &At<'_>) {
    let annotation = |key: &str| metadata.get("annotations").entry(key);
    let of_pod = spec.get("securityContext.seccompProfile");
    matches(e, &of_pod, &annotation(SECCOMP_POD), "seccomp");
    for container in all_containers(spec) {
        let key = alloc::format!("{SECCOMP_CONTAINER}{}", container.get("name").str());
        let profile = container.get("securityContext.seccompProfile");
        matches(e, &profile, &annotation(&key), "seccomp");
    }
    if spec.get("os.name").str() == "windows" {
        return;
    }
    for container in all_containers(spec) {
        let key = alloc::format!("{APP_ARMOR}{}", container.get("name").str());
        let own = container.get("securityContext.appArmorProfile");
        let shared = spec.get("securityContext.appArmorProfile").named(own.path.clone());
        let profile = if own.is_set() { own } else { shared };
        matches(e, &profile, &annotation(&key), "apparmor");
    }
}

fn matches(e: &mut Errors, profile: &At<'_>, annotation: &At<'_>, what: &str) {
    if !profile.is_set() || !annotation.is_set() {
        return;
    }
    let text = annotation.str();
    let same_type = match profile.get("type").str() {
        "Unconfined" => text == "unconfined",
        "RuntimeDefault" => {
            text == "runtime/default" || what == "seccomp" && text == "docker/default"
        }
        "Localhost" => text.starts_with("localhost/"),
        _ => true,
    };
    if !same_type {
        let why = alloc::format!("{what} type in annotation and field must match");
        profile.get("type").forbidden(e, why);
        return;
    }
    let local = profile.get("localhostProfile");
    let differs = local.value.as_str() != text.strip_prefix("localhost/");
    if profile.get("type").str() == "Localhost" && differs {
        let why = alloc::format!("{what} profile in annotation and field must match");
        local.forbidden(e, why);
    }
}

/// Annotations that may not be changed.
pub fn update(e: &mut Errors, new: &At<'_>, old: &At<'_>, spec: &At<'_>) {
    for (key, before) in old.entries() {
        if new.value.get(key) == Some(before.value) {
            continue;
        }
        if key.starts_with(APP_ARMOR) {
            before.forbidden(e, "may not remove or update AppArmor annotations");
        }
        if key == MIRROR {
            before.forbidden(e, "may not remove or update mirror pod annotation");
        }
    }
    for (key, now) in new.entries() {
        if old.value.get(key).is_some() {
            continue;
        }
        if key.starts_with(APP_ARMOR) {
            now.forbidden(e, "may not add AppArmor annotations");
        }
        if key == MIRROR {
            now.forbidden(e, "may not add mirror pod annotation");
        }
    }
    specific(e, new, spec);
}
