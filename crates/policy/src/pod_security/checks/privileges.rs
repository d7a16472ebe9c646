//! Privileges of containers, how they see `/proc`, and settings of the kernel.

use alloc::format;
use alloc::vec::Vec;

use super::{Pod, Violation, Words, containers_named, field, found, name, quoted};

/// Containers that may do everything.
pub fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let names: Vec<&str> =
        pod.containers().filter(|c| field(c, "privileged").bool()).map(name).collect();
    if names.is_empty() {
        return None;
    }
    let who = containers_named(&names);
    found("privileged", format!("{who} must not set securityContext.privileged=true"))
}

/// Processes may not gain more than their parents have.
pub fn escalation(pod: &Pod<'_>) -> Option<Violation> {
    let may =
        |c: &&timonier_object::Value| field(c, "allowPrivilegeEscalation").as_bool() != Some(false);
    let names: Vec<&str> = pod.containers().filter(may).map(name).collect();
    if names.is_empty() {
        return None;
    }
    let who = containers_named(&names);
    let detail = format!("{who} must set securityContext.allowPrivilegeEscalation=false");
    found("allowPrivilegeEscalation != false", detail)
}

/// As [`escalation`]; Windows does not know it.
pub fn escalation_25(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() { None } else { escalation(pod) }
}

/// `/proc` with nothing hidden.
pub fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
    let (mut names, mut kinds) = (Vec::new(), Words::new());
    for container in pod.containers() {
        let mount = field(container, "procMount");
        if !mount.is_null() && mount.str() != "Default" {
            names.push(name(container));
            kinds.insert(mount.str());
        }
    }
    if names.is_empty() {
        return None;
    }
    let kinds = quoted(kinds.iter().copied());
    let who = containers_named(&names);
    found("procMount", format!("{who} must not set securityContext.procMount to {kinds}"))
}

/// As [`proc_mount`]; pods with users of their own may.
pub fn proc_mount_35(pod: &Pod<'_>) -> Option<Violation> {
    if pod.has_own_users() { None } else { proc_mount(pod) }
}

/// Settings that are a pod's own, in the order in which they came to the list.
const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

fn other_sysctls(pod: &Pod<'_>, safe: usize) -> Option<Violation> {
    let names = pod.own("sysctls").items().iter().map(|s| s.at("name").str());
    let bad: Vec<&str> = names.filter(|name| !SAFE[..safe].contains(name)).collect();
    if bad.is_empty() { None } else { found("forbidden sysctls", bad.join(", ")) }
}

/// Settings of the kernel that are not a pod's own.
pub fn sysctls(pod: &Pod<'_>) -> Option<Violation> {
    other_sysctls(pod, 5)
}

/// As [`sysctls`], with reserved ports.
pub fn sysctls_27(pod: &Pod<'_>) -> Option<Violation> {
    other_sysctls(pod, 6)
}

/// As [`sysctls`], with the times of TCP.
pub fn sysctls_29(pod: &Pod<'_>) -> Option<Violation> {
    other_sysctls(pod, 10)
}

/// As [`sysctls`], with the buffers of TCP.
pub fn sysctls_32(pod: &Pod<'_>) -> Option<Violation> {
    other_sysctls(pod, 12)
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::super::tests::text;
    use super::*;

    #[test]
    fn privileges() {
        let spec = value!({ "hostUsers": false,
            "securityContext": { "sysctls": [{ "name": "net.ipv4.tcp_rmem" }, { "name": "kernel.sem" }] },
            "containers": [{ "name": "a", "securityContext": { "privileged": true, "procMount": "Unmasked",
                "allowPrivilegeEscalation": true } },
                { "name": "b", "securityContext": { "allowPrivilegeEscalation": false, "procMount": "Default" } }] });
        assert_eq!(
            text(privileged, spec.clone()),
            "privileged (container \"a\" must not set securityContext.privileged=true)"
        );
        assert_eq!(
            text(escalation, spec.clone()),
            "allowPrivilegeEscalation != false (container \"a\" must set securityContext.allowPrivilegeEscalation=false)"
        );
        assert_eq!(
            text(proc_mount, spec.clone()),
            "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")"
        );
        assert_eq!(text(proc_mount_35, spec.clone()), "");
        assert_eq!(
            text(sysctls_29, spec.clone()),
            "forbidden sysctls (net.ipv4.tcp_rmem, kernel.sem)"
        );
        assert_eq!(text(sysctls_32, spec), "forbidden sysctls (kernel.sem)");
    }
}
