//! Facts of a pod.

use alloc::sync::Arc;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::{ObjectKey, Selector, Time};
use timonier_object::{Value, label_selector};

use super::affinity::extend_by_keys;
use super::{Labels, NodeAffinity, PodTerm, Resources, Toleration, Weighted};

/// What the plug-ins need to know of a pod.
#[derive(Clone, Debug)]
pub struct PodFacts {
    pub object: Arc<Value>,
    pub key: ObjectKey,
    pub uid: SmolStr,
    pub labels: Labels,
    pub priority: i64,
    pub scheduler: SmolStr,
    /// `spec.nodeName`; empty while the pod has no node.
    pub node: SmolStr,
    /// The node on which room is being made for the pod; mostly empty.
    pub nominated: SmolStr,
    /// Gates that keep the pod out of the queue.
    pub gates: usize,
    /// Succeeded or failed.
    pub finished: bool,
    pub deleting: bool,
    /// `preemptionPolicy: Never`.
    pub never_preempts: bool,
    pub started: Option<Time>,
    pub request: Resources,
    /// Processor time (thousandths) and memory as scoring sees them.
    pub scored: (i64, i64),
    pub ports: Vec<HostPort>,
    pub tolerations: Vec<Toleration>,
    pub node_affinity: NodeAffinity,
    /// The images of all containers, with a tag.
    pub images: Vec<SmolStr>,
    /// The claims of its volumes.
    pub claims: Vec<ClaimUse>,
    pub spread: Vec<SpreadConstraint>,
    pub affinity: Vec<PodTerm>,
    pub preferred_affinity: Vec<Weighted<PodTerm>>,
    pub anti_affinity: Vec<PodTerm>,
    pub preferred_anti_affinity: Vec<Weighted<PodTerm>>,
}

/// A PersistentVolumeClaim that a pod uses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimUse {
    pub name: SmolStr,
    /// Made for this pod by a controller.
    pub ephemeral: bool,
}

/// A port of the node that a container asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostPort {
    /// `0.0.0.0` is every address.
    pub ip: SmolStr,
    pub protocol: SmolStr,
    pub port: i64,
}

impl HostPort {
    /// Whether two pods cannot have these ports on one node.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        let any = |p: &HostPort| p.ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || any(self) || any(other))
    }
}

/// Which nodes count when spreading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inclusion {
    /// Only nodes that the pod's node affinity allows.
    pub affinity: bool,
    /// Only nodes whose taints the pod tolerates.
    pub taints: bool,
}

/// A `TopologySpreadConstraint`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpreadConstraint {
    pub topology_key: SmolStr,
    pub max_skew: i64,
    pub min_domains: i64,
    /// `DoNotSchedule`; otherwise a wish.
    pub hard: bool,
    pub selector: Selector,
    pub inclusion: Inclusion,
}

impl PodFacts {
    /// Reads a pod.
    pub fn read(pod: &Arc<Value>) -> Self {
        let spec = pod.at("spec");
        let (affinity, preferred_affinity) =
            PodTerm::read_all(spec.at("affinity.podAffinity"), pod);
        let (anti_affinity, preferred_anti_affinity) =
            PodTerm::read_all(spec.at("affinity.podAntiAffinity"), pod);
        let containers = spec.at("containers").items();
        let inits = spec.at("initContainers").items();
        let spread = spec.at("topologySpreadConstraints").items();
        PodFacts {
            key: pod.key(),
            uid: pod.uid().into(),
            labels: Labels::read(pod.at("metadata.labels")),
            priority: spec.at("priority").int_or(0),
            scheduler: spec.at("schedulerName").as_str().unwrap_or("default-scheduler").into(),
            node: spec.at("nodeName").smol(),
            nominated: pod.at("status.nominatedNodeName").smol(),
            gates: spec.at("schedulingGates").items().len(),
            finished: matches!(pod.at("status.phase").str(), "Succeeded" | "Failed"),
            deleting: pod.is_deleting(),
            never_preempts: spec.at("preemptionPolicy").str() == "Never",
            started: pod.time("status.startTime"),
            request: Resources::of_pod(pod),
            scored: Resources::scored(pod),
            ports: host_ports(spec),
            tolerations: Toleration::read_all(spec.at("tolerations")),
            node_affinity: NodeAffinity::read(spec),
            images: inits.iter().chain(containers).map(|c| tagged(c.at("image").str())).collect(),
            claims: claims(pod),
            spread: spread.iter().map(|c| SpreadConstraint::read(c, pod)).collect(),
            affinity,
            preferred_affinity,
            anti_affinity,
            preferred_anti_affinity,
            object: pod.clone(),
        }
    }

