//! Profiles of the kernel's guards: AppArmor, SELinux, seccomp.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use timonier_object::Value;

use super::{Pod, Violation, Words, containers_named, field, found, name, plural, quoted, setters};

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

fn is_guard(kind: &str) -> bool {
    matches!(kind, "RuntimeDefault" | "Localhost")
}

/// The pod, the containers and the values that name no guard.
fn without_guard<'a>(pod: &Pod<'a>, profile: &str) -> (bool, Vec<&'a str>, Words<'a>) {
    let mut values = Words::new();
    let mut bad = |value: &'a Value| {
        let kind = value.at("type").str();
        let bad = !value.is_null() && !is_guard(kind);
        if bad {
            values.insert(kind);
        }
        bad
    };
    let own = bad(pod.own(profile));
    let names = pod.containers().filter(|c| bad(field(c, profile))).map(name).collect();
    (own, names, values)
}

/// AppArmor is not switched off.
pub fn app_armor(pod: &Pod<'_>) -> Option<Violation> {
    let (own, names, values) = without_guard(pod, "appArmorProfile");
    let allowed = |v: &str| v.is_empty() || v == "runtime/default" || v.starts_with("localhost/");
    let notes = pod.metadata.at("annotations").entries();
    let notes: BTreeSet<String> = notes
        .filter(|(key, value)| key.starts_with(APP_ARMOR) && !allowed(value.str()))
        .map(|(key, value)| format!("{key}={:?}", value.str()))
        .collect();
    let mut who: Vec<String> = Vec::new();
    if own {
        who.push("pod".into());
    }
    if !names.is_empty() {
        who.push(containers_named(&names));
    }
    if !notes.is_empty() {
        who.push(plural("annotation", notes.len()));
    }
    if who.is_empty() {
        return None;
    }
    let listed: Vec<&str> =
        values.iter().copied().chain(notes.iter().map(String::as_str)).collect();
    let detail = format!(
        "{} must not set AppArmor profile type to {}",
        who.join(" and "),
        quoted(listed.iter().copied())
    );
    found(plural("forbidden AppArmor profile", listed.len()), detail)
}

const TYPES: [&str; 5] =
    ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// SELinux has a container's type, and nobody sets user or role.
pub fn selinux(pod: &Pod<'_>) -> Option<Violation> {
    selinux_with(pod, &TYPES[..4])
}

/// As [`selinux`], with the type of engines.
pub fn selinux_31(pod: &Pod<'_>) -> Option<Violation> {
    selinux_with(pod, &TYPES)
}

fn selinux_with(pod: &Pod<'_>, types: &[&str]) -> Option<Violation> {
    let (mut bad_types, mut user, mut role) = (Words::new(), false, false);
    let own = pod.own("seLinuxOptions");
    let kind = |options: &Value| !types.contains(&options.at("type").str());
    let sets = |options: &Value, what: &str| !options.at(what).str().is_empty();
    let is_bad = |options: &Value| kind(options) || sets(options, "user") || sets(options, "role");
    let containers: Vec<&Value> =
        pod.containers().filter(|c| is_bad(field(c, "seLinuxOptions"))).collect();
    let of_containers = containers.iter().map(|c| field(c, "seLinuxOptions"));
    for options in core::iter::once(own).chain(of_containers) {
        if kind(options) {
            bad_types.insert(options.at("type").str());
        }
        user |= sets(options, "user");
        role |= sets(options, "role");
    }
    let names: Vec<&str> = containers.iter().map(|c| name(c)).collect();
    let who = setters(is_bad(own), &names)?;
    let mut what: Vec<String> = Vec::new();
    if !bad_types.is_empty() {
        let listed = quoted(bad_types.iter().copied());
        what.push(format!("{} {listed}", plural("type", bad_types.len())));
    }
    if user {
        what.push("user may not be set".into());
    }
    if role {
        what.push("role may not be set".into());
    }
    let what = what.join("; ");
    found("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {what}"))
}

