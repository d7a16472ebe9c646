//! Memory with many pods: the server's, and what each pod adds.

use std::time::Duration;

use anyhow::Result;

use crate::Bench;
use crate::figure::{Aim, Figure, Samples, Unit};
use crate::process::{self, Kind, Process};
use crate::workload::Workload;

const SETTLE: Duration = Duration::from_secs(5);

pub async fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    bench.cluster.clear()?;
    bench.cluster.up()?;
    let mut workload = Workload::begin(&bench.cluster).await?;
    workload.start_at_once(bench.pods).await?;
    tokio::time::sleep(SETTLE).await;
    let processes = process::of(&bench.cluster.data());
    workload.clear().await?;
    let of = |kind: Kind, value: fn(&Process) -> f64| {
        Samples::new(processes.iter().filter(|p| p.kind == kind).map(value))
    };
    let resident = |p: &Process| p.memory.resident;
    let proportional = |p: &Process| p.memory.proportional;
    let name = format!("resident memory of the server with {} pods", bench.pods);
    let mut figures = Vec::new();
    if let Some(server) = of(Kind::Server, resident) {
        figures.push(Figure::new(name, Unit::Mebibytes, server, Aim::None));
    }
    if let Some(shims) = of(Kind::Shim, proportional) {
        let name = "memory of a pod's shim, shared pages divided";
        let figure = Figure::new(name, Unit::Mebibytes, shims, Aim::None)
            .beside("shared pages counted in full", of(Kind::Shim, resident))
            .beside("the pod's own program", of(Kind::Container, proportional));
        figures.push(figure);
    }
    Ok(figures)
}
