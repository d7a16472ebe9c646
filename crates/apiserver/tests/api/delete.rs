//! `delete`: grace, preconditions, finalizers, propagation, answers.

use timonier_object::{Value, value};

use crate::common::{Api, MAPS, PODS, config_map, pod};

async fn bound_pod(api: &mut Api, name: &str) -> Value {
    api.create(PODS, pod(name)).await;
    let binding =
        value!({ "metadata": { "name": name }, "target": { "kind": "Node", "name": "n" } });
    api.create(&format!("{PODS}/{name}/binding"), binding).await;
    api.get(&format!("{PODS}/{name}")).await
}

#[tokio::test(start_paused = true)]
async fn a_pod_on_a_node_has_a_grace_period() {
    let mut api = Api::start().await;
    api.account("default").await;
    let before = bound_pod(&mut api, "p").await;
    let path = format!("{PODS}/p");
    let (code, deleting) = api.call("DELETE", &path, &Value::Null).await;
    assert_eq!((code, deleting.kind()), (200, "Pod"));
    assert_eq!(deleting.at("metadata.deletionGracePeriodSeconds").as_i64(), Some(30));
    assert_eq!(deleting.generation(), before.generation() + 1);
    let end = deleting.deleted().unwrap();
    // A second delete changes nothing, a shorter period shortens it, a longer one does not.
    let (_, again) = api.call("DELETE", &path, &Value::Null).await;
    assert_eq!(again, deleting);
    let (_, longer) = api.call("DELETE", &path, &value!({ "gracePeriodSeconds": 60 })).await;
    assert_eq!(longer, deleting);
    let (_, shorter) = api.call("DELETE", &path, &value!({ "gracePeriodSeconds": 10 })).await;
    assert_eq!(shorter.at("metadata.deletionGracePeriodSeconds").as_i64(), Some(10));
    assert_eq!((end - shorter.deleted().unwrap()).as_secs(), 20);
    let wrong = value!({ "gracePeriodSeconds": 0, "preconditions": { "uid": "x" } });
    let message = api.fails("DELETE", &path, &wrong, 409).await;
    assert!(message.starts_with("Operation cannot be fulfilled on pods \"p\": the UID in the precondition (x) does not match the UID in record ("), "{message}");
    let (code, last) = api.call("DELETE", &path, &value!({ "gracePeriodSeconds": 0 })).await;
    assert_eq!((code, last.kind()), (200, "Pod"));
    assert_eq!(api.call("GET", &path, &Value::Null).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_pod_without_a_node_goes_at_once() {
    let mut api = Api::start().await;
    api.account("default").await;
    api.create(PODS, pod("p")).await;
    assert_eq!(api.call("DELETE", &format!("{PODS}/p"), &Value::Null).await.0, 200);
    assert_eq!(api.call("GET", &format!("{PODS}/p"), &Value::Null).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn finalizers_hold_an_object() {
    let mut api = Api::start().await;
    let mut map = config_map("a");
    map.set("metadata.finalizers", value!(["example.com/x"]));
    api.create(MAPS, map).await;
    let path = format!("{MAPS}/a");
    let (code, held) = api.call("DELETE", &path, &Value::Null).await;
    assert_eq!((code, held.kind(), held.is_deleting()), (200, "ConfigMap", true));
    assert_eq!(held.at("metadata.deletionGracePeriodSeconds").as_i64(), Some(0));
    let (_, again) = api.call("DELETE", &path, &Value::Null).await;
    assert_eq!(again, held);
    let mut more = held.clone();
    more.set("metadata.finalizers", value!(["example.com/x", "example.com/y"]));
    let message = api.fails("PUT", &path, &more, 422).await;
    assert!(message.contains("metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted"), "{message}");
    let (code, last) =
        api.call("PATCH", &path, &value!({ "metadata": { "finalizers": null } })).await;
    assert_eq!(code, 200);
    assert!(last.revision() > held.revision());
    assert_eq!(api.call("GET", &path, &Value::Null).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn propagation_is_told_to_the_collector() {
    let mut api = Api::start().await;
    for (query, body, finalizers) in [
        ("?propagationPolicy=Foreground", Value::Null, "[\"foregroundDeletion\"]"),
        ("", value!({ "propagationPolicy": "Orphan" }), "[\"orphan\"]"),
        ("", value!({ "orphanDependents": true }), "[\"orphan\"]"),
    ] {
        api.create(MAPS, config_map("a")).await;
        let path = format!("{MAPS}/a");
        let (_, held) = api.call("DELETE", &format!("{path}{query}"), &body).await;
        assert_eq!(held.at("metadata.finalizers").to_string(), finalizers);
        api.call("PATCH", &path, &value!({ "metadata": { "finalizers": null } })).await;
    }
    api.create(MAPS, config_map("a")).await;
    let (_, status) = api
        .call("DELETE", &format!("{MAPS}/a"), &value!({ "propagationPolicy": "Background" }))
        .await;
    assert_eq!(status.kind(), "Status");
    let bad = value!({ "propagationPolicy": "x" });
    assert_eq!(
        api.fails("DELETE", &format!("{MAPS}/a"), &bad, 422).await,
        "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"x\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
    );
}

#[tokio::test(start_paused = true)]
async fn jobs_keep_their_pods_by_default_and_say_so() {
    let mut api = Api::start().await;
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let job = value!({ "metadata": { "name": "j" }, "spec": { "template": { "spec": {
        "restartPolicy": "Never", "containers": [{ "name": "c", "image": "x" }] } } } });
    let made = api.create(jobs, job).await;
    let selector = made.at("spec.selector.matchLabels").get("batch.kubernetes.io/controller-uid");
    assert_eq!(selector.unwrap().str(), made.uid());
    let response = api.send("DELETE", &format!("{jobs}/j"), &[], "").await;
    let warning = response.headers().get("warning").unwrap().to_str().unwrap().to_string();
    assert!(warning.starts_with("299 - \"child pods are preserved by default"), "{warning}");
    let _ = http_body_util::BodyExt::collect(response.into_body()).await;
    let held = api.get(&format!("{jobs}/j")).await;
    assert_eq!(held.at("metadata.finalizers").to_string(), "[\"orphan\"]");
}

#[tokio::test(start_paused = true)]
async fn a_collection_goes_by_selector() {
    let mut api = Api::start().await;
    for (name, label) in [("a", "x"), ("b", "y"), ("c", "x")] {
        let mut map = config_map(name);
        map.set("metadata.labels.l", label);
        api.create(MAPS, map).await;
    }
    let (code, gone) =
        api.call("DELETE", &format!("{MAPS}?labelSelector=l%3Dx"), &Value::Null).await;
    assert_eq!((code, gone.kind()), (200, "ConfigMapList"));
    assert_eq!(gone.at("items").items().len(), 2);
    let left = api.get(MAPS).await;
    assert_eq!(left.at("items").items().iter().map(Value::name).collect::<Vec<_>>(), ["b"]);
    let (code, _) = api.call("DELETE", "/api/v1/namespaces", &Value::Null).await;
    assert_eq!(code, 405, "namespaces go one by one");
}

#[tokio::test(start_paused = true)]
async fn options_of_a_wrong_type_delete_nothing() {
    let mut api = Api::start().await;
    api.create(MAPS, config_map("a")).await;
    let path = format!("{MAPS}/a");
    for body in [
        value!({ "apiVersion": "v1", "kind": "DeleteOptions", "dryRun": "All" }),
        value!({ "dryRun": "All" }),
        value!({ "preconditions": { "uid": 5 } }),
        value!({ "gracePeriodSeconds": "0" }),
        value!({ "propagationPolicy": ["Orphan"] }),
        value!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" } }),
    ] {
        api.fails("DELETE", &path, &body, 400).await;
        api.fails("DELETE", MAPS, &body, 400).await;
    }
    api.get(&path).await;
    let unknown = value!({ "apiVersion": "v1", "kind": "DeleteOptions", "unknown": 1 });
    assert_eq!(api.call("DELETE", &path, &unknown).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_grace_period_of_ages_ends_in_a_year_that_can_be_read() {
    let mut api = Api::start().await;
    api.account("default").await;
    let pod = value!({ "metadata": { "name": "p" }, "spec": { "nodeName": "n",
        "terminationGracePeriodSeconds": 1_000_000_000_000_i64,
        "containers": [{ "name": "c", "image": "x" }] } });
    let path = "/api/v1/namespaces/default/pods";
    api.create(path, pod).await;
    let path = format!("{path}/p");
    let (_, ending) = api.call("DELETE", &path, &Value::Null).await;
    let end = ending.at("metadata.deletionTimestamp").str();
    assert!(end.starts_with("21") && end.len() == 20, "{end}");
    let (_, sooner) =
        api.call("DELETE", &path, &value!({ "gracePeriodSeconds": (i64::MAX) })).await;
    assert_eq!(sooner.at("metadata.deletionTimestamp").str(), end);
    let (_, sooner) = api.call("DELETE", &path, &value!({ "gracePeriodSeconds": 60 })).await;
    assert_eq!(&sooner.at("metadata.deletionTimestamp").str()[..4], "2027");
}

#[tokio::test(start_paused = true)]
async fn some_kinds_are_answered_with_what_is_gone() {
    let mut api = Api::start().await;
    let classes = "/apis/storage.k8s.io/v1/volumeattributesclasses";
    let class =
        value!({ "metadata": { "name": "c" }, "driverName": "d", "parameters": { "a": "b" } });
    api.create(classes, class).await;
    let (code, gone) = api.call("DELETE", &format!("{classes}/c"), &Value::Null).await;
    assert_eq!((code, gone.kind()), (200, "VolumeAttributesClass"), "{gone}");
    let (code, gone) = {
        api.create(MAPS, config_map("m")).await;
        api.call("DELETE", &format!("{MAPS}/m"), &Value::Null).await
    };
    assert_eq!((code, gone.kind()), (200, "Status"), "{gone}");
}
