//! Network policies, ingresses and their classes.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use timonier_meta::names;
use timonier_object::Value;

use super::at::{At, Errors, immutable};
use super::common::{NOT_A_CIDR, check, cidr, demand, label_selector, port, show_str, sloppy_ip};

/// Checks a network policy.
pub fn network_policy(e: &mut Errors, new: &Value) {
    let spec = At::top(new).get("spec");
    label_selector(e, &spec.get("podSelector"));
    for (list, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.get(list).items() {
            for item in rule.get("ports").items() {
                policy_port(e, &item);
            }
            for peer in rule.get(peers).items() {
                policy_peer(e, &peer);
            }
        }
    }
    let types = spec.get("policyTypes");
    if types.len() > 2 {
        types.invalid(e, "may not specify more than two policyTypes");
        return;
    }
    for kind in types.items() {
        kind.one_of(e, &["Ingress", "Egress"]);
    }
}

fn policy_port(e: &mut Errors, at: &At<'_>) {
    let (protocol, number, end) = (at.get("protocol"), at.get("port"), at.get("endPort"));
    if protocol.is_set() {
        protocol.one_of(e, &["TCP", "UDP", "SCTP"]);
    }
    match number.value {
        Value::Null => {
            if end.is_set() {
                end.bad_int(e, "may not be specified when `port` is not specified");
            }
        }
        Value::Str(_) => {
            if end.is_set() {
                end.bad_int(e, "may not be specified when `port` is non-numeric");
            }
            check(e, &number, names::port_name);
        }
        _ => {
            port(e, &number);
            if end.is_set() {
                if end.int() < number.int() {
                    end.bad(e, number.int(), "must be greater than or equal to `port`");
                }
                port(e, &end);
            }
        }
    }
}

fn policy_peer(e: &mut Errors, at: &At<'_>) {
    let block = at.get("ipBlock");
    let mut peers = 0;
    for selector in ["podSelector", "namespaceSelector"] {
        let selector = at.get(selector);
        if selector.is_set() {
            peers += 1;
            label_selector(e, &selector);
        }
    }
    if block.is_set() {
        peers += 1;
        ip_block(e, &block);
    }
    if peers == 0 {
        at.required(e, "must specify a peer");
    } else if peers > 1 && block.is_set() {
        at.forbidden(e, "may not specify both ipBlock and another peer");
    }
}

fn ip_block(e: &mut Errors, at: &At<'_>) {
    let range = at.get("cidr");
    if !range.demand(e) {
        return;
    }
    let Some((network, bits)) = cidr(range.str()) else {
        range.bad_str(e, NOT_A_CIDR);
        return;
    };
    for except in at.get("except").items() {
        match cidr(except.str()) {
            None => except.bad_str(e, NOT_A_CIDR),
            Some((ip, longer)) if bits >= longer || !covers(network, bits, ip, longer) => {
                except.bad_str(e, "must be a strict subset of `cidr`");
            }
            Some(_) => {}
        }
    }
}

