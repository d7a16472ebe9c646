//! Memory and processor time of everything that an idle cluster runs.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::etcd::{Etcd, Scratch};
use crate::figure::{Aim, Figure, Samples, Unit};
use crate::{Bench, process};

/// What the start set going may end first.
const SETTLE: Duration = Duration::from_secs(10);
/// Between two looks at the memory.
const PAUSE: Duration = Duration::from_secs(2);

pub async fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    bench.cluster.clear()?;
    bench.cluster.up()?;
    let dir = Scratch::new(bench.scratch.join("etcd"));
    let etcd = Etcd::start(&dir.0)?;
    tokio::time::sleep(SETTLE).await;
    let server = bench.cluster.server()?;
    let start = tokio::time::Instant::now();
    let used_before = times(server, etcd.as_ref())?;
    let (mut memory, mut peer) = (Vec::new(), Vec::new());
    while start.elapsed().as_secs() < bench.idle_seconds {
        tokio::time::sleep(PAUSE).await;
        let processes = process::of(&bench.cluster.data());
        if processes.iter().all(|p| p.pid != server) {
            bail!("the server ended");
        }
        memory.push(processes.iter().map(|p| p.memory.resident).sum());
        peer.extend(etcd.as_ref().and_then(|e| process::memory(e.pid())).map(|m| m.resident));
    }
    let seconds = start.elapsed().as_secs_f64();
    let used = times(server, etcd.as_ref())?;
    let percent =
        |of: usize| Some(Samples::one((used.get(of)? - used_before.get(of)?) * 100.0 / seconds));
    let memory = Samples::new(memory).context("--idle-seconds is too short")?;
    let cpu = percent(0).expect("the server has used time");
    let name = format!("processor time, idle cluster, over {seconds:.0} s");
    Ok(vec![
        Figure::new("resident memory, idle cluster", Unit::Mebibytes, memory, Aim::P50(80.0))
            .beside("an idle etcd", Samples::new(peer)),
        Figure::new(name, Unit::Percent, cpu, Aim::P50(0.5)).beside("an idle etcd", percent(1)),
    ])
}

/// The processor time of the server, and of etcd where there is one. An idle cluster has no other
/// process for longer than a moment, and the server's time includes its children's.
fn times(server: i32, etcd: Option<&Etcd>) -> Result<Vec<f64>> {
    let pids = std::iter::once(server).chain(etcd.map(Etcd::pid));
    pids.map(|pid| process::processor_time(pid).with_context(|| format!("process {pid} is gone")))
        .collect()
}
