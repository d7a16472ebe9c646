//! Whether a pod that was sent here fits: upstream's general predicates, as the kubelet checks
//! them again. The scheduler decides on what it has seen; the node knows.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_object::Value;

use crate::downward::NodeFacts;
use crate::resources::pod_request;
use crate::spec::{self, init_containers, main_containers};

/// Why a pod is not taken: `status.reason` and `.message`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejection {
    pub reason: SmolStr,
    /// Upstream's text, without `Pod was rejected: `.
    pub message: String,
}

/// Whether a pod has come to its end, so that it takes no room.
pub fn is_over(pod: &Value) -> bool {
    matches!(pod.at("status.phase").str(), "Succeeded" | "Failed")
}

/// Checks a pod against the node and the `others` that are there, ended ones left out.
pub fn admit<'a>(
    pod: &Value,
    others: impl Iterator<Item = &'a Value>,
    node: &NodeFacts,
) -> Result<(), Rejection> {
    host_can(pod)?;
    let others: Vec<&Value> = others.filter(|p| !is_over(p)).collect();
    for (name, capacity) in &node.allocatable {
        let milli = name == "cpu";
        let capacity = if milli { capacity.milli_value() } else { capacity.value() };
        let (requested, used) = if name == "pods" {
            (1, others.len() as i64)
        } else {
            let used = others.iter().map(|p| pod_request(p, name));
            (pod_request(pod, name), used.fold(0, i64::saturating_add))
        };
        if requested > 0 && used.saturating_add(requested) > capacity {
            return Err(Rejection {
                reason: format!("OutOf{name}").into(),
                message: format!(
                    "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
                ),
            });
        }
    }
    let taken: Vec<Port> = others.iter().flat_map(|p| host_ports(p)).collect();
    if host_ports(pod).iter().any(|p| taken.iter().any(|t| p.collides(t))) {
        return Err(Rejection {
            reason: SmolStr::new_static("NodePorts"),
            message: "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports".into(),
        });
    }
    Ok(())
}

/// Checks what the node's system has to offer.
fn host_can(pod: &Value) -> Result<(), Rejection> {
    let os = pod.at("spec.os.name").str();
    if !os.is_empty() && os != "linux" {
        return Err(Rejection {
            reason: SmolStr::new_static("PodOSNotSupported"),
            message: "Failed to admit pod as the OS field doesn't match node OS".into(),
        });
    }
    let outer = pod.at("spec.securityContext.appArmorProfile.type");
    let own = |c: &spec::ContainerSpec<'_>| {
        let own = c.spec.at("securityContext.appArmorProfile.type");
        if own.is_null() { outer.smol() } else { own.smol() }
    };
    let confined = |kind: &SmolStr| !kind.is_empty() && kind != "Unconfined";
    if spec::all_containers(pod).iter().map(own).any(|kind| confined(&kind)) {
        return Err(Rejection {
            reason: SmolStr::new_static("AppArmor"),
            message: "Cannot enforce AppArmor: AppArmor is not enabled on the host".into(),
        });
    }
    Ok(())
}

struct Port {
    ip: SmolStr,
    protocol: SmolStr,
    number: i64,
}

impl Port {
    fn collides(&self, other: &Port) -> bool {
        let any = |ip: &str| ip.is_empty() || ip == "0.0.0.0" || ip == "::";
        self.number == other.number
            && self.protocol == other.protocol
            && (any(&self.ip) || any(&other.ip) || self.ip == other.ip)
    }
}

fn host_ports(pod: &Value) -> Vec<Port> {
    let host = spec::host_network(pod);
    let containers = init_containers(pod).into_iter().chain(main_containers(pod));
    containers
        .filter(|c| c.role != spec::Role::Init)
        .flat_map(|c| c.spec.at("ports").items())
        .filter_map(|p| {
            // On the node's network a container's port is the node's.
            let stated = p.at("hostPort").int_or(0);
            let number = if stated == 0 && host { p.at("containerPort").int_or(0) } else { stated };
            let protocol = match p.at("protocol").smol() {
                p if p.is_empty() => SmolStr::new_static("TCP"),
                p => p,
            };
            (number > 0).then(|| Port { ip: p.at("hostIP").smol(), protocol, number })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use timonier_meta::Quantity;
    use timonier_object::value;

    fn pod(cpu: &str, port: i64) -> Value {
        value!({ "spec": { "containers": [{ "name": "c", "resources": { "requests": { "cpu": cpu } },
            "ports": [{ "containerPort": 80, "hostPort": port }] }] } })
    }

    #[test]
    fn what_does_not_fit_is_told_as_upstream_does() {
        let node = NodeFacts {
            allocatable: BTreeMap::from([
                ("cpu".into(), Quantity::units(2)),
                ("pods".into(), Quantity::units(3)),
            ]),
            ..NodeFacts::default()
        };
        let check = |p: &Value, others: &[Value]| admit(p, others.iter(), &node);
        assert_eq!(check(&pod("2", 0), &[]), Ok(()));
        let error = check(&pod("1500m", 0), &[pod("1", 0)]).unwrap_err();
        assert_eq!(error.reason, "OutOfcpu");
        assert_eq!(
            error.message,
            "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000"
        );
        let mut over = pod("1", 8080);
        over.set("status.phase", "Failed");
        assert_eq!(check(&pod("1500m", 8080), &[over]), Ok(()));
        let full = [pod("0", 0), pod("0", 0), pod("0", 0)];
        assert_eq!(check(&pod("0", 0), &full).unwrap_err().reason, "OutOfpods");
        assert_eq!(check(&pod("0", 80), &[pod("0", 80)]).unwrap_err().reason, "NodePorts");
        assert_eq!(check(&pod("0", 81), &[pod("0", 80)]), Ok(()));
        let windows = value!({ "spec": { "os": { "name": "windows" } } });
        assert_eq!(check(&windows, &[]).unwrap_err().reason, "PodOSNotSupported");
        let mut armed = pod("0", 0);
        armed.set("spec.securityContext.appArmorProfile.type", "RuntimeDefault");
        assert_eq!(check(&armed, &[]).unwrap_err().reason, "AppArmor");
    }
}
