//! Taints and tolerations.

use timonier_object::Value;

pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
pub const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
pub const MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";
pub const DISK_PRESSURE: &str = "node.kubernetes.io/disk-pressure";
pub const PID_PRESSURE: &str = "node.kubernetes.io/pid-pressure";
pub const NETWORK_UNAVAILABLE: &str = "node.kubernetes.io/network-unavailable";
pub const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Whether a toleration covers a taint.
pub fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let effect = toleration.at("effect").str();
    if !effect.is_empty() && effect != taint.at("effect").str() {
        return false;
    }
    let key = toleration.at("key").str();
    if !key.is_empty() && key != taint.at("key").str() {
        return false;
    }
    match toleration.at("operator").str() {
        "" | "Equal" => toleration.at("value").str() == taint.at("value").str(),
        "Exists" => true,
        "Lt" => compare(toleration, taint).is_some_and(|(t, n)| n < t),
        "Gt" => compare(toleration, taint).is_some_and(|(t, n)| n > t),
        _ => false,
    }
}

/// The values of a numeric toleration and of the taint.
fn compare(toleration: &Value, taint: &Value) -> Option<(i64, i64)> {
    let number = |v: &Value| v.at("value").str().parse::<i64>().ok();
    Some((number(toleration)?, number(taint)?))
}

/// The first taint of one of these effects that no toleration covers.
pub fn untolerated<'a>(
    taints: &'a [Value],
    tolerations: &[Value],
    effects: &[&str],
) -> Option<&'a Value> {
    let matters = |t: &&Value| effects.contains(&t.at("effect").str());
    taints.iter().filter(matters).find(|taint| !tolerations.iter().any(|t| tolerates(t, taint)))
}
