//! Following a collection: a watch that starts anew when it ends, and tells what is gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use timonier_client::{Client, ListOptions, WatchEvent};
use timonier_meta::{GroupVersionResource, ObjectKey, Selector};
use timonier_object::Value;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(10);
/// A watch that lasted so long was a good one: the next may begin soon.
const GOOD: Duration = Duration::from_secs(5);

/// What happened to the collection.
pub(crate) enum Change {
    /// New or changed.
    Set(Arc<Value>),
    Gone(Arc<Value>),
    /// Everything that was there at the (new) start has been told.
    Synced,
}

/// What to follow.
pub(crate) struct Followed {
    pub resource: GroupVersionResource,
    /// Empty for all.
    pub namespace: String,
    pub fields: Selector,
}

/// Follows a collection for ever; drop the future to end it. An object replaced by another of the
/// same name (another uid) is told as gone first.
pub(crate) async fn follow(
    client: Arc<dyn Client>,
    what: Followed,
    mut on: impl FnMut(Change) + Send,
) {
    let mut known: BTreeMap<ObjectKey, Arc<Value>> = BTreeMap::new();
    let mut delay = FIRST_DELAY;
    loop {
        let began = tokio::time::Instant::now();
        let options = ListOptions { field_selector: what.fields.clone(), ..ListOptions::default() };
        match client.watch(&what.resource, &what.namespace, &options).await {
            Ok(mut stream) => {
                let mut fresh = Some(BTreeMap::new());
                while let Some(event) = stream.next().await {
                    match event {
                        Ok(event) => take(event, &mut known, &mut fresh, &mut on),
                        Err(error) => {
                            tracing::debug!(resource = %what.resource, %error, "watch ended");
                            break;
                        }
                    }
                }
            }
            Err(error) => {
                tracing::warn!(resource = %what.resource, %error, "watch failed");
            }
        }
        if began.elapsed() >= GOOD {
            delay = FIRST_DELAY;
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(LAST_DELAY);
    }
}

type Known = BTreeMap<ObjectKey, Arc<Value>>;

fn take(
    event: WatchEvent,
    known: &mut Known,
    fresh: &mut Option<Known>,
    on: &mut (impl FnMut(Change) + Send),
) {
    match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
            let key = object.key();
            if let Some(old) = known.insert(key.clone(), object.clone())
                && old.uid() != object.uid()
            {
                on(Change::Gone(old));
            }
            if let Some(fresh) = fresh {
                fresh.insert(key, object.clone());
            }
            on(Change::Set(object));
        }
        WatchEvent::Deleted(object) => {
            known.remove(&object.key());
            if let Some(fresh) = fresh {
                fresh.remove(&object.key());
            }
            on(Change::Gone(object));
        }
        WatchEvent::Bookmark { initial_events_end: true, .. } => {
            if let Some(fresh) = fresh.take() {
                known.retain(|key, old| {
                    let stays = fresh.contains_key(key);
                    if !stays {
                        on(Change::Gone(old.clone()));
                    }
                    stays
                });
            }
            on(Change::Synced);
        }
        WatchEvent::Bookmark { .. } => {}
    }
}

/// A selector of one field.
pub(crate) fn field(name: &str, value: &str) -> Selector {
    Selector::of_pairs([(name, value)])
}
