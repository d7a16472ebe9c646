//! The users that containers run as.

use alloc::format;
use alloc::vec::Vec;

use timonier_object::Value;

use super::{Pod, Violation, containers_named, field, found, name, setters};

/// Root is ruled out, by the pod or by every container.
pub fn non_root(pod: &Pod<'_>) -> Option<Violation> {
    let says = |c: &Value| field(c, "runAsNonRoot").as_bool();
    let own = pod.own("runAsNonRoot").as_bool();
    let bad: Vec<&str> = pod.containers().filter(|c| says(c) == Some(false)).map(name).collect();
    let reason = "runAsNonRoot != true";
    if let Some(who) = setters(own == Some(false), &bad) {
        return found(reason, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let open = |c: &&Value| says(c).is_none() && own != Some(true);
    let open: Vec<&str> = pod.containers().filter(open).map(name).collect();
    if open.is_empty() {
        return None;
    }
    let who = containers_named(&open);
    found(reason, format!("pod or {who} must set securityContext.runAsNonRoot=true"))
}

/// As [`non_root`]; root of a pod with users of its own is nobody on the node.
pub fn non_root_35(pod: &Pod<'_>) -> Option<Violation> {
    if pod.has_own_users() { None } else { non_root(pod) }
}

/// Nobody asks for root.
pub fn user(pod: &Pod<'_>) -> Option<Violation> {
    let root = |user: &Value| user.as_i64() == Some(0);
    let names: Vec<&str> =
        pod.containers().filter(|c| root(field(c, "runAsUser"))).map(name).collect();
    let who = setters(root(pod.own("runAsUser")), &names)?;
    found("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

/// As [`user`]; root of a pod with users of its own is nobody on the node.
pub fn user_35(pod: &Pod<'_>) -> Option<Violation> {
    if pod.has_own_users() { None } else { user(pod) }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::super::tests::text;
    use super::*;

    #[test]
    fn root() {
        let spec = value!({ "hostUsers": false, "securityContext": { "runAsNonRoot": true, "runAsUser": 0 }, "containers": [
            { "name": "a" }, { "name": "b", "securityContext": { "runAsNonRoot": false, "runAsUser": 0 } }] });
        assert_eq!(
            text(non_root, spec.clone()),
            "runAsNonRoot != true (container \"b\" must not set securityContext.runAsNonRoot=false)"
        );
        assert_eq!(
            text(user, spec.clone()),
            "runAsUser=0 (pod and container \"b\" must not set runAsUser=0)"
        );
        assert_eq!(text(non_root_35, spec.clone()), "");
        assert_eq!(text(user_35, spec), "");
        let open = value!({ "containers": [{ "name": "a" }, { "name": "b", "securityContext": { "runAsNonRoot": true } }] });
        assert_eq!(
            text(non_root, open),
            "runAsNonRoot != true (pod or container \"a\" must set securityContext.runAsNonRoot=true)"
        );
    }
}
