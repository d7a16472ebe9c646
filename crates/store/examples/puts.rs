//! Writes per second with 1, 16 and 128 writers, beside the disk's own speed in the same run.
//!
//! `cargo run --release -p timonier-store --example puts [DIRECTORY] [SECONDS]`

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use timonier_store::{Expect, Location, Options, Store};

const VALUE: usize = 1536;
const KEYS: u64 = 10_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds: f64 = arguments.next().map_or(Ok(2.0), |s| s.parse())?;
    let time = Duration::from_secs_f64(seconds);
    let directory = tempfile::tempdir_in(directory)?;
    println!("raw fdatasync     {:>8.0}/s", raw(directory.path(), time)?);
    let location = Location::Directory(directory.path().join("store"));
    let store = Store::open(location, Options::default()).await?;
    for writers in [1, 16, 128] {
        let (rate, p99) = puts(&store, writers, time).await?;
        println!("{writers:>3} writers       {rate:>8.0} puts/s, p99 {p99:>6} µs");
    }
    store.close().await;
    Ok(())
}

/// Appends and syncs of one value after the other.
fn raw(directory: &Path, time: Duration) -> std::io::Result<f64> {
    let mut file = File::create(directory.join("raw"))?;
    let start = Instant::now();
    let mut n = 0u32;
    while start.elapsed() < time {
        file.write_all(&[1; VALUE])?;
        file.sync_data()?;
        n += 1;
    }
    Ok(f64::from(n) / start.elapsed().as_secs_f64())
}

async fn puts(
    store: &Store,
    writers: u64,
    time: Duration,
) -> Result<(f64, u128), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let tasks = (0..writers).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            let mut key = writer;
            while start.elapsed() < time {
                key = key.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_041);
                let began = Instant::now();
                let value = Bytes::from(vec![b'x'; VALUE]);
                store.put(format!("/bench/{}", (key >> 33) % KEYS), value, Expect::Any).await?;
                latencies.push(began.elapsed().as_micros());
            }
            Ok::<_, timonier_store::Error>(latencies)
        })
    });
    let mut latencies = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        latencies.extend(task.await??);
    }
    let rate = latencies.len() as f64 / start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    Ok((rate, latencies[latencies.len() * 99 / 100]))
}
