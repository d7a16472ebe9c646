//! `update`: conflicts, no-ops, generation, status apart from the rest.

use timonier_object::{Value, value};

use crate::common::{Api, MAPS, config_map};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn deployment() -> Value {
    value!({ "metadata": { "name": "web" }, "spec": { "replicas": 2,
        "selector": { "matchLabels": { "a": "b" } },
        "template": { "metadata": { "labels": { "a": "b" } },
            "spec": { "containers": [{ "name": "c", "image": "x" }] } } } })
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_is_a_conflict() {
    let mut api = Api::start().await;
    let path = format!("{MAPS}/a");
    let first = api.create(MAPS, config_map("a")).await;
    let mut second = first.clone();
    second.set("data.k", "w");
    let (code, second) = api.call("PUT", &path, &second).await;
    assert_eq!(code, 200);
    assert!(second.revision() > first.revision());
    assert_eq!(
        api.fails("PUT", &path, &first, 409).await,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    // Without a version the last writer wins.
    let (code, third) = api.call("PUT", &path, &config_map("a")).await;
    assert_eq!((code, third.at("data.k").str()), (200, "v"));
    assert_eq!(third.uid(), first.uid());
    let mut other = config_map("a");
    other.set("metadata.uid", "x");
    let message = api.fails("PUT", &path, &other, 409).await;
    assert!(message.contains("Precondition failed: UID in precondition: x, UID in object meta: "));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_changes_nothing_is_not_stored() {
    let mut api = Api::start().await;
    let path = format!("{MAPS}/a");
    let made = api.create(MAPS, config_map("a")).await;
    let (_, same) = api.call("PUT", &path, &made).await;
    assert_eq!(same, made);
    let (_, same) = api.call("PATCH", &path, &value!({ "data": { "k": "v" } })).await;
    assert_eq!(same, made);
}

#[tokio::test(start_paused = true)]
async fn generation_counts_changes_of_the_specification() {
    let mut api = Api::start().await;
    let path = format!("{DEPLOYMENTS}/web");
    let made = api.create(DEPLOYMENTS, deployment()).await;
    assert_eq!(made.generation(), 1);
    let mut new = made.clone();
    new.set("metadata.labels.x", "y");
    new.set("status.replicas", 7);
    let (_, labelled) = api.call("PUT", &path, &new).await;
    assert_eq!(labelled.generation(), 1);
    assert!(labelled.at("status.replicas").is_null(), "the status has its own path");
    new = labelled.clone();
    new.set("spec.replicas", 3);
    let (_, scaled) = api.call("PUT", &path, &new).await;
    assert_eq!(scaled.generation(), 2);
    new = scaled.clone();
    new.set("spec.replicas", 9);
    new.set("status.replicas", 3);
    let (code, status) = api.call("PUT", &format!("{path}/status"), &new).await;
    assert_eq!(code, 200);
    assert_eq!(status.at("status.replicas").as_i64(), Some(3));
    assert_eq!((status.at("spec.replicas").as_i64(), status.generation()), (Some(3), 2));
}

#[tokio::test(start_paused = true)]
async fn names_are_those_of_the_url() {
    let mut api = Api::start().await;
    api.create(MAPS, config_map("a")).await;
    assert_eq!(
        api.fails("PUT", &format!("{MAPS}/a"), &config_map("b"), 400).await,
        "the name of the object (b) does not match the name on the URL (a)"
    );
    assert_eq!(
        api.fails("PUT", &format!("{MAPS}/b"), &config_map("b"), 404).await,
        "configmaps \"b\" not found"
    );
    assert_eq!(
        api.fails("POST", MAPS, &config_map("a"), 409).await,
        "configmaps \"a\" already exists"
    );
}

#[tokio::test(start_paused = true)]
async fn some_kinds_are_created_by_put_and_some_need_a_version() {
    let mut api = Api::start().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let lease = value!({ "metadata": { "name": "l" }, "spec": { "holderIdentity": "x" } });
    let (code, made) = api.call("PUT", &format!("{leases}/l"), &lease).await;
    assert_eq!((code, made.at("spec.holderIdentity").str()), (201, "x"));
    let message = api.fails("PUT", &format!("{leases}/l"), &lease, 422).await;
    assert_eq!(
        message,
        "Lease.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"
    );
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_changes_nothing() {
    let mut api = Api::start().await;
    let made = api.create(&format!("{MAPS}?dryRun=All"), config_map("a")).await;
    assert_eq!(made.name(), "a");
    assert_eq!(api.call("GET", &format!("{MAPS}/a"), &Value::Null).await.0, 404);
    let real = api.create(MAPS, config_map("a")).await;
    let mut new = real.clone();
    new.set("data.k", "w");
    let (_, dry) = api.call("PUT", &format!("{MAPS}/a?dryRun=All"), &new).await;
    assert_eq!(dry.at("data.k").str(), "w");
    api.call("DELETE", &format!("{MAPS}/a?dryRun=All"), &Value::Null).await;
    assert_eq!(api.get(&format!("{MAPS}/a")).await, real);
    let (code, _) = api.call("POST", &format!("{MAPS}?dryRun=x"), &config_map("b")).await;
    assert_eq!(code, 422);
}
