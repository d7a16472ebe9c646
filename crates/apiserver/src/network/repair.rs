//! Reservations and Services in step: what a Service uses is reserved for it, and nothing else is.
//! Upstream's `pkg/registry/core/service/ipallocator/controller` and its kin.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use smol_str::SmolStr;
use timonier_meta::gvk::resources;
use timonier_object::json;
use timonier_store::{Error, Expect, Item};

use super::{IP_ADDRESSES, MANAGED_BY, PORTS_PREFIX, ip_object, keys_of};
use crate::server::ApiServer;
use crate::storage;

/// As often as upstream.
const EVERY: Duration = Duration::from_secs(180);

/// What is not as it should be.
struct Found {
    /// Reservations that no Service uses, with their revisions.
    unused: BTreeMap<SmolStr, u64>,
    /// What Services use and nothing, or something else, is reserved for: key, Service, and the
    /// reservation that is there.
    missing: Vec<(SmolStr, String, Expect)>,
}

/// Repairs what a crash has left. Run when the server starts, before requests: what no Service uses
/// then belongs to nobody.
pub async fn repair(server: &Arc<ApiServer>) {
    let found = look(server);
    restore(server, found.missing).await;
    forget(server, found.unused).await;
}

/// Repairs every few minutes, until the server is gone or goes down. A reservation goes when no
/// Service used it twice in a row: the first time its Service may have been on its way.
pub async fn keep(server: Weak<ApiServer>) {
    let mut before = BTreeMap::new();
    let mut next = tokio::time::Instant::now() + EVERY;
    loop {
        let Some(strong) = server.upgrade() else { return };
        let mut stopping = strong.stopping();
        if *stopping.borrow() {
            return;
        }
        let changed = strong.network.changed.clone();
        drop(strong);
        let due = tokio::select! {
            () = tokio::time::sleep_until(next) => true,
            () = changed.notified() => false,
            _ = stopping.changed() => return,
        };
        let Some(strong) = server.upgrade() else { return };
        let found = look(&strong);
        restore(&strong, found.missing).await;
        if due {
            let again = |(key, revision): &(&SmolStr, &u64)| before.get(*key) == Some(*revision);
            let unused = found.unused.iter().filter(again);
            forget(&strong, unused.map(|(key, revision)| (key.clone(), *revision)).collect()).await;
            before = found.unused;
            next = tokio::time::Instant::now() + EVERY;
        }
    }
}

fn look(server: &ApiServer) -> Found {
    let snapshot = server.store.snapshot();
    let mut used: BTreeMap<SmolStr, String> = BTreeMap::new();
    let services = storage::resource_key(&resources::SERVICES, "", "");
    for service in snapshot.range(&services, None).map(|item| server.objects.of(item)) {
        let owner = format!("{}/{}", service.namespace(), service.name());
        used.extend(keys_of(&service).into_iter().map(|key| (key, owner.clone())));
    }
    let mut found = Found { unused: BTreeMap::new(), missing: Vec::new() };
    let mut compare = |item: &Item, owner: Option<String>| match used.remove(&item.key) {
        None => drop(found.unused.insert(item.key.clone(), item.mod_revision)),
        Some(wanted) if owner.as_ref() == Some(&wanted) => {}
        Some(wanted) => {
            let expect = Expect::Revision(item.mod_revision);
            found.missing.push((item.key.clone(), wanted, expect));
        }
    };
    for item in snapshot.range(PORTS_PREFIX, None) {
        compare(item, Some(String::from_utf8_lossy(&item.value).into_owned()));
    }
    let mut others = Vec::new();
    let addresses = storage::resource_key(&IP_ADDRESSES, "", "");
    for item in snapshot.range(&addresses, None) {
        let object = json::decode(&item.value).unwrap_or_default();
        let of = object.at("spec.parentRef");
        let owner = format!("{}/{}", of.at("namespace").str(), of.at("name").str());
        match object.label("ipaddress.kubernetes.io/managed-by") == Some(MANAGED_BY) {
            true => compare(item, Some(owner)),
            // Somebody else's stays as it is.
            false => others.push(item.key.clone()),
        }
    }
    for key in others {
        used.remove(&key);
    }
    found.missing.extend(used.into_iter().map(|(key, owner)| (key, owner, Expect::Absent)));
    found
}

async fn restore(server: &Arc<ApiServer>, missing: Vec<(SmolStr, String, Expect)>) {
    for (key, owner, expect) in missing {
        let last = key.rsplit('/').next().unwrap_or_default();
        let value = match last.parse::<IpAddr>() {
            Ok(ip) if !key.starts_with(PORTS_PREFIX) => ip_object(server, &ip, &owner),
            _ => storage::encode_plain(&owner),
        };
        tracing::warn!(%key, %owner, "reserving what a Service uses and nobody had reserved");
        told(&key, server.store.put(key.clone(), value, expect).await);
    }
}

async fn forget(server: &Arc<ApiServer>, unused: BTreeMap<SmolStr, u64>) {
    if !unused.is_empty() {
        tracing::info!(count = unused.len(), "dropping reservations that no Service uses");
    }
    for (key, revision) in unused {
        told(&key, server.store.delete(key.clone(), Expect::Revision(revision)).await);
    }
}

/// Where somebody else wrote in between, the next round sees what became of it.
fn told(key: &SmolStr, result: Result<Arc<Item>, Error>) {
    if let Err(error) = result
        && !matches!(error, Error::Conflict { .. })
    {
        tracing::warn!(%key, %error, "a reservation could not be repaired");
    }
}
