//! Services.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;

use timonier_meta::names;
use timonier_object::Value;

use super::at::{At, Errors, IMMUTABLE};
use super::common::{
    NOT_A_CIDR, check, cidr, is_dual, labels, legacy_ip, port, port_or_name, show_str, sloppy_ip,
};

const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";

/// Checks a new service.
pub fn create(e: &mut Errors, service: &Value) {
    service_spec(e, &At::top(service), None);
}

/// Checks a changed service.
pub fn update(e: &mut Errors, new: &Value, old: &Value) {
    let (new, old) = (At::top(new), At::top(old));
    kept_addresses(e, &new.get("spec"), &old.get("spec"));
    kept_families(e, &new.get("spec"), &old.get("spec"));
    let (class, before) = (new.get("spec.loadBalancerClass"), old.get("spec.loadBalancerClass"));
    if kind(&old) == "LoadBalancer" && kind(&new) == "LoadBalancer" && class.value != before.value {
        class.invalid(e, "may not change once set");
    }
    load_balancer_class(e, &new);
    let (check, was) = (new.get("spec.healthCheckNodePort"), old.get("spec.healthCheckNodePort"));
    if needs_check(&new) && needs_check(&old) && check.int() != was.int() {
        check.forbidden(e, IMMUTABLE);
    }
    service_spec(e, &new, Some(&old));
}

/// Checks a written status.
pub fn update_status(e: &mut Errors, new: &Value, old: &Value) {
    let (new, old) = (At::top(new), At::top(old));
    let at = new.get("status.loadBalancer.ingress");
    if kind(&new) != "LoadBalancer" && !at.is_empty() {
        at.forbidden(e, "may only be used when `spec.type` is 'LoadBalancer'");
        return;
    }
    load_balancer_points(e, &at, &old.get("status.loadBalancer.ingress"), true);
}

/// Checks the points at which a load balancer is reached. `modes` for Services.
pub fn load_balancer_points(e: &mut Errors, at: &At<'_>, old: &At<'_>, modes: bool) {
    let before: BTreeSet<&str> = old.value.items().iter().map(|p| p.at("ip").str()).collect();
    for point in at.items() {
        let (ip, mode, host) = (point.get("ip"), point.get("ipMode"), point.get("hostname"));
        let known = before.contains(ip.str());
        if !ip.is_empty() && !known {
            legacy_ip(e, &ip);
        }
        if modes && !mode.is_set() {
            if !ip.is_empty() {
                mode.required(e, "must be specified when `ip` is set");
            }
        } else if modes && ip.is_empty() {
            mode.forbidden(e, "may not be specified when `ip` is not set");
        } else if modes {
            mode.one_of(e, &["Proxy", "VIP"]);
        }
        if !host.is_empty() {
            check(e, &host, names::dns1123_subdomain);
            if sloppy_ip(host.str()).is_some() {
                host.bad_str(e, "must be a DNS name, not an IP address");
            }
        }
    }
}

fn kind<'a>(top: &At<'a>) -> &'a str {
    top.get("spec.type").str()
}

fn is_headless(spec: &At<'_>) -> bool {
    let ips = spec.get("clusterIPs");
    ips.len() == 1 && ips.value.items()[0].str() == "None"
}

fn service_spec(e: &mut Errors, top: &At<'_>, old: Option<&At<'_>>) {
    let spec = top.get("spec");
    let headless = is_headless(&spec);
    let notes = top.get("metadata.annotations");
    let (mode, hints) = (notes.entry(MODE), notes.entry(HINTS));
    if mode.is_set() && hints.is_set() && mode.str() != hints.str() {
        mode.bad_str(e, format!("must match annotations[{HINTS}] when both are specified"));
    }
    let ports = spec.get("ports");
    if ports.is_empty() && !headless && kind(top) != "ExternalName" {
        ports.required(e, "");
    }
    by_type(e, &spec, headless);
    let mut names = BTreeSet::new();
    for item in ports.items() {
        service_port(e, &item, ports.len() > 1, &mut names);
    }
    labels(e, &spec.get("selector"));
    affinity(e, &spec);
    addresses(e, &spec, old);
    let before = texts(old, "spec.externalIPs");
    for ip in spec.get("externalIPs").items() {
        let known = before.contains(ip.str());
        if sloppy_ip(ip.str()).is_none() && !known {
            legacy_ip(e, &ip);
        } else {
            endpoint_ip(e, &ip);
        }
    }
    spec.get("type").required_one_of(e, &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
    unique_ports(e, &spec);
    source_ranges(e, top, old);
    let allocate = spec.get("allocateLoadBalancerNodePorts");
    if allocate.is_set() && kind(top) != "LoadBalancer" {
        allocate.forbidden(e, "may only be used when `type` is 'LoadBalancer'");
    }
    if !allocate.is_set() && kind(top) == "LoadBalancer" {
        top.get("allocateLoadBalancerNodePorts").required(e, "");
    }
    load_balancer_class(e, top);
    traffic(e, top);
}

fn by_type(e: &mut Errors, spec: &At<'_>, headless: bool) {
    match spec.get("type").str() {
        kind @ ("LoadBalancer" | "NodePort") if headless => {
            let first = spec.get("clusterIPs").items().next();
            if let Some(first) = first {
                first.bad_str(e, format!("may not be set to 'None' for {kind} services"));
            }
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                let at = spec.get(field);
                if !at.is_empty() || field == "ipFamilyPolicy" && at.is_set() {
                    at.forbidden(e, "may not be set for ExternalName services");
                }
            }
            let name = spec.get("externalName");
            let text = name.str().strip_suffix('.').unwrap_or(name.str());
            if text.is_empty() {
                name.required(e, "");
            }
            for why in names::dns1123_subdomain(text).into_iter().filter(|_| !text.is_empty()) {
                name.bad(e, show_str(text), why);
            }
        }
        _ => {}
    }
}

