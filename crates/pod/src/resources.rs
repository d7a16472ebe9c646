//! Resource amounts as cgroup numbers, and the class of service.

use alloc::collections::BTreeMap;
use alloc::string::String;

use smol_str::SmolStr;
use timonier_meta::Quantity;
use timonier_object::Value;

use crate::spec::{Role, init_containers, main_containers};

/// The period of CPU quotas, µs.
pub const CPU_PERIOD: i64 = 100_000;
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
const MIN_QUOTA: i64 = 1_000;
/// Priority from which a pod counts as critical to its node or cluster.
const CRITICAL_PRIORITY: i64 = 2_000_000_000;

/// The class of service of a pod.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    /// The text in `status.qosClass`.
    pub fn as_str(self) -> &'static str {
        match self {
            Qos::Guaranteed => "Guaranteed",
            Qos::Burstable => "Burstable",
            Qos::BestEffort => "BestEffort",
        }
    }
}

/// Limits as a cgroup takes them; `None` leaves a value alone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cgroup {
    /// v1 shares, 2 to 262144; [`cpu_weight`] gives v2's weight.
    pub cpu_shares: Option<i64>,
    /// µs per [`CPU_PERIOD`].
    pub cpu_quota: Option<i64>,
    /// Bytes.
    pub memory_limit: Option<i64>,
    pub pids_limit: Option<i64>,
}

/// A quantity of an object; zero where there is none.
pub fn quantity(value: Option<&Value>) -> Quantity {
    match value {
        Some(Value::Str(text)) => Quantity::parse(text).unwrap_or_else(|_| Quantity::units(0)),
        Some(Value::Int(n)) => Quantity::units(*n),
        Some(Value::Float(f)) => {
            Quantity::parse(&alloc::format!("{f}")).unwrap_or_else(|_| Quantity::units(0))
        }
        _ => Quantity::units(0),
    }
}

fn amount(container: &Value, list: &str, name: &str) -> Quantity {
    quantity(container.at("resources").at(list).get(name))
}

