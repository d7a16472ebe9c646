//! Simulated nodes: kubelets that renew leases, and run pods by a small state machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smol_str::SmolStr;
use timonier_client::cache::{Caches, Notice};
use timonier_client::{Client, DeleteOptions, PatchType, Preconditions, WriteOptions};
use timonier_meta::gvk::resources::{LEASES, NODES, PODS};
use timonier_meta::{ApiError, Duration, ObjectKey, Time};
use timonier_object::{Value, value};

use crate::processes::Ground;

/// Between two renewals of a lease.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Which nodes are out of reach.
#[derive(Clone, Default)]
pub struct Reach(Arc<Mutex<Lost>>);

#[derive(Default)]
struct Lost {
    nodes: BTreeSet<SmolStr>,
    /// Nodes that users gave up: what runs there does not count any more.
    given_up: BTreeSet<SmolStr>,
}

impl Reach {
    pub fn lose(&self, node: &str) {
        self.lost().nodes.insert(node.into());
    }

    pub fn restore_all(&self) {
        self.lost().nodes.clear();
    }

    /// A user takes the node's object away.
    pub fn give_up(&self, node: &str) {
        self.lost().given_up.insert(node.into());
    }

    fn is_lost(&self, node: &str) -> bool {
        self.lost().nodes.contains(node)
    }

    fn take_given_up(&self) -> BTreeSet<SmolStr> {
        std::mem::take(&mut self.lost().given_up)
    }

    fn lost(&self) -> MutexGuard<'_, Lost> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All kubelets.
struct Fleet {
    ground: Ground,
    client: Arc<dyn Client>,
    caches: Arc<Caches>,
    reach: Reach,
    nodes: Vec<SmolStr>,
    due: BTreeMap<ObjectKey, Time>,
    timers: BTreeSet<(Time, ObjectKey)>,
    addresses: u64,
    /// What runs where: the pods of StatefulSets, by node and uid.
    identities: BTreeMap<(SmolStr, SmolStr), ObjectKey>,
}

/// The nodes' names.
pub fn names(count: usize) -> Vec<SmolStr> {
    (1..=count).map(|n| SmolStr::from(format!("node-{n}"))).collect()
}

/// Runs the kubelets until the future is dropped.
pub async fn run(ground: Ground, reach: Reach, nodes: Vec<SmolStr>) {
    let client = ground.client("system:kubelets", &["system:masters"]);
    let caches = Caches::new(client.clone(), ground.env.clone());
    let mut notices = caches.subscribe();
    ground.resources.iter().filter(|i| i.resource == PODS).for_each(|i| caches.add(i.clone()));
    let mut fleet = Fleet {
        ground,
        client,
        caches,
        reach,
        nodes,
        due: BTreeMap::new(),
        timers: BTreeSet::new(),
        addresses: 0,
        identities: BTreeMap::new(),
    };
    let mut next_beat = fleet.now();
    loop {
        let next = fleet.timers.first().map_or(next_beat, |(at, _)| next_beat.min(*at));
        let timer = tokio::time::sleep((next - fleet.now()).to_core());
        tokio::select! {
            biased;
            some = notices.recv() => some.into_iter().for_each(|n| fleet.note(n)),
            () = timer => {
                if next_beat <= fleet.now() {
                    fleet.beat().await;
                    next_beat = fleet.now() + HEARTBEAT;
                }
                fleet.run_due().await;
            }
        }
    }
}

impl Fleet {
    fn now(&self) -> Time {
        self.ground.env.now()
    }

    /// A pod changed: its kubelet will do something about it after a while.
    fn note(&mut self, notice: Notice) {
        let Notice::Changed(change) = notice else { return };
        match &change.new {
            Some(pod) if !pod.at("spec.nodeName").is_empty() => {
                let random = &self.ground.faults.random;
                let wait = Duration::from_millis(200 + random.below(2000) as i64);
                self.set_due(change.key.clone(), self.now() + wait);
            }
            _ => self.forget(&change.key),
        }
        // A kubelet in reach ends what has no pod any more.
        let replaced = |old: &Value| change.new.as_ref().is_none_or(|new| new.uid() != old.uid());
        if let Some(old) = change.old.as_ref().filter(|old| replaced(old)) {
            self.stopped(old);
        }
    }

    /// A pod of a StatefulSet starts: nobody else may have its name.
    fn started(&mut self, pod: &Value) {
        if pod.controller().is_none_or(|o| o.kind != "StatefulSet") {
            return;
        }
        let given_up = self.reach.take_given_up();
        self.identities.retain(|(node, _), _| !given_up.contains(node));
        let (key, uid) = (pod.key(), pod.uid().into());
        let other = self.identities.iter().find(|((_, u), k)| **k == key && *u != uid);
        if let Some(((node, other), _)) = other {
            let here = pod.at("spec.nodeName").str();
            self.ground
                .cluster
                .audit
                .report(format!("{key} starts on {here} as {uid}, and runs on {node} as {other}"));
        }
        self.identities.insert((pod.at("spec.nodeName").smol(), uid), key);
    }

    fn stopped(&mut self, pod: &Value) {
        let node = pod.at("spec.nodeName").smol();
        if !self.reach.is_lost(&node) {
            self.identities.remove(&(node, pod.uid().into()));
        }
    }

    fn set_due(&mut self, key: ObjectKey, at: Time) {
        if self.due.get(&key).is_some_and(|old| *old <= at) {
            return;
        }
        self.forget(&key);
        self.due.insert(key.clone(), at);
        self.timers.insert((at, key));
    }

    fn forget(&mut self, key: &ObjectKey) {
        if let Some(old) = self.due.remove(key) {
            self.timers.remove(&(old, key.clone()));
        }
    }

