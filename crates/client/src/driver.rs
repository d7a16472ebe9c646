//! Runs reconcilers: feeds the driver what the caches observe and carries out its tasks.

mod execute;
pub mod schedule;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use timonier_meta::{Environment, SmolStr};
use timonier_reconcile::{Config, Driver, Reconciler};

use crate::Client;
use crate::cache::{Caches, Notice};
use crate::events::Recorder;
use execute::execute;

/// What the acting loop needs.
pub struct Setup {
    pub client: Arc<dyn Client>,
    /// Observes at least what the reconcilers watch.
    pub caches: Arc<Caches>,
    pub env: Arc<dyn Environment>,
    pub reconcilers: Vec<Arc<dyn Reconciler>>,
    pub config: Config,
    /// The component's name as a field manager, such as `kube-controller-manager`.
    pub field_manager: SmolStr,
}

/// Runs the reconcilers until the future is dropped. Writes of one key are carried out in order
/// (runs of creates or deletes in growing batches), those of different keys at the same time.
pub async fn run(setup: Setup) {
    let Setup { client, caches, env, reconcilers, config, field_manager } = setup;
    let recorders: BTreeMap<&'static str, Recorder> = reconcilers
        .iter()
        .map(|r| (r.name(), Recorder::new(client.clone(), env.clone(), r.name(), "")))
        .collect();
    let mut driver = Driver::new(reconcilers, config);
    let mut notices = caches.subscribe();
    driver.resync(&caches.world());
    let mut running = FuturesUnordered::new();
    let mut relists = FuturesUnordered::new();
    loop {
        // The guard must be gone before the await below.
        while let Some(task) = {
            let world = caches.world();
            driver.next(&world, env.now())
        } {
            let recorder = recorders[task.controller].clone();
            running.push(execute(client.clone(), task, recorder, field_manager.clone()));
        }
        for (resource, number) in driver.take_relists() {
            let caches = caches.clone();
            relists.push(async move {
                caches.relist(&resource).await;
                (resource, number)
            });
        }
        let wake_at = driver.wake_at();
        let timer = async {
            match wake_at {
                Some(at) => tokio::time::sleep((at - env.now()).to_core()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // In a fixed order, so that a simulation repeats itself.
            biased;
            some = notices.recv() => take_note(&mut driver, some, &caches),
            Some((task, outcomes)) = running.next() => driver.finish(task, outcomes, env.now()),
            Some((resource, number)) = relists.next() => {
                driver.relisted(&resource, number, &caches.world());
            }
            () = timer => {}
        }
    }
}

fn take_note(driver: &mut Driver, notices: Vec<Notice>, caches: &Caches) {
    let world = caches.world();
    for notice in notices {
        match notice {
            Notice::Changed(change) => driver.observe(&change, &world),
            Notice::Progressed(resource) => driver.progressed(&resource, &world),
            Notice::Lost => driver.resync(&world),
        }
    }
}
