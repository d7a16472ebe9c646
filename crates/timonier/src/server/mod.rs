//! `timonier server`: the control plane and a node in one process.
//!
//! ```text
//! certificates ► store ► API server ► controllers, scheduler ► node, proxy, DNS ► ready
//! ```

mod certificates;
mod certifier;
mod control_plane;
mod controllers;
pub mod joining;
mod readiness;
mod renewal;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use timonier_cli::args::ServerArgs;
use timonier_cli::cluster::{ClusterConfig, Paths};
use timonier_cli::progress::Reporter;
use timonier_cli::{files, lock, namespaces, preflight};
use timonier_meta::{Environment, SmolStr};
use timonier_policy::User;
use tokio::signal::unix::{SignalKind, signal};

use crate::environment::System;
use crate::{logging, node};
use certificates::Certificates;
use control_plane::ControlPlane;

/// How long open requests may take to end when the server stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// Runs until SIGTERM or SIGINT. Containers keep running when it ends.
pub fn run(args: &ServerArgs) -> Result<()> {
    if args.background {
        // The terminal's signals are for `up`, not for the cluster.
        let _ = nix::unistd::setsid();
    }
    logging::start();
    let reporter = Reporter { enabled: args.background };
    compose(args, reporter).inspect_err(|error| {
        tracing::error!("{error:#}");
        reporter.failed(&format!("{error:#}"));
    })
}

fn compose(args: &ServerArgs, reporter: Reporter) -> Result<()> {
    let paths = args.up.cluster.paths();
    preflight::root()?;
    namespaces::settle(&paths, None)?;
    if !args.background {
        // `up` has checked already.
        preflight::check()?;
    }
    files::create_private_dir(&paths.data)?;
    let _lock = lock::take(&paths.lock())?;
    namespaces::keep_network(&paths)?;
    let config =
        ClusterConfig::load_or_create(&paths, args.up.cluster.name.as_deref(), args.up.port)?;
    let certificates = Certificates::ensure(&paths, &config)?;
    reporter.step("certificates are there");
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the asynchronous runtime")?
        .block_on(serve(&paths, &config, &certificates, reporter))
}

async fn serve(
    paths: &Paths,
    config: &ClusterConfig,
    certificates: &Certificates,
    reporter: Reporter,
) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let env: Arc<dyn Environment> = Arc::new(System);
    let plane = control_plane::start(paths, config, certificates, env.clone()).await?;
    let note = certificates.write_kubeconfigs(paths, config)?;
    reporter.step(&format!("the API server answers on {}", config.server_url()));
    if let Some(note) = note {
        reporter.step(&note);
    }
    joining::publish(&*plane.admin, config, &certificates.ca).await?;
    let setup = node_setup(paths, config, certificates, &plane, env.clone());
    let mut node = node::start(setup).await?;
    let renewals = renewal::Renewals {
        paths: paths.clone(),
        config: config.clone(),
        certificates: Mutex::new(certificates.clone()),
        api: plane.api.clone(),
        kubelet: node.server.clone(),
    };
    node.spawn(renewals.run(env));
    reporter.step("the node has started");
    let admin = plane.admin.clone();
    let ready = readiness::wait(&*admin, config, reporter);
    tokio::pin!(ready);
    let mut reported = false;
    loop {
        tokio::select! {
            result = &mut ready, if !reported => {
                result?;
                reported = true;
                reporter.ready();
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            failure = plane.failed() => return Err(failure),
        }
    }
    tracing::info!("stopping; containers keep running");
    end_anyway();
    let _ = tokio::time::timeout(FAREWELL, node.stop()).await;
    let _ = tokio::time::timeout(FAREWELL, plane.stop()).await;
    if !reported {
        reporter.failed("the server was asked to stop");
    }
    Ok(())
}

/// The node beside the control plane.
fn node_setup<'a>(
    paths: &'a Paths,
    config: &'a ClusterConfig,
    certificates: &Certificates,
    plane: &ControlPlane,
    env: Arc<dyn Environment>,
) -> node::Setup<'a> {
    let name = format!("system:node:{}", config.node_name);
    let itself = User::authenticated(name, [SmolStr::new_static("system:nodes")]);
    node::Setup {
        paths,
        config,
        client: plane.api.client(itself),
        caches: plane.caches.clone(),
        tls: certificates.node_tls(),
        pod_cidr: config.node_pod_cidr.to_string(),
        overlay_id: joining::overlay_id(&certificates.ca),
        env,
    }
}

/// Ends the process some seconds from now, whatever still hangs. Nothing acknowledged is lost: a
/// write is durable before it is acknowledged.
fn end_anyway() {
    std::thread::spawn(|| {
        std::thread::sleep(FAREWELL * 3);
        tracing::warn!("tasks did not end in time");
        std::process::exit(0);
    });
}