fn service_port<'a>(
    e: &mut Errors,
    item: &At<'a>,
    name_required: bool,
    names: &mut BTreeSet<&'a str>,
) {
    let name = item.get("name");
    if name_required && name.is_empty() {
        name.required(e, "");
    } else if !name.is_empty() {
        check(e, &name, names::dns1123_label);
        if !names.insert(name.str()) {
            name.bad_duplicate(e, name.str());
        }
    }
    port(e, &item.get("port"));
    item.get("protocol").required_one_of(e, &["SCTP", "TCP", "UDP"]);
    port_or_name(e, &item.get("targetPort"));
    let protocol = item.get("appProtocol");
    if protocol.is_set() {
        check(e, &protocol, names::qualified_name);
    }
}

fn affinity(e: &mut Errors, spec: &At<'_>) {
    let (affinity, config) = (spec.get("sessionAffinity"), spec.get("sessionAffinityConfig"));
    affinity.required_one_of(e, &["ClientIP", "None"]);
    if affinity.str() == "None" && config.is_set() {
        config.forbidden(e, "must not be set when session affinity is None");
    }
    if affinity.str() != "ClientIP" {
        return;
    }
    for at in [config.clone(), config.get("clientIP"), config.get("clientIP.timeoutSeconds")] {
        if !at.is_set() {
            at.required(e, "when session affinity type is ClientIP");
            return;
        }
    }
    let seconds = config.get("clientIP.timeoutSeconds");
    if !(1..=86400).contains(&seconds.int()) {
        seconds.bad_int(e, "must be greater than 0 and less than 86400");
    }
}

fn addresses(e: &mut Errors, spec: &At<'_>, old: Option<&At<'_>>) {
    if spec.get("type").str() == "ExternalName" {
        return;
    }
    let (ips, first) = (spec.get("clusterIPs"), spec.get("clusterIP").str());
    let families = spec.get("ipFamilies");
    if !first.is_empty() {
        if ips.is_empty() {
            ips.required(e, "");
        } else if ips.value.items()[0].str() != first {
            ips.invalid(e, "first value must match `clusterIP`");
        }
    } else if !ips.is_empty() {
        ips.invalid(e, "must be empty when `clusterIP` is not specified");
    }
    let mut seen = BTreeSet::new();
    for family in families.items() {
        family.one_of(e, &["IPv4", "IPv6"]);
        if !seen.insert(family.str()) {
            family.bad_duplicate(e, family.str());
        }
    }
    let policy = spec.get("ipFamilyPolicy");
    if policy.is_set() {
        policy.one_of(e, &["PreferDualStack", "RequireDualStack", "SingleStack"]);
    }
    let before = e.len();
    let had = texts(old, "spec.clusterIPs");
    for (i, ip) in ips.items().enumerate() {
        let known = had.contains(ip.str());
        if i == 0 && ip.str() == "None" {
            if ips.len() > 1 {
                ips.invalid(e, "'None' must be the first and only value");
            }
        } else if !known {
            legacy_ip(e, &ip);
        }
    }
    let wrong = e.len() > before;
    if ips.len() > 2 {
        ips.invalid(e, "may only hold up to 2 values");
    } else if !wrong {
        agreement(e, spec);
    }
}

/// Addresses and families tell the same.
fn agreement(e: &mut Errors, spec: &At<'_>) {
    let (ips, families) = (spec.get("clusterIPs"), spec.get("ipFamilies"));
    let texts: Vec<&str> = ips.value.items().iter().map(Value::str).collect();
    if texts.len() > 1 && !is_dual(&texts) {
        ips.invalid(e, "may specify no more than one IP for each IP family");
    }
    if is_headless(spec) {
        return;
    }
    for (i, (ip, family)) in ips.items().zip(families.items()).enumerate() {
        let is_v6 = ip.str().contains(':');
        if matches!((family.str(), is_v6), ("IPv4", true) | ("IPv6", false)) {
            let family = family.str();
            ip.bad_str(e, format!("expected an {family} value as indicated by `ipFamilies[{i}]`"));
        }
    }
}

