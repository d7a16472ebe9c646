//! Reading a pod's spec: its containers in their roles, and who is restarted when.

use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_object::Value;

/// What a container is to its pod.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// Runs to its end before the next init container starts.
    Init,
    /// An init container with `restartPolicy: Always`: starts in its place, then stays.
    Sidecar,
    Main,
    /// Added to a running pod for debugging; never restarted.
    Ephemeral,
}

/// A container of a pod's spec.
#[derive(Clone, Copy, Debug)]
pub struct ContainerSpec<'a> {
    pub role: Role,
    /// The place in its list.
    pub index: usize,
    pub spec: &'a Value,
}

impl<'a> ContainerSpec<'a> {
    /// `name`.
    pub fn name(&self) -> &'a str {
        self.spec.at("name").str()
    }

    /// The path that Events name: `spec.containers{web}`.
    pub fn field_path(&self) -> alloc::string::String {
        let list = match self.role {
            Role::Init | Role::Sidecar => "initContainers",
            Role::Main => "containers",
            Role::Ephemeral => "ephemeralContainers",
        };
        alloc::format!("spec.{list}{{{}}}", self.name())
    }
}

/// `restartPolicy`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

impl RestartPolicy {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "Always" => Some(RestartPolicy::Always),
            "OnFailure" => Some(RestartPolicy::OnFailure),
            "Never" => Some(RestartPolicy::Never),
            _ => None,
        }
    }
}

/// The init containers in order, sidecars among them.
pub fn init_containers(pod: &Value) -> Vec<ContainerSpec<'_>> {
    let role = |c: &Value| match c.at("restartPolicy").str() {
        "Always" => Role::Sidecar,
        _ => Role::Init,
    };
    pod.at("spec.initContainers")
        .items()
        .iter()
        .enumerate()
        .map(|(index, spec)| ContainerSpec { role: role(spec), index, spec })
        .collect()
}

/// The containers of `spec.containers`.
pub fn main_containers(pod: &Value) -> Vec<ContainerSpec<'_>> {
    list(pod, "spec.containers", Role::Main)
}

/// The ephemeral containers.
pub fn ephemeral_containers(pod: &Value) -> Vec<ContainerSpec<'_>> {
    list(pod, "spec.ephemeralContainers", Role::Ephemeral)
}

fn list<'a>(pod: &'a Value, path: &str, role: Role) -> Vec<ContainerSpec<'a>> {
    let items = pod.at(path).items().iter().enumerate();
    items.map(|(index, spec)| ContainerSpec { role, index, spec }).collect()
}

/// All containers: init, main, ephemeral.
pub fn all_containers(pod: &Value) -> Vec<ContainerSpec<'_>> {
    let mut all = init_containers(pod);
    all.extend(main_containers(pod));
    all.extend(ephemeral_containers(pod));
    all
}

/// The container with this name.
pub fn container<'a>(pod: &'a Value, name: &str) -> Option<ContainerSpec<'a>> {
    all_containers(pod).into_iter().find(|c| c.name() == name)
}

/// The pod's restart policy; `Always` where nothing is stated.
pub fn pod_restart_policy(pod: &Value) -> RestartPolicy {
    RestartPolicy::parse(pod.at("spec.restartPolicy").str()).unwrap_or(RestartPolicy::Always)
}

/// Whether the container is to run again after an exit with this code: the container's
/// `restartPolicyRules`, then its `restartPolicy`, then the pod's.
pub fn restarts_after(pod: &Value, container: &ContainerSpec<'_>, exit_code: i32) -> bool {
    match container.role {
        Role::Sidecar => return true,
        Role::Ephemeral => return false,
        Role::Init | Role::Main => {}
    }
    let rules = container.spec.at("restartPolicyRules").items();
    if rules.iter().any(|r| r.at("action").str() == "Restart" && rule_matches(r, exit_code)) {
        return true;
    }
    let own = RestartPolicy::parse(container.spec.at("restartPolicy").str());
    match own.unwrap_or_else(|| pod_restart_policy(pod)) {
        // An init container that succeeded is done, whatever the policy.
        RestartPolicy::Always => container.role == Role::Main || exit_code != 0,
        RestartPolicy::OnFailure => exit_code != 0,
        RestartPolicy::Never => false,
    }
}

fn rule_matches(rule: &Value, exit_code: i32) -> bool {
    let codes = rule.at("exitCodes");
    let listed =
        codes.at("values").items().iter().any(|v| v.as_i64() == Some(i64::from(exit_code)));
    match codes.at("operator").str() {
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    }
}

/// The number of a container's port given by number or by name (probes and hooks).
pub fn resolve_port(container: &Value, port: &Value) -> Option<u16> {
    if let Some(n) = port.as_i64() {
        return u16::try_from(n).ok().filter(|n| *n > 0);
    }
    let name = port.as_str()?;
    let named = container.at("ports").items().iter().find(|p| p.at("name").str() == name);
    match named {
        Some(p) => u16::try_from(p.at("containerPort").int_or(0)).ok().filter(|n| *n > 0),
        None => name.parse().ok().filter(|n| *n > 0),
    }
}

/// Whether the pod uses the node's network.
pub fn host_network(pod: &Value) -> bool {
    pod.at("spec.hostNetwork").bool()
}

/// `name_namespace(uid)`: how upstream's messages name a pod.
pub fn describe(pod: &Value) -> alloc::string::String {
    alloc::format!("{}_{}({})", pod.name(), pod.namespace(), pod.uid())
}

/// Names of containers, in order.
pub fn names(containers: &[ContainerSpec<'_>]) -> Vec<SmolStr> {
    containers.iter().map(|c| c.name().into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use timonier_object::value;

    fn pod(policy: &str) -> Value {
        value!({ "spec": { "restartPolicy": policy,
            "initContainers": [{ "name": "i" }, { "name": "s", "restartPolicy": "Always" }],
            "containers": [{ "name": "m", "ports": [{ "name": "http", "containerPort": 80 }] },
                { "name": "r", "restartPolicy": "Never", "restartPolicyRules":
                  [{ "action": "Restart", "exitCodes": { "operator": "In", "values": [42] } }] }] } })
    }

    #[test]
    fn who_restarts_when() {
        for (policy, main0, main1, init0, init1) in [
            ("Always", true, true, false, true),
            ("OnFailure", false, true, false, true),
            ("Never", false, false, false, false),
        ] {
            let pod = pod(policy);
            let get = |name| container(&pod, name).unwrap();
            assert_eq!(restarts_after(&pod, &get("m"), 0), main0, "{policy}");
            assert_eq!(restarts_after(&pod, &get("m"), 1), main1, "{policy}");
            assert_eq!(restarts_after(&pod, &get("i"), 0), init0, "{policy}");
            assert_eq!(restarts_after(&pod, &get("i"), 1), init1, "{policy}");
            assert!(restarts_after(&pod, &get("s"), 0));
            assert!(restarts_after(&pod, &get("r"), 42) && !restarts_after(&pod, &get("r"), 1));
        }
    }

    #[test]
    fn ports_by_number_and_name() {
        let pod = pod("Always");
        let m = container(&pod, "m").unwrap();
        assert_eq!(resolve_port(m.spec, &value!(8080)), Some(8080));
        assert_eq!(resolve_port(m.spec, &value!("http")), Some(80));
        assert_eq!(resolve_port(m.spec, &value!("nope")), None);
        assert_eq!(m.field_path(), "spec.containers{m}");
    }
}
