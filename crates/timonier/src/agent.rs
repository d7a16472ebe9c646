//! `timonier agent`: a node of a cluster whose control plane is elsewhere.
//!
//! ```text
//! token ► authority by its hash ► client certificate (CSR) ► Node object ► pod range
//!       ► serving certificate (CSR) ► node, proxy, DNS, overlay
//! ```
//!
//! What it got is kept, so that it starts again without the API server, and without a token.

mod certificates;
mod join;
mod renewal;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use timonier_cli::args::AgentArgs;
use timonier_cli::cluster::{ClusterConfig, Paths};
use timonier_cli::{files, lock, namespaces, preflight};
use timonier_client::cache::Caches;
use timonier_client::{Client, HttpsClient, HttpsConfig};
use timonier_meta::Environment;
use timonier_node::server::ServerTls;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::environment::System;
use crate::{logging, node};
use certificates::Files;
use join::Joining;

/// How long open requests may take to end when the agent stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// Runs until SIGTERM or SIGINT. Containers keep running when it ends.
pub fn run(args: &AgentArgs) -> Result<()> {
    let paths = args.paths();
    preflight::root()?;
    namespaces::settle(&paths, args.netns.as_deref())?;
    preflight::check()?;
    logging::start();
    files::create_private_dir(&paths.data)?;
    let _lock = lock::take(&paths.lock())?;
    let joining = Joining::new(args, &paths)?;
    namespaces::keep_network(&paths)?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the asynchronous runtime")?
        .block_on(serve(&paths, joining))
        .inspect_err(|error| tracing::error!("{error:#}"))
}

async fn serve(paths: &Paths, joining: Joining) -> Result<()> {
    let mut signals = Signals::new()?;
    let started = tokio::select! {
        started = start(paths, joining) => started?,
        () = signals.recv() => return Ok(()),
    };
    signals.recv().await;
    tracing::info!("stopping; containers keep running");
    let _ = tokio::time::timeout(FAREWELL, started.stop()).await;
    Ok(())
}

/// Joins where that is still to be done, and starts the node.
async fn start(paths: &Paths, joining: Joining) -> Result<node::RunningNode> {
    let env: Arc<dyn Environment> = Arc::new(System);
    let files = Files::new(paths);
    let ca = joining.authority(&files).await?;
    let (certificate, key) = joining.client_certificate(&files, &ca).await?;
    let https = HttpsConfig {
        server: joining.server.clone(),
        ca: ca.clone(),
        client: Some((certificate.clone(), key)),
        token: None,
    };
    let transport = Arc::new(HttpsClient::new(&https)?);
    let client: Arc<dyn Client> = transport.clone();
    let config = joining.config(paths, &client).await?;
    let serving = joining.serving_certificate(&files, &config, &client).await?;
    let overlay_id = config.joined.as_ref().map_or(0, |j| j.overlay_id);
    let mut running = node::start(node::Setup {
        paths,
        config: &config,
        caches: Caches::new(client.clone(), env.clone()),
        client,
        tls: ServerTls {
            certificate_pem: serving.0.clone().into_bytes(),
            key_pem: serving.1.into_bytes(),
            client_ca_pem: ca.clone().into_bytes(),
        },
        pod_cidr: String::new(),
        overlay_id,
        env: env.clone(),
    })
    .await?;
    let name = config.node_name.clone();
    let server = running.server.clone();
    let renewals = renewal::Renewals {
        files: Files::new(paths),
        name,
        address: config.node_ip,
        ca,
        transport,
        server,
    };
    running.spawn(renewals.run(certificate, serving.0, env));
    tell(&config);
    Ok(running)
}

fn tell(config: &ClusterConfig) {
    tracing::info!(
        "node {} of the cluster {} has started: address {}, pods {}, API server {}",
        config.node_name,
        config.name,
        config.node_ip,
        config.node_pod_cidr,
        config.server_url()
    );
}

/// What asks the agent to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
