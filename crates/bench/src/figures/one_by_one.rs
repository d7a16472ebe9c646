//! A pod from its creation until it is seen as Running, its image present, one after the other.

use anyhow::Result;

use crate::figure::{Aim, Figure, Samples, Unit};
use crate::workload::Workload;
use crate::{Bench, bare};

pub async fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    bench.cluster.ensure_up()?;
    let mut workload = Workload::begin(&bench.cluster).await?;
    let mut times = Vec::new();
    for n in 0..bench.pods {
        times.push(workload.start_one(&format!("one-{n}")).await?);
    }
    workload.clear().await?;
    let alone = bare::one_by_one(&bare::root(&bench.scratch)?, bench.pods)?;
    let seen = Samples::new(times).expect("there are samples");
    Ok(vec![
        Figure::new("pod created until Running", Unit::Seconds, seen, Aim::P50AndP99(0.1, 0.3))
            .beside("the same program in bare namespaces", Samples::new(alone)),
    ])
}
