//! What a sandbox and a container are made of: plain data that can be written down.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::api::Exit;

/// What the containers of a pod share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxConfig {
    /// Pod name, namespace and uid.
    pub name: String,
    pub namespace: String,
    pub uid: String,
    /// How often the node made a sandbox for this pod before.
    pub attempt: u32,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Empty with the host's network.
    pub hostname: String,
    pub network: Network,
    pub pid: PidMode,
    /// Use the host's IPC namespace.
    pub host_ipc: bool,
    /// Set once inside the pod's namespaces, for example `net.core.somaxconn`.
    pub sysctls: BTreeMap<String, String>,
    /// The pod's cgroup as an absolute path below the hierarchy's root, for example
    /// `/timonier/kubepods/burstable/pod<uid>`. Created with the sandbox and removed with it;
    /// containers get one cgroup each below it.
    pub cgroup_parent: String,
    /// Limits of that cgroup.
    pub resources: Resources,
    /// Size of the pod's `/dev/shm` in bytes; 0 means 64 MiB.
    pub shm_size: u64,
}

/// Where the pod's network comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    #[default]
    Host,
    /// A bind-mounted network namespace made by the node.
    Namespace(PathBuf),
}

/// Which processes a container sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidMode {
    /// Its own only.
    #[default]
    Container,
    /// Those of the whole pod (`shareProcessNamespace`).
    Pod,
    /// Those of the host (`hostPID`).
    Host,
    /// Those of another container, by id (`kubectl debug --target`). Only for containers.
    Target(String),
}

/// A container before it is created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerConfig {
    pub name: String,
    /// How often the container was restarted before.
    pub attempt: u32,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Given back in the status.
    pub image: String,
    pub image_id: String,
    /// The whole command line; the first word is looked up in the container's `PATH`.
    pub argv: Vec<String>,
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    /// Empty means `/`. Created if missing.
    pub cwd: String,
    pub rootfs: Rootfs,
    /// Directories of the root that are mounts of their own, a parent before what is below it:
    /// with the image's content, and written to where the root is read-only. Made if missing.
    pub volumes: Vec<String>,
    pub mounts: Vec<Mount>,
    pub security: Security,
    pub devices: Vec<Device>,
    pub resources: Resources,
    pub oom_score_adj: Option<i32>,
    pub rlimits: Vec<Rlimit>,
    pub tty: bool,
    /// Keep stdin open for attach; otherwise it is `/dev/null`.
    pub stdin: bool,
    /// Close stdin when the first attached client is done with it.
    pub stdin_once: bool,
    /// Number of the signal that asks it to stop; 0 means SIGTERM.
    pub stop_signal: i32,
    /// The log file in CRI format; `None` means no log.
    pub log_path: Option<PathBuf>,
    /// Overrides the sandbox's mode; only `Target` makes sense here.
    pub pid: Option<PidMode>,
}

/// Where the container's root comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// An overlay of read-only layers, the topmost first, below a writable layer of its own.
    Overlay { lower_dirs: Vec<PathBuf> },
    /// A directory used as it is.
    Directory(PathBuf),
}

impl Default for Rootfs {
    fn default() -> Self {
        Self::Overlay { lower_dirs: Vec::new() }
    }
}

/// One mount inside a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container; resolved inside its root, created if missing.
    pub target: String,
    pub source: MountSource,
    pub readonly: bool,
    /// With `readonly`: also what is mounted below.
    pub recursive_readonly: bool,
    pub propagation: Propagation,
}

impl Mount {
    /// A plain writable bind mount.
    pub fn bind(source: impl Into<PathBuf>, target: impl Into<String>) -> Self {
        Self {
            target: target.into(),
            source: MountSource::Bind(source.into()),
            readonly: false,
            recursive_readonly: false,
            propagation: Propagation::Private,
        }
    }

    pub fn readonly(mut self) -> Self {
        self.readonly = true;
        self
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A file or directory of the host, with what is mounted below it.
    Bind(PathBuf),
    /// Memory; `size` in bytes, `None` for the kernel's default.
    Tmpfs { size: Option<u64>, mode: u32 },
}

/// Kubernetes' `None`, `HostToContainer`, `Bidirectional`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    #[default]
    Private,
    Slave,
    Shared,
}