    async fn run_due(&mut self) {
        while let Some((at, key)) = self.timers.first().cloned()
            && at <= self.now()
        {
            self.forget(&key);
            let pod = self.caches.world().get(&PODS, &key).cloned();
            let Some(pod) = pod else { continue };
            let second = Duration::from_secs(1);
            if self.reach.is_lost(pod.at("spec.nodeName").str()) {
                self.set_due(key, self.now() + second + second);
                continue;
            }
            match self.step(&pod).await {
                Ok(Some(wait)) => self.set_due(key, self.now() + wait),
                Ok(None) => {}
                Err(e) if e.is_not_found() => {}
                Err(_) => self.set_due(key, self.now() + second),
            }
        }
    }

    /// One step of a pod's life. Gives when to look again if nothing changes.
    async fn step(&mut self, pod: &Value) -> Result<Option<Duration>, ApiError> {
        let phase = pod.at("status.phase").str();
        let ended = matches!(phase, "Succeeded" | "Failed");
        if pod.is_deleting() {
            self.stopped(pod);
            if !ended {
                let phase = if is_job(pod) { "Failed" } else { "Succeeded" };
                self.post(pod, phase, false).await?;
                return Ok(None);
            }
            let preconditions = Preconditions { uid: Some(pod.uid().into()), ..Default::default() };
            let options = DeleteOptions {
                grace_period_seconds: Some(0),
                preconditions,
                ..DeleteOptions::default()
            };
            let held = pod.at("metadata.deletionGracePeriodSeconds").as_i64() == Some(0);
            if !held {
                self.client.delete(&PODS, pod.namespace(), pod.name(), &options).await?;
            }
            return Ok(None);
        }
        let ready = pod.condition_is_true("Ready");
        match (phase, ready) {
            (_, _) if ended => {
                self.stopped(pod);
                return Ok(None);
            }
            ("Pending", _) => {
                self.started(pod);
                self.post(pod, "Running", false).await?;
            }
            (_, false) => self.post(pod, "Running", true).await?,
            (_, true) if is_job(pod) => {
                let fails = self.ground.faults.are_on() && self.ground.faults.random.chance(150);
                self.post(pod, if fails { "Failed" } else { "Succeeded" }, false).await?;
            }
            (_, true) if self.ground.faults.are_on() => {
                // A container dies now and then, and comes back.
                if self.ground.faults.random.chance(100) {
                    self.post(pod, "Running", false).await?;
                }
                return Ok(Some(Duration::from_secs(20)));
            }
            (_, true) => return Ok(None),
        }
        Ok(None)
    }

    async fn post(&mut self, pod: &Value, phase: &str, ready: bool) -> Result<(), ApiError> {
        let mut pod = pod.clone();
        let now = self.now().rfc3339();
        if pod.at("status.podIP").is_empty() {
            self.addresses += 1;
            let ip = format!("10.244.{}.{}", self.addresses / 250, self.addresses % 250 + 1);
            pod.set("status.podIP", ip.as_str());
            pod.set("status.podIPs", value!([{ "ip": (ip.as_str()) }]));
        }
        pod.set("status.phase", phase);
        let status = if ready { "True" } else { "False" };
        let conditions = value!([{ "type": "Ready", "status": status, "lastTransitionTime": now }]);
        pod.set("status.conditions", conditions);
        let (namespace, name) = (pod.key().namespace, pod.key().name);
        let options = WriteOptions::default();
        self.client.update(&PODS, &namespace, &name, "status", pod, &options).await?;
        Ok(())
    }

    /// Renews the leases of the nodes in reach; registers them where they are not known.
    async fn beat(&mut self) {
        for node in self.nodes.clone() {
            if !self.reach.is_lost(&node) {
                // What fails now is tried again at the next beat.
                let _ = self.beat_of(&node).await;
            }
        }
    }

    async fn beat_of(&self, node: &str) -> Result<(), ApiError> {
        let options = WriteOptions::default();
        let stored = match self.client.get(&NODES, "", node).await {
            Ok(stored) => stored,
            Err(e) if e.is_not_found() => {
                let fresh = fresh_node(node);
                self.client.create(&NODES, "", "", "", fresh, &options).await?
            }
            Err(e) => return Err(e),
        };
        if !stored.condition_is_true("Ready") {
            let mut ready = Value::clone(&stored);
            ready.set("status", status(self.now()));
            self.client.update(&NODES, "", node, "status", ready, &options).await?;
        }
        let spec = value!({ "holderIdentity": node, "renewTime": (self.now().rfc3339_micro()) });
        let (namespace, patch) = ("kube-node-lease", value!({ "spec": (&spec) }));
        let kind = PatchType::Merge;
        match self.client.patch(&LEASES, namespace, node, "", kind, patch, &options).await {
            Err(e) if e.is_not_found() => {
                let lease = value!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": { "name": node, "namespace": namespace }, "spec": spec,
                });
                self.client.create(&LEASES, namespace, "", "", lease, &options).await.map(drop)
            }
            other => other.map(drop),
        }
    }
}

fn is_job(pod: &Value) -> bool {
    pod.controller().is_some_and(|o| o.kind == "Job")
}

fn fresh_node(name: &str) -> Value {
    value!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
        "spec": {},
        "status": { "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "30" } },
    })
}

fn status(now: Time) -> Value {
    value!({
        "capacity": { "cpu": "4", "memory": "8Gi", "pods": "30" },
        "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "30" },
        "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady",
                         "message": "kubelet is posting ready status",
                         "lastHeartbeatTime": (now.rfc3339()), "lastTransitionTime": (now.rfc3339()) }],
    })
}
