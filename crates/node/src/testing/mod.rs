//! Stand-ins for tests: an API server, a runtime, images and a network without a machine.

mod api;
mod runtime;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use timonier_meta::gvk::resources;
use timonier_meta::{Environment, Time};
use timonier_network::{PodNet, PodRequest};
use timonier_object::{Value, value};
use timonier_oci::{ConfigFile, Digest, GcLimits, GcReport, Image, ImageConfig, PullOptions};

pub(crate) use api::Api;
pub(crate) use runtime::Toy;

use crate::config::{ImageGc, Left};
use crate::seams::{Images, Network};
use crate::volumes::host::fake::NoMounts;
use crate::{Node, NodeConfig};

/// The clock of tokio, which tests may pause.
#[derive(Default)]
pub(crate) struct Clock {
    n: Mutex<u64>,
}

/// The time of tokio's clock: that of the machine plus what tests have skipped.
pub(crate) fn wall() -> Time {
    static START: OnceLock<(std::time::Instant, Time)> = OnceLock::new();
    let (began, at) =
        *START.get_or_init(|| (std::time::Instant::now(), crate::NodeEnvironment.now()));
    let skipped = tokio::time::Instant::now().into_std().saturating_duration_since(began);
    at + timonier_meta::Duration(skipped.as_micros() as i64)
}

pub(crate) fn to_system(at: Time) -> std::time::SystemTime {
    std::time::UNIX_EPOCH + Duration::from_micros(at.0 as u64)
}

impl Environment for Clock {
    fn now(&self) -> Time {
        wall()
    }

    fn random(&self) -> u64 {
        let mut n = self.n.lock().unwrap();
        *n += 1;
        *n
    }
}

/// Images: everything is here but what is called `absent…`; `pulled…` appears by a pull.
#[derive(Default)]
pub(crate) struct Shelf {
    pub pulls: Mutex<Vec<String>>,
    /// What was to stay at the last collection.
    pub kept: Mutex<BTreeSet<Digest>>,
}

fn image(name: &str) -> Image {
    Image {
        id: Digest::of(name.as_bytes()),
        digest: Digest::of(b"manifest"),
        repo_tags: vec![name.into()],
        repo_digests: Vec::new(),
        size: 42,
        config: ConfigFile {
            config: ImageConfig { cmd: Some(vec!["run".into()]), ..ImageConfig::default() },
            ..ConfigFile::default()
        },
        lower_dirs: vec!["/layer".into()],
        added: Time::from_unix(0),
    }
}

#[async_trait]
impl Images for Shelf {
    async fn resolve(&self, name: &str) -> timonier_oci::Result<Image> {
        if name.starts_with("absent") || name.starts_with("pulled") {
            return Err(timonier_oci::Error::NotFound(name.into()));
        }
        Ok(image(name))
    }

    async fn pull(&self, name: &str, _: PullOptions) -> timonier_oci::Result<Image> {
        self.pulls.lock().unwrap().push(name.into());
        if name.starts_with("absent") {
            return Err(timonier_oci::Error::RegistryNotFound(name.into()));
        }
        Ok(image(name))
    }

    async fn list(&self) -> timonier_oci::Result<Vec<Image>> {
        let mut of_a_registry = image("rare:1");
        of_a_registry.repo_digests = vec!["rare@sha256:1".into()];
        Ok(vec![image("docker.io/library/web:1"), of_a_registry])
    }

    async fn gc(&self, kept: BTreeSet<Digest>, _: GcLimits) -> timonier_oci::Result<GcReport> {
        *self.kept.lock().unwrap() = kept;
        Ok(GcReport::default())
    }

    fn dir(&self) -> PathBuf {
        "/".into()
    }
}

/// A network that hands out addresses.
#[derive(Default)]
pub(crate) struct Wires {
    nets: Mutex<Vec<PodNet>>,
    /// While a test holds it, no pod's network goes.
    pub gate: tokio::sync::Mutex<()>,
    /// The pods whose network was asked to go.
    pub going: Mutex<Vec<String>>,
}

#[async_trait]
impl Network for Wires {
    async fn attach(&self, request: PodRequest) -> timonier_network::Result<PodNet> {
        let mut all = self.nets.lock().unwrap();
        if let Some(there) = all.iter().find(|n| n.uid == request.uid) {
            return Ok(there.clone());
        }
        let net = PodNet {
            uid: request.uid,
            netns_path: "/netns".into(),
            ip: std::net::Ipv4Addr::new(10, 244, 0, all.len() as u8 + 2).into(),
            interface: "tim0".into(),
            host_ports: request.host_ports,
        };
        all.push(net.clone());
        Ok(net)
    }

