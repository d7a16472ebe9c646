//! A Deployment of many pods from its creation until all are seen as Running.

use anyhow::Result;

use crate::figure::{Aim, Figure, Samples, Unit};
use crate::workload::Workload;
use crate::{Bench, bare, process};

const TIMES: usize = 5;

pub async fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    bench.cluster.ensure_up()?;
    let mut workload = Workload::begin(&bench.cluster).await?;
    let root = bare::root(&bench.scratch)?;
    let (mut times, mut gone, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    let (mut work, mut alone_work) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let before = bench.cluster.processor_time()?;
        times.push(workload.start_at_once(bench.pods).await?);
        let used = bench.cluster.processor_time()? - before;
        work.push(used / bench.pods as f64);
        gone.push(workload.clear().await?);
        let before = process::processor_time_of_ended_children()?;
        alone.push(bare::at_once(&root, bench.pods)?);
        let used = process::processor_time_of_ended_children()? - before;
        alone_work.push(used / bench.pods as f64);
    }
    let name = format!("{} pods at once until all are Running", bench.pods);
    let seen = Samples::new(times).expect("there are samples");
    let work = Samples::new(work).expect("there are samples");
    let gone = Samples::new(gone).expect("there are samples");
    Ok(vec![
        Figure::new(name, Unit::Seconds, seen, Aim::P50(3.0))
            .beside("as many programs in bare namespaces", Samples::new(alone)),
        Figure::new(
            "processor time of each, until all are Running",
            Unit::Seconds,
            work,
            Aim::None,
        )
        .beside("of each in bare namespaces", Samples::new(alone_work)),
        Figure::new("their deletion until all are gone", Unit::Seconds, gone, Aim::None),
    ])
}
