//! `timonier up` on an empty data directory until node Ready and DNS answering.

use anyhow::Result;

use crate::figure::{Aim, Figure, Samples, Unit};
use crate::{Bench, etcd};

const TIMES: usize = 10;

pub async fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        bench.cluster.clear()?;
        times.push(bench.cluster.up()?.as_secs_f64());
    }
    let alone = etcd::starts(&bench.scratch, TIMES)?;
    let seen = Samples::new(times).expect("there are samples");
    Ok(vec![
        Figure::new("up, on an empty directory", Unit::Seconds, seen, Aim::P50(1.5))
            .beside("etcd alone until it answers", alone.and_then(Samples::new)),
    ])
}
