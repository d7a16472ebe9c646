//! The processes of the control plane: they can be killed and started.

use std::sync::Arc;

use timonier_client::Client;
use timonier_client::cache::Caches;
use timonier_client::driver::{self, Setup, schedule};
use timonier_controllers::Settings;
use timonier_meta::Environment;
use timonier_meta::gvk::resources as r;
use timonier_reconcile::{Config, ResourceInfo};
use timonier_scheduler::Scheduler;
use tokio::task::AbortHandle;

use crate::faults::{Faults, Faulty};
use crate::server::Cluster;

/// What every process needs.
#[derive(Clone)]
pub struct Ground {
    pub cluster: Arc<Cluster>,
    /// What the controllers observe.
    pub resources: Vec<ResourceInfo>,
    pub faults: Arc<Faults>,
    pub env: Arc<dyn Environment>,
}

impl Ground {
    /// A component's client, whose requests suffer the faults.
    pub fn client(&self, name: &str, groups: &[&'static str]) -> Arc<dyn Client> {
        let inner = self.cluster.line(name, groups);
        Arc::new(Faulty { inner, faults: self.faults.clone() })
    }
}

/// The resources that controllers observe here: those that something in a run is about.
pub fn resources() -> Vec<ResourceInfo> {
    let all = [
        (r::NAMESPACES, "Namespace", false),
        (r::NODES, "Node", false),
        (r::PODS, "Pod", true),
        (r::SERVICES, "Service", true),
        (r::ENDPOINTS, "Endpoints", true),
        (r::ENDPOINTSLICES, "EndpointSlice", true),
        (r::SERVICEACCOUNTS, "ServiceAccount", true),
        (r::CONFIGMAPS, "ConfigMap", true),
        (r::EVENTS, "Event", true),
        (r::LEASES, "Lease", true),
        (r::DEPLOYMENTS, "Deployment", true),
        (r::REPLICASETS, "ReplicaSet", true),
        (r::REPLICATIONCONTROLLERS, "ReplicationController", true),
        (r::DAEMONSETS, "DaemonSet", true),
        (r::STATEFULSETS, "StatefulSet", true),
        (r::CONTROLLERREVISIONS, "ControllerRevision", true),
        (r::JOBS, "Job", true),
        (r::CRONJOBS, "CronJob", true),
        (r::PODDISRUPTIONBUDGETS, "PodDisruptionBudget", true),
        (r::RESOURCEQUOTAS, "ResourceQuota", true),
        (r::PERSISTENTVOLUMECLAIMS, "PersistentVolumeClaim", true),
        (r::PERSISTENTVOLUMES, "PersistentVolume", false),
    ];
    let info = |(resource, kind, namespaced): (_, &str, _)| ResourceInfo {
        resource,
        kind: kind.into(),
        namespaced,
    };
    all.into_iter().map(info).collect()
}

/// The processes that run; `None` for one that is dead.
pub struct Processes {
    ground: Ground,
    controllers: Option<AbortHandle>,
    scheduler: Option<AbortHandle>,
}

impl Processes {
    pub fn start(ground: Ground) -> Self {
        let mut all = Processes { ground, controllers: None, scheduler: None };
        all.revive();
        all
    }

    /// Starts what is dead.
    pub fn revive(&mut self) {
        let seed = self.ground.env.random();
        if self.controllers.is_none() {
            self.controllers = Some(start_controllers(self.ground.clone(), seed));
        }
        if self.scheduler.is_none() {
            self.scheduler = Some(start_scheduler(self.ground.clone(), seed));
        }
    }

    pub fn kill_controllers(&mut self) {
        if let Some(process) = self.controllers.take() {
            process.abort();
        }
    }

    pub fn kill_scheduler(&mut self) {
        if let Some(process) = self.scheduler.take() {
            process.abort();
        }
    }
}

fn start_controllers(ground: Ground, seed: u64) -> AbortHandle {
    let client = ground.client("system:kube-controller-manager", &[]);
    let run = async move {
        let caches = Caches::new(client.clone(), ground.env.clone());
        ground.resources.into_iter().for_each(|info| caches.add(info));
        driver::run(Setup {
            client,
            caches,
            env: ground.env,
            reconcilers: timonier_controllers::all(Settings {
                root_ca: "CA".into(),
                ..Settings::default()
            }),
            config: Config { seed, ..Config::default() },
            field_manager: "kube-controller-manager".into(),
        })
        .await;
    };
    tokio::spawn(run).abort_handle()
}

fn start_scheduler(ground: Ground, seed: u64) -> AbortHandle {
    let client = ground.client("system:kube-scheduler", &[]);
    let run = async move {
        let caches = Caches::new(client.clone(), ground.env.clone());
        let watched = Scheduler::watches();
        for info in ground.resources.into_iter().filter(|i| watched.contains(&i.resource)) {
            caches.add(info);
        }
        let config = timonier_scheduler::Config { seed, ..Default::default() };
        schedule::run(schedule::Setup { client, caches, env: ground.env, config }).await;
    };
    tokio::spawn(run).abort_handle()
}
