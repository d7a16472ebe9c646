//! The contract suite against a real etcd, and what only etcd does. Skipped where no `etcd` is on
//! the PATH.
#![cfg(feature = "etcd")]

mod common;
mod suite;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{bytes, options, stamped};
use suite::Place;
use timonier_store::{Error, EtcdConfig, EventKind, Expect, Location, Store, WatchEnd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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
    fresh_reads(&server.place(), &server.place()).await;
    lost_answers(&server.place()).await;
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

/// A fresh read misses nothing that another control plane has done, however short ago, and does not
/// wait for writes to other keys.
async fn fresh_reads(place: &Etcd, elsewhere: &Etcd) {
    let (one, two, other) = (open(place).await, open(place).await, open(elsewhere).await);
    let keys = |snapshot: timonier_store::Snapshot| -> Vec<String> {
        snapshot.range("/a/", None).map(|item| item.key.to_string()).collect()
    };
    for n in 0..100 {
        let name = format!("/a/{}", n % 3);
        let written = two.put(name.clone(), bytes("x"), Expect::Any).await.unwrap();
        assert_eq!(one.fresh("/a/").await.unwrap().get(&name), Some(&written), "round {n}");
        if n % 2 == 0 {
            two.delete(name, Expect::Any).await.unwrap();
        } else {
            // One more, and gone again.
            two.put("/a/x", bytes("x"), Expect::Absent).await.unwrap();
            two.delete("/a/x", Expect::Any).await.unwrap();
        }
        two.put("/b", bytes("x"), Expect::Any).await.unwrap();
        other.put("/a/elsewhere", bytes("x"), Expect::Any).await.unwrap();
        let seen = tokio::time::timeout(Duration::from_secs(10), one.fresh("/a/")).await;
        assert_eq!(keys(seen.expect("nothing to wait for").unwrap()), keys(two.snapshot()));
    }
    for store in [one, two, other] {
        store.close().await;
    }
}

/// Between a store and etcd: lets everything through, until it is told to keep the answers back.
struct Proxy {
    port: u16,
    deaf: Arc<AtomicBool>,
    cut: tokio::sync::broadcast::Sender<()>,
}

impl Proxy {
    async fn start(target: u16) -> Proxy {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (deaf, cut) =
            (Arc::new(AtomicBool::new(false)), tokio::sync::broadcast::Sender::new(1));
        let proxy = Proxy { port, deaf: deaf.clone(), cut: cut.clone() };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (deaf, mut cut) = (deaf.clone(), cut.subscribe());
                tokio::spawn(async move {
                    tokio::select! {
                        _ = carry(client, target, &deaf) => {}
                        _ = cut.recv() => {}
                    }
                });
            }
        });
        proxy
    }
}

async fn carry(mut client: TcpStream, target: u16, deaf: &AtomicBool) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", target)).await?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let answers = async {
        let mut buffer = [0; 4096];
        loop {
            let n = from_server.read(&mut buffer).await?;
            if n == 0 {
                return Ok(());
            }
            if !deaf.load(Ordering::SeqCst) {
                to_client.write_all(&buffer[..n]).await?;
            }
        }
    };
    let questions = async { tokio::io::copy(&mut from_client, &mut to_server).await.map(drop) };
    tokio::select! {
        done = answers => done,
        done = questions => done,
    }
}

/// Writes that etcd carried out, and of which the store hears nothing: neither the answer nor the
/// event. A fresh read finds them, or says that it cannot be had.
async fn lost_answers(direct: &Etcd) {
    let target = direct.endpoint.rsplit(':').next().unwrap().parse().unwrap();
    let proxy = Proxy::start(target).await;
    let through = Etcd {
        endpoint: format!("http://127.0.0.1:{}", proxy.port),
        prefix: direct.prefix.clone(),
    };
    let (store, witness) = (open(&through).await, open(direct).await);
    let mut seen = witness.watch("/", witness.revision()).unwrap();
    let kept = store.put("/kept", bytes("1"), Expect::Absent).await.unwrap();
    assert_eq!(seen.next().await.unwrap().item, kept);
    for round in 0..5 {
        let key = format!("/lost/{round}");
        proxy.deaf.store(true, Ordering::SeqCst);
        let writer = store.clone();
        let (name, value) = (key.clone(), bytes("2"));
        let write = tokio::spawn(async move { writer.put(name, value, Expect::Absent).await });
        let written = seen.next().await.unwrap().item.clone();
        assert_eq!(*written.key, *key);
        assert_eq!(store.snapshot().get(&key), None, "the watch is deaf, too");
        let _ = proxy.cut.send(());
        let answer = write.await.unwrap();
        assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
        // Nobody answers: what is here is not given out as fresh.
        let waiting = tokio::time::timeout(Duration::from_millis(300), store.fresh("/lost/"));
        assert!(!matches!(waiting.await, Ok(Ok(_))));
        proxy.deaf.store(false, Ordering::SeqCst);
        let _ = proxy.cut.send(());
        let fresh = async {
            loop {
                match store.fresh("/lost/").await {
                    Ok(snapshot) => return snapshot,
                    Err(Error::Unavailable(_)) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let fresh = tokio::time::timeout(Duration::from_secs(20), fresh).await.expect("an answer");
        assert_eq!(fresh.get(&key), Some(&written), "round {round}");
    }
    store.close().await;
    witness.close().await;
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
