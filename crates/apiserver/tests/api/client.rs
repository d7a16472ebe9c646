//! The client without HTTP goes the same way.

use futures::StreamExt;
use timonier_client::{DeleteOptions, ListOptions, PatchType, WatchEvent, WriteOptions};
use timonier_meta::Selector;
use timonier_meta::gvk::resources::{CONFIGMAPS, NAMESPACES, PODS};
use timonier_object::value;
use timonier_policy::User;

use crate::common::{Api, config_map, master};

#[tokio::test(start_paused = true)]
async fn every_call_works_in_process() {
    let api = Api::start().await;
    let client = api.server.client(master());
    let options = WriteOptions::default();
    let mut watch = client.watch(&CONFIGMAPS, "", &ListOptions::default()).await.unwrap();
    assert!(matches!(
        watch.next().await.unwrap().unwrap(),
        WatchEvent::Bookmark { initial_events_end: true, .. }
    ));
    let made =
        client.create(&CONFIGMAPS, "default", "", "", config_map("a"), &options).await.unwrap();
    let WatchEvent::Added(seen) = watch.next().await.unwrap().unwrap() else {
        panic!("an addition")
    };
    assert_eq!(seen, made);
    let read = client.get(&CONFIGMAPS, "default", "a").await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&read, &seen), "one object for all");
    let patch = value!({ "data": { "k": "w" } });
    let patched = client
        .patch(&CONFIGMAPS, "default", "a", "", PatchType::Merge, patch, &options)
        .await
        .unwrap();
    assert_eq!(patched.at("data.k").str(), "w");
    let stale = client
        .update(&CONFIGMAPS, "default", "a", "", (*made).clone(), &options)
        .await
        .unwrap_err();
    assert!(stale.is_conflict());
    let selected = ListOptions {
        field_selector: Selector::parse_fields("metadata.name=a").unwrap(),
        ..ListOptions::default()
    };
    let list = client.list(&CONFIGMAPS, "default", &selected).await.unwrap();
    assert_eq!((list.items.len(), list.revision), (1, patched.revision()));
    let from = ListOptions { revision: Some(made.revision()), ..ListOptions::default() };
    let mut later = client.watch(&CONFIGMAPS, "default", &from).await.unwrap();
    assert!(matches!(later.next().await.unwrap().unwrap(), WatchEvent::Modified(_)));
    client.delete(&CONFIGMAPS, "default", "a", &DeleteOptions::default()).await.unwrap();
    let WatchEvent::Deleted(last) = later.next().await.unwrap().unwrap() else {
        panic!("a deletion")
    };
    assert!(last.revision() > patched.revision());
    assert!(client.get(&CONFIGMAPS, "default", "a").await.unwrap_err().is_not_found());
}

#[tokio::test(start_paused = true)]
async fn identities_and_namespaces_count_in_process_too() {
    let api = Api::start().await;
    let jane = api.server.client(User::authenticated("jane", []));
    let error = jane.get(&PODS, "default", "p").await.unwrap_err();
    assert_eq!(error.code, 403);
    let client = api.server.client(User::authenticated("system:kube-controller-manager", []));
    let options = WriteOptions::default();
    client
        .create(&NAMESPACES, "", "", "", value!({ "metadata": { "name": "n" } }), &options)
        .await
        .unwrap();
    client.delete(&NAMESPACES, "", "n", &DeleteOptions::default()).await.unwrap();
    let mut namespace = (*client.get(&NAMESPACES, "", "n").await.unwrap()).clone();
    assert!(namespace.is_deleting());
    namespace.remove("spec.finalizers");
    client.update(&NAMESPACES, "", "n", "finalize", namespace, &options).await.unwrap();
    assert!(client.get(&NAMESPACES, "", "n").await.unwrap_err().is_not_found());
}
