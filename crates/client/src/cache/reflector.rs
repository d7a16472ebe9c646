//! The list and watch of one resource.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt;
use timonier_meta::{ApiError, Reason};
use timonier_object::Value;
use timonier_reconcile::ResourceInfo;
use tokio::sync::watch::Sender;

use super::{Caches, Notice, Orders, changed, lock};
use crate::{ListOptions, WatchEvent, WatchStream};

/// The first and longest wait after an error.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Why a watch came to its end.
enum End {
    /// The stream ended or broke; what was seen is still true.
    Broken,
    /// List again: the revision is compacted, or somebody asked for it.
    Stale,
}

pub(super) async fn run(
    caches: Weak<Caches>,
    info: ResourceInfo,
    orders: Arc<Orders>,
    done: Sender<u64>,
) {
    let mut wait = FIRST_WAIT;
    // `None`: the next step is a list.
    let mut revision: Option<u64> = None;
    loop {
        let Some(here) = caches.upgrade() else { return };
        let client = here.client.clone();
        let result = match revision {
            None => list(&here, &info, &orders, &done).await.map(Some),
            Some(from) => {
                drop(here);
                let options = ListOptions { revision: Some(from), ..ListOptions::default() };
                match client.watch(&info.resource, "", &options).await {
                    Ok(stream) => {
                        wait = FIRST_WAIT;
                        match follow(&caches, &info, &orders, stream).await {
                            End::Broken => {
                                // A server that goes down ends every watch at once, and the next
                                // as well; without a pause this would spin.
                                tokio::time::sleep(FIRST_WAIT).await;
                                Ok(synced(&caches, &info))
                            }
                            End::Stale => Ok(None),
                        }
                    }
                    Err(e) if is_expired(&e) => {
                        tokio::time::sleep(FIRST_WAIT).await;
                        Ok(None)
                    }
                    Err(e) => Err(e),
                }
            }
        };
        match result {
            Ok(next) => revision = next,
            Err(error) => {
                tracing::debug!(resource = %info.resource, %error, "list or watch failed");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}

async fn list(
    caches: &Caches,
    info: &ResourceInfo,
    orders: &Orders,
    done: &Sender<u64>,
) -> Result<u64, ApiError> {
    let order = *lock(&orders.last);
    // Without a revision the server gives its newest state.
    let list = caches.client.list(&info.resource, "", &ListOptions::default()).await?;
    let items = list.items.into_iter().map(|o| typed(o, info)).collect();
    let (name, now) = (info.resource.group_resource(), caches.env.now());
    caches.write(|world| {
        let mut notices: Vec<Notice> = world
            .replace(&name, items, list.revision, now)
            .into_iter()
            .map(Notice::Changed)
            .collect();
        notices.push(Notice::Progressed(name));
        notices
    });
    done.send_replace(order);
    Ok(list.revision)
}

async fn follow(
    caches: &Weak<Caches>,
    info: &ResourceInfo,
    orders: &Orders,
    mut stream: WatchStream,
) -> End {
    loop {
        let event = tokio::select! {
            biased;
            () = orders.wake.notified() => return End::Stale,
            event = stream.next() => event,
        };
        let Some(caches) = caches.upgrade() else { return End::Broken };
        match event {
            None => return End::Broken,
            Some(Err(e)) if is_expired(&e) => return End::Stale,
            Some(Err(_)) => return End::Broken,
            Some(Ok(event)) => take_in(&caches, info, event),
        }
    }
}

fn take_in(caches: &Caches, info: &ResourceInfo, event: WatchEvent) {
    let (name, now) = (info.resource.group_resource(), caches.env.now());
    caches.write(|world| match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
            changed(world.put(&name, typed(object, info), now), name)
        }
        WatchEvent::Deleted(object) => changed(world.remove(&name, &object, now), name),
        WatchEvent::Bookmark { revision, .. } => {
            world.progress(&name, revision);
            vec![Notice::Progressed(name)]
        }
    });
}

/// The items of a list over HTTP do not say their type.
fn typed(object: Arc<Value>, info: &ResourceInfo) -> Arc<Value> {
    if !object.kind().is_empty() && !object.api_version().is_empty() {
        return object;
    }
    let mut typed = Value::clone(&object);
    let fields = typed.make_object();
    fields.insert_first("apiVersion", info.resource.group_version().to_string().into());
    fields.insert_first("kind", (&info.kind).into());
    Arc::new(typed)
}

fn synced(caches: &Weak<Caches>, info: &ResourceInfo) -> Option<u64> {
    caches.upgrade()?.world().table(&info.resource).synced()
}

fn is_expired(error: &ApiError) -> bool {
    matches!(error.reason, Reason::Expired | Reason::Gone) || error.code == 410
}
