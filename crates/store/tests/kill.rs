//! A process that writes is killed again and again. Every write it reported is there afterwards.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Random, bytes, options, stamped};
use timonier_store::{Error, Expect, Location, Store};

const DIRECTORY: &str = "TIMONIER_STORE_TEST_DIRECTORY";

/// Not a test of its own: the process that [`every_reported_write_survives`] kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = Store::open(Location::Directory(directory.into()), options()).await.unwrap();
    let run = store.revision();
    for writer in 0..8u64 {
        let store = store.clone();
        tokio::spawn(async move {
            for i in 0.. {
                let key = format!("/{run}/{writer}/{i}");
                let item = store.put(key.as_str(), bytes(&key), Expect::Absent).await.unwrap();
                // One write per line, so that a kill cannot leave half of one behind.
                let line = format!("wrote {key} {}\n", item.mod_revision);
                std::io::stdout().write_all(line.as_bytes()).unwrap();
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn every_reported_write_survives() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random(9);
    let mut written: Vec<(String, u64)> = Vec::new();
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut deadline = None;
        let wait = Duration::from_millis(20 + random.below(150));
        for line in lines {
            let line = line.unwrap();
            let Some((key, revision)) = line.strip_prefix("wrote ").and_then(|l| l.split_once(' '))
            else {
                continue;
            };
            written.push((key.into(), revision.parse().unwrap()));
            if *deadline.get_or_insert_with(|| Instant::now() + wait) <= Instant::now() {
                child.kill().unwrap();
                deadline = Some(Instant::now() + Duration::from_secs(3600));
            }
        }
        assert!(!child.wait().unwrap().success());

        let place = || Location::Directory(directory.path().into());
        let store = Store::open(place(), options()).await.unwrap();
        let snapshot = store.snapshot();
        for (key, revision) in &written {
            let item = snapshot.get(key).unwrap_or_else(|| panic!("round {round}: lost {key}"));
            assert_eq!((item.mod_revision, &item.value), (*revision, &stamped(key, *revision)));
            assert!(*revision <= snapshot.revision);
        }
        let second = Store::open(place(), options()).await;
        let Err(error @ Error::InUse { .. }) = second else { panic!("opened twice") };
        assert!(error.to_string().contains(&format!("in use by process {}", std::process::id())));
        store.close().await;
    }
    assert!(written.len() > 100, "only {} writes", written.len());
}