/// Demands an address that endpoints may have.
pub fn endpoint_ip(e: &mut Errors, at: &At<'_>) {
    use core::net::IpAddr;
    let Some(ip) = sloppy_ip(at.str()) else {
        at.bad_str(e, "must be a valid IP address");
        return;
    };
    let ip = ip.to_canonical();
    if ip.is_unspecified() {
        at.bad_str(e, format!("may not be unspecified ({})", at.str()));
    }
    if ip.is_loopback() {
        at.bad_str(e, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (link_local, multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => {
            (ip.segments()[0] & 0xffc0 == 0xfe80, ip.segments()[0] & 0xff0f == 0xff02)
        }
    };
    if link_local {
        at.bad_str(e, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if multicast {
        at.bad_str(e, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

fn unique_ports(e: &mut Errors, spec: &At<'_>) {
    let ports = spec.get("ports");
    if spec.get("type").str() == "ClusterIP" {
        for item in ports.items() {
            if item.get("nodePort").int() != 0 {
                let why = "may not be used when `type` is 'ClusterIP'";
                item.get("nodePort").forbidden(e, why);
            }
        }
    }
    let mut seen = BTreeSet::new();
    for item in ports.items() {
        let node_port = item.get("nodePort");
        let key = (item.get("protocol").str(), node_port.int());
        if key.1 != 0 && !seen.insert(key) {
            node_port.duplicate(e);
        }
    }
    let mut seen = BTreeSet::new();
    for item in ports.items() {
        let (protocol, number) = (item.get("protocol").str(), item.get("port").int());
        if !seen.insert((protocol, number)) {
            // Upstream prints its own type, with the other fields unset.
            let printed = format!(
                "{{\"Name\":\"\",\"Protocol\":{protocol:?},\"AppProtocol\":null,\"Port\":{number},\"TargetPort\":0,\"NodePort\":0}}"
            );
            e.push(timonier_meta::FieldError::duplicate(&item.path, printed));
        }
    }
}

/// The texts of a list that was there before.
fn texts<'a>(old: Option<&At<'a>>, path: &str) -> BTreeSet<&'a str> {
    let items = old.map_or(&[][..], |old| old.value.at(path).items());
    items.iter().map(|item| item.str().trim()).collect()
}

fn source_ranges(e: &mut Errors, top: &At<'_>, old: Option<&At<'_>>) {
    let ranges = top.get("spec.loadBalancerSourceRanges");
    let ranges = ranges.named(top.path.child("spec.LoadBalancerSourceRanges"));
    let note = top.get("metadata.annotations").entry(RANGES);
    let only = "may only be used when `type` is 'LoadBalancer'";
    let before = texts(old, "spec.loadBalancerSourceRanges");
    if !ranges.is_empty() {
        if kind(top) != "LoadBalancer" {
            ranges.forbidden(e, only);
        }
        for range in ranges.items() {
            let text = range.str().trim();
            if cidr(text).is_none() && !before.contains(text) {
                range.bad(e, show_str(text), NOT_A_CIDR);
            }
        }
    } else if note.is_set() {
        if kind(top) != "LoadBalancer" {
            note.forbidden(e, only);
        }
        let same = old.is_some_and(|old| old.value.annotation(RANGES) == note.value.as_str());
        for text in note.str().trim().split(',').map(str::trim) {
            if !same && !note.str().trim().is_empty() && cidr(text).is_none() {
                note.bad(e, show_str(text), NOT_A_CIDR);
            }
        }
    }
}

fn load_balancer_class(e: &mut Errors, top: &At<'_>) {
    let class = top.get("spec.loadBalancerClass");
    if !class.is_set() {
        return;
    }
    if kind(top) == "LoadBalancer" {
        check(e, &class, names::qualified_name);
    } else {
        class.forbidden(e, "may only be used when `type` is 'LoadBalancer'");
    }
}

fn needs_check(top: &At<'_>) -> bool {
    kind(top) == "LoadBalancer" && top.get("spec.externalTrafficPolicy").str() == "Local"
}

fn traffic(e: &mut Errors, top: &At<'_>) {
    let spec = top.get("spec");
    let kind = kind(top);
    let (external, internal) =
        (spec.get("externalTrafficPolicy"), spec.get("internalTrafficPolicy"));
    let reachable = matches!(kind, "LoadBalancer" | "NodePort")
        || kind == "ClusterIP" && !spec.get("externalIPs").is_empty();
    if reachable {
        external.required_one_of(e, &["Cluster", "Local"]);
    } else if !external.is_empty() {
        external.bad_str(e, "may only be set for externally-accessible services");
    }
    let health = spec.get("healthCheckNodePort");
    if !needs_check(top) {
        if health.int() != 0 {
            health.bad_int(e, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'");
        }
    } else if health.int() == 0 {
        health.required(e, "");
    } else {
        port(e, &health);
    }
    if internal.is_set() {
        internal.one_of(e, &["Cluster", "Local"]);
    } else if matches!(kind, "NodePort" | "LoadBalancer" | "ClusterIP") {
        internal.required(e, "");
    }
    let spread = spec.get("trafficDistribution");
    if spread.is_set() {
        spread.one_of(e, &["PreferClose", "PreferSameZone", "PreferSameNode"]);
    }
}

fn kept_addresses(e: &mut Errors, new: &At<'_>, old: &At<'_>) {
    let external = |spec: &At<'_>| spec.get("type").str() == "ExternalName";
    if external(new) || external(old) || is_headless(new) && is_headless(old) {
        return;
    }
    let (ips, before) = (new.get("clusterIPs"), old.get("clusterIPs"));
    let changed = |e: &mut Errors, i: usize| {
        let at = ips.named(ips.path.index(i));
        at.bad(e, list(&ips), "may not change once set");
    };
    let (now, was) = (ips.value.items(), before.value.items());
    let first_changed = !now.is_empty() && !was.is_empty() && now[0] != was[0];
    if now.len() == was.len() {
        for (i, _) in now.iter().zip(was).enumerate().filter(|(_, (a, b))| a != b) {
            changed(e, i);
        }
        return;
    }
    if now.is_empty() {
        let at = ips.named(ips.path.index(0));
        at.bad(e, list(&ips), "primary clusterIP can not be unset");
    }
    if first_changed {
        changed(e, 0);
    }
    released(e, new, now.len() == 1 && was.len() > 1, "clusterIP");
}

fn released(e: &mut Errors, new: &At<'_>, is: bool, what: &str) {
    let policy = new.get("ipFamilyPolicy");
    if is && policy.str() != "SingleStack" {
        policy.invalid(
            e,
            format!("must be set to 'SingleStack' when releasing the secondary {what}"),
        );
    }
}

fn list(at: &At<'_>) -> alloc::string::String {
    if at.is_set() { super::at::show(at.value) } else { "[]".into() }
}

fn kept_families(e: &mut Errors, new: &At<'_>, old: &At<'_>) {
    let external = |spec: &At<'_>| spec.get("type").str() == "ExternalName";
    let either = is_headless(new) || is_headless(old);
    if external(new) || external(old) || either {
        return;
    }
    let (families, before) = (new.get("ipFamilies"), old.get("ipFamilies"));
    let (now, was) = (families.value.items(), before.value.items());
    let first = families.named(families.path.index(0));
    let differs = !now.is_empty() && !was.is_empty() && now[0] != was[0];
    if now.len() == was.len() {
        for _ in now.iter().zip(was).filter(|(a, b)| a != b) {
            first.bad(e, list(&families), "may not change once set");
        }
        return;
    }
    if was.len() > now.len() && new.get("clusterIPs").is_empty() {
        first.bad(e, list(&families), "primary ipFamily can not be unset");
    }
    if differs {
        first.bad(e, list(&new.get("clusterIPs")), "may not change once set");
    }
    released(e, new, now.len() == 1 && was.len() > 1, "ipFamily");
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use timonier_object::value;

    use super::*;

    fn service() -> Value {
        value!({ "metadata": { "name": "s" }, "spec": { "type": "ClusterIP", "clusterIP": "10.96.0.5",
            "clusterIPs": ["10.96.0.5"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 80 }] } })
    }

    fn texts(e: &Errors) -> Vec<String> {
        e.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ports_and_types() {
        let mut e = Errors::new();
        create(&mut e, &service());
        assert!(e.is_empty(), "{e:?}");
        let mut s = service();
        s.set(
            "spec.ports",
            value!([{ "port": 0, "protocol": "X", "targetPort": "a-", "nodePort": 3 }]),
        );
        create(&mut e, &s);
        assert_eq!(
            texts(&e),
            [
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[0].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                "spec.ports[0].targetPort: Invalid value: \"a-\": must not begin or end with a hyphen",
                "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"
            ]
        );
    }

    #[test]
    fn addresses_stay() {
        let mut s = service();
        s.set("spec.clusterIP", "10.96.0.6");
        s.set("spec.clusterIPs", value!(["10.96.0.6"]));
        let mut e = Errors::new();
        update(&mut e, &s, &service());
        assert_eq!(
            texts(&e),
            ["spec.clusterIPs[0]: Invalid value: [\"10.96.0.6\"]: may not change once set"]
        );
    }
}
