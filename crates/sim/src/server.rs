//! The API server as a process that dies and is started again over the same disk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use timonier_apiserver::{ApiServer, Config, storage};
use timonier_client::Client;
use timonier_meta::{Environment, SmolStr};
use timonier_policy::User;
use timonier_schema::Catalogue;
use timonier_store::{Options, Store};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::audit::Audit;
use crate::disk::SimDisk;
use crate::environment::Random;
use crate::line::Line;

/// How long Events are kept; short, so that a run sees them go.
pub const EVENT_TTL: Duration = Duration::from_secs(240);

/// The API server, whether it runs at the moment or not.
pub struct Cluster {
    pub env: Arc<dyn Environment>,
    pub audit: Arc<Audit>,
    pub disk: Arc<SimDisk>,
    random: Random,
    starts: AtomicU64,
    process: Mutex<Option<Arc<Process>>>,
}

/// One life of the API server.
pub struct Process {
    pub api: Arc<ApiServer>,
    number: u64,
    disk: Arc<SimDisk>,
    maintenance: AbortHandle,
}

impl Process {
    fn lives(&self) -> bool {
        self.disk.number() == self.number
    }

    /// Waits for the end of the process.
    pub async fn death(&self) {
        self.disk.end_of(self.number).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.maintenance.abort();
    }
}

impl Cluster {
    pub fn new(env: Arc<dyn Environment>, audit: Arc<Audit>, seed: u64) -> Arc<Self> {
        let random = Random::new(seed);
        let disk = SimDisk::new(audit.clone(), random.next());
        let starts = AtomicU64::new(0);
        Arc::new(Cluster { env, audit, disk, random, starts, process: Mutex::default() })
    }

    /// The process, where it lives.
    pub fn process(&self) -> Option<Arc<Process>> {
        self.slot().clone().filter(|p| p.lives())
    }

    /// How often a process has started so far.
    pub fn starts(&self) -> u64 {
        self.starts.load(Ordering::Relaxed)
    }

    /// A connection as a component, which ends with each process and works with the next.
    pub fn line(self: &Arc<Self>, name: &str, groups: &[&'static str]) -> Arc<dyn Client> {
        let groups = groups.iter().map(|g| SmolStr::new_static(g));
        Arc::new(Line::new(self.clone(), User::authenticated(name, groups)))
    }

    /// Starts the process whenever it is dead, after a while. Runs until it is dropped.
    pub async fn supervise(self: Arc<Self>) {
        loop {
            if let Some(process) = self.process() {
                process.death().await;
            }
            drop(self.slot().take());
            sleep(Duration::from_millis(50 + self.random.below(5000))).await;
            // What fails now (a full disk, an accident at the start) is tried again.
            if self.start().await.is_none() {
                self.disk.kill();
            }
        }
    }

    /// Waits until the process runs and takes writes.
    pub async fn running(&self) {
        while self.process().is_none() || self.disk.has_failed() {
            if self.disk.has_failed() {
                self.disk.kill();
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn start(&self) -> Option<()> {
        let number = self.disk.number();
        let env = self.env.clone();
        let clock = move || u64::try_from(env.now().0 / 1000).unwrap_or(0);
        let options =
            Options { stamp: storage::stamp, clock: Arc::new(clock), ..Options::default() };
        let store = Store::open(self.disk.location(number).ok()?, options).await.ok()?;
        let (catalogue, env) = (Catalogue::builtin(), self.env.clone());
        let opening = ApiServer::new(config(), store.clone(), catalogue, env);
        let api = tokio::select! {
            biased;
            () = self.disk.end_of(number) => return None,
            opened = opening => opened.ok()?,
        };
        let maintenance = tokio::spawn(async move { store.run_maintenance().await }).abort_handle();
        self.starts.fetch_add(1, Ordering::Relaxed);
        *self.slot() =
            Some(Arc::new(Process { api, number, disk: self.disk.clone(), maintenance }));
        Some(())
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Process>>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn config() -> Config {
    // Its signatures are never looked at here, so all runs may share one.
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    let key = KEY.get_or_init(|| {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256);
        key.expect("a key needs only randomness").serialize_pem().into_bytes()
    });
    let issuer: String = "https://kubernetes.default.svc.cluster.local".into();
    Config {
        issuer: issuer.clone(),
        audiences: vec![issuer],
        service_account_key_pem: key.clone(),
        service_cidrs: vec!["10.96.0.0/16".into()],
        node_ports: 30000..=32767,
        advertise: None,
        event_ttl: EVENT_TTL,
        kubelet: None,
        front_proxy: None,
    }
}
