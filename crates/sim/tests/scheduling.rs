//! The scheduler beside a whole API server over a simulated disk, under virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use timonier_apiserver::{ApiServer, Config, storage};
use timonier_client::cache::Caches;
use timonier_client::driver::schedule;
use timonier_client::{Client, DeleteOptions, ListOptions, PatchType, WriteOptions};
use timonier_meta::gvk::resources::{EVENTS, NODES, PODS, PRIORITYCLASSES};
use timonier_meta::{Environment, GroupVersionResource, SmolStr, Time};
use timonier_object::{Value, value};
use timonier_policy::User;
use timonier_reconcile::ResourceInfo;
use timonier_scheduler::Scheduler;
use timonier_schema::Catalogue;
use timonier_store::{Location, MemoryDisk, Options, Store};

/// A clock that follows tokio's, and a counter for chance.
struct Virtual {
    start: tokio::time::Instant,
    counter: AtomicU64,
}

impl Environment for Virtual {
    fn now(&self) -> Time {
        Time(1_800_000_000_000_000 + self.start.elapsed().as_micros() as i64)
    }

    fn random(&self) -> u64 {
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        (n ^ 0x5555).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
    }
}

struct Cluster {
    client: Arc<dyn Client>,
}

impl Cluster {
    /// A server with a scheduler at it.
    async fn start() -> Cluster {
        let options = Options { stamp: storage::stamp, ..Options::default() };
        let store = Store::open(Location::Memory(MemoryDisk::new()), options).await.unwrap();
        let start = tokio::time::Instant::now();
        let env = Arc::new(Virtual { start, counter: AtomicU64::new(1) });
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let config = Config {
            issuer: "https://kubernetes.default.svc.cluster.local".into(),
            audiences: vec!["https://kubernetes.default.svc.cluster.local".into()],
            service_account_key_pem: key.serialize_pem().into_bytes(),
            service_cidrs: vec!["10.96.0.0/16".into()],
            node_ports: 30000..=32767,
            advertise: None,
            event_ttl: Duration::from_secs(3600),
            kubelet: None,
            front_proxy: None,
        };
        let catalogue = Catalogue::builtin();
        let server = ApiServer::new(config, store, catalogue.clone(), env.clone()).await.unwrap();
        let scheduler =
            User::authenticated("system:kube-scheduler", [SmolStr::new("system:masters")]);
        let caches = Caches::new(server.client(scheduler.clone()), env.clone());
        for resource in Scheduler::watches() {
            let row = catalogue.by_resource(&resource).unwrap();
            let (kind, namespaced) = (row.gvk.kind.clone(), row.namespaced);
            caches.add(ResourceInfo { resource, kind, namespaced });
        }
        let client = server.client(scheduler);
        let config = timonier_scheduler::Config::default();
        tokio::spawn(schedule::run(schedule::Setup { client, caches, env, config }));
        let admin = User::authenticated("admin", [SmolStr::new("system:masters")]);
        let client = server.client(admin);
        let cluster = Cluster { client };
        let account = value!({ "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": { "name": "default", "namespace": "default" } });
        cluster.create(&timonier_meta::gvk::resources::SERVICEACCOUNTS, account).await;
        cluster
    }

    async fn create(&self, resource: &GroupVersionResource, object: Value) -> Arc<Value> {
        let namespace = object.namespace().to_string();
        let options = WriteOptions::default();
        self.client.create(resource, &namespace, "", "", object, &options).await.unwrap()
    }

    async fn node(&self, name: &str, cpu: &str) {
        let amounts = value!({ "cpu": cpu, "memory": "4Gi", "pods": "110" });
        let node = value!({ "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
            "status": { "capacity": (amounts.clone()), "allocatable": amounts } });
        self.create(&NODES, node).await;
        // Admission has tainted it as not ready, which a controller would undo.
        let (ready, options) = (value!({ "spec": { "taints": null } }), WriteOptions::default());
        let client = &self.client;
        let node = client.patch(&NODES, "", name, "", PatchType::Merge, ready, &options).await;
        let node = node.unwrap();
        assert_eq!(node.at("status.allocatable.cpu").str(), cpu);
    }

