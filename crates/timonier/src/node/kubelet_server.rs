//! The kubelet's HTTPS server, for logs, exec, attach and port-forward.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use timonier_cli::cluster::ClusterConfig;
use timonier_cli::port as ports;
use timonier_meta::Environment;
use timonier_node::PodTable;
use timonier_node::server::{NodeServer, ServerConfig, ServerTls};
use timonier_runtime::Runtime;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What the server gives access to.
pub struct Served {
    pub runtime: Arc<dyn Runtime>,
    pub pods: PodTable,
    pub env: Arc<dyn Environment>,
}

/// Opens the port and serves until `stop`; gives the server, for its certificate to be renewed.
pub async fn start(
    tasks: &mut JoinSet<()>,
    config: &ClusterConfig,
    tls: ServerTls,
    served: Served,
    stop: CancellationToken,
) -> Result<NodeServer> {
    let port = config.kubelet_port;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
        .await
        .map_err(|error| ports::refused("the kubelet's port", port, &error))?;
    let server_config = ServerConfig::new(&config.node_name, tls);
    let Served { runtime, pods, env } = served;
    let server = NodeServer::new(server_config, Arc::new(pods), runtime, env)
        .context("the kubelet's certificate")?;
    let serving = server.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = serving.serve(listener) => {}
            () = stop.cancelled() => {}
        }
    });
    Ok(server)
}