/// Whether a network holds the network address of another.
fn covers(network: core::net::IpAddr, bits: u8, ip: core::net::IpAddr, _longer: u8) -> bool {
    use core::net::IpAddr::{V4, V6};
    let (a, b, width) = match (network, ip) {
        (V4(a), V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32u32),
        (V6(a), V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    let shift = width.saturating_sub(u32::from(bits));
    shift >= 128 || a >> shift == b >> shift
}

/// Checks an ingress.
pub fn ingress(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let top = At::top(new);
    let spec = top.get("spec");
    let (rules, backend) = (spec.get("rules"), spec.get("defaultBackend"));
    if rules.is_empty() && !backend.is_set() {
        let why = "either `defaultBackend` or `rules` must be specified";
        spec.bad(e, rules.value, why);
    }
    if backend.is_set() {
        ingress_backend(e, &backend);
    }
    for rule in rules.items() {
        let host = rule.get("host");
        if !host.is_empty() {
            if sloppy_ip(host.str()).is_some() {
                host.bad_str(e, "must be a DNS name, not an IP address");
            }
            host_name(e, &host);
        }
        if rule.get("http").is_set() {
            http_rule(e, &rule.get("http"));
        }
    }
    for item in spec.get("tls").items() {
        for host in item.get("hosts").items() {
            host_name(e, &host);
        }
        let secret = item.get("secretName");
        if !secret.is_empty() {
            check(e, &secret, names::dns1123_subdomain);
        }
    }
    let class = spec.get("ingressClassName");
    if class.is_set() {
        check(e, &class, names::dns1123_subdomain);
    }
    const NOTE: &str = "kubernetes.io/ingress.class";
    let note = new.annotation(NOTE);
    if old.is_none() && class.is_set() && note.is_some_and(|note| note != class.str()) {
        let at = class.named(timonier_meta::FieldPath::new("annotations").child(NOTE));
        let why = "must match `ingressClassName` when both are specified";
        at.bad(e, show_str(note.unwrap_or("")), why);
    }
}

fn host_name(e: &mut Errors, at: &At<'_>) {
    if at.str().contains('*') {
        check(e, at, wildcard);
    } else {
        check(e, at, names::dns1123_subdomain);
    }
}

fn wildcard(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > 253 {
        errors.push("must be no more than 253 characters".to_string());
    }
    let rest = text
        .strip_prefix("*.")
        .filter(|rest| rest.len() <= 253 && names::dns1123_subdomain(rest).is_empty());
    if rest.is_none() {
        errors.push(r"a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')".to_string());
    }
    errors
}

fn http_rule(e: &mut Errors, at: &At<'_>) {
    let paths = at.get("paths");
    if paths.is_empty() {
        paths.required(e, "");
    }
    for item in paths.items() {
        let (path, kind) = (item.get("path"), item.get("pathType"));
        let text = path.str();
        match kind.str() {
            "Exact" | "Prefix" => {
                if !text.starts_with('/') {
                    path.bad_str(e, "must be an absolute path");
                }
                for part in ["//", "/./", "/../", "%2f", "%2F"] {
                    if text.contains(part) {
                        path.bad_str(e, format!("must not contain '{part}'"));
                    }
                }
                for end in ["/..", "/."] {
                    if text.ends_with(end) {
                        path.bad_str(e, format!("cannot end with '{end}'"));
                    }
                }
            }
            "ImplementationSpecific" => {
                if !text.is_empty() && !text.starts_with('/') {
                    path.bad_str(e, "must be an absolute path");
                }
            }
            _ if !kind.is_set() => {
                kind.required(e, "pathType must be specified");
                continue;
            }
            _ => kind.unsupported(e, &["Exact", "ImplementationSpecific", "Prefix"]),
        }
        ingress_backend(e, &item.get("backend"));
    }
}

fn ingress_backend(e: &mut Errors, at: &At<'_>) {
    let (resource, service) = (at.get("resource"), at.get("service"));
    match (resource.is_set(), service.is_set()) {
        (true, true) => at.bad(e, "\"\"", "cannot set both resource and service backends"),
        (false, false) => at.bad(e, "\"\"", "resource or service backend is required"),
        (true, false) => reference(e, &resource),
        (false, true) => {
            demand(e, &service.get("name"), names::dns1035_label);
            let (name, number) = (service.get("port.name"), service.get("port.number"));
            match (!name.is_empty(), number.int() != 0) {
                (true, true) => at.bad(e, "\"\"", "cannot set both port name & port number"),
                (true, false) => check(e, &name, names::port_name),
                (false, true) => port(e, &number),
                (false, false) => at.required(e, "port name or number is required"),
            }
        }
    }
}

fn reference(e: &mut Errors, at: &At<'_>) {
    let group = at.get("apiGroup");
    if group.is_set() {
        check(e, &group, names::dns1123_subdomain);
    }
    demand(e, &at.get("kind"), names::path_segment);
    demand(e, &at.get("name"), names::path_segment);
}

/// Checks an ingress class.
pub fn ingress_class(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let spec = At::top(new).get("spec");
    let controller = spec.get("controller");
    if let Some(old) = old {
        immutable(e, &controller, &At::top(old).get("spec.controller"));
    }
    if controller.str().len() > 250 {
        controller.too_long(e, 250);
    }
    domain_path(e, &controller);
    let parameters = spec.get("parameters");
    if !parameters.is_set() {
        return;
    }
    reference(e, &parameters);
    let (scope, namespace) = (parameters.get("scope"), parameters.get("namespace"));
    if !scope.is_set() {
        scope.required(e, "");
    }
    scope.one_of(e, &["Cluster", "Namespace"]);
    match (scope.str(), namespace.is_set()) {
        ("Namespace", false) => {
            namespace.required(e, "`parameters.scope` is set to 'Namespace'");
        }
        ("Namespace", true) => check(e, &namespace, names::dns1123_label),
        ("Cluster", true) => namespace.forbidden(e, "`parameters.scope` is set to 'Cluster'"),
        _ => {}
    }
}

/// Demands a domain, a slash, and a path.
pub fn domain_path(e: &mut Errors, at: &At<'_>) {
    if !at.demand(e) {
        return;
    }
    let parts = at.str().split_once('/').filter(|(a, b)| !a.is_empty() && !b.is_empty());
    let Some((domain, path)) = parts else {
        at.bad_str(e, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        return;
    };
    for why in names::dns1123_subdomain(domain) {
        at.bad(e, show_str(domain), why);
    }
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&c);
    if !path.bytes().all(allowed) {
        at.bad(
            e,
            show_str(path),
            "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')",
        );
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn blocks_and_backends() {
        let policy = value!({ "spec": { "podSelector": {}, "ingress": [{ "from": [
            { "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "11.0.0.0/16"] } }, {}] }] } });
        let mut e = Errors::new();
        network_policy(&mut e, &policy);
        let texts: Vec<String> = e.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "spec.ingress[0].from[0].ipBlock.except[1]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
                "spec.ingress[0].from[1]: Required value: must specify a peer"
            ]
        );
        e.clear();
        ingress(
            &mut e,
            &value!({ "spec": { "defaultBackend": { "service": { "name": "a", "port": {} } } } }),
            None,
        );
        assert_eq!(
            e[0].to_string(),
            "spec.defaultBackend: Required value: port name or number is required"
        );
    }
}
