//! The server killed with many pods, then `timonier up` until the node has found all again.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http::Method;
use timonier_client::HttpsClient;
use timonier_object::json;

use crate::Bench;
use crate::etcd::{Etcd, Scratch};
use crate::figure::{Aim, Figure, Samples, Unit};
use crate::workload::{NAMESPACE, Workload};

const TIMES: usize = 10;
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    bench.cluster.ensure_up()?;
    let mut workload = Workload::begin(&bench.cluster).await?;
    workload.start_at_once(bench.pods).await?;
    let before = workload.containers().await?;
    let (mut up, mut found) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        bench.cluster.kill_server()?;
        let start = Instant::now();
        bench.cluster.up()?;
        up.push(start.elapsed().as_secs_f64());
        let client = bench.cluster.client()?;
        let node = bench.cluster.config()?.node_name;
        while found_again(&client, &node).await? < bench.pods {
            if start.elapsed() > PATIENCE {
                bail!("not all pods are found again");
            }
        }
        found.push(start.elapsed().as_secs_f64());
    }
    let mut workload = Workload::resume(&bench.cluster).await?;
    if workload.containers().await? != before {
        bail!("containers are not the same as before");
    }
    workload.clear().await?;
    let name = format!("restart with {} pods until all are found again", bench.pods);
    let seen = Samples::new(found).expect("there are samples");
    Ok(vec![
        Figure::new(name, Unit::Seconds, seen, Aim::P50(1.0))
            .beside("of it until `up` returns", Samples::new(up))
            .beside("etcd alone, killed and started again", etcd(&bench.scratch)?),
    ])
}

/// How many pods have a container whose figures the node reads from the runtime.
async fn found_again(client: &HttpsClient, node: &str) -> Result<usize> {
    let path = format!("/api/v1/nodes/{node}/proxy/stats/summary");
    let bytes = client.raw(Method::GET, &path).await?;
    let summary = json::decode(&bytes).map_err(anyhow::Error::msg).context("the node's summary")?;
    let own = |p: &&timonier_object::Value| p.at("podRef.namespace").str() == NAMESPACE;
    let alive = |p: &&timonier_object::Value| !p.at("containers").items().is_empty();
    Ok(summary.at("pods").items().iter().filter(own).filter(alive).count())
}

fn etcd(scratch: &Path) -> Result<Option<Samples>> {
    let dir = Scratch::new(scratch.join("etcd"));
    let mut times = Vec::new();
    for round in 0..=TIMES {
        // It is killed when it goes out of scope.
        let Some(etcd) = Etcd::start(&dir.0)? else { return Ok(None) };
        if round > 0 {
            times.push(etcd.started_in.as_secs_f64());
        }
    }
    Ok(Samples::new(times))
}
