//! `timonier server`: the control plane and a node in one process.
//!
//! ```text
//! certificates ► store ► API server ► controllers, scheduler ► node, proxy, DNS ► ready
//! ```

mod certificates;
mod control_plane;
mod controllers;
mod kubelet_server;
mod node;
mod readiness;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use timonier_cli::args::ServerArgs;
use timonier_cli::cluster::{ClusterConfig, Paths};
use timonier_cli::progress::Reporter;
use timonier_cli::{files, kubeconfig, lock, preflight};
use timonier_meta::Environment;
use tokio::signal::unix::{SignalKind, signal};

use crate::environment::System;
use certificates::Certificates;

/// How long open requests may take to end when the server stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// Runs until SIGTERM or SIGINT. Containers keep running when it ends.
pub fn run(args: &ServerArgs) -> Result<()> {
    if args.background {
        // The terminal's signals are for `up`, not for the cluster.
        let _ = nix::unistd::setsid();
    }
    start_logging();
    let reporter = Reporter { enabled: args.background };
    compose(args, reporter).inspect_err(|error| {
        tracing::error!("{error:#}");
        reporter.failed(&format!("{error:#}"));
    })
}

fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TIMONIER_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,hickory_server=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
}

fn compose(args: &ServerArgs, reporter: Reporter) -> Result<()> {
    preflight::check()?;
    let paths = args.up.cluster.paths();
    files::create_private_dir(&paths.data)?;
    let _lock = lock::take(&paths.lock())?;
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
    certificates.write_kubeconfigs(paths, config)?;
    reporter.step(&format!("the API server answers on {}", config.server_url()));
    let node = node::start(paths, config, certificates, &plane, env).await?;
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

/// Ends the process some seconds from now, whatever still hangs. Nothing acknowledged is lost: a
/// write is durable before it is acknowledged.
fn end_anyway() {
    std::thread::spawn(|| {
        std::thread::sleep(FAREWELL * 3);
        tracing::warn!("tasks did not end in time");
        std::process::exit(0);
    });
}

/// Names the user's kubeconfig problem without failing for it: the cluster has its own file.
fn merge_into_users(access: &kubeconfig::Access<'_>) {
    let Some(path) = kubeconfig::user_path() else { return };
    if let Err(error) = kubeconfig::merge(&path, access) {
        tracing::warn!("the context was not added to {}: {error:#}", path.display());
    }
}
