//! Pod security: labels of namespaces, pods that are refused, warnings.

use timonier_object::{Value, json, value};

use crate::common::{Api, PODS, pod};

const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
const NAMESPACE: &str = "/api/v1/namespaces/default";

/// Sets labels of the namespace `default`; gives the warnings.
async fn label(api: &mut Api, labels: &[(&str, &str)]) -> Vec<String> {
    let labels: Value = labels.iter().map(|(k, v)| (*k, *v)).collect();
    let body = json::encode(&value!({ "metadata": { "labels": labels } }));
    warnings(api, "PATCH", NAMESPACE, "application/merge-patch+json", body).await
}

async fn warnings(
    api: &mut Api,
    method: &str,
    path: &str,
    kind: &str,
    body: Vec<u8>,
) -> Vec<String> {
    let response = api.send(method, path, &[("content-type", kind)], body).await;
    assert!(response.status().is_success(), "{method} {path}: {}", response.status());
    let all = response.headers().get_all("warning").iter();
    all.map(|w| w.to_str().unwrap().to_string()).collect()
}

fn with_host_network(name: &str) -> Value {
    let mut pod = pod(name);
    pod.set("spec.hostNetwork", true);
    pod
}

#[tokio::test(start_paused = true)]
async fn a_level_is_enforced() {
    let mut api = Api::start().await;
    api.account("default").await;
    api.create(PODS, with_host_network("before")).await;
    let warned = label(&mut api, &[(ENFORCE, "baseline")]).await;
    assert_eq!(
        warned,
        [
            "299 - \"existing pods in namespace \\\"default\\\" violate the new PodSecurity enforce level \\\"baseline:latest\\\"\"",
            "299 - \"before: host namespaces\"",
        ]
    );
    assert_eq!(
        api.fails("POST", PODS, &with_host_network("p"), 403).await,
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"
    );
    api.create(PODS, pod("p")).await;
    // A pod that is there may be labelled and deleted, but has no new image.
    let labels = value!({ "metadata": { "labels": { "a": "b" } } });
    assert_eq!(api.call("PATCH", &format!("{PODS}/before"), &labels).await.0, 200);
    let image = value!({ "spec": { "containers": [{ "name": "c", "image": "other" }] } });
    assert!(
        api.fails("PATCH", &format!("{PODS}/before"), &image, 403)
            .await
            .contains("violates PodSecurity")
    );
}

#[tokio::test(start_paused = true)]
async fn workloads_are_warned_of() {
    let mut api = Api::start().await;
    label(&mut api, &[("pod-security.kubernetes.io/warn", "baseline")]).await;
    let deployment = value!({ "metadata": { "name": "d" }, "spec": {
        "selector": { "matchLabels": { "a": "b" } },
        "template": { "metadata": { "labels": { "a": "b" } }, "spec": { "hostPID": true,
            "containers": [{ "name": "c", "image": "x" }] } } } });
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let warned =
        warnings(&mut api, "POST", path, "application/json", json::encode(&deployment)).await;
    assert_eq!(
        warned,
        [
            "299 - \"would violate PodSecurity \\\"baseline:latest\\\": host namespaces (hostPID=true)\""
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn wrong_labels_are_refused() {
    let mut api = Api::start().await;
    let mut labels = Value::object();
    labels.make_object().insert(ENFORCE, "strict".into());
    let namespace = value!({ "metadata": { "name": "n", "labels": labels } });
    assert_eq!(
        api.fails("POST", "/api/v1/namespaces", &namespace, 422).await,
        "Namespace \"n\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, baseline, restricted"
    );
}
