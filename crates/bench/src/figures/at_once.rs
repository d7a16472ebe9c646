//! A Deployment of many pods from its creation until all are seen as Running.

use anyhow::Result;

use crate::figure::{Aim, Figure, Samples, Unit};
use crate::workload::Workload;
use crate::{Bench, bare};

const TIMES: usize = 5;

pub async fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    bench.cluster.ensure_up()?;
    let mut workload = Workload::begin(&bench.cluster).await?;
    let root = bare::root(&bench.scratch)?;
    let (mut times, mut gone, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TIMES {
        times.push(workload.start_at_once(bench.pods).await?);
        gone.push(workload.clear().await?);
        alone.push(bare::at_once(&root, bench.pods)?);
    }
    let name = format!("{} pods at once until all are Running", bench.pods);
    let seen = Samples::new(times).expect("there are samples");
    let gone = Samples::new(gone).expect("there are samples");
    Ok(vec![
        Figure::new(name, Unit::Seconds, seen, Aim::P50(3.0))
            .beside("as many programs in bare namespaces", Samples::new(alone)),
        Figure::new("their deletion until all are gone", Unit::Seconds, gone, Aim::None),
    ])
}
