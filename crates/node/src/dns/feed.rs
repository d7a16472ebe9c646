//! Keeps the index of names up to date.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use timonier_client::cache::{Caches, Notice};
use timonier_meta::gvk::resources::{ENDPOINTSLICES, NAMESPACES, SERVICES};
use timonier_reconcile::{Change, World};
use timonier_traffic::dns::Index;
use timonier_traffic::{Service, Slice};

use super::Names;
use crate::proxy::observe;

/// Follows the caches; never ends.
pub async fn run(caches: &Arc<Caches>, names: &Names) {
    observe(caches, &[NAMESPACES, SERVICES, ENDPOINTSLICES]);
    let mut changes = caches.subscribe();
    let mut complete = false;
    loop {
        if !complete {
            let world = caches.world();
            let listed = [NAMESPACES, SERVICES, ENDPOINTSLICES]
                .iter()
                .all(|resource| world.table(resource).synced().is_some());
            if listed {
                // What changes until here is in the world already; its notices repeat it.
                let zone = names.read().zone().clone();
                *names.write() = everything(&zone, &world);
                names.ready.store(true, Ordering::Release);
                complete = true;
            }
        }
        for notice in changes.recv().await {
            match notice {
                Notice::Changed(change) if complete => take_in(&mut names.write(), &change),
                Notice::Lost => complete = false,
                _ => {}
            }
        }
    }
}

fn everything(zone: &timonier_traffic::dns::Zone, world: &World) -> Index {
    let mut index = Index::new(zone.clone());
    for namespace in world.table(&NAMESPACES).iter() {
        index.set_namespace(namespace.name());
    }
    for service in world.table(&SERVICES).iter() {
        index.set_service(Service::from_value(service));
    }
    for slice in world.table(&ENDPOINTSLICES).iter() {
        Slice::from_value(slice).into_iter().for_each(|s| index.set_slice(s));
    }
    index
}

fn take_in(index: &mut Index, change: &Change) {
    if change.is(&NAMESPACES) {
        match &change.new {
            Some(_) => index.set_namespace(&change.key.name),
            None => index.remove_namespace(&change.key.name),
        }
    } else if change.is(&SERVICES) {
        match &change.new {
            Some(service) => index.set_service(Service::from_value(service)),
            None => index.remove_service(&change.key),
        }
    } else if change.is(&ENDPOINTSLICES) {
        let old = change.old.as_deref().and_then(Slice::from_value);
        let new = change.new.as_deref().and_then(Slice::from_value);
        if let Some(old) = old.filter(|o| new.as_ref().is_none_or(|n| n.service != o.service)) {
            index.remove_slice(&old.service, &old.key.name);
        }
        new.into_iter().for_each(|slice| index.set_slice(slice));
    }
}
