//! What the node is told at its start.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The settings of a node. Nothing of it is read from anywhere else.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The name of the Node object.
    pub name: String,
    /// The node's addresses, the main one first.
    pub addresses: Vec<IpAddr>,
    /// Below it: `pods/` (volumes and files of pods), `logs/` (of containers).
    pub data_dir: PathBuf,
    /// The addresses of the cluster's DNS service.
    pub cluster_dns: Vec<IpAddr>,
    /// For example `cluster.local`.
    pub cluster_domain: String,
    /// The node's part of the pod range, such as `10.244.0.0/24`.
    pub pod_cidr: String,
    /// The port of the node's HTTPS server.
    pub kubelet_port: u16,
    /// The cgroup of all pods, absolute below the root of the hierarchy, such as
    /// `/timonier/kubepods`.
    pub cgroup_root: String,
    /// Further labels of the Node object, such as `node-role.kubernetes.io/control-plane`.
    pub labels: Vec<(String, String)>,
    /// The version shown as the kubelet's, such as `v1.35.0`.
    pub version: String,
    /// At most so many pods.
    pub max_pods: u32,
    /// How often the lease is renewed.
    pub lease_period: Duration,
    /// When images are collected.
    pub image_gc: ImageGc,
    /// A container's log is rotated at this size, bytes; so many files are kept.
    pub log_max_bytes: u64,
    pub log_max_files: u32,
    /// The file of seccomp profiles, for `Localhost`.
    pub seccomp_dir: PathBuf,
    /// The node's own resolver configuration.
    pub resolv_conf: PathBuf,
    /// The node's own hosts file.
    pub hosts_file: PathBuf,
    /// Registries that may speak plain HTTP or show unknown certificates.
    pub insecure_registries: Vec<String>,
}

/// How much of a disk should be left: so many percent, or so many bytes if that is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    pub percent: u64,
    pub bytes: u64,
}

/// Images are collected when less than `start` is left of the disk, until `stop` is. Upstream has
/// the percentages only (`imageGCHighThresholdPercent`, 85% used, and the low one, 80%).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageGc {
    pub start: Left,
    pub stop: Left,
}

impl NodeConfig {
    /// A configuration with upstream's defaults for all that has one.
    pub fn new(name: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        NodeConfig {
            name: name.into(),
            addresses: Vec::new(),
            seccomp_dir: data_dir.join("seccomp"),
            data_dir,
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".into(),
            pod_cidr: String::new(),
            kubelet_port: 10250,
            cgroup_root: "/timonier/kubepods".into(),
            labels: Vec::new(),
            version: "v1.35.0".into(),
            max_pods: 110,
            lease_period: Duration::from_secs(10),
            image_gc: ImageGc {
                start: Left { percent: 15, bytes: 2 << 30 },
                stop: Left { percent: 20, bytes: 4 << 30 },
            },
            log_max_bytes: 10 << 20,
            log_max_files: 5,
            resolv_conf: "/etc/resolv.conf".into(),
            hosts_file: "/etc/hosts".into(),
            insecure_registries: Vec::new(),
        }
    }

    /// The directory of a pod's files.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.data_dir.join("pods").join(uid)
    }

    /// The directory of a pod's logs: `logs/<namespace>_<name>_<uid>`.
    pub fn log_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.data_dir.join("logs").join(format!("{namespace}_{name}_{uid}"))
    }

    /// The log of one run of a container: `<log_dir>/<container>/<attempt>.log`.
    pub fn log_path(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        container: &str,
        attempt: u32,
    ) -> PathBuf {
        self.log_dir(namespace, name, uid).join(container).join(format!("{attempt}.log"))
    }
}