/// CPU thousandths as v1 shares.
pub fn cpu_shares(milli: i64) -> i64 {
    (milli.saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// v1 shares as v2 weight, 1 to 10000.
pub fn cpu_weight(shares: i64) -> i64 {
    1 + (shares.clamp(MIN_SHARES, MAX_SHARES) - 2) * 9999 / 262_142
}

/// CPU thousandths as quota of [`CPU_PERIOD`]; `None` for no limit.
pub fn cpu_quota(milli: i64) -> Option<i64> {
    (milli > 0).then(|| (milli.saturating_mul(CPU_PERIOD) / 1000).max(MIN_QUOTA))
}

/// The limits of a container's cgroup.
pub fn container_cgroup(container: &Value) -> Cgroup {
    let request = amount(container, "requests", "cpu").milli_value();
    let limit = amount(container, "limits", "cpu").milli_value();
    let memory = amount(container, "limits", "memory").value();
    Cgroup {
        cpu_shares: Some(cpu_shares(if request == 0 { limit } else { request })),
        cpu_quota: cpu_quota(limit),
        memory_limit: (memory > 0).then_some(memory),
        pids_limit: None,
    }
}

/// What the pod asks for or may use at most of one resource, in thousandths for CPU and units
/// for all else. Init containers run one after the other, sidecars beside everything after them.
/// For limits, `None` where a container has none.
fn pod_amount(pod: &Value, list: &str, name: &str) -> Option<i64> {
    let read = |c: &Value| {
        let q = amount(c, list, name);
        let n = if name == "cpu" { q.milli_value() } else { q.value() };
        (list == "requests" || n > 0).then_some(n)
    };
    let stated = read(pod.at("spec"));
    if let Some(n) = stated.filter(|n| *n > 0) {
        return Some(n);
    }
    let mut sidecars = 0i64;
    let mut peak = 0i64;
    for c in init_containers(pod) {
        let n = read(c.spec)?;
        if c.role == Role::Sidecar {
            sidecars = sidecars.saturating_add(n);
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars.saturating_add(n));
        }
    }
    let mut main = sidecars;
    for c in main_containers(pod) {
        main = main.saturating_add(read(c.spec)?);
    }
    let overhead = quantity(pod.at("spec.overhead").get(name));
    let overhead = if name == "cpu" { overhead.milli_value() } else { overhead.value() };
    Some(main.max(peak).saturating_add(overhead))
}

/// CPU thousandths that the pod asks for.
pub fn pod_cpu_request(pod: &Value) -> i64 {
    pod_request(pod, "cpu")
}

/// What the pod asks for of one resource: thousandths of CPU, units of all else.
pub fn pod_request(pod: &Value, name: &str) -> i64 {
    pod_amount(pod, "requests", name).unwrap_or(0)
}

/// The limits of the pod's cgroup.
pub fn pod_cgroup(pod: &Value, pids_limit: Option<i64>) -> Cgroup {
    let class = qos(pod);
    let request = pod_cpu_request(pod);
    let limit = pod_amount(pod, "limits", "cpu").filter(|n| *n > 0);
    let memory = pod_amount(pod, "limits", "memory").filter(|n| *n > 0);
    let shares = match class {
        Qos::BestEffort => MIN_SHARES,
        _ => cpu_shares(if request == 0 { limit.unwrap_or(0) } else { request }),
    };
    Cgroup {
        cpu_shares: Some(shares),
        cpu_quota: limit.and_then(cpu_quota),
        memory_limit: memory,
        pids_limit,
    }
}

/// The pod's cgroup below the node's root of pods: `burstable/pod<uid>`.
pub fn pod_cgroup_path(pod: &Value) -> String {
    let uid = pod.uid();
    match qos(pod) {
        Qos::Guaranteed => alloc::format!("pod{uid}"),
        Qos::Burstable => alloc::format!("burstable/pod{uid}"),
        Qos::BestEffort => alloc::format!("besteffort/pod{uid}"),
    }
}

/// Upstream `ComputePodQOS`.
pub fn qos(pod: &Value) -> Qos {
    let mut requests: BTreeMap<SmolStr, i64> = BTreeMap::new();
    let mut limits: BTreeMap<SmolStr, i64> = BTreeMap::new();
    let mut guaranteed = true;
    let pod_level = !pod.at("spec.resources").is_empty();
    let mut specs: alloc::vec::Vec<&Value> = alloc::vec::Vec::new();
    if pod_level {
        specs.push(pod.at("spec"));
    } else {
        specs.extend(init_containers(pod).iter().map(|c| c.spec));
        specs.extend(main_containers(pod).iter().map(|c| c.spec));
    }
    for spec in specs {
        let mut limited = 0;
        for name in ["cpu", "memory"] {
            let request = amount(spec, "requests", name).milli_value();
            if request > 0 {
                *requests.entry(name.into()).or_default() += request;
            }
            let limit = amount(spec, "limits", name).milli_value();
            if limit > 0 {
                limited += 1;
                *limits.entry(name.into()).or_default() += limit;
            }
        }
        guaranteed &= limited == 2;
    }
    if requests.is_empty() && limits.is_empty() {
        return Qos::BestEffort;
    }
    let equal = requests.iter().all(|(name, n)| limits.get(name) == Some(n));
    if guaranteed && equal && requests.len() == limits.len() {
        Qos::Guaranteed
    } else {
        Qos::Burstable
    }
}

/// Whether the node or the cluster cannot do without the pod.
pub fn is_critical(pod: &Value) -> bool {
    pod.at("spec.priority").int_or(0) >= CRITICAL_PRIORITY
}

/// Upstream `GetContainerOOMScoreAdjust`: who dies first when the node is out of memory.
pub fn oom_score_adj(pod: &Value, container: &Value, memory_capacity: i64) -> i64 {
    if is_critical(pod) {
        return -997;
    }
    match qos(pod) {
        Qos::Guaranteed => return -997,
        Qos::BestEffort => return 1000,
        Qos::Burstable => {}
    }
    let request = amount(container, "requests", "memory").value();
    let adj = 1000 - (1000i128 * i128::from(request) / i128::from(memory_capacity.max(1))) as i64;
    match adj {
        n if n < 3 => 3,
        1000 => 999,
        n => n,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timonier_object::value;

    fn pod(resources: Value) -> Value {
        value!({ "metadata": { "uid": "u" }, "spec": { "containers": [{ "name": "a", "resources": resources }] } })
    }

    #[test]
    fn classes() {
        let both = value!({ "cpu": "1", "memory": "1Gi" });
        for (resources, class, path) in [
            (value!({}), Qos::BestEffort, "besteffort/podu"),
            (value!({ "requests": { "cpu": "1m" } }), Qos::Burstable, "burstable/podu"),
            (value!({ "requests": (&both), "limits": (&both) }), Qos::Guaranteed, "podu"),
            (
                value!({ "requests": { "cpu": "1", "memory": "1" }, "limits": both }),
                Qos::Burstable,
                "burstable/podu",
            ),
            (value!({ "limits": { "nvidia.com/gpu": "1" } }), Qos::BestEffort, "besteffort/podu"),
        ] {
            let pod = pod(resources);
            assert_eq!(qos(&pod), class);
            assert_eq!(pod_cgroup_path(&pod), path);
        }
    }

    #[test]
    fn cgroup_numbers() {
        assert_eq!((cpu_shares(0), cpu_shares(500), cpu_shares(1000)), (2, 512, 1024));
        assert_eq!((cpu_weight(2), cpu_weight(1024), cpu_weight(262_144)), (1, 39, 10000));
        assert_eq!(
            (cpu_quota(0), cpu_quota(5), cpu_quota(1500)),
            (None, Some(1000), Some(150_000))
        );
        let c = value!({ "resources": { "limits": { "cpu": "250m", "memory": "64Mi" } } });
        let want = Cgroup {
            cpu_shares: Some(256),
            cpu_quota: Some(25_000),
            memory_limit: Some(64 << 20),
            pids_limit: None,
        };
        assert_eq!(container_cgroup(&c), want);
    }

    #[test]
    fn pod_sums_count_sidecars_beside_what_follows() {
        let r = |cpu: &str| value!({ "requests": { "cpu": cpu }, "limits": { "cpu": cpu } });
        let pod = value!({ "spec": {
            "initContainers": [{ "name": "s", "restartPolicy": "Always", "resources": (r("1")) },
                               { "name": "i", "resources": (r("3")) }],
            "containers": [{ "name": "a", "resources": (r("1")) }, { "name": "b", "resources": (r("500m")) }] } });
        assert_eq!(pod_cpu_request(&pod), 4000);
        assert_eq!(pod_cgroup(&pod, None).cpu_quota, Some(400_000));
        let open = value!({ "spec": { "containers": [{ "resources": (r("1")) }, {}] } });
        assert_eq!(pod_cgroup(&open, None).cpu_quota, None);
    }

    #[test]
    fn oom_scores() {
        let p = pod(value!({ "requests": { "memory": "1Gi" } }));
        let c = main_containers(&p)[0].spec;
        assert_eq!(oom_score_adj(&p, c, 4 << 30), 750);
        assert_eq!(oom_score_adj(&p, c, 1 << 30), 3);
        assert_eq!(oom_score_adj(&p, &value!({}), 1 << 30), 999);
        assert_eq!(oom_score_adj(&pod(value!({})), c, 1), 1000);
    }
}