    async fn detach(&self, uid: &str) -> timonier_network::Result<()> {
        self.going.lock().unwrap().push(uid.into());
        let _open = self.gate.lock().await;
        self.nets.lock().unwrap().retain(|n| n.uid != uid);
        Ok(())
    }

    fn list(&self) -> Vec<PodNet> {
        self.nets.lock().unwrap().clone()
    }

    fn has(&self, uid: &str) -> bool {
        self.list().iter().any(|n| n.uid == uid)
    }
}

/// A node with its surroundings.
pub(crate) struct Bench {
    pub api: Arc<Api>,
    pub runtime: Arc<Toy>,
    pub images: Arc<Shelf>,
    pub network: Arc<Wires>,
    pub env: Arc<Clock>,
    pub dir: PathBuf,
    task: Option<tokio::task::JoinHandle<()>>,
    pub table: crate::PodTable,
}

impl Bench {
    /// A running node; files lie in a directory of the test's own.
    pub fn new(test: &str) -> Bench {
        let dir = std::env::temp_dir().join(format!("timonier-node-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let mut bench = Bench {
            api: Arc::new(Api::default()),
            runtime: Arc::new(Toy::default()),
            images: Arc::default(),
            network: Arc::default(),
            env: Arc::default(),
            dir,
            task: None,
            table: crate::PodTable::default(),
        };
        bench.start();
        bench
    }

    /// Starts the node, again after [`Bench::stop`].
    pub fn start(&mut self) {
        let mut config = NodeConfig::new("n1", &self.dir);
        config.addresses = vec!["192.168.0.1".parse().unwrap()];
        config.pod_cidr = "10.244.0.0/24".into();
        // Whatever disk this is on is too full.
        let full = Left { percent: 100, bytes: u64::MAX };
        config.image_gc = ImageGc { start: full, stop: full };
        let node = Node::with_mounts(
            config,
            self.api.clone(),
            self.runtime.clone(),
            self.images.clone(),
            self.network.clone(),
            self.env.clone(),
            Arc::new(NoMounts),
            false,
        );
        self.table = node.pods();
        self.task = Some(tokio::spawn(async move {
            node.run(std::future::pending()).await.unwrap();
        }));
    }

    /// Ends the node as a kill would; the runtime keeps what it has.
    pub async fn stop(&mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        let _ = task.await;
    }

    /// Creates a pod that is scheduled here.
    pub fn pod(&self, name: &str, spec: Value) {
        let mut pod = value!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "ns", "uid": (format!("uid-{name}")),
                "generation": 1 }, "spec": spec, "status": { "phase": "Pending" } });
        pod.set("spec.nodeName", "n1");
        self.api.put(&resources::PODS, pod);
    }

    /// A pod as the API has it.
    pub fn read(&self, name: &str) -> Option<Arc<Value>> {
        self.api.read(&resources::PODS, "ns", name)
    }

    /// Waits until a pod in the API is as wanted; gives it.
    pub async fn until(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Arc<Value> {
        for _ in 0..4_000 {
            if let Some(pod) = self.read(name)
                && wanted(&pod)
            {
                return pod;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!(
            "never came: {}\nruntime: {:?}",
            self.read(name).map(|p| p.to_string()).unwrap_or_default(),
            self.runtime.log()
        );
    }

    /// Waits until something holds.
    pub async fn holds(&self, what: &str, test: impl Fn() -> bool) {
        for _ in 0..4_000 {
            if test() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("never came: {what}; runtime: {:?}", self.runtime.log());
    }

    /// The texts of the Events about a pod.
    pub fn events(&self, name: &str) -> Vec<String> {
        let all = self.api.all(&resources::EVENTS);
        let about = all.iter().filter(|e| e.at("involvedObject.name").str() == name);
        about.map(|e| format!("{}: {}", e.at("reason").str(), e.at("message").str())).collect()
    }

    /// A file of a pod.
    pub fn file(&self, name: &str, path: &str) -> PathBuf {
        self.dir.join("pods").join(format!("uid-{name}")).join(Path::new(path))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Whether a pod is ready.
pub(crate) fn ready(pod: &Value) -> bool {
    pod.condition_is_true("Ready")
}
