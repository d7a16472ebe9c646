//! The node of this process: kubelet, its HTTPS server, service proxy, DNS, the way to other
//! nodes. The same for a node beside the control plane and for one that joined.

mod kubelet_server;

use std::sync::Arc;

use anyhow::{Context, Result};
use timonier_cli::cluster::{ClusterConfig, Paths};
use timonier_cli::host;
use timonier_client::Client;
use timonier_client::cache::Caches;
use timonier_meta::Environment;
use timonier_network::PodNetwork;
use timonier_node::dns::{DnsConfig, DnsServer};
use timonier_node::proxy::{ServiceProxy, run_overlay};
use timonier_node::server::{NodeServer, ServerTls};
use timonier_node::{Node, NodeConfig};
use timonier_oci::ImageStore;
use timonier_runtime::EmbeddedRuntime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What a node is made from.
pub struct Setup<'a> {
    pub paths: &'a Paths,
    pub config: &'a ClusterConfig,
    /// The API as the node.
    pub client: Arc<dyn Client>,
    /// What proxy and DNS observe; they add what they need.
    pub caches: Arc<Caches>,
    /// How the kubelet's server proves what it is, and whom it trusts.
    pub tls: ServerTls,
    /// The pod range that the node registers; empty where it was given one.
    pub pod_cidr: String,
    /// The identifier of the network between nodes.
    pub overlay_id: u32,
    pub env: Arc<dyn Environment>,
}

/// A running node.
pub struct RunningNode {
    /// The kubelet's server.
    pub server: NodeServer,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

/// Finds what an earlier process left running, and starts the node.
pub async fn start(setup: Setup<'_>) -> Result<RunningNode> {
    let (paths, config) = (setup.paths, setup.config);
    let mut network_config = host::network(paths, config);
    network_config.mtu =
        timonier_network::pod_mtu(network_config.node_ip).context("find the uplink's MTU")?;
    let network = PodNetwork::open(network_config.clone()).await.context("open the pod network")?;
    let runtime = Arc::new(
        EmbeddedRuntime::open(host::runtime(paths, config))
            .await
            .context("open the container runtime")?,
    );
    let images = Arc::new(ImageStore::open(paths.images()).context("open the image store")?);
    let node = Node::new(
        node_config(&setup),
        setup.client.clone(),
        runtime.clone(),
        images,
        Arc::new(network.clone()),
        setup.env.clone(),
    );
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let served = kubelet_server::Served { runtime, pods: node.pods(), env: setup.env.clone() };
    let server = kubelet_server::start(&mut tasks, config, setup.tls, served, stop.clone()).await?;
    let gateway = network_config.gateway();
    if let Some(overlay) = host::overlay(config, setup.overlay_id) {
        let way = run_overlay(setup.caches.clone(), network_config.clone(), overlay, stop.clone());
        tasks.spawn(way);
    }
    let dns_clients = host::dns_clients(config);
    let proxy = ServiceProxy::new(network_config, setup.caches.clone()).with_pods(network);
    let proxy_stop = stop.clone();
    tasks.spawn(async move {
        if let Err(error) = proxy.run(proxy_stop).await {
            tracing::error!("the service proxy ended: {error}");
        }
    });
    let dns_config = DnsConfig {
        own_address: Some(gateway.into()),
        clients: dns_clients,
        ..DnsConfig::new(config.dns_ip().into(), config.domain.clone())
    };
    let dns = DnsServer::bind(&dns_config).await?;
    tasks.spawn(dns.run(setup.caches, stop.clone()));
    let node_stop = stop.clone();
    tasks.spawn(async move {
        if let Err(error) = node.run(node_stop.cancelled_owned()).await {
            tracing::error!("the node ended: {error}");
        }
    });
    Ok(RunningNode { server, tasks, stop })
}

fn node_config(setup: &Setup<'_>) -> NodeConfig {
    let config = setup.config;
    NodeConfig {
        addresses: vec![config.node_ip.into()],
        cluster_dns: vec![config.dns_ip().into()],
        cluster_domain: config.domain.clone(),
        pod_cidr: setup.pod_cidr.clone(),
        kubelet_port: config.kubelet_port,
        cgroup_root: format!("{}/kubepods", host::cgroup(config)),
        ..NodeConfig::new(&config.node_name, setup.paths.data.clone())
    }
}

impl RunningNode {
    /// Does something for as long as the node runs.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// Ends the node's tasks. Containers, addresses and packet rules stay.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}
