//! Users: they make workloads, change them and delete them, through a client without faults.

use std::sync::Arc;

use smol_str::SmolStr;
use timonier_client::{Client, DeleteOptions, PatchType, Propagation, WriteOptions};
use timonier_meta::gvk::resources::{
    DAEMONSETS, DEPLOYMENTS, JOBS, NAMESPACES, NODES, PODS, REPLICASETS, SERVICES,
};
use timonier_meta::{ApiError, GroupVersionResource};
use timonier_object::{Value, value};

use crate::api::Api;
use crate::environment::Random;

/// The namespaces that users work in.
const SPACES: [&str; 2] = ["default", "team"];

pub struct Users {
    pub api: Arc<Api>,
    pub random: Random,
    made: u64,
}

impl Users {
    pub fn new(api: Arc<Api>, seed: u64) -> Self {
        Users { api, random: Random::new(seed), made: 0 }
    }

    /// Makes the namespaces.
    pub async fn begin(&self) -> Result<(), ApiError> {
        for name in ["kube-node-lease", "default", "team"] {
            let namespace =
                value!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
            self.create(&NAMESPACES, namespace).await?;
        }
        Ok(())
    }

    /// One change, whatever comes to mind. That something is gone already is fine.
    pub async fn act(&mut self) {
        let result = match self.random.below(22) {
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
            _ => self.delete_namespace().await,
        };
        drop(result);
    }

    /// Takes back what keeps the system from its goal: pauses, and cordons.
    pub async fn settle(&self) {
        for deployment in self.api.all(&DEPLOYMENTS.group_resource()) {
            if deployment.at("spec.paused").bool() {
                drop(
                    self.patch(&DEPLOYMENTS, &deployment, value!({ "spec": { "paused": false } }))
                        .await,
                );
            }
        }
        for node in self.api.all(&NODES.group_resource()) {
            drop(self.patch(&NODES, &node, value!({ "spec": { "unschedulable": null } })).await);
        }
    }

    /// Cordons or uncordons a node.
    pub async fn cordon(&self, node: &str, on: bool) {
        if let Ok(stored) = self.api.get(&NODES, "", node).await {
            let patch = value!({ "spec": { "unschedulable": on } });
            drop(self.patch(&NODES, &stored, patch).await);
        }
    }

    /// Takes a node out of the cluster.
    pub async fn delete_node(&self, node: &str) {
        drop(self.api.delete(&NODES, "", node, &DeleteOptions::default()).await);
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
                                 "resources": { "requests": { "cpu": cpu } } }],
                "tolerations": [
                    { "key": "node.kubernetes.io/not-ready", "operator": "Exists",
                      "effect": "NoExecute", "tolerationSeconds": 60 },
                    { "key": "node.kubernetes.io/unreachable", "operator": "Exists",
                      "effect": "NoExecute", "tolerationSeconds": 60 },
                ],
                "schedulerName": "default-scheduler", "restartPolicy": "Always",
            },
        })
    }

    async fn make_deployment(&mut self) -> Result<(), ApiError> {
        if self.api.all(&DEPLOYMENTS.group_resource()).len() >= 4 {
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
        let service = value!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": (name.as_str()), "namespace": namespace },
            "spec": { "selector": { "app": (name.as_str()) }, "clusterIP": "10.96.0.9",
                      "ipFamilies": ["IPv4"], "ports": [{ "port": 80, "protocol": "TCP" }] },
        });
        self.create(&SERVICES, service).await
    }

    async fn make_job(&mut self) -> Result<(), ApiError> {
        if self.api.all(&JOBS.group_resource()).len() >= 4 {
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
                      "selector": { "matchLabels": { "app": (name.as_str()) } },
                      "template": template },
        });
        self.create(&JOBS, job).await
    }

    async fn make_daemon_set(&mut self) -> Result<(), ApiError> {
        if self.api.all(&DAEMONSETS.group_resource()).len() >= 2 {
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
        let all = self.api.all(&resource.group_resource());
        let Some(object) = self.random.pick(&all) else { return Ok(()) };
        let patch = match what {
            "replicas" => value!({ "spec": { "replicas": (self.random.below(6) as i64) } }),
            "pause" => value!({ "spec": { "paused": (self.random.chance(500)) } }),
            _ => {
                let template = self.template(object.name());
                value!({ "spec": { "template": template } })
            }
        };
        self.patch(resource, object, patch).await
    }

    async fn delete_one(&self, resource: &GroupVersionResource) -> Result<(), ApiError> {
        let all = self.api.all(&resource.group_resource());
        let Some(object) = self.random.pick(&all) else { return Ok(()) };
        let propagation = match self.random.below(4) {
            0 => Some(Propagation::Foreground),
            // Orphans stay for good, and nobody but their labels knows them.
            1 if *resource == REPLICASETS => Some(Propagation::Orphan),
            _ => Some(Propagation::Background),
        };
        let propagation = propagation.filter(|_| *resource != PODS);
        let options = DeleteOptions { propagation, ..DeleteOptions::default() };
        self.api.delete(resource, object.namespace(), object.name(), &options).await.map(drop)
    }

    /// Deletes the team's namespace, or makes it again.
    async fn delete_namespace(&self) -> Result<(), ApiError> {
        let options = DeleteOptions::default();
        match self.api.delete(&NAMESPACES, "", "team", &options).await {
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
        self.api.create(resource, &namespace, "", "", object, &options).await.map(drop)
    }

    async fn patch(
        &self,
        resource: &GroupVersionResource,
        object: &Value,
        patch: Value,
    ) -> Result<(), ApiError> {
        let (namespace, name) = (object.namespace(), object.name());
        let (kind, options) = (PatchType::Merge, WriteOptions::default());
        self.api.patch(resource, namespace, name, "", kind, patch, &options).await.map(drop)
    }
}
