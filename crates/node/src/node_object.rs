//! The Node object as upstream's kubelet writes it.

use std::net::IpAddr;

use timonier_meta::{Quantity, SmolStr, Time};
use timonier_object::{Value, value};
use timonier_oci::Image;
use timonier_runtime::Version;

use crate::config::NodeConfig;
use crate::machine::{Machine, Pressure};

/// At most so many images are listed (upstream's).
const IMAGES: usize = 50;

/// The object to register.
pub(crate) fn node(config: &NodeConfig, machine: &Machine) -> Value {
    let mut labels = value!({
        "beta.kubernetes.io/arch": (machine.arch), "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": (machine.arch), "kubernetes.io/hostname": (config.name.as_str()),
        "kubernetes.io/os": "linux" });
    for (key, text) in &config.labels {
        labels.make_object().insert(key.as_str(), text.as_str().into());
    }
    let mut node = value!({ "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": (config.name.as_str()), "labels": labels }, "spec": {} });
    if !config.pod_cidr.is_empty() {
        node.set("spec.podCIDR", config.pod_cidr.as_str());
        node.set("spec.podCIDRs", value!([(config.pod_cidr.as_str())]));
    }
    node
}

/// What the status is made from.
pub(crate) struct Facts<'a> {
    pub config: &'a NodeConfig,
    pub machine: &'a Machine,
    pub pressure: Pressure,
    pub images: &'a [Image],
    pub runtime: &'a Version,
    /// The status before, for times of transition.
    pub before: &'a Value,
    pub now: Time,
}

/// The whole status.
pub(crate) fn status(f: &Facts<'_>) -> Value {
    let (config, machine) = (f.config, f.machine);
    let mut addresses: Vec<Value> = config
        .addresses
        .iter()
        .map(|a: &IpAddr| value!({ "type": "InternalIP", "address": (a.to_string()) }))
        .collect();
    addresses.push(value!({ "type": "Hostname", "address": (config.name.as_str()) }));
    value!({
        "capacity": (quantities(machine.capacity(config.max_pods))),
        "allocatable": (quantities(machine.allocatable(config.max_pods))),
        "conditions": (conditions(f)),
        "addresses": (Value::array(addresses)),
        "daemonEndpoints": { "kubeletEndpoint": { "Port": (config.kubelet_port) } },
        "nodeInfo": {
            "machineID": (machine.machine_id.as_str()),
            "systemUUID": (machine.system_uuid.as_str()),
            "bootID": (machine.boot_id.as_str()),
            "kernelVersion": (machine.kernel.as_str()),
            "osImage": (machine.os_image.as_str()),
            "containerRuntimeVersion": (format!("{}://{}", f.runtime.name, f.runtime.version)),
            "kubeletVersion": (config.version.as_str()),
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": (machine.arch),
            "swap": { "capacity": (machine.swap) },
        },
        "images": (images(f.images)),
        "runtimeHandlers": [{ "name": "",
            "features": { "recursiveReadOnlyMounts": true, "userNamespaces": false } }],
        "features": { "supplementalGroupsPolicy": true },
    })
}

fn quantities(map: std::collections::BTreeMap<SmolStr, Quantity>) -> Value {
    map.into_iter().map(|(k, q)| (k, q.to_string())).collect()
}

fn images(images: &[Image]) -> Value {
    let mut sorted: Vec<&Image> = images.iter().collect();
    sorted.sort_by_key(|i| std::cmp::Reverse(i.size));
    let named =
        sorted.into_iter().filter(|i| !i.repo_tags.is_empty() || !i.repo_digests.is_empty());
    Value::array(named.take(IMAGES).map(|i| {
        let names = i.repo_digests.iter().chain(&i.repo_tags).take(5).map(Value::from);
        value!({ "names": (Value::array(names)), "sizeBytes": (i.size as i64) })
    }))
}

fn conditions(f: &Facts<'_>) -> Value {
    let pressure = |on: bool, kind: &str, texts: [(&str, &str); 2]| {
        let (reason, message) = texts[usize::from(on)];
        (kind.to_string(), on, reason.to_string(), message.to_string())
    };
    let all = [
        pressure(
            f.pressure.memory,
            "MemoryPressure",
            [
                ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ],
        ),
        pressure(
            f.pressure.disk,
            "DiskPressure",
            [
                ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ],
        ),
        pressure(
            f.pressure.pids,
            "PIDPressure",
            [
                ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ],
        ),
        ("Ready".into(), true, "KubeletReady".into(), "kubelet is posting ready status".into()),
    ];
    let before = f.before.at("conditions").items();
    Value::array(all.into_iter().map(|(kind, on, reason, message)| {
        let status = if on { "True" } else { "False" };
        let old =
            before.iter().find(|c| c.at("type").str() == kind && c.at("status").str() == status);
        let since = old.and_then(|c| c.at("lastTransitionTime").as_str().map(String::from));
        let now = f.now.rfc3339();
        value!({ "type": kind, "status": status, "lastHeartbeatTime": (now.as_str()),
            "lastTransitionTime": (since.unwrap_or_else(|| now.clone())),
            "reason": reason, "message": message })
    }))
}

/// Whether two statuses say the same but for the time of the heartbeat.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    let strip = |v: &Value| {
        let mut v = v.clone();
        if let Some(list) = v.get_mut("conditions").and_then(Value::as_array_mut) {
            for c in list.iter_mut() {
                c.remove("lastHeartbeatTime");
            }
        }
        v
    };
    strip(a) == strip(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_node() {
        let mut config = NodeConfig::new("n1", "/x");
        config.addresses = vec!["10.0.0.2".parse().unwrap()];
        config.pod_cidr = "10.244.0.0/24".into();
        let machine = Machine { cpus: 2, memory: 8 << 30, disk: 100 << 30, ..Machine::default() };
        let runtime = Version { name: "timonier".into(), version: "0.1.0".into() };
        let mut facts = Facts {
            config: &config,
            machine: &machine,
            pressure: Pressure::default(),
            images: &[],
            runtime: &runtime,
            before: &Value::Null,
            now: Time::from_unix(0),
        };
        let first = status(&facts);
        assert_eq!(first.at("capacity.memory").str(), "8Gi");
        assert_eq!(first.at("nodeInfo.containerRuntimeVersion").str(), "timonier://0.1.0");
        let ready = &first.at("conditions").items()[3];
        assert_eq!(ready.at("reason").str(), "KubeletReady");
        facts.before = &first;
        facts.now = Time::from_unix(300);
        let second = status(&facts);
        assert!(second != first && same(&second, &first));
        facts.pressure.disk = true;
        let third = status(&facts);
        assert!(!same(&third, &first));
        let disk = &third.at("conditions").items()[1];
        assert_eq!(disk.at("reason").str(), "KubeletHasDiskPressure");
        assert_eq!(disk.at("lastTransitionTime").str(), "1970-01-01T00:05:00Z");
        assert_eq!(node(&config, &machine).at("spec.podCIDR").str(), "10.244.0.0/24");
    }
}
