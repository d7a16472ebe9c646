//! The controllers and the scheduler over one shared set of caches.

use std::sync::Arc;

use anyhow::Result;
use timonier_apiserver::ApiServer;
use timonier_cli::cluster::ClusterConfig;
use timonier_client::cache::{Caches, follow_definitions};
use timonier_client::driver::{self, Setup, schedule};
use timonier_controllers::csr_approving::Reserved;
use timonier_controllers::{self as controllers, Settings};
use timonier_meta::Environment;
use timonier_policy::User;
use timonier_reconcile::ResourceInfo;
use tokio::task::JoinSet;

use super::certificates::{Certificates, api_addresses, api_names};
use super::certifier::Authority;

const CONTROLLER_MANAGER: &str = "kube-controller-manager";

/// What the controllers of this cluster have to be told.
pub fn settings(config: &ClusterConfig, certificates: &Certificates) -> Result<Settings> {
    Ok(Settings {
        root_ca: certificates.ca.clone(),
        certifier: Some(Arc::new(Authority::new(&certificates.authority)?)),
        pod_range: config.pod_cidr.to_string(),
        reserved_pod_ranges: vec![config.node_pod_cidr.to_string()],
        reserved: Reserved {
            names: api_names(config),
            addresses: api_addresses(config),
            ranges: vec![config.service_cidr.to_string(), config.pod_cidr.to_string()],
            domain: config.domain.clone(),
        },
        dns_address: config.dns_ip().to_string(),
    })
}

/// Starts the controllers and the scheduler. They observe every resource that can be listed,
/// because the garbage collector and namespaces care about all of them.
pub fn start(
    tasks: &mut JoinSet<()>,
    api: &Arc<ApiServer>,
    settings: Settings,
    env: Arc<dyn Environment>,
) -> Arc<Caches> {
    let client = api.client(User::authenticated("system:kube-controller-manager", []));
    let caches = Caches::new(client.clone(), env.clone());
    for row in api.catalogue().rows() {
        if row.verbs.has("list") && row.verbs.has("watch") {
            caches.add(ResourceInfo {
                resource: row.gvr.clone(),
                kind: row.gvk.kind.clone(),
                namespaced: row.namespaced,
            });
        }
    }
    let setup = Setup {
        client,
        caches: caches.clone(),
        env: env.clone(),
        reconcilers: controllers::all(settings),
        config: timonier_reconcile::Config::default(),
        field_manager: CONTROLLER_MANAGER.into(),
    };
    tasks.spawn(driver::run(setup));
    tasks.spawn(follow_definitions(caches.clone()));
    let client = api.client(User::authenticated("system:kube-scheduler", []));
    tasks.spawn(schedule::run(schedule::Setup {
        client,
        caches: caches.clone(),
        env,
        config: timonier_scheduler::Config::default(),
    }));
    caches
}
