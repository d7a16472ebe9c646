//! Following APIServices and what is behind them.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{join_all, select_all};
use smol_str::SmolStr;
use timonier_client::Client;
use timonier_meta::gvk::resources::{APISERVICES, ENDPOINTSLICES, SERVICES};
use timonier_object::Value;
use timonier_policy::{User, groups};
use timonier_schema::aggregation::{Aggregation, Remote, Told};
use timonier_store::Watcher;
use tokio::time::Instant;

use super::{ask, check, trust};
use crate::server::ApiServer;
use crate::storage;

/// What a server does not announce is found out after this, as upstream's resynchronisation.
const AGAIN: Duration = Duration::from_secs(30);
/// A server that is not available, or did not tell its resources, is asked again after this.
const RETRY: Duration = Duration::from_secs(1);
/// Resources and documents of a server are asked for again after this.
const STALE: Duration = Duration::from_secs(60);

/// What a server said, and when.
struct Known {
    remote: Remote,
    told: Told,
    /// `None` until it answered.
    at: Option<Instant>,
}

/// Follows APIServices until the server is gone or goes down.
pub async fn follow(server: Weak<ApiServer>) {
    let mut known: BTreeMap<SmolStr, Known> = BTreeMap::new();
    loop {
        let Some(strong) = server.upgrade() else { return };
        let mut stopping = strong.stopping();
        if *stopping.borrow() {
            return;
        }
        let revision = strong.store.revision();
        let pause = tokio::select! {
            pause = round(&strong, &mut known) => pause,
            _ = stopping.changed() => return,
        };
        let watchers = watchers(&strong, revision);
        drop(strong);
        let changed = async {
            match watchers {
                // The store has forgotten the revision: look again at once.
                None => {}
                Some(mut all) => {
                    let (event, ..) = select_all(all.iter_mut().map(|w| w.next().boxed())).await;
                    // An end is a reason to look too, but not again and again.
                    if event.is_err() {
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        };
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(pause) => {}
            _ = stopping.changed() => return,
        }
        let Some(server) = server.upgrade() else { return };
        if server.store.is_closed() {
            return;
        }
    }
}

/// Watches of everything that a round looks at.
fn watchers(server: &ApiServer, revision: u64) -> Option<Vec<Watcher>> {
    let mut prefixes = vec![storage::resource_key(&APISERVICES, "", ""), trust::key()];
    for (remote, _) in server.aggregator.current().aggregation.remotes() {
        let namespace = &remote.namespace;
        prefixes.push(storage::resource_key(&SERVICES, namespace, &remote.service));
        prefixes.push(storage::resource_key(&ENDPOINTSLICES, namespace, ""));
    }
    prefixes.sort();
    prefixes.dedup();
    prefixes.into_iter().map(|prefix| server.store.watch(prefix, revision).ok()).collect()
}

/// Brings everything up to date once; gives when to look again without a reason.
async fn round(server: &Arc<ApiServer>, known: &mut BTreeMap<SmolStr, Known>) -> Duration {
    let masters = [SmolStr::new_static(groups::MASTERS)];
    let client = server.client(User::authenticated("system:apiserver", masters));
    if let Err(error) = trust::ensure(server, &*client).await {
        tracing::warn!(%error, "servers behind APIServices cannot learn whom to believe");
    }
    let objects = server.peek_all(&APISERVICES, "");
    let objects: Vec<&Value> =
        objects.iter().map(|o| &**o).filter(|o| Remote::of(o).is_some()).collect();
    take_over(&objects, known);
    publish(server, known);
    if objects.is_empty() {
        return Duration::from_secs(3600);
    }
    let checks = objects.iter().map(|object| check::check(server, &*client as &dyn Client, object));
    let available = join_all(checks).await;
    for (object, available) in objects.iter().zip(available) {
        if let Some(known) = known.get_mut(object.name()) {
            known.remote.available = available;
        }
    }
    publish(server, known);
    let current = server.aggregator.current();
    let now = Instant::now();
    let due = |k: &&mut Known| {
        k.remote.available && k.at.is_none_or(|at| now.duration_since(at) >= STALE)
    };
    let asked = known.values_mut().filter(due).map(|known| async {
        known.told = ask::told(server, &current, &known.remote, known.told.clone()).await;
        known.at = known.told.fresh.then_some(now);
    });
    join_all(asked).await;
    publish(server, known);
    let settled = known.values().all(|k| k.remote.available && k.at.is_some());
    if settled { AGAIN } else { RETRY }
}

/// Keeps what is known of those that are still there and still the same.
fn take_over(objects: &[&Value], known: &mut BTreeMap<SmolStr, Known>) {
    let mut before = std::mem::take(known);
    for remote in objects.iter().filter_map(|object| Remote::of(object)) {
        let old = before.remove(&remote.name);
        let same = |k: &Known| {
            let mut compared = k.remote.clone();
            (compared.available, compared.group_priority, compared.version_priority) =
                (remote.available, remote.group_priority, remote.version_priority);
            compared == remote
        };
        let entry = match old {
            Some(old) if same(&old) => {
                let at = old.at.filter(|_| remote.available && old.remote.available);
                Known { remote, at, ..old }
            }
            _ => Known { remote, told: Told::default(), at: None },
        };
        known.insert(entry.remote.name.clone(), entry);
    }
}

fn publish(server: &ApiServer, known: &BTreeMap<SmolStr, Known>) {
    let remotes = known.values().map(|k| (k.remote.clone(), k.told.clone()));
    server.aggregator.set(Aggregation::new(remotes));
}
