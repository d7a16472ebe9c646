//! `watch`: events in order, initial events, bookmarks, transitions, the end.

use std::time::Duration;

use timonier_object::{Value, value};

use crate::common::{Api, MAPS, Watch, config_map};

async fn set(api: &mut Api, name: &str, label: &str) -> Value {
    let body = value!({ "metadata": { "labels": { "l": label } } });
    api.call("PATCH", &format!("{MAPS}/{name}"), &body).await.1
}

fn event(kind: &str, name: &str) -> (String, String) {
    (kind.into(), name.into())
}

async fn quiet(watch: &mut Watch) -> bool {
    tokio::time::timeout(Duration::from_millis(100), watch.next()).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn events_come_in_order_with_their_revisions() {
    let mut api = Api::start().await;
    let start = api.get(MAPS).await.resource_version().to_string();
    let made = api.create(MAPS, config_map("a")).await;
    let mut watch = api.watch(&format!("{MAPS}?watch=true&resourceVersion={start}")).await;
    let first = watch.next().await.unwrap();
    assert_eq!((first.at("type").str(), first.at("object")), ("ADDED", &made));
    let changed = set(&mut api, "a", "x").await;
    let second = watch.next().await.unwrap();
    assert_eq!((second.at("type").str(), second.at("object")), ("MODIFIED", &changed));
    api.call("DELETE", &format!("{MAPS}/a"), &Value::Null).await;
    let third = watch.next().await.unwrap();
    assert_eq!(third.at("type").str(), "DELETED");
    assert_eq!(third.at("object").label("l"), Some("x"));
    assert!(third.at("object").revision() > changed.revision(), "the deletion's revision");
    assert!(quiet(&mut watch).await);
}

#[tokio::test(start_paused = true)]
async fn without_a_revision_it_starts_with_what_is_there() {
    let mut api = Api::start().await;
    api.create(MAPS, config_map("a")).await;
    for query in ["watch=1", "watch=1&resourceVersion=0"] {
        let mut watch = api.watch(&format!("{MAPS}?{query}")).await;
        assert_eq!(watch.event().await, event("ADDED", "a"));
        assert!(quiet(&mut watch).await);
    }
    let now = api.get(MAPS).await.resource_version().to_string();
    let quiet_query = format!(
        "{MAPS}?watch=1&resourceVersion={now}&sendInitialEvents=false&resourceVersionMatch=NotOlderThan"
    );
    assert!(quiet(&mut api.watch(&quiet_query).await).await);
}

#[tokio::test(start_paused = true)]
async fn a_watch_list_ends_its_beginning_with_a_bookmark() {
    let mut api = Api::start().await;
    api.create(MAPS, config_map("a")).await;
    api.create(MAPS, config_map("b")).await;
    let list =
        "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = api.watch(&format!("{MAPS}?{list}")).await;
    assert_eq!(watch.event().await, event("ADDED", "a"));
    assert_eq!(watch.event().await, event("ADDED", "b"));
    let bookmark = watch.next().await.unwrap();
    assert_eq!(
        (bookmark.at("type").str(), bookmark.at("object.kind").str()),
        ("BOOKMARK", "ConfigMap")
    );
    assert_eq!(bookmark.at("object").annotation("k8s.io/initial-events-end"), Some("true"));
    assert_eq!(bookmark.at("object").resource_version(), api.get(MAPS).await.resource_version());
    api.create(MAPS, config_map("c")).await;
    assert_eq!(watch.event().await, event("ADDED", "c"));
    // From a known revision on the initial events are the present ones all the same.
    let start = bookmark.at("object").resource_version();
    let mut again = api.watch(&format!("{MAPS}?{list}&resourceVersion={start}")).await;
    assert_eq!(again.event().await, event("ADDED", "a"));
}

#[tokio::test(start_paused = true)]
async fn quiet_watches_get_bookmarks() {
    let mut api = Api::start().await;
    let now = api.get(MAPS).await.resource_version().to_string();
    let mut watch =
        api.watch(&format!("{MAPS}?watch=1&resourceVersion={now}&allowWatchBookmarks=true")).await;
    // Something happens elsewhere.
    api.account("default").await;
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark.at("type").str(), "BOOKMARK");
    assert!(bookmark.at("object").revision() > now.parse().unwrap());
    assert!(bookmark.at("object").annotation("k8s.io/initial-events-end").is_none());
}

