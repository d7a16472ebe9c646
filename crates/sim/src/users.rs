//! Users: they make workloads, change them and delete them, over connections without faults of
//! their own.

use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;
use timonier_client::{Client, DeleteOptions, PatchType, Propagation, WriteOptions};
use timonier_meta::gvk::resources::{
    CRONJOBS, DAEMONSETS, DEPLOYMENTS, JOBS, NAMESPACES, NODES, PODDISRUPTIONBUDGETS, PODS,
    REPLICASETS, SERVICES, STATEFULSETS,
};
use timonier_meta::{ApiError, GroupVersionResource};
use timonier_object::{Value, value};
use tokio::time::sleep;

use crate::audit::Audit;
use crate::environment::Random;
use crate::server::Cluster;

/// The namespaces that users work in; the second comes and goes.
const SPACES: [&str; 2] = ["default", "team"];

pub struct Users {
    client: Arc<dyn Client>,
    /// Where they look for something to change.
    audit: Arc<Audit>,
    pub random: Random,
    made: u64,
}

impl Users {
    pub fn new(cluster: &Arc<Cluster>, seed: u64) -> Self {
        let client = cluster.line("admin", &["system:masters"]);
        Users { client, audit: cluster.audit.clone(), random: Random::new(seed), made: 0 }
    }

    /// What is there before the first fault.
    pub async fn begin(&mut self) {
        for name in SPACES {
            let namespace =
                value!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
            // One of them is there already.
            drop(self.create(&NAMESPACES, namespace).await);
        }
        for _ in 0..1 + self.random.below(4) {
            let made = match self.random.below(6) {
                0..3 => self.make_deployment().await,
                3 => self.make_stateful_set().await,
                4 => self.make_daemon_set().await,
                _ => self.make_job().await,
            };
            drop(made);
        }
    }

    /// One change, whatever comes to mind. That something is gone already is fine, and that the
    /// server does not answer.
    pub async fn act(&mut self) {
        let result = match self.random.below(34) {
            0..4 => self.make_deployment().await,
            4..7 => self.change(&DEPLOYMENTS, "replicas").await,
            7..10 => self.change(&DEPLOYMENTS, "image").await,
            10 => self.change(&DEPLOYMENTS, "pause").await,
            11 => self.delete_one(&DEPLOYMENTS).await,
            12..14 => self.make_job().await,
            14 => self.delete_one(&JOBS).await,
            15 => self.make_daemon_set().await,
            16 => self.change(&DAEMONSETS, "image").await,
            17 => self.delete_one(&DAEMONSETS).await,
            18..20 => self.delete_one(&PODS).await,
            20 => self.delete_one(&REPLICASETS).await,
            21..23 => self.make_stateful_set().await,
            23 => self.change(&STATEFULSETS, "replicas").await,
            24 => self.change(&STATEFULSETS, "image").await,
            25 => self.delete_one(&STATEFULSETS).await,
            26 => self.make_cron_job().await,
            27 => self.delete_one(&CRONJOBS).await,
            28 => self.make_budget().await,
            29 => self.change(&SERVICES, "type").await,
            30 => self.delete_one(&SERVICES).await,
            31 => self.evict().await,
            _ => self.delete_namespace().await,
        };
        drop(result);
    }

    /// Takes back what keeps the system from its goal: pauses, cordons, and what runs by the clock.
    pub async fn settle(&self) {
        let on = |field: &str| value!({ "spec": { field: true } });
        for (resource, field, off) in [(DEPLOYMENTS, "paused", false), (CRONJOBS, "suspend", true)]
        {
            for object in self.audit.all(&resource) {
                if object.at("spec").at(field).bool() != off {
                    let patch = if off { on(field) } else { value!({ "spec": { field: off } }) };
                    self.insist(&resource, &object, patch).await;
                }
            }
        }
        for node in self.audit.all(&NODES) {
            self.insist(&NODES, &node, value!({ "spec": { "unschedulable": null } })).await;
        }
    }

    /// Changes an object that may go meanwhile, whatever it takes.
    async fn insist(&self, resource: &GroupVersionResource, object: &Value, patch: Value) {
        for _ in 0..100 {
            match self.patch(resource, object, patch.clone()).await {
                Err(e) if !e.is_not_found() => sleep(Duration::from_secs(1)).await,
                _ => return,
            }
        }
    }

    /// Cordons or uncordons a node.
    pub async fn cordon(&self, node: &str, on: bool) {
        if let Ok(stored) = self.client.get(&NODES, "", node).await {
            let patch = value!({ "spec": { "unschedulable": on } });
            drop(self.patch(&NODES, &stored, patch).await);
        }
    }

    /// Takes a node out of the cluster.
    pub async fn delete_node(&self, node: &str) {
        drop(self.client.delete(&NODES, "", node, &DeleteOptions::default()).await);
    }