    async fn pod(&self, name: &str, cpu: &str, change: impl FnOnce(&mut Value)) {
        let mut pod = value!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "default" },
            "spec": { "containers": [{ "name": "c", "image": "x:1",
                "resources": { "requests": { "cpu": cpu } } }] } });
        change(&mut pod);
        self.create(&PODS, pod).await;
    }

    /// The pod as soon as it is as wanted.
    async fn until(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Arc<Value> {
        let mut last = None;
        for _ in 0..400 {
            let pod = self.client.get(&PODS, "default", name).await.unwrap();
            if wanted(&pod) {
                return pod;
            }
            last = Some(pod);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the pod stays {last:?}")
    }

    async fn bound(&self, name: &str) -> Arc<Value> {
        self.until(name, |p| !p.at("spec.nodeName").is_empty()).await
    }

    /// The Events about a pod, as `Reason: message`.
    async fn events(&self, name: &str) -> Vec<String> {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let list = self.client.list(&EVENTS, "default", &ListOptions::default()).await.unwrap();
        let about = list.items.iter().filter(|e| e.at("involvedObject.name").str() == name);
        about.map(|e| format!("{}: {}", e.at("reason").str(), e.at("message").str())).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn pods_find_their_nodes() {
    let cluster = Cluster::start().await;
    cluster.node("n1", "2").await;
    cluster.node("n2", "1").await;
    cluster.pod("large", "2", |_| {}).await;
    let pod = cluster.bound("large").await;
    assert_eq!(pod.at("spec.nodeName").str(), "n1");
    assert!(pod.condition_is_true("PodScheduled"));
    assert_eq!(
        cluster.events("large").await,
        ["Scheduled: Successfully assigned default/large to n1"]
    );
    cluster.pod("picky", "100m", |p| p.set("spec.nodeSelector", value!({ "disk": "ssd" }))).await;
    let pod = cluster.until("picky", |p| p.condition("PodScheduled").is_some()).await;
    let text = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. \
                preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.";
    let condition = pod.condition("PodScheduled").unwrap();
    assert_eq!(condition.at("status").str(), "False");
    assert_eq!(condition.at("reason").str(), "Unschedulable");
    assert_eq!(condition.at("message").str(), text);
    assert_eq!(cluster.events("picky").await, [format!("FailedScheduling: {text}")]);

    cluster.pod("second", "1500m", |_| {}).await;
    cluster.until("second", |p| p.condition("PodScheduled").is_some()).await;
    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    cluster.client.delete(&PODS, "default", "large", &now).await.unwrap();
    assert_eq!(cluster.bound("second").await.at("spec.nodeName").str(), "n1");
}

#[tokio::test(start_paused = true)]
async fn an_important_pod_takes_the_place_of_another() {
    let cluster = Cluster::start().await;
    cluster.node("n1", "2").await;
    let class = value!({ "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": { "name": "high" }, "value": 1000 });
    cluster.create(&PRIORITYCLASSES, class).await;
    cluster.pod("low", "2", |p| p.set("spec.terminationGracePeriodSeconds", 0)).await;
    cluster.bound("low").await;
    cluster.pod("high", "2", |p| p.set("spec.priorityClassName", "high")).await;
    // No kubelet here finishes the victim's graceful deletion.
    let nominated = |p: &Value| p.at("status.nominatedNodeName").str() == "n1";
    cluster.until("high", |p| nominated(p) || !p.at("spec.nodeName").is_empty()).await;
    if let Ok(victim) = cluster.client.get(&PODS, "default", "low").await {
        assert!(victim.is_deleting() && victim.condition_is_true("DisruptionTarget"), "{victim}");
        let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        cluster.client.delete(&PODS, "default", "low", &now).await.unwrap();
    }
    assert_eq!(cluster.bound("high").await.at("spec.nodeName").str(), "n1");
    let told = cluster.events("low").await;
    assert!(told.iter().any(|e| e.starts_with("Preempted: Preempted by pod ")), "{told:?}");
}
