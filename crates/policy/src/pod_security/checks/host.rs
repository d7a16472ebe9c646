//! What belongs to the node: its namespaces, ports, addresses, and processes of Windows.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use timonier_object::Value;

use super::{Pod, Violation, Words, containers_named, field, found, name, plural, quoted, setters};

/// Namespaces of the node.
pub fn namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].into_iter();
    let shared: Vec<String> =
        shared.filter(|f| pod.spec.at(f).bool()).map(|f| format!("{f}=true")).collect();
    if shared.is_empty() { None } else { found("host namespaces", shared.join(", ")) }
}

/// Ports of the node.
pub fn ports(pod: &Pod<'_>) -> Option<Violation> {
    let ports = |c: &Value| -> Vec<String> {
        let all = c.at("ports").items().iter().map(|p| p.at("hostPort").int_or(0));
        all.filter(|port| *port != 0).map(|port| port.to_string()).collect()
    };
    let bad: Vec<&Value> = pod.containers().filter(|c| !ports(c).is_empty()).collect();
    if bad.is_empty() {
        return None;
    }
    let names: Vec<&str> = bad.iter().map(|c| name(c)).collect();
    let mut used: Vec<String> = bad.iter().flat_map(|c| ports(c)).collect();
    used.sort();
    used.dedup();
    let detail = format!(
        "{} {} {} {}",
        containers_named(&names),
        if names.len() == 1 { "uses" } else { "use" },
        plural("hostPort", used.len()),
        used.join(", ")
    );
    found("hostPort", detail)
}

const PROBES: [&str; 5] =
    ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart", "lifecycle.preStop"];

/// Probes and hooks that ask other hosts than the pod itself.
pub fn probes(pod: &Pod<'_>) -> Option<Violation> {
    let (mut names, mut hosts) = (Words::new(), Words::new());
    for container in pod.containers() {
        for probe in PROBES {
            for how in ["httpGet", "tcpSocket"] {
                let host = container.at(probe).at(how).at("host").str();
                if !host.is_empty() {
                    names.insert(name(container));
                    hosts.insert(host);
                }
            }
        }
    }
    if names.is_empty() {
        return None;
    }
    let listed: Vec<&str> = names.iter().copied().collect();
    let detail = format!(
        "{} {} {} {}",
        containers_named(&listed),
        if listed.len() == 1 { "uses" } else { "use" },
        plural("probe or lifecycle host", hosts.len()),
        quoted(hosts.iter().copied())
    );
    found("probe or lifecycle host", detail)
}

/// Processes of the node itself, on Windows.
pub fn windows_process(pod: &Pod<'_>) -> Option<Violation> {
    let bad = |options: &Value| options.at("hostProcess").bool();
    let names: Vec<&str> =
        pod.containers().filter(|c| bad(field(c, "windowsOptions"))).map(name).collect();
    let who = setters(bad(pod.own("windowsOptions")), &names)?;
    let detail = format!("{who} must not set securityContext.windowsOptions.hostProcess=true");
    found("hostProcess", detail)
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::super::tests::text;
    use super::*;

    #[test]
    fn what_is_the_nodes() {
        assert_eq!(
            text(namespaces, value!({ "hostPID": true, "hostNetwork": true })),
            "host namespaces (hostNetwork=true, hostPID=true)"
        );
        let spec = value!({ "containers": [
            { "name": "a", "ports": [{ "hostPort": 80 }, { "hostPort": 9 }] },
            { "name": "b", "ports": [{ "containerPort": 1 }] },
            { "name": "c", "ports": [{ "hostPort": 80 }] }] });
        assert_eq!(text(ports, spec), "hostPort (containers \"a\", \"c\" use hostPorts 80, 9)");
        let spec = value!({ "initContainers": [
            { "name": "a", "livenessProbe": { "httpGet": { "host": "h", "port": 1 } },
              "lifecycle": { "preStop": { "tcpSocket": { "host": "g" } } } }] });
        assert_eq!(
            text(probes, spec),
            "probe or lifecycle host (container \"a\" uses probe or lifecycle hosts \"g\", \"h\")"
        );
        let host = value!({ "windowsOptions": { "hostProcess": true } });
        let spec = value!({ "securityContext": (host.clone()), "containers": [{ "name": "a", "securityContext": (host) }] });
        assert_eq!(
            text(windows_process, spec),
            "hostProcess (pod and container \"a\" must not set securityContext.windowsOptions.hostProcess=true)"
        );
    }
}
