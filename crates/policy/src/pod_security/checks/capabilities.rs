//! Capabilities of containers.

use alloc::format;
use alloc::vec::Vec;

use super::{Pod, Violation, Words, containers_named, field, found, name, quoted};

/// What a container has anyway.
const USUAL: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Nothing is added that a container does not have anyway.
pub fn baseline(pod: &Pod<'_>) -> Option<Violation> {
    let (names, words) = adding(pod, &USUAL);
    if names.is_empty() {
        return None;
    }
    found("non-default capabilities", included(&names, &words))
}

/// The containers that add other capabilities, and those.
fn adding<'a>(pod: &Pod<'a>, allowed: &[&str]) -> (Vec<&'a str>, Words<'a>) {
    let (mut names, mut words) = (Vec::new(), Words::new());
    for container in pod.containers() {
        let added = field(container, "capabilities").at("add").items().iter().map(|c| c.str());
        let bad: Vec<&str> = added.filter(|c| !allowed.contains(c)).collect();
        if !bad.is_empty() {
            names.push(name(container));
        }
        words.extend(bad);
    }
    (names, words)
}

fn included(names: &[&str], words: &Words<'_>) -> alloc::string::String {
    format!(
        "{} must not include {} in securityContext.capabilities.add",
        containers_named(names),
        quoted(words.iter().copied())
    )
}

/// All are dropped, and at most the one for low ports is added.
pub fn restricted(pod: &Pod<'_>) -> Option<Violation> {
    let keeps = |c: &&timonier_object::Value| {
        let dropped = field(c, "capabilities").at("drop").items();
        !dropped.iter().any(|d| d.str() == "ALL")
    };
    let keeping: Vec<&str> = pod.containers().filter(keeps).map(name).collect();
    let (names, words) = adding(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keeping.is_empty() {
        let who = containers_named(&keeping);
        details.push(format!("{who} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    if !names.is_empty() {
        details.push(included(&names, &words));
    }
    if details.is_empty() { None } else { found("unrestricted capabilities", details.join("; ")) }
}

/// As [`restricted`]; Windows has none.
pub fn restricted_25(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() { None } else { restricted(pod) }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::super::tests::text;
    use super::*;

    #[test]
    fn what_is_added_and_kept() {
        let spec = value!({ "os": { "name": "windows" }, "containers": [
            { "name": "a", "securityContext": { "capabilities": { "add": ["SYS_ADMIN", "CHOWN", "BPF"], "drop": ["ALL"] } } },
            { "name": "b" }] });
        assert_eq!(
            text(baseline, spec.clone()),
            "non-default capabilities (container \"a\" must not include \"BPF\", \"SYS_ADMIN\" in securityContext.capabilities.add)"
        );
        assert_eq!(
            text(restricted, spec.clone()),
            "unrestricted capabilities (container \"b\" must set securityContext.capabilities.drop=[\"ALL\"]; container \"a\" must not include \"BPF\", \"CHOWN\", \"SYS_ADMIN\" in securityContext.capabilities.add)"
        );
        assert_eq!(text(restricted_25, spec), "");
    }
}
