//! `watch`: what happens to the objects of a collection, from a revision on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::Stream;
use timonier_meta::ApiError;
use timonier_policy::User;
use timonier_store::{Event, EventKind, Item, WatchEnd, Watcher};

use crate::call::{Call, Object};
use crate::filter::Filter;
use crate::query::ListQuery;
use crate::request::RequestInfo;
use crate::server::ApiServer;
use crate::storage;
use crate::verbs::fresh;

/// One event of a watch.
#[derive(Clone)]
pub enum Change {
    Added(Object),
    Modified(Object),
    Deleted(Object),
    Bookmark { revision: u64, initial_events_end: bool },
}

/// How often a quiet watch is told how far it is.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// A watch, ready to run. It owns what it needs, so that it outlives the request's handler.
pub struct Watch {
    server: Arc<ApiServer>,
    user: User,
    info: RequestInfo,
    filter: Filter,
    watcher: Watcher,
    initial: VecDeque<Arc<Item>>,
    /// The bookmark that closes the initial events.
    end_of_initial: Option<u64>,
    bookmarks: bool,
    timeout: Duration,
}

/// Starts a watch. 410 where the revision is no longer known.
pub async fn watch(call: &Call<'_>, query: &ListQuery) -> Result<Watch, ApiError> {
    let filter = Filter::new(call, query)?;
    let prefix = storage::prefix(&call.row, call.namespace());
    let store = &call.server.store;
    let wanted = query.revision.unwrap_or(0);
    let initial = query.send_initial_events.unwrap_or(wanted == 0);
    let from = if initial || wanted == 0 {
        fresh::wait(call, wanted).await?;
        None
    } else {
        Some(wanted)
    };
    let mut items = VecDeque::new();
    let from = match from {
        Some(revision) => revision,
        None => {
            let snapshot = match query.revision {
                None => fresh::newest(call, &prefix).await?,
                Some(_) => store.snapshot(),
            };
            if initial {
                items.extend(snapshot.range(&prefix, None).cloned());
            }
            snapshot.revision
        }
    };
    let watcher = store.watch(prefix, from).map_err(|e| {
        ApiError::expired(format!("too old resource version: {} ({})", e.requested, e.oldest))
    })?;
    let asked = query.send_initial_events == Some(true);
    Ok(Watch {
        server: call.server.clone(),
        user: call.user.clone(),
        info: call.info.clone(),
        filter,
        watcher,
        initial: items,
        end_of_initial: (asked && query.bookmarks).then_some(from),
        bookmarks: query.bookmarks,
        timeout: timeout(call, query),
    })
}

/// Without a wish, half an hour to an hour, so that clients do not all come back at once.
fn timeout(call: &Call<'_>, query: &ListQuery) -> Duration {
    let seconds = query.timeout_seconds.unwrap_or_else(|| 1800 + call.server.env.random() % 1800);
    Duration::from_secs(seconds.min(u64::from(u32::MAX)))
}