#[tokio::test(start_paused = true)]
async fn selection_changes_are_additions_and_deletions() {
    let mut api = Api::start().await;
    api.create(MAPS, config_map("a")).await;
    let mut watch = api.watch(&format!("{MAPS}?watch=1&labelSelector=l%3Dx")).await;
    assert!(quiet(&mut watch).await);
    set(&mut api, "a", "x").await;
    assert_eq!(watch.event().await, event("ADDED", "a"));
    let left = set(&mut api, "a", "y").await;
    let gone = watch.next().await.unwrap();
    assert_eq!(gone.at("type").str(), "DELETED");
    assert_eq!(gone.at("object").label("l"), Some("x"), "the last state that matched");
    assert_eq!(gone.at("object").revision(), left.revision());
    set(&mut api, "a", "z").await;
    api.call("DELETE", &format!("{MAPS}/a"), &Value::Null).await;
    assert!(quiet(&mut watch).await);
}

#[tokio::test(start_paused = true)]
async fn one_object_is_watched_by_name() {
    let mut api = Api::start().await;
    let query = "watch=1&fieldSelector=metadata.name%3Db";
    let mut watch = api.watch(&format!("{MAPS}?{query}")).await;
    api.create(MAPS, config_map("a")).await;
    api.create(MAPS, config_map("b")).await;
    assert_eq!(watch.event().await, event("ADDED", "b"));
    let mut old_form =
        api.watch(&format!("/api/v1/watch/namespaces/default/configmaps?{query}")).await;
    assert_eq!(old_form.event().await, event("ADDED", "b"));
    // A name in the path, which is all that an authorizer may have allowed.
    let path = "/api/v1/watch/namespaces/default/configmaps/b";
    let mut named = api.watch(path).await;
    assert_eq!(named.event().await, event("ADDED", "b"));
    set(&mut api, "a", "x").await;
    assert!(quiet(&mut named).await);
    // A selector of another field; one of the name is the name by itself, as upstream reads it.
    assert_eq!(
        api.fails(
            "GET",
            &format!("{path}?fieldSelector=metadata.namespace%3Dx"),
            &Value::Null,
            400
        )
        .await,
        "fieldSelector metadata.name doesn't match requested name"
    );
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_time_and_with_the_server() {
    let mut api = Api::start().await;
    let mut watch = api.watch(&format!("{MAPS}?watch=1&timeoutSeconds=5")).await;
    let start = tokio::time::Instant::now();
    assert!(watch.next().await.is_none());
    assert_eq!(start.elapsed().as_secs(), 5);
    let mut watch = api.watch(&format!("{MAPS}?watch=1")).await;
    api.server.shutdown();
    assert!(watch.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn tables_and_metadata_are_watched_too() {
    let mut api = Api::start().await;
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let mut table = api.watch_as(&format!("{MAPS}?watch=1"), accept).await;
    let accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let mut metadata = api.watch_as(&format!("{MAPS}?watch=1"), accept).await;
    api.create(MAPS, config_map("a")).await;
    api.create(MAPS, config_map("b")).await;
    let first = table.next().await.unwrap();
    assert_eq!(first.at("object.kind").str(), "Table");
    assert!(!first.at("object.columnDefinitions").items().is_empty());
    assert_eq!(first.at("object.rows").items()[0].at("cells").items()[0].str(), "a");
    let second = table.next().await.unwrap();
    assert!(second.at("object.columnDefinitions").items().is_empty(), "only once");
    let first = metadata.next().await.unwrap();
    assert_eq!(first.at("object.kind").str(), "PartialObjectMetadata");
    assert!(first.at("object.data").is_null());
}
