//! `make bench`: the figures of speed and size, each beside a peer or the machine's own limit that
//! was measured in the same run.
//!
//! ```text
//! figures/*.rs ──► Figure (samples, aim, what stands beside it) ──► report: table, tsv
//!      │
//!      └─► cluster (the binary under test), etcd and bare (peers), process (/proc)
//! ```
//!
//! It works on a cluster of its own, in a directory of its own, which go when it ends, also after a
//! failure or a signal. What a killed run left is removed by the next. A missed aim is printed and is
//! no failure: this program measures, it does not judge.

mod bare;
mod cluster;
mod etcd;
mod figure;
mod figures;
mod machine;
mod process;
mod report;
mod workload;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use cluster::Cluster;

/// Measures a timonier binary on this machine.
#[derive(Parser)]
#[command(name = "timonier-bench", version)]
struct Args {
    /// The binary to measure [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Where the measured clusters live, on the disk that counts; deleted at the end
    #[arg(long, value_name = "DIR", default_value = "/var/tmp/timonier-bench")]
    dir: PathBuf,
    /// Where rows of figures are added [default: timonier/bench.tsv in the user's state directory]
    #[arg(long, value_name = "FILE")]
    tsv: Option<PathBuf>,
    /// How long an idle cluster is watched
    #[arg(long, default_value_t = 60)]
    idle_seconds: u64,
    /// How many pods are started
    #[arg(long, default_value_t = 100)]
    pods: usize,
    /// Only the figures of these names; `list` shows the names
    figures: Vec<String>,
}

/// What every figure is measured with.
struct Bench {
    cluster: Cluster,
    /// For files of peers.
    scratch: PathBuf,
    idle_seconds: u64,
    pods: usize,
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("timonier-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<()> {
    if args.figures == ["list"] {
        figures::NAMES.iter().for_each(|name| println!("{name}"));
        return Ok(());
    }
    if let Some(unknown) = args.figures.iter().find(|f| !figures::NAMES.contains(&f.as_str())) {
        bail!("there is no figure {unknown:?}; there are {}", figures::NAMES.join(", "));
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("a cluster needs root");
    }
    let binary = match args.binary {
        Some(binary) => binary,
        None => std::env::current_exe()?.with_file_name("timonier"),
    };
    let binary = binary.canonicalize().with_context(|| format!("{}", binary.display()))?;
    let tsv = args.tsv.map_or_else(report::default_tsv, Ok)?;
    let _own = machine::take_directory(&args.dir)?;
    let bench = Bench {
        cluster: Cluster::new(binary, args.dir.join("cluster")),
        scratch: args.dir.join("scratch"),
        idle_seconds: args.idle_seconds,
        pods: args.pods,
    };
    bench.cluster.clear()?;
    remove(&bench.scratch)?;
    std::fs::create_dir_all(&bench.scratch)?;
    let result = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(until_asked_to_stop(figures::measure(&bench, &args.figures, &tsv)));
    let cleared = bench.cluster.clear().and_then(|()| remove(&args.dir));
    result.and(cleared)
}

/// Ends the work when it is done or a signal asks for the end.
async fn until_asked_to_stop(work: impl Future<Output = Result<()>>) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = work => result,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("asked to stop"),
    }
}

fn remove(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
