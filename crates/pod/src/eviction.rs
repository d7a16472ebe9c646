//! Which pods have to go because they take more disk than they may (upstream's local storage
//! eviction, `pkg/kubelet/eviction`). How much they take is measured elsewhere.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use smol_str::SmolStr;
use timonier_meta::Quantity;
use timonier_object::Value;

use crate::resources::quantity;
use crate::spec::{Role, init_containers, main_containers};

/// The reason of the pod's status and of the Event.
pub const REASON: &str = "Evicted";
/// How long the containers have to end, seconds.
pub const GRACE: i64 = 1;

const STORAGE: &str = "ephemeral-storage";

/// What a pod takes on disk, in bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// By volume; those that the node keeps on its disk for the pod.
    pub volumes: BTreeMap<SmolStr, u64>,
    /// By running container: its writable layer and its logs.
    pub containers: BTreeMap<SmolStr, u64>,
    /// All else.
    pub other: u64,
}

/// Whether it matters at all what the pod takes.
pub fn is_bounded(pod: &Value) -> bool {
    limited_volumes(pod).next().is_some() || pod_limit(pod).is_some()
}

/// Why a pod has to go that takes this much; `None` where it may stay. Pods that the cluster
/// cannot do without may always. The text is upstream's, which ends in a blank.
pub fn judge(pod: &Value, usage: &Usage) -> Option<String> {
    if crate::resources::is_critical(pod) {
        return None;
    }
    for (name, limit) in limited_volumes(pod) {
        let over = |used: &&u64| exceeds(**used, &limit);
        if usage.volumes.get(name).filter(over).is_some() {
            return Some(format!(
                "Usage of EmptyDir volume {name:?} exceeds the limit \"{limit}\". "
            ));
        }
    }
    let all = usage.volumes.values().chain(usage.containers.values());
    let total = all.fold(usage.other, |sum, n| sum.saturating_add(*n));
    if let Some(limit) = pod_limit(pod).filter(|limit| exceeds(total, limit)) {
        return Some(format!(
            "Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "
        ));
    }
    main_containers(pod).into_iter().find_map(|c| {
        let limit = limit(c.spec).filter(|l| !l.is_zero())?;
        let used = usage.containers.get(c.name()).filter(|used| exceeds(**used, &limit));
        used.map(|_| {
            let name = c.name();
            format!("Container {name} exceeded its local ephemeral storage limit \"{limit}\". ")
        })
    })
}

fn exceeds(used: u64, limit: &Quantity) -> bool {
    i64::try_from(used).unwrap_or(i64::MAX) > limit.value()
}

/// The volumes that may hold only so much. In memory the file system itself keeps the limit.
fn limited_volumes(pod: &Value) -> impl Iterator<Item = (&str, Quantity)> {
    pod.at("spec.volumes").items().iter().filter_map(|v| {
        let source = v.at("emptyDir");
        let limit = quantity(Some(source.get("sizeLimit")?));
        let bounded = !limit.is_zero() && !limit.is_negative();
        (bounded && source.at("medium").str().is_empty()).then(|| (v.at("name").str(), limit))
    })
}

fn limit(container: &Value) -> Option<Quantity> {
    container.at("resources.limits").get(STORAGE).map(|l| quantity(Some(l)))
}

/// What all containers together may take. As upstream has it, those without a limit add nothing:
/// one limit bounds the whole pod.
fn pod_limit(pod: &Value) -> Option<Quantity> {
    let add = |sum: Option<Quantity>, more: Option<Quantity>| match (sum, more) {
        (Some(sum), Some(more)) => Some(sum + more),
        (one, other) => one.or(other),
    };
    let (mut sidecars, mut peak) = (None, None);
    for c in init_containers(pod) {
        let with = add(sidecars, limit(c.spec));
        if c.role == Role::Sidecar {
            sidecars = with;
        }
        peak = peak.max(with);
    }
    let main = main_containers(pod).into_iter().fold(sidecars, |sum, c| add(sum, limit(c.spec)));
    let total = main.max(peak)?;
    let overhead = pod.at("spec.overhead").get(STORAGE).filter(|_| !total.is_zero());
    add(Some(total), overhead.map(|o| quantity(Some(o))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use timonier_object::value;

    fn container(name: &str, limit: &str) -> Value {
        match limit {
            "" => value!({ "name": name }),
            _ => value!({ "name": name, "resources": { "limits": { STORAGE: limit } } }),
        }
    }

    fn used(volumes: &[(&str, u64)], containers: &[(&str, u64)]) -> Usage {
        let map = |list: &[(&str, u64)]| list.iter().map(|(n, b)| ((*n).into(), *b)).collect();
        Usage { volumes: map(volumes), containers: map(containers), other: 0 }
    }

    #[test]
    fn an_empty_dir_holds_no_more_than_it_may() {
        let pod = value!({ "spec": { "containers": [(container("c", ""))], "volumes": [
            { "name": "any", "emptyDir": {} },
            { "name": "memory", "emptyDir": { "medium": "Memory", "sizeLimit": "1" } },
            { "name": "data", "emptyDir": { "sizeLimit": "1024Ki" } }] } });
        assert!(is_bounded(&pod));
        let say =
            |bytes| judge(&pod, &used(&[("any", 1 << 40), ("data", bytes)], &[("c", 1 << 40)]));
        assert_eq!(say(1 << 20), None);
        let why = "Usage of EmptyDir volume \"data\" exceeds the limit \"1Mi\". ";
        assert_eq!(say((1 << 20) + 1).as_deref(), Some(why));
        let mut needed = pod.clone();
        needed.set("spec.priority", 2_000_000_000);
        assert_eq!(judge(&needed, &used(&[("data", 1 << 30)], &[])), None);
    }

    #[test]
    fn containers_and_their_pod_keep_to_their_limits() {
        let of = |containers: [Value; 2]| value!({ "spec": { "containers": (Value::array(containers)) } });
        let pod = of([container("a", "1Mi"), container("b", "2Mi")]);
        let say = |pod: &Value, a: u64, b: u64, volume: u64| {
            judge(pod, &used(&[("v", volume << 10)], &[("a", a << 10), ("b", b << 10)]))
        };
        assert_eq!(say(&pod, 1024, 1024, 1024), None);
        let total = "Pod ephemeral local storage usage exceeds the total limit of containers 3Mi. ";
        assert_eq!(say(&pod, 1024, 1024, 1025).as_deref(), Some(total));
        let one = "Container a exceeded its local ephemeral storage limit \"1Mi\". ";
        assert_eq!(say(&pod, 1025, 0, 0).as_deref(), Some(one));
        let half = of([container("a", "1Mi"), container("b", "")]);
        assert!(say(&half, 0, 1025, 0).is_some(), "one limit bounds the pod");
        assert!(!is_bounded(&of([container("a", ""), container("b", "")])));
    }

    #[test]
    fn init_containers_count_while_they_run() {
        let mut sidecar = container("s", "1Mi");
        sidecar.set("restartPolicy", "Always");
        let pod = value!({ "spec": { "initContainers": [sidecar, (container("i", "5Mi"))],
            "containers": [(container("c", "2Mi"))] } });
        assert_eq!(pod_limit(&pod), Some(Quantity::bytes(6 << 20)));
    }
}
