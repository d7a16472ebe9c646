//! Services, endpoints, ingresses and network policies.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use timonier_object::Value;

use super::cells::{self, NONE};
use super::{Column, age, path, text, wide};

/// The columns after the name.
pub(super) fn columns(key: (&str, &str)) -> Option<Vec<Column>> {
    Some(match key {
        ("", "services") => vec![
            path("Type", "spec.type"),
            text("Cluster-IP", |o, _| cells::str_or_none(o, "spec.clusterIP")),
            text("External-IP", |o, _| external_ip(o)),
            text("Port(s)", |o, _| service_ports(o)),
            age(),
            wide(text("Selector", |o, _| cells::pairs(o.at("spec.selector")))),
        ],
        ("", "endpoints") => vec![text("Endpoints", |o, _| endpoints(o)), age()],
        ("discovery.k8s.io", "endpointslices") => vec![
            path("AddressType", "addressType"),
            text("Ports", |o, _| slice_ports(o)),
            text("Endpoints", |o, _| slice_endpoints(o)),
            age(),
        ],
        ("networking.k8s.io", "ingresses") => vec![
            text("Class", |o, _| {
                let class = o.at("spec.ingressClassName").as_str();
                class.or(o.annotation("kubernetes.io/ingress.class")).unwrap_or(NONE).into()
            }),
            text("Hosts", |o, _| ingress_hosts(o)),
            text("Address", |o, _| load_balancer(o).into()),
            text("Ports", |o, _| {
                if o.at("spec.tls").items().is_empty() { "80" } else { "80, 443" }.into()
            }),
            age(),
        ],
        ("networking.k8s.io", "ingressclasses") => vec![
            path("Controller", "spec.controller"),
            text("Parameters", |o, _| {
                let p = o.at("spec.parameters");
                if p.is_null() {
                    return "<none>".into();
                }
                let group = p.at("apiGroup").str();
                let dot = if group.is_empty() { "" } else { "." };
                format!("{}{dot}{group}/{}", p.at("kind").str(), p.at("name").str()).into()
            }),
            age(),
        ],
        ("networking.k8s.io", "networkpolicies") => {
            vec![text("Pod-Selector", |o, _| cells::selector(o.at("spec.podSelector"))), age()]
        }
        ("networking.k8s.io", "ipaddresses") => vec![
            text("ParentRef", |o, _| {
                let p = o.at("spec.parentRef");
                let parts = ["group", "resource", "namespace", "name"].map(|f| p.at(f).str());
                let [group, resource, namespace, name] = parts;
                let resource = cells::or_none([resource, group].join(".").trim_matches('.'));
                let parts: Vec<&str> = [resource.as_str(), namespace, name]
                    .into_iter()
                    .filter(|s| !s.is_empty())
                    .collect();
                parts.join("/").into()
            }),
            age(),
        ],
        ("networking.k8s.io", "servicecidrs") => vec![
            text("CIDRs", |o, _| {
                let list: Vec<&str> = o.at("spec.cidrs").items().iter().map(Value::str).collect();
                list.join(",").into()
            }),
            age(),
        ],
        _ => return None,
    })
}

fn load_balancer(object: &Value) -> String {
    let list: Vec<&str> = object
        .at("status.loadBalancer.ingress")
        .items()
        .iter()
        .map(|i| i.at("ip").as_str().unwrap_or_else(|| i.at("hostname").str()))
        .filter(|s| !s.is_empty())
        .collect();
    list.join(",")
}

fn external_ip(service: &Value) -> Value {
    let external: Vec<&str> =
        service.at("spec.externalIPs").items().iter().map(Value::str).collect();
    match service.at("spec.type").str() {
        "ExternalName" => service.at("spec.externalName").clone(),
        "LoadBalancer" => {
            let ips = load_balancer(service);
            let all: Vec<&str> =
                Some(ips.as_str()).filter(|s| !s.is_empty()).into_iter().chain(external).collect();
            if all.is_empty() { "<pending>".into() } else { all.join(",").into() }
        }
        _ => cells::or_none(external.join(",")).into(),
    }
}

fn service_ports(service: &Value) -> Value {
    let list: Vec<String> = service
        .at("spec.ports")
        .items()
        .iter()
        .map(|p| {
            let (port, protocol) = (p.at("port").int_or(0), p.at("protocol").str());
            match p.at("nodePort").int_or(0) {
                0 => format!("{port}/{protocol}"),
                node => format!("{port}:{node}/{protocol}"),
            }
        })
        .collect();
    cells::or_none(list.join(",")).into()
}

/// At most `max` texts with commas between, then how many more there are.
fn some_of(list: &[String], max: usize) -> String {
    match list.len() {
        n if n > max => format!("{} + {} more...", list[..max].join(","), n - max),
        _ => cells::or_none(list.join(",")),
    }
}

fn endpoints(object: &Value) -> Value {
    let mut list = Vec::new();
    for subset in object.at("subsets").items() {
        let ports = subset.at("ports").items();
        for address in subset.at("addresses").items() {
            let ip = address.at("ip").str();
            if ports.is_empty() {
                list.push(ip.to_string());
            }
            list.extend(ports.iter().map(|p| format!("{ip}:{}", p.at("port").int_or(0))));
        }
    }
    some_of(&list, 3).into()
}

fn slice_ports(slice: &Value) -> Value {
    let ports = slice.at("ports").items();
    if ports.is_empty() {
        return "<unset>".into();
    }
    let list: Vec<String> = ports
        .iter()
        .map(|p| p.at("port").as_i64().map_or("*".to_string(), |n| n.to_string()))
        .collect();
    some_of(&list, 3).into()
}

fn slice_endpoints(slice: &Value) -> Value {
    let list: Vec<String> = slice
        .at("endpoints")
        .items()
        .iter()
        .flat_map(|e| e.at("addresses").items())
        .map(|a| a.str().to_string())
        .collect();
    if list.is_empty() { "<unset>".into() } else { some_of(&list, 3).into() }
}

fn ingress_hosts(ingress: &Value) -> Value {
    let hosts: Vec<String> = ingress
        .at("spec.rules")
        .items()
        .iter()
        .map(|r| r.at("host").str().to_string())
        .filter(|h| !h.is_empty())
        .collect();
    if hosts.is_empty() { "*".into() } else { some_of(&hosts, 3).into() }
}

#[cfg(test)]
mod tests {
    use timonier_meta::gvk::resources::SERVICES;
    use timonier_object::value;

    use crate::columns::tests::row;

    #[test]
    fn services() {
        let object = value!({
            "metadata": { "name": "s", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "type": "NodePort", "clusterIP": "10.96.0.7", "selector": { "app": "web" },
                "ports": [{ "port": 80, "protocol": "TCP", "nodePort": 30080 }, { "port": 53, "protocol": "UDP" }] },
        });
        assert_eq!(
            row(&SERVICES, &object),
            "s|NodePort|10.96.0.7|<none>|80:30080/TCP,53/UDP|10m|app=web"
        );
    }
}
