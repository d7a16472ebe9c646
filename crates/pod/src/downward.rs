//! The downward API: a pod's own fields and resources as text.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::Quantity;
use timonier_object::Value;

use crate::spec;

/// What a pod may read of its node.
#[derive(Clone, Debug, Default)]
pub struct NodeFacts {
    pub name: SmolStr,
    /// The node's addresses, the main one first.
    pub ips: Vec<SmolStr>,
    /// `status.allocatable`: what a container without a limit may use.
    pub allocatable: BTreeMap<SmolStr, Quantity>,
    /// Bytes of memory of the machine.
    pub memory_bytes: i64,
    /// The domain of the cluster's DNS, `cluster.local` by default.
    pub cluster_domain: SmolStr,
    /// The addresses of the cluster's DNS.
    pub cluster_dns: Vec<SmolStr>,
    /// What stands before `://` in container ids.
    pub runtime_name: SmolStr,
}

/// The value of a `fieldRef`.
pub fn field(
    pod: &Value,
    path: &str,
    node: &NodeFacts,
    pod_ips: &[SmolStr],
) -> Result<String, String> {
    let join = |ips: &[SmolStr]| ips.join(",");
    let ips = if spec::host_network(pod) { &node.ips } else { pod_ips };
    let first = |ips: &[SmolStr]| ips.first().map(SmolStr::to_string).unwrap_or_default();
    if let Some((list, key)) = subscript(path) {
        return match list {
            "metadata.labels" => Ok(pod.label(key).unwrap_or("").to_string()),
            "metadata.annotations" => Ok(pod.annotation(key).unwrap_or("").to_string()),
            _ => Err(format!("fieldPath {path:?} does not support subscript")),
        };
    }
    match path {
        "metadata.name" => Ok(pod.name().to_string()),
        "metadata.namespace" => Ok(pod.namespace().to_string()),
        "metadata.uid" => Ok(pod.uid().to_string()),
        "metadata.labels" => Ok(format_map(pod.at("metadata.labels"))),
        "metadata.annotations" => Ok(format_map(pod.at("metadata.annotations"))),
        "spec.nodeName" => Ok(pod.at("spec.nodeName").str().to_string()),
        "spec.serviceAccountName" => Ok(pod.at("spec.serviceAccountName").str().to_string()),
        "status.hostIP" => Ok(first(&node.ips)),
        "status.hostIPs" => Ok(join(&node.ips)),
        "status.podIP" => Ok(first(ips)),
        "status.podIPs" => Ok(join(ips)),
        _ => Err(format!("unsupported fieldPath: {path}")),
    }
}

/// `metadata.labels['key']` in its two parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (list, rest) = path.split_once("['")?;
    Some((list, rest.strip_suffix("']")?))
}

/// Upstream `FormatMap`: a line `key="value"` per entry, sorted, Go-quoted.
fn format_map(map: &Value) -> String {
    let sorted: BTreeMap<&str, &str> = map.entries().map(|(k, v)| (k, v.str())).collect();
    let lines: Vec<String> = sorted.into_iter().map(|(k, v)| format!("{k}={}", quote(v))).collect();
    lines.join("\n")
}

/// Go's `%q`.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if c.is_control() && (c as u32) < 0x80 => {
                out.push_str(&format!("\\x{:02x}", c as u32));
            }
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The value of a `resourceFieldRef`. `container` is the one that asks; a `containerName` in the
/// reference (volumes) names another.
pub fn resource(
    pod: &Value,
    container: Option<&Value>,
    reference: &Value,
    node: &NodeFacts,
) -> Result<String, String> {
    let named = reference.at("containerName").str();
    let other = (!named.is_empty()).then(|| spec::container(pod, named).map(|c| c.spec));
    let container = match (other, container) {
        (Some(Some(c)), _) | (None, Some(c)) => c,
        _ => return Err(format!("container {named} not found")),
    };
    let path = reference.at("resource").str();
    let divisor = match reference.at("divisor") {
        Value::Int(n) => Quantity::units(*n),
        v => Quantity::parse(v.str()).unwrap_or_else(|_| Quantity::units(1)),
    };
    let divisor = if divisor.is_zero() { Quantity::units(1) } else { divisor };
    let (list, name) = path.split_once('.').unwrap_or((path, ""));
    let stated = crate::resources::quantity(container.at("resources").at(list).get(name));
    let amount = match (list, stated) {
        ("limits", q) if q.is_zero() => {
            node.allocatable.get(name).cloned().unwrap_or_else(|| Quantity::units(0))
        }
        ("limits" | "requests", q) => q,
        _ => return Err(format!("unsupported container resource : {path}")),
    };
    let n = match name {
        "cpu" => ceil_div(amount.milli_value(), divisor.milli_value()),
        _ => ceil_div(amount.value(), divisor.value()),
    };
    Ok(n.to_string())
}

fn ceil_div(a: i64, b: i64) -> i64 {
    let b = b.max(1);
    a.div_euclid(b) + i64::from(a.rem_euclid(b) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use timonier_object::value;

    #[test]
    fn fields() {
        let pod = value!({ "metadata": { "name": "p", "labels": { "b": "2", "a": "x\"y\n" },
            "annotations": { "k.io/x": "v" } }, "spec": { "nodeName": "n1" } });
        let node = NodeFacts { ips: alloc::vec!["1.2.3.4".into()], ..NodeFacts::default() };
        let get = |path| field(&pod, path, &node, &["10.0.0.1".into(), "fd00::1".into()]);
        assert_eq!(get("metadata.labels['b']").unwrap(), "2");
        assert_eq!(get("metadata.annotations['k.io/x']").unwrap(), "v");
        assert_eq!(get("metadata.labels").unwrap(), "a=\"x\\\"y\\n\"\nb=\"2\"");
        assert_eq!(get("status.podIPs").unwrap(), "10.0.0.1,fd00::1");
        assert_eq!(get("status.hostIP").unwrap(), "1.2.3.4");
        assert!(get("spec.volumes").is_err());
    }

    #[test]
    fn resources_round_up_and_fall_back_to_the_node() {
        let pod = value!({ "spec": { "containers": [{ "name": "a" }] } });
        let c = value!({ "resources": { "limits": { "cpu": "1500m" }, "requests": { "memory": "1Mi" } } });
        let node = NodeFacts {
            allocatable: BTreeMap::from([("memory".into(), Quantity::bytes(1 << 30))]),
            ..NodeFacts::default()
        };
        let get = |r: Value| resource(&pod, Some(&c), &r, &node).unwrap();
        assert_eq!(get(value!({ "resource": "limits.cpu" })), "2");
        assert_eq!(get(value!({ "resource": "limits.cpu", "divisor": "1m" })), "1500");
        assert_eq!(get(value!({ "resource": "requests.memory", "divisor": "1Ki" })), "1024");
        assert_eq!(get(value!({ "resource": "limits.memory", "divisor": "1Mi" })), "1024");
        assert_eq!(get(value!({ "resource": "requests.cpu" })), "0");
    }
}