    /// Whether the pod says anything about pods beside it.
    pub fn has_affinity(&self) -> bool {
        !(self.affinity.is_empty()
            && self.preferred_affinity.is_empty()
            && self.anti_affinity.is_empty()
            && self.preferred_anti_affinity.is_empty())
    }

    /// Whether what the scheduler looks at differs, the status left out.
    pub fn asks_differently(&self, other: &PodFacts) -> bool {
        self.object.at("spec") != other.object.at("spec") || self.labels != other.labels
    }
}

impl SpreadConstraint {
    fn read(constraint: &Value, pod: &Value) -> Self {
        let mut selector =
            label_selector(constraint.at("labelSelector")).unwrap_or_else(|_| Selector::nothing());
        extend_by_keys(&mut selector, constraint.at("matchLabelKeys"), pod, true);
        SpreadConstraint {
            topology_key: constraint.at("topologyKey").smol(),
            max_skew: constraint.at("maxSkew").int_or(1),
            min_domains: constraint.at("minDomains").int_or(1),
            hard: constraint.at("whenUnsatisfiable").str() != "ScheduleAnyway",
            selector,
            inclusion: Inclusion {
                affinity: constraint.at("nodeAffinityPolicy").str() != "Ignore",
                taints: constraint.at("nodeTaintsPolicy").str() == "Honor",
            },
        }
    }
}

fn claims(pod: &Value) -> Vec<ClaimUse> {
    let claim = |volume: &Value| {
        let named = volume.at("persistentVolumeClaim.claimName");
        if !named.is_empty() {
            return Some(ClaimUse { name: named.smol(), ephemeral: false });
        }
        let name = alloc::format!("{}-{}", pod.name(), volume.at("name").str());
        let ephemeral = !volume.at("ephemeral").is_null();
        ephemeral.then(|| ClaimUse { name: name.into(), ephemeral })
    };
    pod.at("spec.volumes").items().iter().filter_map(claim).collect()
}

/// The ports of the node that a pod's containers ask for. With the host's network every port is
/// one, which the API server's defaults have filled in.
fn host_ports(spec: &Value) -> Vec<HostPort> {
    let sidecars = spec.at("initContainers").items().iter();
    let sidecars = sidecars.filter(|c| c.at("restartPolicy").str() == "Always");
    let mut ports: Vec<HostPort> = Vec::new();
    for container in spec.at("containers").items().iter().chain(sidecars) {
        for port in container.at("ports").items() {
            let number = port.at("hostPort").int_or(0);
            if number > 0 {
                let or = |text: &str, default: &'static str| match text {
                    "" => SmolStr::new_static(default),
                    text => text.into(),
                };
                ports.push(HostPort {
                    ip: or(port.at("hostIP").str(), "0.0.0.0"),
                    protocol: or(port.at("protocol").str(), "TCP"),
                    port: number,
                });
            }
        }
    }
    ports
}

/// An image name with a tag, as nodes list them.
fn tagged(image: &str) -> SmolStr {
    let has_tag = image.rfind(':') > image.rfind('/') || image.contains('@');
    match has_tag {
        true => image.into(),
        false => alloc::format!("{image}:latest").into(),
    }
}
