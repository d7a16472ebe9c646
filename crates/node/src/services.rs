//! The services of the cluster, for the environments of containers.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use timonier_client::Client;
use timonier_meta::gvk::resources;
use timonier_meta::{ObjectKey, Selector};
use timonier_object::Value;
use tokio::sync::watch;

use crate::watching::{Change, Followed, follow};

/// How long the first start waits for the services.
const PATIENCE: Duration = Duration::from_secs(10);

/// The services, kept by a watch.
pub(crate) struct Services {
    known: RwLock<BTreeMap<ObjectKey, Arc<Value>>>,
    synced: watch::Sender<bool>,
}

impl Services {
    pub fn new() -> Arc<Self> {
        Arc::new(Services { known: RwLock::default(), synced: watch::Sender::new(false) })
    }

    /// Keeps the services for ever.
    pub async fn run(self: Arc<Self>, client: Arc<dyn Client>) {
        let what = Followed {
            resource: resources::SERVICES,
            namespace: String::new(),
            fields: Selector::default(),
        };
        follow(client, what, move |change| match change {
            Change::Set(service) => {
                self.known.write().expect("no panic holds it").insert(service.key(), service);
            }
            Change::Gone(service) => {
                self.known.write().expect("no panic holds it").remove(&service.key());
            }
            Change::Synced => {
                self.synced.send_replace(true);
            }
        })
        .await;
    }

    /// The variables for a pod's containers. The error is upstream's.
    pub async fn variables(&self, pod: &Value) -> Result<BTreeMap<String, String>, String> {
        let mut synced = self.synced.subscribe();
        if tokio::time::timeout(PATIENCE, synced.wait_for(|s| *s)).await.is_err() {
            return Err(
                "services have not yet been read at least once, cannot construct envvars".into()
            );
        }
        let known = self.known.read().expect("no panic holds it");
        let services = known.values().map(|s| &**s);
        Ok(timonier_pod::env::service_variables(pod, services))
    }
}
