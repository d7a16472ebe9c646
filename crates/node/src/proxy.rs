//! The service proxy: Services and EndpointSlices into packet rules.
//!
//! ```text
//! Caches ──notices──► Proxy (timonier_traffic) ──changes──► ServiceTable ──► kernel
//!                                                    └──► stale UDP connections
//!                                                    └──► load balancers' health checks
//! ```
//!
//! A burst of notices is one transaction. A transaction that fails is followed by a load of
//! everything, so whatever happened to the kernel's tables is put right.

mod health;
mod overlay;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use timonier_client::cache::{Caches, Notice, Subscription};
use timonier_meta::GroupVersionResource;
use timonier_meta::gvk::resources::{ENDPOINTSLICES, NODES, SERVICES};
use timonier_network::{NetworkConfig, PodNetwork, ServiceTable, flush_stale};
use timonier_reconcile::{Change, ResourceInfo, World};
use timonier_traffic::rules::{Backend, Changes, Frontend};
use timonier_traffic::{NodeFacts, Protocol, Proxy, Service, Slice};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use health::HealthChecks;

pub use overlay::run_overlay;

/// How often it is seen whether other programs have removed the rules.
const LOOK: Duration = Duration::from_secs(15);
/// The pause after a transaction that failed.
const PAUSE: Duration = Duration::from_secs(1);
const ZONE: &str = "topology.kubernetes.io/zone";

/// How far the packet rules are; for measurements, metrics and readiness.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The kernel holds the Services and the EndpointSlices up to these revisions.
    pub services: u64,
    pub slices: u64,
    /// Transactions so far.
    pub transactions: u64,
    /// From the notice to the kernel's acknowledgement, for the last transaction.
    pub took: Duration,
}

/// The service proxy of a node.
pub struct ServiceProxy {
    config: NetworkConfig,
    caches: Arc<Caches>,
    pods: Option<PodNetwork>,
    progress: watch::Sender<Progress>,
}

impl ServiceProxy {
    /// A proxy that has not begun.
    pub fn new(config: NetworkConfig, caches: Arc<Caches>) -> ServiceProxy {
        ServiceProxy { config, caches, pods: None, progress: watch::Sender::default() }
    }

    /// Looks after the pods' network as well: what other programs remove of it is made again.
    pub fn with_pods(mut self, pods: PodNetwork) -> ServiceProxy {
        self.pods = Some(pods);
        self
    }

    /// How far it is, from now on.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Keeps the rules up to date until `stop`. The rules stay, so that connections go on while
    /// the node's agent restarts. Fails only where the kernel cannot be talked to at all.
    pub async fn run(self, stop: CancellationToken) -> timonier_network::Result<()> {
        let table = ServiceTable::open(&self.config)?;
        tokio::select! {
            () = self.follow(table) => {}
            () = stop.cancelled() => {}
        }
        Ok(())
    }

    async fn follow(self, table: ServiceTable) {
        observe(&self.caches, &[SERVICES, ENDPOINTSLICES, NODES]);
        let mut hands = Hands {
            notices: self.caches.subscribe(),
            table: Some(table),
            health: HealthChecks::default(),
            look: tokio::time::interval(LOOK),
        };
        hands.look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let (mut proxy, mut marks) = self.listed(&mut hands.notices).await;
            let mut start = Instant::now();
            let (mut changes, mut whole) = (proxy.everything(), true);
            loop {
                let stale = stale(&proxy, &changes);
                if let Err(error) = commit(&mut hands.table, changes, whole).await {
                    tracing::warn!(%error, "cannot change the packet rules; loading all again");
                    tokio::time::sleep(PAUSE).await;
                    break;
                }
                self.report(marks, Some(start.elapsed()));
                flush(stale);
                hands.health.set(proxy.health_checks());
                let Some(next) = self.next(&mut hands, &mut proxy).await else { break };
                (changes, marks, start) = next;
                whole = false;
            }
        }
    }

    /// Waits until everything was listed, and takes it in.
    async fn listed(&self, notices: &mut Subscription) -> (Proxy, Marks) {
        loop {
            {
                let world = self.caches.world();
                // What the world holds now need not be noticed.
                drop(notices.take());
                let listed = |r: &GroupVersionResource| world.table(r).synced().is_some();
                if [SERVICES, ENDPOINTSLICES, NODES].iter().all(listed) {
                    return (everything(&self.config, &world), Marks::of(&world));
                }
            }
            notices.recv().await;
        }
    }

    /// The next changes, how far they go, and when they were noticed. `None` where all must be
    /// loaded again.
    async fn next(
        &self,
        hands: &mut Hands,
        proxy: &mut Proxy,
    ) -> Option<(Changes, Marks, Instant)> {
        loop {
            let mut new = tokio::select! {
                new = hands.notices.recv() => new,
                _ = hands.look.tick() => {
                    if self.look(&mut hands.table).await {
                        continue;
                    }
                    tracing::warn!("the packet rules of Services are gone; making them again");
                    return None;
                }
            };
            let start = Instant::now();
            // While the world is held nothing is added to it, so all up to its marks is here.
            let marks = {
                let world = self.caches.world();
                new.extend(hands.notices.take());
                Marks::of(&world)
            };
            for notice in new {
                match notice {
                    Notice::Changed(change) => take_in(proxy, &self.config, &change)?,
                    Notice::Progressed(_) => {}
                    Notice::Lost => return None,
                }
            }
            let changes = proxy.changes();
            if !changes.is_empty() {
                return Some((changes, marks, start));
            }
            // A change that the kernel need not know of may still be one of health.
            hands.health.set(proxy.health_checks());
            self.report(marks, None);
        }
    }

    /// Looks whether the rules are still there.
    async fn look(&self, table: &mut Option<ServiceTable>) -> bool {
        if let Some(pods) = &self.pods
            && let Err(error) = pods.repair().await
        {
            tracing::warn!(%error, "cannot put the pods' network right");
        }
        match table.as_mut().map(ServiceTable::is_there) {
            Some(Ok(there)) => there,
            Some(Err(error)) => {
                tracing::warn!(%error, "cannot look at the packet rules");
                true
            }
            None => true,
        }
    }

    fn report(&self, marks: Marks, took: Option<Duration>) {
        self.progress.send_modify(|progress| {
            progress.services = marks.services;
            progress.slices = marks.slices;
            if let Some(took) = took {
                progress.transactions += 1;
                progress.took = took;
            }
        });
    }
}

