//! The node: its parts put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use timonier_client::Client;
use timonier_meta::Environment;
use timonier_pod::NodeFacts;
use timonier_runtime::{Event, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::cgroups::Cgroups;
use crate::config::NodeConfig;
use crate::machine::Machine;
use crate::objects::Objects;
use crate::pod_table::PodTable;
use crate::recorder::Recorder;
use crate::registration::Registration;
use crate::seams::{Images, Network};
use crate::services::Services;
use crate::shared::Shared;
use crate::volumes::host::{Kernel, Mounts};
use crate::{dispatcher, eviction, housekeeping};

/// Why a node cannot run.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("the container runtime does not answer: {0}")]
    Runtime(#[from] timonier_runtime::Error),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
}

/// A node: the kubelet of one machine.
pub struct Node {
    shared: Arc<Shared>,
    machine: Machine,
    background: JoinSet<()>,
    images_changed: Arc<Notify>,
    cgroups: bool,
}

impl Node {
    /// A node that does nothing yet. Must be called within tokio.
    pub fn new(
        config: NodeConfig,
        client: Arc<dyn Client>,
        runtime: Arc<dyn Runtime>,
        images: Arc<dyn Images>,
        network: Arc<dyn Network>,
        env: Arc<dyn Environment>,
    ) -> Node {
        Node::with_mounts(config, client, runtime, images, network, env, Arc::new(Kernel), true)
    }

    #[allow(clippy::too_many_arguments)]
    pub(crate) fn with_mounts(
        config: NodeConfig,
        client: Arc<dyn Client>,
        runtime: Arc<dyn Runtime>,
        images: Arc<dyn Images>,
        network: Arc<dyn Network>,
        env: Arc<dyn Environment>,
        mounts: Arc<dyn Mounts>,
        cgroups: bool,
    ) -> Node {
        let machine = Machine::read(&config.data_dir);
        let (recorder, write_events) = Recorder::new(client.clone(), &config.name, env.clone());
        let services = Services::new();
        let mut background = JoinSet::new();
        background.spawn(write_events);
        background.spawn(services.clone().run(client.clone()));
        let shared = Arc::new(Shared {
            facts: Arc::new(facts(&config, &machine, &*runtime)),
            config,
            objects: Objects::new(client.clone()),
            client,
            runtime,
            images,
            network,
            env,
            mounts,
            services,
            recorder,
            table: PodTable::default(),
            sandboxes: std::sync::Mutex::default(),
            images_in_use: std::sync::Mutex::new(BTreeMap::new()),
            collecting: tokio::sync::RwLock::default(),
        });
        Node { shared, machine, background, images_changed: Arc::new(Notify::new()), cgroups }
    }

    /// The pods of the node, for its HTTPS server.
    pub fn pods(&self) -> PodTable {
        self.shared.table.clone()
    }

    /// Tells the node that images have come or gone, so that its status lists them.
    pub fn images_changed(&self) -> Arc<Notify> {
        self.images_changed.clone()
    }

    /// Runs the node until `shutdown` ends. Containers keep running.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), NodeError> {
        let shared = self.shared.clone();
        for dir in ["pods", "logs"] {
            let dir = shared.config.data_dir.join(dir);
            let made = tokio::fs::create_dir_all(&dir).await;
            made.map_err(|source| NodeError::Io { what: dir.display().to_string(), source })?;
        }
        let cgroups = match self.cgroups {
            true => Some(
                Cgroups::prepare(&shared.config.cgroup_root, self.machine.cpus)
                    .map_err(|source| NodeError::Io { what: "cgroups".into(), source })?,
            ),
            false => None,
        };
        // Before the list, so that nothing falls between.
        let events = shared.runtime.events();
        let found = dispatcher::found(&shared).await?;
        self.background.spawn(listen(shared.clone(), events));
        let registration = Registration::new(shared.clone(), self.machine.clone());
        self.background.spawn(registration.run(self.images_changed.clone()));
        self.background.spawn(housekeeping::run(shared.clone(), self.images_changed.clone()));
        self.background.spawn(eviction::run(shared.clone()));
        let pods = dispatcher::run(shared, found, cgroups);
        tokio::select! {
            () = pods => {}
            () = shutdown => {}
        }
        self.background.shutdown().await;
        Ok(())
    }
}

/// Passes the runtime's events to the workers.
async fn listen(shared: Arc<Shared>, mut events: timonier_runtime::EventStream) {
    loop {
        while let Some(event) = events.next().await {
            match event {
                Event::ContainerStarted { sandbox, .. }
                | Event::ContainerExited { sandbox, .. }
                | Event::SandboxStopped { sandbox } => shared.nudge(&sandbox),
                Event::Lagged => shared.nudge_all(),
            }
        }
        tracing::warn!("the runtime's events ended, listening anew");
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        events = shared.runtime.events();
        shared.nudge_all();
    }
}

fn facts(config: &NodeConfig, machine: &Machine, runtime: &dyn Runtime) -> NodeFacts {
    let text = |ip: &std::net::IpAddr| ip.to_string().into();
    NodeFacts {
        name: config.name.as_str().into(),
        ips: config.addresses.iter().map(text).collect(),
        allocatable: machine.allocatable(config.max_pods),
        memory_bytes: machine.memory,
        cluster_domain: config.cluster_domain.as_str().into(),
        cluster_dns: config.cluster_dns.iter().map(text).collect(),
        runtime_name: runtime.version().name.as_str().into(),
    }
}
