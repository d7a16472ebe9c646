use std::collections::VecDeque;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use timonier_meta::gvk::resources::PODS;
use timonier_meta::{ApiError, GroupVersionResource, ObjectKey, Time};
use timonier_object::{Value, value};

use super::*;
use crate::{DeleteOptions, List, ListOptions, PatchType, WatchEvent, WatchStream, WriteOptions};

/// Answers lists and watches from scripts; a watch whose script has ended stays open.
#[derive(Default)]
struct Script {
    lists: Mutex<VecDeque<List>>,
    watches: Mutex<VecDeque<Vec<Result<WatchEvent, ApiError>>>>,
    /// The revisions that watches were asked to start from.
    from: Mutex<Vec<Option<u64>>>,
}

fn unused<T>() -> Result<T, ApiError> {
    Err(ApiError::bad_request("not part of the script"))
}

#[async_trait]
impl Client for Script {
    async fn get(
        &self,
        _: &GroupVersionResource,
        _: &str,
        _: &str,
    ) -> Result<Arc<Value>, ApiError> {
        unused()
    }

    async fn list(
        &self,
        _: &GroupVersionResource,
        _: &str,
        _: &ListOptions,
    ) -> Result<List, ApiError> {
        lock(&self.lists).pop_front().ok_or_else(|| ApiError::unavailable("no more lists"))
    }

    async fn watch(
        &self,
        _: &GroupVersionResource,
        _: &str,
        options: &ListOptions,
    ) -> Result<WatchStream, ApiError> {
        lock(&self.from).push(options.revision);
        let events = lock(&self.watches).pop_front();
        let ends = events.as_ref().is_some_and(|e| e.last().is_some_and(Result::is_err));
        let events = stream::iter(events.unwrap_or_default());
        Ok(if ends { events.boxed() } else { events.chain(stream::pending()).boxed() })
    }

    async fn create(
        &self,
        _: &GroupVersionResource,
        _: &str,
        _: &str,
        _: &str,
        _: Value,
        _: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        unused()
    }

    async fn update(
        &self,
        _: &GroupVersionResource,
        _: &str,
        _: &str,
        _: &str,
        _: Value,
        _: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        unused()
    }

    async fn patch(
        &self,
        _: &GroupVersionResource,
        _: &str,
        _: &str,
        _: &str,
        _: PatchType,
        _: Value,
        _: &WriteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        unused()
    }

    async fn delete(
        &self,
        _: &GroupVersionResource,
        _: &str,
        _: &str,
        _: &DeleteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        unused()
    }
}

struct Fixed;

impl Environment for Fixed {
    fn now(&self) -> Time {
        Time::from_unix(1)
    }

    fn random(&self) -> u64 {
        4
    }
}

fn pod(name: &str, revision: u64) -> Arc<Value> {
    let version = revision.to_string();
    Arc::new(value!({ "metadata": { "name": name, "uid": name, "resourceVersion": version } }))
}

fn list(names: &[(&str, u64)], revision: u64) -> List {
    let items = names.iter().map(|(name, revision)| pod(name, *revision)).collect();
    List { items, revision, continue_token: None }
}

/// Caches of pods after everything scripted has happened.
async fn play(script: Script) -> (Arc<Script>, Arc<Caches>, Vec<Notice>) {
    let script = Arc::new(script);
    let caches = Caches::new(script.clone(), Arc::new(Fixed));
    let mut changes = caches.subscribe();
    caches.add(ResourceInfo { resource: PODS, kind: "Pod".into(), namespaced: true });
    caches.synced().await;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let seen = changes.take();
    (script, caches, seen)
}

fn names(caches: &Caches) -> Vec<String> {
    caches.world().table(&PODS).iter().map(|p| p.name().to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_where_the_list_ends() {
    let script = Script {
        lists: Mutex::new([list(&[("a", 1)], 3)].into()),
        watches: Mutex::new(
            [vec![
                Ok(WatchEvent::Added(pod("b", 4))),
                Ok(WatchEvent::Deleted(pod("a", 5))),
                Ok(WatchEvent::Bookmark { revision: 9, initial_events_end: false }),
            ]]
            .into(),
        ),
        ..Script::default()
    };
    let (script, caches, seen) = play(script).await;
    assert_eq!(names(&caches), ["b"]);
    assert_eq!(caches.world().table(&PODS).synced(), Some(9));
    assert_eq!(*lock(&script.from), [Some(3)]);
    let stored = caches.world().get(&PODS, &ObjectKey::new("", "b")).cloned().unwrap();
    assert_eq!((stored.kind(), stored.api_version()), ("Pod", "v1"));
    assert_eq!(seen.iter().filter(|n| matches!(n, Notice::Changed(_))).count(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_expired_watch_is_listed_anew_and_a_broken_one_goes_on() {
    let broken = ApiError::unavailable("gone away");
    let script = Script {
        lists: Mutex::new([list(&[("a", 1)], 3), list(&[("c", 7)], 8)].into()),
        watches: Mutex::new(
            [
                vec![Ok(WatchEvent::Added(pod("b", 4))), Err(broken)],
                vec![Err(ApiError::expired("too old"))],
            ]
            .into(),
        ),
        ..Script::default()
    };
    let (script, caches, _) = play(script).await;
    assert_eq!(names(&caches), ["c"]);
    assert_eq!(*lock(&script.from), [Some(3), Some(4), Some(8)]);
}

#[tokio::test(start_paused = true)]
async fn a_relist_waits_for_a_list_that_started_later() {
    let lists = Mutex::new([list(&[("a", 1)], 3), list(&[], 5)].into());
    let (_, caches, _) = play(Script { lists, ..Script::default() }).await;
    assert_eq!(names(&caches), ["a"]);
    assert!(caches.relist(&PODS.group_resource()).await);
    assert_eq!(names(&caches), [""; 0]);
    caches.remove(&PODS.group_resource());
    assert!(!caches.relist(&PODS.group_resource()).await);
}
