//! Pods: what admission adds, binding, eviction, ephemeral containers.

use timonier_object::{Value, value};

use crate::common::{Api, PODS, pod};

#[tokio::test(start_paused = true)]
async fn admission_completes_a_pod() {
    let mut api = Api::start().await;
    api.account("default").await;
    let made = api.create(PODS, pod("p")).await;
    assert_eq!(made.at("status").to_string(), r#"{"phase":"Pending","qosClass":"BestEffort"}"#);
    assert_eq!(made.at("spec.serviceAccountName").str(), "default");
    assert_eq!(made.at("spec.priority").as_i64(), Some(0));
    assert_eq!(made.at("spec.preemptionPolicy").str(), "PreemptLowerPriority");
    let tolerations = made.at("spec.tolerations").items();
    assert_eq!(tolerations.len(), 2);
    assert_eq!(tolerations[0].at("tolerationSeconds").as_i64(), Some(300));
    let volume = &made.at("spec.volumes").items()[0];
    assert!(volume.name().is_empty() && volume.at("name").str().starts_with("kube-api-access-"));
    let mount = &made.at("spec.containers").items()[0].at("volumeMounts").items()[0];
    assert_eq!(mount.at("mountPath").str(), "/var/run/secrets/kubernetes.io/serviceaccount");
    assert_eq!(mount.at("readOnly").as_bool(), Some(true));
    let mut critical = pod("q");
    critical.set("spec.priorityClassName", "system-node-critical");
    critical.set("spec.automountServiceAccountToken", false);
    let made = api.create(PODS, critical).await;
    assert_eq!(made.at("spec.priority").as_i64(), Some(2_000_001_000));
    assert!(made.at("spec.volumes").is_null());
}

#[tokio::test(start_paused = true)]
async fn admission_refuses() {
    let mut api = Api::start().await;
    assert_eq!(
        api.fails("POST", PODS, &pod("p"), 403).await,
        "pods \"p\" is forbidden: error looking up service account default/default: serviceaccount \"default\" not found"
    );
    api.account("default").await;
    let mut unknown = pod("p");
    unknown.set("spec.priorityClassName", "x");
    assert_eq!(
        api.fails("POST", PODS, &unknown, 403).await,
        "pods \"p\" is forbidden: no PriorityClass with name x was found"
    );
    let mut own = pod("p");
    own.set("spec.priority", 7);
    assert!(
        api.fails("POST", PODS, &own, 403)
            .await
            .contains("the integer value of priority (7) must not be provided in pod spec")
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_bound_once() {
    let mut api = Api::start().await;
    api.account("default").await;
    api.create(PODS, pod("p")).await;
    let binding = |name: &str| value!({ "metadata": { "name": "p", "annotations": { "a": "b" } }, "target": { "kind": "Node", "name": name } });
    let path = format!("{PODS}/p/binding");
    let status = api.create(&path, binding("n")).await;
    assert_eq!(status.at("status").str(), "Success");
    let bound = api.get(&format!("{PODS}/p")).await;
    assert_eq!(bound.at("spec.nodeName").str(), "n");
    assert_eq!(bound.annotation("a"), Some("b"));
    assert!(bound.condition_is_true("PodScheduled"));
    assert_eq!(
        api.fails("POST", &path, &binding("m"), 409).await,
        "Operation cannot be fulfilled on pods \"p\": pod p is already assigned to node \"n\""
    );
    let by_body = "/api/v1/namespaces/default/bindings";
    assert_eq!(api.call("POST", by_body, &binding("m")).await.0, 409);
    assert_eq!(
        api.fails("POST", &path, &binding(""), 422).await,
        "Binding \"p\" is invalid: target.name: Required value"
    );
}

#[tokio::test(start_paused = true)]
async fn eviction_asks_the_budgets() {
    let mut api = Api::start().await;
    api.account("default").await;
    let mut p = pod("p");
    p.set("metadata.labels.a", "b");
    api.create(PODS, p).await;
    let ready = value!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } });
    api.call("PATCH", &format!("{PODS}/p/status"), &ready).await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = value!({ "metadata": { "name": "x" }, "spec": { "minAvailable": 1, "selector": { "matchLabels": { "a": "b" } } } });
    api.create(budgets, budget).await;
    let status = |allowed: i64| {
        value!({ "status": { "observedGeneration": 1, "disruptionsAllowed": allowed,
        "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1 } })
    };
    api.call("PATCH", &format!("{budgets}/x/status"), &status(0)).await;
    let eviction = value!({ "metadata": { "name": "p" } });
    let path = format!("{PODS}/p/eviction");
    let (code, refused) = api.call("POST", &path, &eviction).await;
    assert_eq!((code, refused.at("reason").str()), (429, "TooManyRequests"));
    assert_eq!(
        refused.at("message").str(),
        "Cannot evict pod as it would violate the pod's disruption budget."
    );
    assert_eq!(
        refused.at("details.causes").items()[0].at("message").str(),
        "The disruption budget x needs 1 healthy pods and has 1 currently"
    );
    api.call("PATCH", &format!("{budgets}/x/status"), &status(1)).await;
    api.create(&path, eviction).await;
    let left = api.get(&format!("{budgets}/x")).await;
    assert_eq!(left.at("status.disruptionsAllowed").as_i64(), Some(0));
    assert!(left.at("status.disruptedPods").get("p").is_some());
    assert_eq!(api.call("GET", &format!("{PODS}/p"), &Value::Null).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn an_evicted_pod_says_so() {
    let mut api = Api::start().await;
    api.account("default").await;
    let mut p = pod("p");
    p.set("metadata.finalizers", value!(["example.com/stay"]));
    api.create(PODS, p).await;
    let path = format!("{PODS}/p/eviction");
    let dry = value!({ "metadata": { "name": "p" }, "deleteOptions": { "dryRun": ["All"] } });
    api.create(&path, dry).await;
    let conditions = |p: &Value| p.at("status.conditions").items().to_vec();
    assert!(conditions(&api.get(&format!("{PODS}/p")).await).is_empty());
    api.create(&path, value!({ "metadata": { "name": "p" } })).await;
    let left = api.get(&format!("{PODS}/p")).await;
    assert!(left.is_deleting());
    let told = conditions(&left);
    assert_eq!(told[0].at("type").str(), "DisruptionTarget");
    assert_eq!(told[0].at("reason").str(), "EvictionByEvictionAPI");
}

#[tokio::test(start_paused = true)]
async fn an_eviction_may_mean_a_certain_pod() {
    let mut api = Api::start().await;
    api.account("default").await;
    let mut p = pod("p");
    p.set("metadata.finalizers", value!(["example.com/stay"]));
    let first = api.create(PODS, p).await;
    let running = value!({ "status": { "phase": "Running" } });
    let (_, now) = api.call("PATCH", &format!("{PODS}/p/status"), &running).await;
    let path = format!("{PODS}/p/eviction");
    let eviction = |name: &str, version: &str, uid: &str| {
        value!({ "metadata": { "name": name }, "deleteOptions": {
            "preconditions": { "resourceVersion": version, "uid": uid } } })
    };
    let (old, new, uid) = (first.resource_version(), now.resource_version(), now.uid());
    assert_eq!(
        api.fails("POST", &path, &eviction("q", new, uid), 400).await,
        "name in URL does not match name in Eviction object"
    );
    let why = api.fails("POST", &path, &eviction("p", old, uid), 409).await;
    assert!(why.contains(&format!("the ResourceVersion in the precondition ({old})")), "{why}");
    let why = api.fails("POST", &path, &eviction("p", new, "other"), 409).await;
    assert!(why.contains("the UID in the precondition (other)"), "{why}");
    let left = api.get(&format!("{PODS}/p")).await;
    assert_eq!(left.resource_version(), new, "refused, and nothing was written");
    api.create(&path, eviction("p", new, uid)).await;
    let left = api.get(&format!("{PODS}/p")).await;
    assert!(left.is_deleting() && left.condition_is_true("DisruptionTarget"), "{left}");
}

#[tokio::test(start_paused = true)]
async fn ephemeral_containers_are_added_and_stay() {
    let mut api = Api::start().await;
    api.account("default").await;
    api.create(PODS, pod("p")).await;
    let path = format!("{PODS}/p/ephemeralcontainers");
    let debug = value!({ "spec": { "ephemeralContainers": [{ "name": "d", "image": "busybox" }], "hostname": "x" } });
    let (code, made) = api.call("PATCH", &path, &debug).await;
    assert_eq!(code, 200, "{made}");
    assert_eq!(made.at("spec.ephemeralContainers").items().len(), 1);
    assert!(made.at("spec.hostname").is_null(), "nothing else changes");
    let mut none = made.clone();
    none.remove("spec.ephemeralContainers");
    let message = api.fails("PUT", &path, &none, 422).await;
    assert!(
        message.contains("existing ephemeral containers \"d\" may not be removed"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_new_node_is_tainted() {
    let mut api = Api::start().await;
    let node = api.create("/api/v1/nodes", value!({ "metadata": { "name": "n" } })).await;
    assert_eq!(
        node.at("spec.taints").to_string(),
        r#"[{"key":"node.kubernetes.io/not-ready","effect":"NoSchedule"}]"#
    );
}

#[tokio::test(start_paused = true)]
async fn a_runtime_class_has_its_overhead() {
    let mut api = Api::start().await;
    api.account("default").await;
    let class = value!({ "metadata": { "name": "sandboxed" }, "handler": "h", "overhead": { "podFixed": { "cpu": "100m" } },
        "scheduling": { "nodeSelector": { "k": "v" } } });
    api.create("/apis/node.k8s.io/v1/runtimeclasses", class).await;
    let mut p = pod("p");
    p.set("spec.runtimeClassName", "sandboxed");
    let made = api.create(PODS, p.clone()).await;
    assert_eq!(made.at("spec.overhead.cpu").str(), "100m");
    assert_eq!(made.at("spec.nodeSelector.k").str(), "v");
    p.set("spec.runtimeClassName", "x");
    assert_eq!(
        api.fails("POST", PODS, &p, 403).await,
        "pods \"p\" is forbidden: pod rejected: RuntimeClass \"x\" not found"
    );
}

#[tokio::test(start_paused = true)]
async fn claims_and_ingresses_get_their_default_class() {
    let mut api = Api::start().await;
    for (path, mark, body) in [
        (
            "/apis/storage.k8s.io/v1/storageclasses",
            "storageclass.kubernetes.io/is-default-class",
            value!({ "provisioner": "p" }),
        ),
        (
            "/apis/networking.k8s.io/v1/ingressclasses",
            "ingressclass.kubernetes.io/is-default-class",
            value!({ "spec": { "controller": "a.b/c" } }),
        ),
    ] {
        for (name, default) in [("first", "true"), ("other", "false")] {
            let mut class = body.clone();
            class.set("metadata", value!({ "name": name, "annotations": { (mark): default } }));
            api.create(path, class).await;
        }
    }
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let claim = value!({ "metadata": { "name": "c" }, "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } });
    assert_eq!(api.create(claims, claim.clone()).await.at("spec.storageClassName").str(), "first");
    let mut none = claim;
    none.set("metadata.name", "d");
    none.set("spec.storageClassName", "");
    assert_eq!(
        api.create(claims, none).await.find("spec.storageClassName").unwrap().as_str(),
        Some("")
    );
    let ingress = value!({ "metadata": { "name": "i" }, "spec": { "defaultBackend": { "service": { "name": "s", "port": { "number": 80 } } } } });
    let made = api.create("/apis/networking.k8s.io/v1/namespaces/default/ingresses", ingress).await;
    assert_eq!(made.at("spec.ingressClassName").str(), "first");
}

#[tokio::test(start_paused = true)]
async fn resources_are_resized_and_nothing_else() {
    let mut api = Api::start().await;
    api.account("default").await;
    let mut p = pod("p");
    p.set(
        "spec.containers",
        value!([{ "name": "c", "image": "x", "resources": { "requests": { "cpu": "100m" }, "limits": { "cpu": "200m" } } }]),
    );
    let made = api.create(PODS, p).await;
    let path = format!("{PODS}/p/resize");
    let more = value!({ "spec": { "containers": [{ "name": "c", "image": "y", "resources": { "requests": { "cpu": "150m" } } }] } });
    let (code, resized) = api.call("PATCH", &path, &more).await;
    assert_eq!(code, 200, "{resized}");
    let container = &resized.at("spec.containers").items()[0];
    assert_eq!(container.at("resources.requests.cpu").str(), "150m");
    assert_eq!(container.at("image").str(), "x");
    assert_eq!(resized.generation(), made.generation() + 1);
    let mut two = resized.clone();
    two.entry("spec.containers").make_array().push(value!({ "name": "d", "image": "x" }));
    let message = api.fails("PUT", &path, &two, 422).await;
    assert!(message.contains("containers may not be added or removed on resize"), "{message}");
}
