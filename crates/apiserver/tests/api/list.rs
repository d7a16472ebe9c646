//! `list`: selectors, pages of one revision, what a resource version means.

use timonier_object::{Value, value};

use crate::common::{Api, MAPS, PODS, config_map, pod};

fn names(list: &Value) -> Vec<&str> {
    list.at("items").items().iter().map(Value::name).collect()
}

async fn maps(api: &mut Api, list: &[&str]) {
    for name in list {
        let mut map = config_map(name);
        map.set("metadata.labels.name", *name);
        api.create(MAPS, map).await;
    }
}

#[tokio::test(start_paused = true)]
async fn pages_see_one_revision() {
    let mut api = Api::start().await;
    maps(&mut api, &["a", "b", "c", "d", "e"]).await;
    let first = api.get(&format!("{MAPS}?limit=2")).await;
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first.at("metadata.remainingItemCount").as_i64(), Some(3));
    maps(&mut api, &["bb"]).await;
    api.call("DELETE", &format!("{MAPS}/c"), &Value::Null).await;
    let token = first.at("metadata.continue").str().to_string();
    let second = api.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(second.resource_version(), first.resource_version());
    let token = second.at("metadata.continue").str().to_string();
    let last = api.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    assert_eq!(names(&last), ["e"]);
    assert!(
        last.at("metadata.continue").is_null() && last.at("metadata.remainingItemCount").is_null()
    );
    let exactly = api.get(&format!("{MAPS}?limit=5")).await;
    assert!(exactly.at("metadata.continue").is_null(), "nothing follows");
    assert_eq!(api.call("GET", &format!("{MAPS}?continue=x"), &Value::Null).await.0, 400);
}

#[tokio::test(start_paused = true)]
async fn selectors_choose() {
    let mut api = Api::start().await;
    api.account("default").await;
    maps(&mut api, &["a", "b", "c"]).await;
    for (query, want) in [
        ("labelSelector=name%20in%20(a,c)", vec!["a", "c"]),
        ("labelSelector=name%21%3Da", vec!["b", "c"]),
        ("labelSelector=%21name", vec![]),
        ("fieldSelector=metadata.name%3Db", vec!["b"]),
        ("fieldSelector=metadata.name%21%3Db", vec!["a", "c"]),
        ("fieldSelector=metadata.name%3Db,metadata.namespace%3Dx", vec![]),
        ("labelSelector=name%3Da&fieldSelector=metadata.name%3Db", vec![]),
        ("limit=1&labelSelector=name%3Dc", vec!["c"]),
    ] {
        assert_eq!(names(&api.get(&format!("{MAPS}?{query}")).await), want, "{query}");
    }
    api.create(PODS, pod("p")).await;
    let by_phase = api.get(&format!("{PODS}?fieldSelector=status.phase%3DPending")).await;
    assert_eq!(names(&by_phase), ["p"]);
    let all = api.get("/api/v1/pods?fieldSelector=spec.nodeName%3D").await;
    assert_eq!(names(&all), ["p"]);
    assert_eq!(
        api.fails("GET", &format!("{PODS}?fieldSelector=spec.foo%3Dx"), &Value::Null, 400).await,
        "field label not supported: spec.foo"
    );
    assert_eq!(api.call("GET", &format!("{PODS}?labelSelector=%3D%3D"), &Value::Null).await.0, 400);
}

#[tokio::test(start_paused = true)]
async fn a_revision_is_the_least_or_the_very_one() {
    let mut api = Api::start().await;
    maps(&mut api, &["a"]).await;
    let old = api.get(MAPS).await.resource_version().to_string();
    maps(&mut api, &["b"]).await;
    for (query, want) in [
        ("resourceVersion=0".to_string(), vec!["a", "b"]),
        ("resourceVersion=0&limit=1".to_string(), vec!["a", "b"]),
        (format!("resourceVersion={old}"), vec!["a", "b"]),
        (format!("resourceVersion={old}&resourceVersionMatch=NotOlderThan"), vec!["a", "b"]),
        (format!("resourceVersion={old}&resourceVersionMatch=Exact"), vec!["a"]),
        (format!("resourceVersion={old}&limit=5"), vec!["a"]),
    ] {
        assert_eq!(names(&api.get(&format!("{MAPS}?{query}")).await), want, "{query}");
    }
    let (code, status) =
        api.call("GET", &format!("{MAPS}?resourceVersion=99999"), &Value::Null).await;
    assert_eq!((code, status.at("reason").str()), (504, "Timeout"));
    assert_eq!(
        status.at("details.causes").items()[0].at("reason").str(),
        "ResourceVersionTooLarge"
    );
    assert_eq!(api.call("GET", &format!("{MAPS}/a?resourceVersion=0"), &Value::Null).await.0, 200);
    assert_eq!(
        api.fails("GET", &format!("{MAPS}?resourceVersionMatch=Exact"), &Value::Null, 422).await,
        "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_is_expired() {
    let mut api = Api::start().await;
    maps(&mut api, &["a", "b"]).await;
    let first = api.get(&format!("{MAPS}?limit=1")).await;
    let token = first.at("metadata.continue").str().to_string();
    // The store keeps the last 500 writes whatever their age, here more.
    for i in 0..10_100 {
        let body = value!({ "data": { "k": (i.to_string()) } });
        api.call("PATCH", &format!("{MAPS}/a"), &body).await;
    }
    let (code, status) =
        api.call("GET", &format!("{MAPS}?limit=1&continue={token}"), &Value::Null).await;
    assert_eq!((code, status.at("reason").str()), (410, "Expired"));
    let token = status.at("metadata.continue").str().to_string();
    let rest = api.get(&format!("{MAPS}?limit=1&continue={token}")).await;
    assert_eq!(names(&rest), ["b"], "an inconsistent list goes on");
    let version = first.resource_version();
    let exact = format!("{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact");
    assert_eq!(api.call("GET", &exact, &Value::Null).await.0, 410);
    let mut watch = api.watch(&format!("{MAPS}?watch=1&resourceVersion={version}")).await;
    let event = watch.next().await.unwrap();
    assert_eq!(event.at("type").str(), "ERROR");
    assert_eq!(event.at("object.code").as_i64(), Some(410));
    assert!(watch.next().await.is_none());
}
