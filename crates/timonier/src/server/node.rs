//! The node of this process: kubelet, its HTTPS server, service proxy, DNS.

use std::sync::Arc;

use anyhow::{Context, Result};
use timonier_cli::cluster::{ClusterConfig, Paths};
use timonier_cli::host;
use timonier_meta::{Environment, SmolStr};
use timonier_network::PodNetwork;
use timonier_node::dns::{DnsConfig, DnsServer};
use timonier_node::proxy::ServiceProxy;
use timonier_node::{Node, NodeConfig};
use timonier_oci::ImageStore;
use timonier_policy::User;
use timonier_runtime::EmbeddedRuntime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::certificates::Certificates;
use super::control_plane::ControlPlane;
use super::kubelet_server;

/// A running node.
pub struct RunningNode {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

/// Finds what an earlier process left running, and starts the node.
pub async fn start(
    paths: &Paths,
    config: &ClusterConfig,
    certificates: &Certificates,
    plane: &ControlPlane,
    env: Arc<dyn Environment>,
) -> Result<RunningNode> {
    let network_config = host::network(paths, config);
    let network = PodNetwork::open(network_config.clone()).await.context("open the pod network")?;
    let runtime = Arc::new(
        EmbeddedRuntime::open(host::runtime(paths, config))
            .await
            .context("open the container runtime")?,
    );
    let images = Arc::new(ImageStore::open(paths.images()).context("open the image store")?);
    let user = User::authenticated(
        format!("system:node:{}", config.node_name),
        [SmolStr::new_static("system:nodes")],
    );
    let client = plane.api.client(user);
    let node = Node::new(
        node_config(paths, config),
        client,
        runtime.clone(),
        images,
        Arc::new(network.clone()),
        env.clone(),
    );
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let pods = node.pods();
    kubelet_server::start(&mut tasks, config, certificates, runtime, pods, env, stop.clone())
        .await?;
    let proxy = ServiceProxy::new(network_config, plane.caches.clone()).with_pods(network);
    let proxy_stop = stop.clone();
    tasks.spawn(async move {
        if let Err(error) = proxy.run(proxy_stop).await {
            tracing::error!("the service proxy ended: {error}");
        }
    });
    let dns_config = DnsConfig::new(config.dns_ip().into(), config.domain.clone());
    let dns = DnsServer::bind(&dns_config).await?;
    tasks.spawn(dns.run(plane.caches.clone(), stop.clone()));
    let node_stop = stop.clone();
    tasks.spawn(async move {
        if let Err(error) = node.run(node_stop.cancelled_owned()).await {
            tracing::error!("the node ended: {error}");
        }
    });
    Ok(RunningNode { tasks, stop })
}

fn node_config(paths: &Paths, config: &ClusterConfig) -> NodeConfig {
    NodeConfig {
        addresses: vec![config.node_ip.into()],
        cluster_dns: vec![config.dns_ip().into()],
        cluster_domain: config.domain.clone(),
        pod_cidr: config.node_pod_cidr.to_string(),
        kubelet_port: config.kubelet_port,
        cgroup_root: format!("{}/kubepods", host::cgroup(config)),
        labels: vec![("node-role.kubernetes.io/control-plane".to_owned(), String::new())],
        ..NodeConfig::new(&config.node_name, paths.data.clone())
    }
}

impl RunningNode {
    /// Ends the node's tasks. Containers, addresses and packet rules stay.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}