    /// Cordons a node and asks for its pods' places, as `kubectl drain` does, once.
    pub async fn drain(&self, node: &str) {
        self.cordon(node, true).await;
        for pod in self.audit.all(&PODS) {
            let daemon = pod.controller().is_some_and(|o| o.kind == "DaemonSet");
            if pod.at("spec.nodeName").str() == node && !daemon {
                drop(self.evict_pod(&pod).await);
            }
        }
    }

    async fn evict(&self) -> Result<(), ApiError> {
        let all = self.audit.all(&PODS);
        let Some(pod) = self.random.pick(&all) else { return Ok(()) };
        self.evict_pod(pod).await
    }

    async fn evict_pod(&self, pod: &Value) -> Result<(), ApiError> {
        let eviction = value!({ "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": { "name": (pod.name()), "namespace": (pod.namespace()) } });
        let (namespace, name, options) = (pod.namespace(), pod.name(), WriteOptions::default());
        let client = &self.client;
        client.create(&PODS, namespace, name, "eviction", eviction, &options).await.map(drop)
    }

    fn name(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}-{}", self.made)
    }

    fn namespace(&self) -> &'static str {
        SPACES[self.random.below(SPACES.len() as u64) as usize]
    }

    fn template(&self, name: &str) -> Value {
        let cpu = format!("{}m", 50 + 50 * self.random.below(6));
        let image = format!("image-{}", self.random.below(4));
        value!({
            "metadata": { "labels": { "app": name } },
            "spec": {
                "containers": [{ "name": "main", "image": image,
                                 "resources": { "requests": { "cpu": cpu, "memory": "64Mi" } } }],
                "tolerations": [
                    { "key": "node.kubernetes.io/not-ready", "operator": "Exists",
                      "effect": "NoExecute", "tolerationSeconds": 60 },
                    { "key": "node.kubernetes.io/unreachable", "operator": "Exists",
                      "effect": "NoExecute", "tolerationSeconds": 60 },
                ],
                "restartPolicy": "Always",
            },
        })
    }

    async fn make_deployment(&mut self) -> Result<(), ApiError> {
        if self.audit.all(&DEPLOYMENTS).len() >= 4 {
            return Ok(());
        }
        let (name, namespace) = (self.name("web"), self.namespace());
        let rolling = !self.random.chance(200);
        let strategy = if rolling {
            let surge = self.random.below(3);
            let unavailable = self.random.below(2).max(u64::from(surge == 0));
            value!({ "type": "RollingUpdate", "rollingUpdate": {
                "maxSurge": (surge as i64), "maxUnavailable": (unavailable as i64) } })
        } else {
            value!({ "type": "Recreate" })
        };
        let deployment = value!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": (name.as_str()), "namespace": namespace },
            "spec": { "replicas": (self.random.below(6) as i64), "strategy": strategy,
                      "revisionHistoryLimit": 2, "progressDeadlineSeconds": 600,
                      "selector": { "matchLabels": { "app": (name.as_str()) } },
                      "template": (self.template(&name)) },
        });
        self.create(&DEPLOYMENTS, deployment).await?;
        let node_port = self.random.chance(300);
        let kind = if node_port { "NodePort" } else { "ClusterIP" };
        let service = value!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": (name.as_str()), "namespace": namespace },
            "spec": { "type": kind, "selector": { "app": (name.as_str()) },
                      "ports": [{ "port": 80, "protocol": "TCP" }] },
        });
        self.create(&SERVICES, service).await
    }

    async fn make_stateful_set(&mut self) -> Result<(), ApiError> {
        if self.audit.all(&STATEFULSETS).len() >= 2 {
            return Ok(());
        }
        let (name, namespace) = (self.name("db"), self.namespace());
        let parallel = self.random.chance(300);
        let policy = if parallel { "Parallel" } else { "OrderedReady" };
        let set = value!({
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": { "name": (name.as_str()), "namespace": namespace },
            "spec": { "replicas": (self.random.below(4) as i64), "serviceName": "db",
                      "podManagementPolicy": policy, "revisionHistoryLimit": 2,
                      "selector": { "matchLabels": { "app": (name.as_str()) } },
                      "template": (self.template(&name)) },
        });
        self.create(&STATEFULSETS, set).await
    }

    async fn make_cron_job(&mut self) -> Result<(), ApiError> {
        if !self.audit.all(&CRONJOBS).is_empty() {
            return Ok(());
        }
        let (name, namespace) = (self.name("tick"), self.namespace());
        let policy = ["Allow", "Forbid", "Replace"][self.random.below(3) as usize];
        let mut template = self.template(&name);
        template.set("spec.restartPolicy", "Never");
        let cron = value!({
            "apiVersion": "batch/v1", "kind": "CronJob",
            "metadata": { "name": (name.as_str()), "namespace": namespace },
            "spec": { "schedule": "* * * * *", "concurrencyPolicy": policy,
                      "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 1,
                      "jobTemplate": { "spec": { "template": template } } },
        });
        self.create(&CRONJOBS, cron).await
    }

    /// A budget for the pods of some Deployment.
    async fn make_budget(&mut self) -> Result<(), ApiError> {
        let all = self.audit.all(&DEPLOYMENTS);
        let Some(of) = self.random.pick(&all).cloned() else { return Ok(()) };
        let budget = value!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": { "name": (of.name()), "namespace": (of.namespace()) },
            "spec": { "maxUnavailable": 1, "selector": (of.at("spec.selector")) },
        });
        self.create(&PODDISRUPTIONBUDGETS, budget).await
    }

    async fn make_job(&mut self) -> Result<(), ApiError> {
        if self.audit.all(&JOBS).len() >= 4 {
            return Ok(());
        }
        let (name, namespace) = (self.name("job"), self.namespace());
        let mode = if self.random.chance(500) { "Indexed" } else { "NonIndexed" };
        let mut template = self.template(&name);
        template.set("spec.restartPolicy", "Never");
        let job = value!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": { "name": (name.as_str()), "namespace": namespace },
            "spec": { "completions": (1 + self.random.below(4) as i64),
                      "parallelism": (1 + self.random.below(3) as i64),
                      "completionMode": mode, "backoffLimit": 3,
                      "template": template },
        });
        self.create(&JOBS, job).await
    }

    async fn make_daemon_set(&mut self) -> Result<(), ApiError> {
        if self.audit.all(&DAEMONSETS).len() >= 2 {
            return Ok(());
        }
        let (name, namespace) = (self.name("agent"), self.namespace());
        let set = value!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": { "name": (name.as_str()), "namespace": namespace },
            "spec": { "selector": { "matchLabels": { "app": (name.as_str()) } },
                      "updateStrategy": { "type": "RollingUpdate",
                                          "rollingUpdate": { "maxUnavailable": 1, "maxSurge": 0 } },
                      "revisionHistoryLimit": 2,
                      "template": (self.template(&name)) },
        });
        self.create(&DAEMONSETS, set).await
    }

    async fn change(&self, resource: &GroupVersionResource, what: &str) -> Result<(), ApiError> {
        let all = self.audit.all(resource);
        let Some(object) = self.random.pick(&all) else { return Ok(()) };
        let patch = match what {
            "replicas" => value!({ "spec": { "replicas": (self.random.below(6) as i64) } }),
            "type" => {
                let node_port = self.random.chance(500);
                value!({ "spec": { "type": (if node_port { "NodePort" } else { "ClusterIP" }) } })
            }
            "pause" => value!({ "spec": { "paused": (self.random.chance(500)) } }),
            _ => {
                let template = self.template(object.name());
                value!({ "spec": { "template": template } })
            }
        };
        self.patch(resource, object, patch).await
    }

    async fn delete_one(&self, resource: &GroupVersionResource) -> Result<(), ApiError> {
        let all = self.audit.all(resource);
        let Some(object) = self.random.pick(&all) else { return Ok(()) };
        let propagation = match self.random.below(4) {
            0 => Some(Propagation::Foreground),
            // Orphans stay for good, and nobody but their labels knows them.
            1 if *resource == REPLICASETS => Some(Propagation::Orphan),
            _ => Some(Propagation::Background),
        };
        let propagation = propagation.filter(|_| *resource != PODS);
        let options = DeleteOptions { propagation, ..DeleteOptions::default() };
        self.audit.asked_to_delete(object);
        self.client.delete(resource, object.namespace(), object.name(), &options).await.map(drop)
    }

    /// Deletes the team's namespace, or makes it again.
    async fn delete_namespace(&self) -> Result<(), ApiError> {
        let options = DeleteOptions::default();
        let there = self.audit.all(&NAMESPACES).into_iter().find(|n| n.name() == "team");
        there.iter().for_each(|n| self.audit.asked_to_delete(n));
        match self.client.delete(&NAMESPACES, "", "team", &options).await {
            Err(e) if e.is_not_found() => {
                let team = value!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "team" } });
                self.create(&NAMESPACES, team).await
            }
            other => other.map(drop),
        }
    }

    async fn create(&self, resource: &GroupVersionResource, object: Value) -> Result<(), ApiError> {
        let namespace = SmolStr::new(object.namespace());
        let options = WriteOptions::default();
        self.client.create(resource, &namespace, "", "", object, &options).await.map(drop)
    }

    async fn patch(
        &self,
        resource: &GroupVersionResource,
        object: &Value,
        patch: Value,
    ) -> Result<(), ApiError> {
        let (namespace, name) = (object.namespace(), object.name());
        let (kind, options) = (PatchType::Merge, WriteOptions::default());
        self.client.patch(resource, namespace, name, "", kind, patch, &options).await.map(drop)
    }
}
