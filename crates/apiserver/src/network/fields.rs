//! The fields of a Service that hang together: type, addresses, families, ports.

use std::collections::{BTreeMap, BTreeSet};

use timonier_meta::{ApiError, FieldError, FieldPath};
use timonier_object::{Value, value};

use crate::call::Call;

fn kind(service: &Value) -> &str {
    match service.at("spec.type").str() {
        "" => "ClusterIP",
        other => other,
    }
}

fn is_headless(service: &Value) -> bool {
    service.at("spec.clusterIP").str() == "None"
}

/// Whether the Service has cluster addresses.
pub fn needs_addresses(service: &Value) -> bool {
    matches!(kind(service), "ClusterIP" | "NodePort" | "LoadBalancer") && !is_headless(service)
}

/// Whether each port of the Service has one on the nodes.
pub fn needs_node_ports(service: &Value) -> bool {
    match kind(service) {
        "NodePort" => true,
        "LoadBalancer" => {
            service.at("spec.allocateLoadBalancerNodePorts").as_bool().unwrap_or(true)
                || service.at("spec.ports").items().iter().any(|p| p.at("nodePort").int_or(0) > 0)
        }
        _ => false,
    }
}

/// Whether the Service has a port for its load balancer's health checks.
pub fn needs_health_port(service: &Value) -> bool {
    kind(service) == "LoadBalancer" && service.at("spec.externalTrafficPolicy").str() == "Local"
}

/// Carries over what was handed out before, drops what the type no longer has, and fills in the
/// address families.
pub fn prepare(call: &Call<'_>, new: &mut Value, old: Option<&Value>) -> Result<(), ApiError> {
    if let Some(old) = old {
        carry_over(new, old);
        drop_unneeded(new, old);
    }
    if kind(new) == "ExternalName" {
        return Ok(());
    }
    let first = new.at("spec.clusterIP").smol();
    if new.at("spec.clusterIPs").is_empty() && !first.is_empty() {
        new.set("spec.clusterIPs", value!([first]));
    } else if first.is_empty() && !new.at("spec.clusterIPs").is_empty() {
        let first = new.at("spec.clusterIPs").items()[0].clone();
        new.set("spec.clusterIP", first);
    }
    families(call, new)
}

fn carry_over(new: &mut Value, old: &Value) {
    let with_address = |s: &Value| kind(s) != "ExternalName";
    if with_address(new) && with_address(old) {
        if new.at("spec.clusterIP").is_empty() {
            carry(new, old, "spec.clusterIP");
        }
        let same = new.at("spec.clusterIP") == old.at("spec.clusterIP");
        if new.at("spec.clusterIPs").is_empty() && same {
            carry(new, old, "spec.clusterIPs");
        }
        for field in ["spec.ipFamilies", "spec.ipFamilyPolicy"] {
            if new.at(field).is_empty() {
                carry(new, old, field);
            }
        }
    }
    if needs_node_ports(new) && needs_node_ports(old) {
        carry_node_ports(new, old);
    }
    if needs_health_port(new)
        && needs_health_port(old)
        && new.at("spec.healthCheckNodePort").is_empty()
    {
        carry(new, old, "spec.healthCheckNodePort");
    }
}

fn carry(new: &mut Value, old: &Value, path: &str) {
    if let Some(value) = old.find(path) {
        new.set(path, value.clone());
    }
}

/// A port keeps its number on the nodes as long as port and protocol stay.
fn carry_node_ports(new: &mut Value, old: &Value) {
    let Some(ports) = new.find_mut("spec.ports").and_then(Value::as_array_mut) else { return };
    let id = |port: &Value| (port.at("port").as_i64(), port.at("protocol").smol());
    let mut numbers = BTreeMap::new();
    for port in old.at("spec.ports").items() {
        numbers.entry(id(port)).or_insert(port.at("nodePort").int_or(0));
    }
    let mut used: BTreeSet<i64> = ports.iter().map(|p| p.at("nodePort").int_or(0)).collect();
    for port in ports.iter_mut().filter(|p| p.at("nodePort").int_or(0) == 0) {
        let number = numbers.get(&id(port)).copied().unwrap_or(0);
        if number > 0 && used.insert(number) {
            port.set("nodePort", number);
        }
    }
}

