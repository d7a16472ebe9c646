//! Every kind of the catalogue goes the same way.

use timonier_object::{Value, value};
use timonier_schema::{Catalogue, ResourceRow};

use crate::common::Api;

fn path(row: &ResourceRow) -> String {
    let gvr = &row.gvr;
    let root =
        if gvr.group.is_empty() { "/api".to_string() } else { format!("/apis/{}", gvr.group) };
    let namespace = if row.namespaced { "namespaces/default/" } else { "" };
    format!("{root}/{}/{namespace}{}", gvr.version, gvr.resource)
}

/// Creates, reads, lists, watches, replaces, patches, deletes. False where the kind's own rules
/// want more than a name.
async fn live(api: &mut Api, row: &ResourceRow) -> bool {
    let path = path(row);
    let name = if row.gvr.resource == "ipaddresses" { "192.0.2.9" } else { "x" };
    let (code, made) = api.call("POST", &path, &value!({ "metadata": { "name": name } })).await;
    if code == 422 {
        assert!(!made.at("details.causes").is_empty(), "{path}: {made}");
        return false;
    }
    assert_eq!(code, 201, "{path}: {made}");
    assert_eq!(made.gvk().unwrap(), row.gvk);
    let one = format!("{path}/{name}");
    assert_eq!(api.get(&one).await, made, "{path}");
    let list = api.get(&path).await;
    assert_eq!(list.kind(), row.list_kind);
    assert!(list.at("items").items().contains(&made), "{path}");
    let mut watch =
        api.watch(&format!("{path}?watch=1&fieldSelector=metadata.name%3D{name}")).await;
    assert_eq!(watch.next().await.unwrap().at("object"), &made);
    let (code, same) = api.call("PUT", &one, &made).await;
    assert_eq!((code, &same), (200, &made), "{path}: a round trip changes nothing");
    let label = value!({ "metadata": { "labels": { "a": "b" } } });
    let (code, patched) = api.call("PATCH", &one, &label).await;
    assert_eq!((code, patched.label("a")), (200, Some("b")), "{path}: {patched}");
    assert_eq!(patched.generation(), made.generation(), "{path}: labels are no specification");
    assert_eq!(watch.next().await.unwrap().at("object"), &patched);
    let (code, _) = api.call("DELETE", &one, &Value::Null).await;
    assert_eq!(code, 200, "{path}");
    true
}

#[tokio::test(start_paused = true)]
async fn every_stored_kind_lives_and_dies() {
    let mut api = Api::start().await;
    api.account("default").await;
    let mut whole = 0;
    for row in Catalogue::builtin().rows().filter(|r| r.stored && r.verbs.has("create")) {
        whole += usize::from(live(&mut api, row).await);
    }
    assert!(whole >= 15, "only {whole} kinds need no more than a name");
}