impl Watch {
    /// The events; `encode` turns each into what the client gets. The stream ends with the
    /// timeout, the server's shutdown, or an error as its last item.
    pub fn run<T>(
        self,
        mut encode: impl FnMut(&Call<'_>, Change) -> T + Send + 'static,
    ) -> impl Stream<Item = Result<T, ApiError>> + Send
    where
        T: Send,
    {
        let deadline = tokio::time::Instant::now() + self.timeout;
        let state = Running {
            stopping: self.server.stopping(),
            rows_changed: self.server.rows_changed(),
            _counted: Counted::new(&self.server),
            watch: self,
            deadline,
            next_bookmark: tokio::time::Instant::now() + BOOKMARK_EVERY,
            over: false,
        };
        let encode: Encode<T> = Box::new(move |call, change| encode(call, change));
        futures::stream::unfold((state, encode), next)
    }
}

type Encode<T> = Box<dyn FnMut(&Call<'_>, Change) -> T + Send>;

/// Counts the watches that run.
struct Counted(Arc<ApiServer>);

impl Counted {
    fn new(server: &Arc<ApiServer>) -> Self {
        server.metrics.watches.fetch_add(1, Ordering::Relaxed);
        Counted(server.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Running {
    watch: Watch,
    stopping: tokio::sync::watch::Receiver<bool>,
    rows_changed: tokio::sync::watch::Receiver<u64>,
    deadline: tokio::time::Instant,
    next_bookmark: tokio::time::Instant,
    over: bool,
    _counted: Counted,
}

async fn next<T>(
    (mut state, mut encode): (Running, Encode<T>),
) -> Option<(Result<T, ApiError>, (Running, Encode<T>))> {
    let change = match state.next_change().await? {
        Ok(change) => change,
        Err(error) => {
            state.over = true;
            return Some((Err(error), (state, encode)));
        }
    };
    let server = state.watch.server.clone();
    let call = Call::find(&server, &state.watch.user, &state.watch.info)?;
    let out = encode(&call, change);
    Some((Ok(out), (state, encode)))
}

impl Running {
    /// The next event that the filter lets through; `None` at the end.
    async fn next_change(&mut self) -> Option<Result<Change, ApiError>> {
        if self.over {
            return None;
        }
        let server = self.watch.server.clone();
        // A row that is no longer served ends its watches.
        let user = self.watch.user.clone();
        let info = self.watch.info.clone();
        let call = Call::find(&server, &user, &info)?;
        while let Some(item) = self.watch.initial.pop_front() {
            let object = match call.object(item).await {
                Ok(object) => object,
                Err(error) => return Some(Err(error)),
            };
            if self.watch.filter.matches(&call, &object) {
                return Some(Ok(Change::Added(object)));
            }
        }
        if let Some(revision) = self.watch.end_of_initial.take() {
            return Some(Ok(Change::Bookmark { revision, initial_events_end: true }));
        }
        loop {
            if *self.stopping.borrow() {
                return None;
            }
            let event = tokio::select! {
                biased;
                event = self.watch.watcher.next() => event,
                _ = self.stopping.changed() => return None,
                _ = self.rows_changed.changed() => {
                    Call::find(&server, &user, &info)?;
                    continue;
                }
                () = tokio::time::sleep_until(self.deadline) => return None,
                () = tokio::time::sleep_until(self.next_bookmark), if self.watch.bookmarks => {
                    self.next_bookmark = tokio::time::Instant::now() + BOOKMARK_EVERY;
                    match self.watch.watcher.progress() {
                        Some(revision) => return Some(Ok(Change::Bookmark { revision, initial_events_end: false })),
                        None => continue,
                    }
                }
            };
            match event {
                Ok(event) => match change(&call, &self.watch.filter, &event).await {
                    Ok(None) => {}
                    Ok(Some(change)) => return Some(Ok(change)),
                    Err(error) => return Some(Err(error)),
                },
                Err(WatchEnd::Closed) => return None,
                Err(WatchEnd::Slow | WatchEnd::Reset) => {
                    return Some(Err(ApiError::expired("the watch fell behind; list again")));
                }
            }
        }
    }
}

/// What an event is to a watcher with this filter: an object that comes into the selection is
/// added, one that leaves it is deleted.
async fn change(
    call: &Call<'_>,
    filter: &Filter,
    event: &Event,
) -> Result<Option<Change>, ApiError> {
    let before = match &event.previous {
        Some(_) if filter.is_everything() => Before::Selected,
        Some(previous) => {
            let object = call.object(previous.clone()).await?;
            if filter.matches(call, &object) { Before::Read(object) } else { Before::Apart }
        }
        None => Before::Apart,
    };
    let now = call.object(event.item.clone());
    if event.kind == EventKind::Delete {
        return Ok(match before {
            Before::Apart => None,
            Before::Selected | Before::Read(_) => Some(Change::Deleted(now.await?)),
        });
    }
    let now = now.await?;
    Ok(match (before, filter.matches(call, &now)) {
        (Before::Apart, true) => Some(Change::Added(now)),
        (Before::Selected | Before::Read(_), true) => Some(Change::Modified(now)),
        (Before::Read(last), false) => {
            let mut object = last.peek(call).into_owned();
            object.set("metadata.resourceVersion", event.revision.to_string());
            Some(Change::Deleted(Object::made(object)))
        }
        (Before::Apart | Before::Selected, false) => None,
    })
}

/// What an object was to the watcher before an event.
enum Before {
    /// Not there, or not selected.
    Apart,
    /// Selected, as everything is.
    Selected,
    Read(Object),
}