/// A changed type loses what only the old type had, where the client left that as it was.
fn drop_unneeded(new: &mut Value, old: &Value) {
    if kind(old) != "ExternalName"
        && kind(new) == "ExternalName"
        && new.at("spec.clusterIP") == old.at("spec.clusterIP")
    {
        for field in ["spec.clusterIP", "spec.clusterIPs", "spec.ipFamilies", "spec.ipFamilyPolicy"]
        {
            new.remove(field);
        }
    }
    if needs_node_ports(old) && !matches!(kind(new), "NodePort" | "LoadBalancer") {
        let before: BTreeSet<i64> =
            old.at("spec.ports").items().iter().map(|p| p.at("nodePort").int_or(0)).collect();
        if let Some(ports) = new.find_mut("spec.ports").and_then(Value::as_array_mut) {
            for port in ports.iter_mut() {
                if before.contains(&port.at("nodePort").int_or(0)) {
                    port.remove("nodePort");
                }
            }
        }
    }
    let same = new.at("spec.healthCheckNodePort") == old.at("spec.healthCheckNodePort");
    if needs_health_port(old) && !needs_health_port(new) && same {
        new.remove("spec.healthCheckNodePort");
    }
    let outside = |s: &Value| matches!(kind(s), "NodePort" | "LoadBalancer");
    let policy = "spec.externalTrafficPolicy";
    if outside(old) && !outside(new) && new.at(policy) == old.at(policy) {
        new.remove(policy);
    }
    if kind(old) == "LoadBalancer" && kind(new) != "LoadBalancer" {
        new.set("status.loadBalancer", Value::object());
        for field in ["spec.allocateLoadBalancerNodePorts", "spec.loadBalancerClass"] {
            if new.at(field) == old.at(field) {
                new.remove(field);
            }
        }
    }
}

fn families(call: &Call<'_>, new: &mut Value) -> Result<(), ApiError> {
    let network = &call.server.network;
    let primary = network.cidrs[0].family();
    let dual = network.cidrs.len() == 2;
    let selectorless = is_headless(new) && new.at("spec.selector").is_empty();
    let wanted = new.at("spec.ipFamilies").items().len();
    let addresses = new.at("spec.clusterIPs").items().len();
    if new.at("spec.ipFamilyPolicy").is_empty() {
        let both = selectorless && wanted == 0 || wanted == 2 || addresses == 2;
        new.set("spec.ipFamilyPolicy", if both { "RequireDualStack" } else { "SingleStack" });
    }
    let policy = new.at("spec.ipFamilyPolicy").smol();
    let mut errors = Vec::new();
    if !selectorless {
        if policy == "RequireDualStack" && !dual {
            errors.push(FieldError::invalid_str(
                &FieldPath::new("spec.ipFamilyPolicy"),
                &policy,
                "this cluster is not configured for dual-stack services",
            ));
        }
        for (i, family) in new.at("spec.ipFamilies").items().iter().enumerate() {
            if network.cidrs.iter().all(|c| c.family() != family.str()) {
                errors.push(FieldError::invalid_str(
                    &FieldPath::new("spec.ipFamilies").index(i),
                    family.str(),
                    "not configured on this cluster",
                ));
            }
        }
    }
    if !errors.is_empty() {
        return Err(call.invalid(new.name(), &errors));
    }
    if wanted == 0 {
        let first = new.at("spec.clusterIPs").items().first().and_then(family_of);
        new.set("spec.ipFamilies", value!([(first.unwrap_or(primary))]));
    }
    let room = selectorless || dual;
    if policy != "SingleStack" && new.at("spec.ipFamilies").items().len() == 1 && room {
        let other = match new.at("spec.ipFamilies").items()[0].str() {
            "IPv4" => "IPv6",
            _ => "IPv4",
        };
        new.entry("spec.ipFamilies").make_array().push(other.into());
    }
    Ok(())
}

fn family_of(address: &Value) -> Option<&'static str> {
    let ip: std::net::IpAddr = address.str().parse().ok()?;
    Some(if ip.is_ipv4() { "IPv4" } else { "IPv6" })
}