/// Who the process is and what it may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    pub user: User,
    /// Names such as `CAP_NET_ADMIN`; bounding, permitted and effective set. With a user other
    /// than root they are permitted nowhere, as upstream.
    pub capabilities: Vec<String>,
    pub no_new_privs: bool,
    /// All capabilities and devices, nothing masked, cgroups and sysfs writable, no seccomp.
    pub privileged: bool,
    pub readonly_rootfs: bool,
    pub masked_paths: Vec<String>,
    pub readonly_paths: Vec<String>,
    pub seccomp: Seccomp,
}

impl Default for Security {
    fn default() -> Self {
        Self {
            user: User::default(),
            capabilities: default_capabilities(),
            no_new_privs: false,
            privileged: false,
            readonly_rootfs: false,
            masked_paths: default_masked_paths(),
            readonly_paths: default_readonly_paths(),
            seccomp: Seccomp::Default,
        }
    }
}

/// The user of a process. Names are resolved with the container's own `/etc/passwd` and
/// `/etc/group`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct User {
    /// As in an image: empty (root), `name`, `uid`, `name:group`, `uid:gid`.
    pub name: String,
    /// Win over `name`.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub supplementary: Vec<u32>,
    /// Leave out the groups that the container's `/etc/group` lists for the user
    /// (`supplementalGroupsPolicy: Strict`).
    pub strict_groups: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// The runtime's own profile.
    #[default]
    Default,
    Unconfined,
    /// A profile in the OCI/Docker JSON form.
    Custom(String),
}

/// A device of the host to show in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub host_path: PathBuf,
    pub container_path: String,
    /// Any of `r`, `w`, `m`.
    pub permissions: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// For example `RLIMIT_NOFILE`.
    pub name: String,
    pub soft: u64,
    pub hard: u64,
}

/// Limits of a cgroup; `None` leaves a value alone. Written for v1 or v2, whatever the host has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// 2–262144; on v2 converted to a weight as Kubernetes does.
    pub cpu_shares: Option<u64>,
    /// Microseconds per period; -1 is no limit.
    pub cpu_quota: Option<i64>,
    pub cpu_period: Option<u64>,
    pub cpuset_cpus: Option<String>,
    pub cpuset_mems: Option<String>,
    /// Bytes; -1 is no limit.
    pub memory_limit: Option<i64>,
    /// Memory and swap together, in bytes; -1 is no limit.
    pub memory_swap_limit: Option<i64>,
    /// -1 is no limit.
    pub pids_limit: Option<i64>,
    /// Page size as `2MB` to bytes.
    pub hugepages: BTreeMap<String, u64>,
    /// Files of cgroup v2 written as they are, for example `memory.high`; ignored on v1.
    pub unified: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SandboxState {
    Ready,
    NotReady,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SandboxStatus {
    pub id: String,
    pub config: SandboxConfig,
    pub state: SandboxState,
    pub created_at: SystemTime,
    /// The shim's process, when there is one.
    pub pid: Option<i32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ContainerState {
    Created,
    Running { pid: i32, started_at: SystemTime },
    Exited { started_at: Option<SystemTime>, exit: Exit },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerStatus {
    pub id: String,
    pub sandbox: String,
    pub config: ContainerConfig,
    pub state: ContainerState,
    pub created_at: SystemTime,
}

/// What a container may do unless told otherwise: containerd's and Docker's list.
pub fn default_capabilities() -> Vec<String> {
    [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FSETID",
        "CAP_FOWNER",
        "CAP_MKNOD",
        "CAP_NET_RAW",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETFCAP",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_KILL",
        "CAP_AUDIT_WRITE",
    ]
    .map(String::from)
    .to_vec()
}

/// Hidden from containers, as upstream (`procMount: Default`).
pub fn default_masked_paths() -> Vec<String> {
    [
        "/proc/asound",
        "/proc/acpi",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ]
    .map(String::from)
    .to_vec()
}

/// Readable only, as upstream (`procMount: Default`).
pub fn default_readonly_paths() -> Vec<String> {
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        .map(String::from)
        .to_vec()
}
