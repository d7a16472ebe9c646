//! The controllers and the scheduler over one shared set of caches.

use std::sync::Arc;

use timonier_apiserver::ApiServer;
use timonier_client::cache::{Caches, follow_definitions};
use timonier_client::driver::{self, Setup, schedule};
use timonier_controllers::{self as controllers, Settings};
use timonier_meta::Environment;
use timonier_policy::User;
use timonier_reconcile::ResourceInfo;
use tokio::task::JoinSet;

const CONTROLLER_MANAGER: &str = "kube-controller-manager";

/// Starts the controllers and the scheduler. They observe every resource that can be listed,
/// because the garbage collector and namespaces care about all of them.
pub fn start(
    tasks: &mut JoinSet<()>,
    api: &Arc<ApiServer>,
    ca: &str,
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
        reconcilers: controllers::all(Settings { root_ca: ca.to_owned() }),
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
