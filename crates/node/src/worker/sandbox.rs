//! The pod's sandbox: network, cgroup, namespaces.

use std::sync::Arc;

use timonier_network::{HostPort, PodRequest};
use timonier_object::Value;
use timonier_pod::{dns, resources, security, spec};
use timonier_runtime as rt;
use timonier_traffic::Protocol;

use super::observe::{IP, POD_UID};
use crate::shared::Shared;

/// Makes a sandbox; the one it replaces is stopped first. Gives its id.
pub(super) async fn create(
    shared: Arc<Shared>,
    pod: Arc<Value>,
    attempt: u32,
    replaces: Option<String>,
) -> Result<String, String> {
    if let Some(old) = replaces {
        match shared.runtime.stop_sandbox(&old).await {
            Err(e) if !e.is_not_found() => return Err(e.to_string()),
            _ => {}
        }
    }
    check(&shared, &pod).await?;
    let dir = shared.config.pod_dir(pod.uid());
    let logs = shared.config.log_dir(pod.namespace(), pod.name(), pod.uid());
    for dir in [&dir, &logs] {
        tokio::fs::create_dir_all(dir).await.map_err(|e| format!("{}: {e}", dir.display()))?;
    }
    let mut config = config(&shared, &pod, attempt);
    if !spec::host_network(&pod) {
        let net = shared.network.attach(request(&pod)).await.map_err(|e| {
            format!("failed to setup network for sandbox of pod {:?}: {e}", spec::describe(&pod))
        })?;
        config.annotations.insert(IP.into(), net.ip.to_string());
        config.network = rt::Network::Namespace(net.netns_path);
    }
    shared.runtime.run_sandbox(config).await.map_err(|e| e.to_string())
}

/// Refuses what this node cannot do, rather than to leave it out silently.
async fn check(shared: &Shared, pod: &Value) -> Result<(), String> {
    if pod.at("spec.hostUsers").as_bool() == Some(false) {
        return Err("user namespaces are not supported by this node's runtime".into());
    }
    if !pod.at("spec.resourceClaims").items().is_empty() {
        return Err("dynamic resource allocation is not supported by this node".into());
    }
    let class = pod.at("spec.runtimeClassName").str();
    if class.is_empty() {
        return Ok(());
    }
    let classes = &timonier_meta::gvk::resources::RUNTIMECLASSES;
    let class = shared.client.get(classes, "", class).await;
    let class = class.map_err(|e| format!("failed to get sandbox runtime: {}", e.message))?;
    match class.at("handler").str() {
        "" | "runc" => Ok(()),
        handler if handler == shared.facts.runtime_name => Ok(()),
        handler => {
            Err(format!("failed to get sandbox runtime: no runtime for {handler:?} is configured"))
        }
    }
}

/// Stops all sandboxes of a pod and takes its network away.
pub(super) async fn stop(
    shared: Arc<Shared>,
    uid: String,
    sandboxes: Vec<String>,
) -> Result<(), String> {
    for id in sandboxes {
        match shared.runtime.stop_sandbox(&id).await {
            Err(e) if !e.is_not_found() => return Err(e.to_string()),
            _ => {}
        }
    }
    shared.network.detach(&uid).await.map_err(|e| e.to_string())
}

fn request(pod: &Value) -> PodRequest {
    let mut host_ports = Vec::new();
    let containers = spec::init_containers(pod).into_iter().chain(spec::main_containers(pod));
    for port in containers.flat_map(|c| c.spec.at("ports").items()) {
        let number = |field: &str| u16::try_from(port.at(field).int_or(0)).unwrap_or(0);
        let protocol = Protocol::parse(port.at("protocol").str());
        // Pods have IPv4 addresses: a port of an IPv6 address of the host leads to none.
        let host_ip = match port.at("hostIP").str() {
            "" => Some(std::net::Ipv4Addr::UNSPECIFIED),
            text => text.parse().ok(),
        };
        if let (Some(protocol), Some(host_ip), true) = (protocol, host_ip, number("hostPort") > 0) {
            host_ports.push(HostPort {
                host_ip,
                protocol,
                host_port: number("hostPort"),
                container_port: number("containerPort"),
            });
        }
    }
    PodRequest {
        uid: pod.uid().into(),
        namespace: pod.namespace().into(),
        name: pod.name().into(),
        host_ports,
    }
}

fn config(shared: &Shared, pod: &Value, attempt: u32) -> rt::SandboxConfig {
    let mut labels = std::collections::BTreeMap::new();
    for (key, value) in pod.at("metadata.labels").entries() {
        labels.insert(key.to_string(), value.str().to_string());
    }
    labels.insert("io.kubernetes.pod.name".into(), pod.name().into());
    labels.insert("io.kubernetes.pod.namespace".into(), pod.namespace().into());
    labels.insert(POD_UID.into(), pod.uid().into());
    let host = spec::host_network(pod);
    let hostname =
        if host { String::new() } else { dns::hostname(pod, &shared.config.cluster_domain).0 };
    let pid = if pod.at("spec.hostPID").bool() {
        rt::PidMode::Host
    } else if pod.at("spec.shareProcessNamespace").bool() {
        rt::PidMode::Pod
    } else {
        rt::PidMode::Container
    };
    let text = |(k, v): (smol_str::SmolStr, smol_str::SmolStr)| (k.to_string(), v.to_string());
    rt::SandboxConfig {
        name: pod.name().into(),
        namespace: pod.namespace().into(),
        uid: pod.uid().into(),
        attempt,
        labels,
        annotations: std::collections::BTreeMap::new(),
        hostname,
        network: rt::Network::Host,
        pid,
        host_ipc: pod.at("spec.hostIPC").bool(),
        sysctls: security::sysctls(pod).into_iter().map(text).collect(),
        cgroup_parent: format!("{}/{}", shared.config.cgroup_root, resources::pod_cgroup_path(pod)),
        resources: crate::container::resources(&resources::pod_cgroup(pod, None)),
        shm_size: 0,
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn host_ports_are_those_of_ipv4_addresses() {
        let pod = value!({ "metadata": { "uid": "u" }, "spec": { "containers": [{ "name": "c",
            "ports": [
                { "containerPort": 80 },
                { "containerPort": 81, "hostPort": 8081, "protocol": "UDP" },
                { "containerPort": 82, "hostPort": 8082, "hostIP": "127.0.0.1" },
                { "containerPort": 83, "hostPort": 8083, "hostIP": "::1" },
            ] }] } });
        let found: Vec<_> = request(&pod)
            .host_ports
            .iter()
            .map(|p| (p.host_ip.to_string(), p.protocol, p.host_port, p.container_port))
            .collect();
        let expected = [
            ("0.0.0.0".to_owned(), Protocol::Udp, 8081, 81),
            ("127.0.0.1".to_owned(), Protocol::Tcp, 8082, 82),
        ];
        assert_eq!(found, expected);
    }
}
