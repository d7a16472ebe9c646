//! `timonier up`: a server in the background, shown until it is ready.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http::Method;

use crate::args::UpArgs;
use crate::cluster::{ClusterConfig, Paths};
use crate::lock::Running;
use crate::{access, contexts, kubeconfig, lock, namespaces, preflight, progress};

/// How long a server that holds the lock may take to answer or to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(20);

/// Starts the cluster unless it runs, and returns once its node is Ready and its DNS answers.
pub fn run(args: &UpArgs) -> Result<()> {
    let started = Instant::now();
    let paths = args.cluster.paths();
    preflight::root()?;
    namespaces::settle(&paths, None)?;
    preflight::check()?;
    let config = ClusterConfig::load_or_create(&paths, args.cluster.name.as_deref(), args.port)?;
    let mut out = std::io::stdout();
    if let Some(running) = answering(&paths, &config)? {
        writeln!(out, "the cluster {} runs already (process {})", config.name, running.pid)?;
        return tell_access(&paths, &config, &mut out);
    }
    start_server(args, &paths, started, &mut out)?;
    writeln!(out, "the cluster {} is up in {:.2} s", config.name, started.elapsed().as_secs_f64())?;
    tell_access(&paths, &config, &mut out)
}

/// The server that runs and answers; `None` where there is none. A server that is about to end, or
/// to begin, holds the lock without answering: it gets the time to do so.
fn answering(paths: &Paths, config: &ClusterConfig) -> Result<Option<Running>> {
    let deadline = Instant::now() + PATIENCE;
    while let Some(running) = lock::running(&paths.lock())? {
        if answers(paths, config) {
            return Ok(Some(running));
        }
        if Instant::now() > deadline {
            bail!(
                "process {} holds {} but does not answer on port {}",
                running.pid,
                paths.data.display(),
                config.api_port
            );
        }
        std::thread::sleep(PAUSE);
    }
    Ok(None)
}

/// Whether the API server answers a request. A connection alone would not do: the kernel accepts
/// it for a process that is about to end, too.
fn answers(paths: &Paths, config: &ClusterConfig) -> bool {
    let asked = access::block_on(async {
        let client = access::admin(paths, config)?;
        Ok(tokio::time::timeout(PAUSE * 50, client.raw(Method::GET, "/readyz")).await??)
    });
    asked.is_ok()
}

fn start_server(
    args: &UpArgs,
    paths: &Paths,
    started: Instant,
    out: &mut impl Write,
) -> Result<()> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(paths.log())
        .with_context(|| format!("open {}", paths.log().display()))?;
    let mut command = Command::new(std::env::current_exe().context("find this program")?);
    command.arg("server").arg("--background").arg("--data-dir").arg(&paths.data);
    if let Some(name) = &args.cluster.name {
        command.arg("--name").arg(name);
    }
    let mut server = command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("start the server")?;
    let lines = server.stdout.take().context("the server's output")?;
    progress::follow(lines, started, out)
        .with_context(|| {
            format!("the cluster did not come up; its log is {}", paths.log().display())
        })
        .inspect_err(|_| {
            // A server that reported a failure ends by itself; collect it.
            let _ = server.wait();
        })
}

fn tell_access(paths: &Paths, config: &ClusterConfig, out: &mut impl Write) -> Result<()> {
    let kubeconfig = paths.kubeconfig();
    let current = contexts::user_path(paths)
        .and_then(|p| kubeconfig::current_context(&p).ok())
        .is_some_and(|c| c == config.name);
    if current {
        writeln!(out, "try: kubectl get nodes")?;
    } else {
        writeln!(out, "try: kubectl --context {} get nodes", config.name)?;
    }
    writeln!(out, "kubeconfig: {}", kubeconfig.display())?;
    Ok(())
}