/// What the proxy listens to and acts on.
struct Hands {
    notices: Subscription,
    /// Away while a transaction runs.
    table: Option<ServiceTable>,
    health: HealthChecks,
    look: tokio::time::Interval,
}

/// How far the world is.
#[derive(Clone, Copy)]
struct Marks {
    services: u64,
    slices: u64,
}

impl Marks {
    fn of(world: &World) -> Marks {
        let mark = |resource| world.table(resource).synced().unwrap_or(0);
        Marks { services: mark(&SERVICES), slices: mark(&ENDPOINTSLICES) }
    }
}

/// Lets the caches observe built-in resources, unless they do already.
pub(crate) fn observe(caches: &Arc<Caches>, resources: &[GroupVersionResource]) {
    for resource in resources {
        let (kind, namespaced) = match &*resource.resource {
            "services" => ("Service", true),
            "endpointslices" => ("EndpointSlice", true),
            "namespaces" => ("Namespace", false),
            _ => ("Node", false),
        };
        let info = ResourceInfo { resource: resource.clone(), kind: kind.into(), namespaced };
        let known = caches.world().info(&resource.group_resource()).is_some();
        if !known {
            caches.add(info);
        }
    }
}

fn everything(config: &NetworkConfig, world: &World) -> Proxy {
    let key = timonier_meta::ObjectKey::new("", &*config.node_name);
    let zone = world.get(&NODES, &key).and_then(|node| node.label(ZONE)).unwrap_or_default();
    let node = NodeFacts { name: (&*config.node_name).into(), zone: zone.into() };
    let held = config.dns_ip.into_iter().flat_map(|address| {
        [Protocol::Tcp, Protocol::Udp].map(|protocol| Frontend {
            address: address.into(),
            protocol,
            port: 53,
        })
    });
    let mut proxy = Proxy::new(node, held);
    for service in world.table(&SERVICES).iter() {
        proxy.set_service(Service::from_value(service));
    }
    for slice in world.table(&ENDPOINTSLICES).iter() {
        Slice::from_value(slice).into_iter().for_each(|s| proxy.set_slice(s));
    }
    // Into the proxy's state; the kernel gets everything.
    proxy.changes();
    proxy
}

/// Takes a change in. `None` where it concerns the node in a way that touches every Service.
fn take_in(proxy: &mut Proxy, config: &NetworkConfig, change: &Change) -> Option<()> {
    if change.is(&SERVICES) {
        match &change.new {
            Some(service) => proxy.set_service(Service::from_value(service)),
            None => proxy.remove_service(&change.key),
        }
    } else if change.is(&ENDPOINTSLICES) {
        let old = change.old.as_deref().and_then(Slice::from_value);
        let new = change.new.as_deref().and_then(Slice::from_value);
        if let Some(old) = old.filter(|o| new.as_ref().is_none_or(|n| n.service != o.service)) {
            proxy.remove_slice(&old.service, &old.key.name);
        }
        new.into_iter().for_each(|slice| proxy.set_slice(slice));
    } else if change.is(&NODES) && change.key.name == *config.node_name {
        let zone = |v: &Option<Arc<timonier_object::Value>>| {
            v.as_ref().and_then(|n| n.label(ZONE).map(str::to_owned))
        };
        if zone(&change.old) != zone(&change.new) {
            return None;
        }
    }
    Some(())
}

/// Carries changes out on a thread that may block. The table is back afterwards.
async fn commit(
    table: &mut Option<ServiceTable>,
    changes: Changes,
    whole: bool,
) -> timonier_network::Result<()> {
    let mut own = table.take().expect("the table is put back after every transaction");
    let work = tokio::task::spawn_blocking(move || {
        let done = if whole { own.load(&changes) } else { own.apply(&changes) };
        (own, done)
    });
    match work.await {
        Ok((own, done)) => {
            *table = Some(own);
            done
        }
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Frontends whose remembered connections may be stale, with their endpoints now.
fn stale(proxy: &Proxy, changes: &Changes) -> BTreeMap<Frontend, Vec<Backend>> {
    changes.stale.iter().map(|f| (*f, proxy.backends(f))).collect()
}

/// Makes the kernel forget UDP connections to endpoints that are gone, in the background: it
/// reads all connections, which must not hold up the rules.
fn flush(frontends: BTreeMap<Frontend, Vec<Backend>>) {
    if frontends.is_empty() {
        return;
    }
    tokio::task::spawn_blocking(move || {
        if let Err(error) = flush_stale(&frontends) {
            tracing::warn!(%error, "cannot forget stale UDP connections");
        }
    });
}