/// Annotations of old do not switch seccomp off.
pub fn seccomp_annotations(pod: &Pod<'_>) -> Option<Violation> {
    let notes = pod.metadata.at("annotations");
    let keys = pod.containers().map(|c| format!("{SECCOMP_CONTAINER}{}", name(c)));
    let bad: BTreeSet<String> = core::iter::once(String::from(SECCOMP_POD))
        .chain(keys)
        .filter_map(|key| {
            let value = notes.get(&key)?.str();
            let allowed = matches!(value, "runtime/default" | "docker/default")
                || value.starts_with("localhost/");
            (!allowed).then(|| format!("{key}={value:?}"))
        })
        .collect();
    if bad.is_empty() {
        return None;
    }
    let listed: Vec<&str> = bad.iter().map(String::as_str).collect();
    let detail = format!("forbidden {} {}", plural("annotation", bad.len()), listed.join(", "));
    found("seccompProfile", detail)
}

/// Seccomp is not switched off.
pub fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    let (own, names, values) = without_guard(pod, "seccompProfile");
    let who = setters(own, &names)?;
    let values = quoted(values.iter().copied());
    let detail = format!("{who} must not set securityContext.seccompProfile.type to {values}");
    found("seccompProfile", detail)
}

/// Seccomp is switched on, by the pod or by every container.
pub fn seccomp_required(pod: &Pod<'_>) -> Option<Violation> {
    if let Some(violation) = seccomp(pod) {
        return Some(violation);
    }
    if !pod.own("seccompProfile").is_null() {
        return None;
    }
    let open = |c: &&Value| field(c, "seccompProfile").is_null();
    let names: Vec<&str> = pod.containers().filter(open).map(name).collect();
    if names.is_empty() {
        return None;
    }
    let who = containers_named(&names);
    let detail = format!(
        "pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
    );
    found("seccompProfile", detail)
}

/// As [`seccomp_required`]; Windows does not know it.
pub fn seccomp_required_25(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() { None } else { seccomp_required(pod) }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::super::tests::text;
    use super::*;

    #[test]
    fn guards_stay_on() {
        let off = |field: &str| {
            let mut context = Value::object();
            context.set(field, value!({ "type": "Unconfined" }));
            value!({ "securityContext": (context.clone()), "containers": [{ "name": "a", "securityContext": (context) }, { "name": "b" }] })
        };
        let mut spec = off("appArmorProfile");
        spec.set("meta.annotations", {
            let mut notes = Value::object();
            notes
                .make_object()
                .insert("container.apparmor.security.beta.kubernetes.io/b", "unconfined".into());
            notes
        });
        assert_eq!(
            text(app_armor, spec),
            "forbidden AppArmor profiles (pod and container \"a\" and annotation must not set AppArmor profile type to \"Unconfined\", \"container.apparmor.security.beta.kubernetes.io/b=\"unconfined\"\")"
        );
        assert_eq!(
            text(seccomp, off("seccompProfile")),
            "seccompProfile (pod and container \"a\" must not set securityContext.seccompProfile.type to \"Unconfined\")"
        );
        let open = value!({ "containers": [{ "name": "a", "securityContext": { "seccompProfile": { "type": "Localhost" } } }, { "name": "b" }] });
        assert_eq!(
            text(seccomp_required, open),
            "seccompProfile (pod or container \"b\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
        );
        let mut noted = value!({ "containers": [{ "name": "a" }] });
        noted.set("meta.annotations", {
            let mut notes = Value::object();
            notes.make_object().insert(SECCOMP_POD, "unconfined".into());
            notes
        });
        assert_eq!(
            text(seccomp_annotations, noted),
            "seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod=\"unconfined\")"
        );
    }

    #[test]
    fn selinux_types() {
        let spec = value!({ "securityContext": { "seLinuxOptions": { "role": "r" } }, "containers": [
            { "name": "a", "securityContext": { "seLinuxOptions": { "type": "spc_t", "user": "u" } } },
            { "name": "b", "securityContext": { "seLinuxOptions": { "type": "container_engine_t" } } }] });
        assert_eq!(
            text(selinux, spec.clone()),
            "seLinuxOptions (pod and containers \"a\", \"b\" set forbidden securityContext.seLinuxOptions: types \"container_engine_t\", \"spc_t\"; user may not be set; role may not be set)"
        );
        assert_eq!(
            text(selinux_31, spec),
            "seLinuxOptions (pod and container \"a\" set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set; role may not be set)"
        );
    }
}
