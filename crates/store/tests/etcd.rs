//! The contract suite against a real etcd, and what only etcd does. Skipped where no `etcd` is on
//! the PATH.
#![cfg(feature = "etcd")]

mod common;
mod suite;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{bytes, options, stamped};
use suite::Place;
use timonier_store::{Error, EtcdConfig, EventKind, Expect, Location, Store, WatchEnd};

/// An etcd of one member on loopback, which ends with this.
struct Server {
    child: Child,
    directory: tempfile::TempDir,
    client: u16,
    peer: u16,
}

impl Server {
    /// `None` where there is no `etcd`.
    fn start() -> Option<Server> {
        let directory = tempfile::tempdir().unwrap();
        let (client, peer) = (free_port(), free_port());
        let child = spawn(directory.path(), client, peer)?;
        Some(Server { child, directory, client, peer })
    }

    fn place(&self) -> Etcd {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let prefix = format!("/test-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Etcd { endpoint: format!("http://127.0.0.1:{}", self.client), prefix }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = spawn(self.directory.path(), self.client, self.peer).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(directory: &std::path::Path, client: u16, peer: u16) -> Option<Child> {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    Command::new("etcd")
        .arg("--data-dir")
        .arg(directory)
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct Etcd {
    endpoint: String,
    prefix: String,
}

impl Place for Etcd {
    fn location(&self) -> Location {
        Location::Etcd(EtcdConfig {
            // The first does not answer.
            endpoints: vec!["http://127.0.0.1:1".into(), self.endpoint.clone()],
            prefix: self.prefix.clone(),
            tls: None,
        })
    }
}

/// Opens a store as soon as the server answers.
async fn open(place: &Etcd) -> Store {
    let opened = async {
        loop {
            match Store::open(place.location(), options()).await {
                Ok(store) => return store,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), opened).await.expect("etcd answers")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd() {
    let Some(server) = Server::start() else {
        eprintln!("skipped: no etcd on the PATH");
        return;
    };
    open(&server.place()).await.close().await;
    suite::all(async || server.place()).await;
    two_control_planes(&server.place()).await;
    leases(&server.place()).await;
    outage(server).await;
}

/// What one writes the other sees, and neither overwrites the other.
async fn two_control_planes(place: &Etcd) {
    let (one, two) = (open(place).await, open(place).await);
    let mut watcher = two.watch("/", two.revision()).unwrap();
    let item = one.put("/a", bytes("1"), Expect::Absent).await.unwrap();
    assert_eq!(watcher.next().await.unwrap().item, item);
    assert_eq!(two.snapshot().get("/a"), Some(&item));
    let refused = two.put("/a", bytes("2"), Expect::Absent).await;
    assert!(matches!(refused, Err(Error::Conflict { current: Some(c) }) if c == item));
    let newer = two.put("/a", bytes("2"), Expect::Revision(item.mod_revision)).await.unwrap();
    let lost = one.put("/a", bytes("3"), Expect::Revision(item.mod_revision)).await;
    assert!(matches!(lost, Err(Error::Conflict { current: Some(c) }) if c == newer));
    one.close().await;
    two.close().await;
}

/// Keys that etcd removes by itself, two of them in one revision.
async fn leases(place: &Etcd) {
    let store = open(place).await;
    let ttl = Duration::from_secs(1);
    for key in ["/a", "/b"] {
        store.put_with_ttl(key, bytes("x"), Expect::Absent, ttl).await.unwrap();
    }
    let kept = store.put("/c", bytes("x"), Expect::Absent).await.unwrap();
    let mut watcher = store.watch("/", kept.mod_revision).unwrap();
    let mut gone = Vec::new();
    for _ in 0..2 {
        let event = tokio::time::timeout(Duration::from_secs(20), watcher.next()).await;
        let event = event.expect("a lease ends").unwrap();
        assert_eq!(event.kind, EventKind::Delete);
        assert_eq!(event.item.value, stamped("x", event.revision));
        gone.push(event.item.key.to_string());
    }
    gone.sort();
    assert_eq!(gone, ["/a", "/b"]);
    assert_eq!(store.snapshot().len(), 1);
    store.close().await;
}

/// etcd goes away and comes back: writes fail in between, the watch goes on where it was.
async fn outage(mut server: Server) {
    let place = server.place();
    let store = open(&place).await;
    let item = store.put("/a", bytes("1"), Expect::Absent).await.unwrap();
    let mut watcher = store.watch("/", item.mod_revision).unwrap();
    server.kill();
    let refused = store.put("/a", bytes("2"), Expect::Any).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert_eq!(store.snapshot().get("/a"), Some(&item));
    server.restart();
    let other = open(&place).await;
    let newer = other.put("/a", bytes("3"), Expect::Revision(item.mod_revision)).await.unwrap();
    let seen = tokio::time::timeout(Duration::from_secs(20), watcher.next()).await;
    assert_eq!(seen.expect("the watch goes on").unwrap().item, newer);
    let own = store.put("/b", bytes("4"), Expect::Absent).await.unwrap();
    assert_eq!(watcher.next().await.unwrap().item, own);
    other.close().await;
    store.close().await;
    assert_eq!(watcher.next().await, Err(WatchEnd::Closed));
}
