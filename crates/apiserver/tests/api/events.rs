//! Events: two groups, one store, an hour.

use std::time::Duration;

use timonier_object::{Value, value};

use crate::common::{Api, config, master, server_with};

#[tokio::test(start_paused = true)]
async fn both_groups_show_the_same_events() {
    let mut api = Api::start().await;
    let old = "/api/v1/namespaces/default/events";
    let new = "/apis/events.k8s.io/v1/namespaces/default/events";
    let event = value!({ "metadata": { "name": "e" }, "reason": "Started", "message": "it runs", "type": "Normal",
        "involvedObject": { "kind": "Pod", "namespace": "default", "name": "p", "uid": "u" },
        "source": { "component": "kubelet" }, "count": 1 });
    api.create(old, event).await;
    let seen = api.get(&format!("{new}/e")).await;
    assert_eq!((seen.api_version(), seen.at("note").str()), ("events.k8s.io/v1", "it runs"));
    assert_eq!(seen.at("regarding.name").str(), "p");
    assert_eq!(seen.at("deprecatedCount").as_i64(), Some(1));
    let list =
        api.get(&format!("{old}?fieldSelector=involvedObject.name%3Dp,reason%3DStarted")).await;
    assert_eq!(list.at("items").items().len(), 1);
    let mut watch = api.watch(&format!("{new}?watch=1")).await;
    let added = watch.next().await.unwrap();
    assert_eq!(added.at("object.note").str(), "it runs");
}

#[tokio::test(start_paused = true)]
async fn events_go_by_themselves() {
    let start = tokio::time::Instant::now();
    let options = timonier_store::Options {
        stamp: timonier_apiserver::storage::stamp,
        clock: std::sync::Arc::new(move || 1_000_000 + start.elapsed().as_millis() as u64),
        ..timonier_store::Options::default()
    };
    let location = timonier_store::Location::Memory(timonier_store::MemoryDisk::default());
    let store = timonier_store::Store::open(location, options).await.unwrap();
    let mut api = Api::to(server_with(config(), store.clone()).await, Some(master())).await;
    let path = "/api/v1/namespaces/default/events";
    let event =
        value!({ "metadata": { "name": "e" }, "involvedObject": { "namespace": "default" } });
    api.create(path, event).await;
    tokio::time::advance(Duration::from_secs(3590)).await;
    store.maintain().await;
    let mut api = api.another(Some(master())).await;
    assert_eq!(api.call("GET", &format!("{path}/e"), &Value::Null).await.0, 200);
    tokio::time::advance(Duration::from_secs(20)).await;
    store.maintain().await;
    let mut api = api.another(Some(master())).await;
    assert_eq!(api.call("GET", &format!("{path}/e"), &Value::Null).await.0, 404);
}
