//! Endpoints and EndpointSlices.

use alloc::collections::BTreeSet;

use timonier_meta::names;
use timonier_object::Value;

use super::at::{At, Errors, immutable, same};
use super::common::{check, labels, legacy_ip, port, sloppy_ip, strict_ip};
use super::service::endpoint_ip;

/// Checks Endpoints. Unchanged subsets stay as they are.
pub fn endpoints(e: &mut Errors, new: &Value, old: Option<&Value>) {
    if old.is_some_and(|old| same(old.at("subsets"), new.at("subsets"))) {
        return;
    }
    for subset in At::top(new).get("subsets").items() {
        let lists = [subset.get("addresses"), subset.get("notReadyAddresses")];
        if lists.iter().all(|list| list.is_empty()) {
            subset.required(e, "must specify `addresses` or `notReadyAddresses`");
        }
        for list in &lists {
            for address in list.items() {
                endpoint_address(e, &address);
            }
        }
        let ports = subset.get("ports");
        for item in ports.items() {
            let name = item.get("name");
            if ports.len() > 1 && name.is_empty() {
                name.required(e, "");
            } else if !name.is_empty() {
                check(e, &name, names::dns1123_label);
            }
            port(e, &item.get("port"));
            item.get("protocol").required_one_of(e, &["SCTP", "TCP", "UDP"]);
            app_protocol(e, &item);
        }
    }
}

fn app_protocol(e: &mut Errors, item: &At<'_>) {
    let protocol = item.get("appProtocol");
    if protocol.is_set() {
        check(e, &protocol, names::qualified_name);
    }
}

fn endpoint_address(e: &mut Errors, at: &At<'_>) {
    let (ip, host, node) = (at.get("ip"), at.get("hostname"), at.get("nodeName"));
    legacy_ip(e, &ip);
    if !host.is_empty() {
        check(e, &host, names::dns1123_label);
    }
    if node.is_set() {
        check(e, &node, names::dns1123_subdomain);
    }
    endpoint_ip(e, &ip);
}

/// Checks an EndpointSlice.
pub fn slice(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let top = At::top(new);
    let kind = top.get("addressType");
    kind.required_one_of(e, &["FQDN", "IPv4", "IPv6"]);
    slice_ports(e, &top.get("ports"));
    if !old.is_some_and(|old| same(old.at("endpoints"), new.at("endpoints"))) {
        let at = top.get("endpoints");
        if at.len() > 1000 {
            at.too_many(e, 1000);
        }
        for endpoint in at.items() {
            slice_endpoint(e, &endpoint, kind.str());
        }
    }
    if let Some(old) = old {
        immutable(e, &kind, &At::top(old).get("addressType"));
    }
}

fn slice_ports(e: &mut Errors, at: &At<'_>) {
    if at.len() > 20000 {
        at.too_many(e, 20000);
    }
    let mut seen = BTreeSet::new();
    for item in at.items() {
        let name = item.get("name");
        if !name.is_empty() {
            check(e, &name, names::dns1123_label);
        }
        if !seen.insert(name.str()) {
            name.bad_duplicate(e, name.str());
        }
        let protocol = item.get("protocol");
        if protocol.is_set() {
            protocol.one_of(e, &["SCTP", "TCP", "UDP"]);
        } else {
            protocol.required(e, "");
        }
        app_protocol(e, &item);
    }
}

fn slice_endpoint(e: &mut Errors, at: &At<'_>, kind: &str) {
    let addresses = at.get("addresses");
    if addresses.is_empty() {
        addresses.required(e, "must contain at least 1 address");
    } else if addresses.len() > 100 {
        addresses.too_many(e, 100);
    }
    for address in addresses.items() {
        slice_address(e, &address, &addresses, kind);
    }
    for (field, rule) in [
        ("nodeName", names::dns1123_subdomain as super::common::Check),
        ("hostname", names::dns1123_label),
    ] {
        let at = at.get(field);
        if at.is_set() {
            check(e, &at, rule);
        }
    }
    let topology = at.get("deprecatedTopology");
    if topology.len() > 16 {
        topology.too_many(e, 16);
    }
    labels(e, &topology);
    for (field, rule) in [
        ("hints.forZones", names::label_value as super::common::Check),
        ("hints.forNodes", names::dns1123_subdomain),
    ] {
        let list = at.get(field);
        if list.len() > 8 {
            list.too_many(e, 8);
        }
        let mut seen = BTreeSet::new();
        for item in list.items() {
            let name = item.get("name");
            if !seen.insert(name.str()) {
                name.bad_duplicate(e, name.str());
            }
            check(e, &name, rule);
        }
    }
}

fn slice_address(e: &mut Errors, at: &At<'_>, list: &At<'_>, kind: &str) {
    let before = e.len();
    let v4 = sloppy_ip(at.str()).is_some_and(|ip| ip.is_ipv4());
    match kind {
        "IPv4" => legacy_ip(e, at),
        "IPv6" => strict_ip(e, at),
        "FQDN" => {
            fully_qualified(e, at);
            return;
        }
        _ => return,
    }
    if e.len() > before {
        return;
    }
    if (kind == "IPv4") != v4 {
        let why = alloc::format!("must be an {kind} address");
        at.named(list.path.clone()).bad_str(e, why);
    }
    endpoint_ip(e, at);
}

/// Demands a name with at least two labels; a dot at the end is allowed.
pub fn fully_qualified(e: &mut Errors, at: &At<'_>) {
    let text = at.str();
    if text.is_empty() {
        at.required(e, "");
        return;
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    let wrong = names::dns1123_subdomain(text);
    if !wrong.is_empty() {
        at.bad(e, super::common::show_str(text), wrong.join(","));
        return;
    }
    if !text.contains('.') {
        at.bad(
            e,
            super::common::show_str(text),
            "should be a domain with at least two segments separated by dots",
        );
        return;
    }
    for label in text.split('.') {
        let wrong = names::dns1123_label(label);
        if !wrong.is_empty() {
            at.bad(e, super::common::show_str(label), wrong.join(","));
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use timonier_object::value;

    use super::*;

    #[test]
    fn addresses_fit_their_type() {
        let s = value!({ "addressType": "IPv4",
            "endpoints": [{ "addresses": ["10.0.0.1"] }, { "addresses": ["fd00::1"] }, { "addresses": ["127.0.0.1"] }],
            "ports": [{ "name": "", "protocol": "TCP", "port": 80 }] });
        let mut e = Errors::new();
        slice(&mut e, &s, None);
        let texts: Vec<String> = e.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "endpoints[1].addresses: Invalid value: \"fd00::1\": must be an IPv4 address",
                "endpoints[2].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)"
            ]
        );
    }
}
