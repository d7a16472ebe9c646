//! Admission webhooks: a real HTTPS server is asked, and what it answers counts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use timonier_client::WriteOptions;
use timonier_meta::gvk::resources;
use timonier_object::{Value, value};

use crate::common::{Api, MAPS, PODS, config_map, master, pod};
use crate::hooked::{self, Hooked};

const HOOKS: &str = "/apis/admissionregistration.k8s.io/v1";

/// What the server answers to a question: the path says.
fn answer(path: &str, question: &Value) -> Value {
    let uid = question.at("request.uid").str();
    let mut response = value!({ "uid": uid, "allowed": true });
    match path {
        "/deny" => {
            response.set("allowed", false);
            response.set("status", value!({ "message": "not today", "code": 403 }));
            response.set("warnings", Value::array(["think again".into()]));
        }
        "/label" => {
            let patch = br#"[{"op":"add","path":"/data/added","value":"yes"},
                {"op":"add","path":"/unknown","value":1}]"#;
            response.set("patchType", "JSONPatch");
            response.set("patch", STANDARD.encode(patch));
        }
        "/stranger" => response.set("uid", "another"),
        _ => {}
    }
    value!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": (response) })
}

async fn start() -> Hooked {
    hooked::start(answer).await
}

impl Hooked {
    /// Adds a configuration with one hook on writes to config maps.
    async fn add(&self, api: &mut Api, kind: &str, path: &str, more: Value) {
        let mut hook = value!({ "name": "hook.example.com", "admissionReviewVersions": ["v1"],
            "sideEffects": "None", "timeoutSeconds": 1,
            "clientConfig": { "url": (format!("{}{path}", self.url)), "caBundle": (&self.bundle) },
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"],
                "resources": ["configmaps", "pods/attach", "pods/binding", "*/scale"],
                "operations": ["CREATE", "UPDATE", "DELETE", "CONNECT"] }] });
        for (field, value) in more.entries() {
            hook.set(field, value.clone());
        }
        let configuration = value!({ "metadata": { "name": (format!("c-{}", path.len())) },
            "webhooks": [hook] });
        api.create(&format!("{HOOKS}/{kind}"), configuration).await;
    }

    fn questions(&self) -> Vec<Value> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

const VALIDATING: &str = "validatingwebhookconfigurations";
const MUTATING: &str = "mutatingwebhookconfigurations";

#[tokio::test]
async fn a_hook_refuses() {
    let (hooked, mut api) = (start().await, Api::start().await);
    api.create(MAPS, config_map("before")).await;
    hooked.add(&mut api, VALIDATING, "/deny", Value::object()).await;
    let why = api.fails("POST", MAPS, &config_map("a"), 403).await;
    assert_eq!(why, "admission webhook \"hook.example.com\" denied the request: not today");
    let question = hooked.questions().remove(0);
    assert_eq!(question.at("request.operation").str(), "CREATE");
    assert_eq!(question.at("request.object.metadata.name").str(), "a");
    assert_eq!(question.at("request.userInfo.username").str(), "kubernetes-admin");
    assert!(question.at("request.oldObject").is_null());
    let before = format!("{MAPS}/before");
    api.fails("DELETE", &before, &Value::Null, 403).await;
    let question = hooked.questions().remove(0);
    assert_eq!(question.at("request.operation").str(), "DELETE");
    assert_eq!(question.at("request.oldObject.metadata.name").str(), "before");
    assert!(question.at("request.object").is_null());
    let patch = value!({ "data": { "k": "w" } });
    api.fails("PATCH", &before, &patch, 403).await;
    assert_eq!(api.get(&before).await.at("data.k").str(), "v");
    // What it has no rule for goes on as ever.
    api.create("/api/v1/namespaces", value!({ "metadata": { "name": "free" } })).await;
}

#[tokio::test]
async fn a_hook_changes() {
    let (hooked, mut api) = (start().await, Api::start().await);
    hooked.add(&mut api, MUTATING, "/label", Value::object()).await;
    let made = api.create(MAPS, config_map("a")).await;
    assert_eq!(made.at("data.added").str(), "yes");
    assert!(made.at("unknown").is_null(), "what the kind does not know is dropped");
    assert_eq!(api.get(&format!("{MAPS}/a")).await.at("data.added").str(), "yes");
}

#[tokio::test]
async fn dry_run_and_side_effects() {
    let (hooked, mut api) = (start().await, Api::start().await);
    hooked.add(&mut api, VALIDATING, "/deny", Value::object()).await;
    let dry = format!("{MAPS}?dryRun=All");
    api.fails("POST", &dry, &config_map("a"), 403).await;
    assert_eq!(hooked.questions()[0].at("request.dryRun").as_bool(), Some(true));
}

#[tokio::test]
async fn a_hook_that_fails() {
    let (hooked, mut api) = (start().await, Api::start().await);
    hooked.add(&mut api, VALIDATING, "/never", Value::object()).await;
    let why = api.fails("POST", MAPS, &config_map("a"), 500).await;
    assert!(
        why.starts_with("Internal error occurred: failed calling webhook \"hook.example.com\": failed to call webhook: Post \"https://localhost:")
            && why.ends_with("/never?timeout=1s\": context deadline exceeded"),
        "{why}"
    );
    api.call("DELETE", &format!("{HOOKS}/{VALIDATING}/c-6"), &Value::Null).await;
    hooked.add(&mut api, VALIDATING, "/stranger", Value::object()).await;
    let why = api.fails("POST", MAPS, &config_map("a"), 500).await;
    assert!(why.contains("received invalid webhook response: expected response.uid="), "{why}");
    api.call("DELETE", &format!("{HOOKS}/{VALIDATING}/c-9"), &Value::Null).await;
    hooked.add(&mut api, VALIDATING, "/never", value!({ "failurePolicy": "Ignore" })).await;
    api.create(MAPS, config_map("a")).await;
}

#[tokio::test]
async fn subresources_have_their_own_kinds() {
    let (hooked, mut api) = (start().await, Api::start().await);
    api.account("default").await;
    api.create(crate::common::PODS, pod("p")).await;
    hooked.add(&mut api, VALIDATING, "/deny", Value::object()).await;
    let binding = value!({ "apiVersion": "v1", "kind": "Binding", "metadata": { "name": "p" },
        "target": { "kind": "Node", "name": "n" } });
    api.fails("POST", "/api/v1/namespaces/default/pods/p/binding", &binding, 403).await;
    let question = hooked.questions().remove(0);
    assert_eq!(question.at("request.kind.kind").str(), "Binding");
    assert_eq!(question.at("request.subResource").str(), "binding");
    let attach = "/api/v1/namespaces/default/pods/p/attach?container=c&stdout=true";
    api.fails("GET", attach, &Value::Null, 403).await;
    let question = hooked.questions().remove(0);
    assert_eq!(question.at("request.operation").str(), "CONNECT");
    assert_eq!(question.at("request.object.kind").str(), "PodAttachOptions");
    assert_eq!(question.at("request.object.container").str(), "c");
}

/// What a hook on all that has to do with pods is asked: operation, resource, subresource, kind.
fn asked_about(hooked: &Hooked) -> Vec<[String; 4]> {
    let fields = ["operation", "resource.resource", "subResource", "kind.kind"];
    let text = |q: &Value, field: &str| q.at(&format!("request.{field}")).str().to_string();
    hooked.questions().iter().map(|q| fields.map(|field| text(q, field))).collect()
}

#[tokio::test]
async fn bindings_and_evictions_are_asked_about_once_wherever_they_come_from() {
    let (hooked, mut api) = (start().await, Api::start().await);
    api.account("default").await;
    for name in ["a", "b", "c"] {
        api.create(PODS, pod(name)).await;
    }
    let rules = value!([{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"],
        "resources": ["pods", "pods/status", "pods/binding", "pods/eviction", "bindings"] }]);
    hooked.add(&mut api, VALIDATING, "/fine", value!({ "rules": rules })).await;
    let binding = |name: &str| {
        value!({ "apiVersion": "v1", "kind": "Binding", "metadata": { "name": name },
            "target": { "kind": "Node", "name": "n" } })
    };
    let eviction = |name: &str| value!({ "metadata": { "name": name } });
    let asks = |resource: &str, subresource: &str, kind: &str| {
        vec![["CREATE", resource, subresource, kind].map(str::to_string)]
    };
    api.create(&format!("{PODS}/a/binding"), binding("a")).await;
    assert_eq!(asked_about(&hooked), asks("pods", "binding", "Binding"));
    api.create("/api/v1/namespaces/default/bindings", binding("b")).await;
    assert_eq!(asked_about(&hooked), asks("bindings", "", "Binding"));
    api.create(&format!("{PODS}/a/eviction"), eviction("a")).await;
    assert_eq!(asked_about(&hooked), asks("pods", "eviction", "Eviction"));
    let client = api.server.client(master());
    let options = WriteOptions::default();
    let pods = &resources::PODS;
    let create = |name: &'static str, subresource: &'static str, body: Value| {
        client.create(pods, "default", name, subresource, body, &options)
    };
    create("c", "binding", binding("c")).await.unwrap();
    assert_eq!(asked_about(&hooked), asks("pods", "binding", "Binding"));
    let dry = WriteOptions { dry_run: true, ..WriteOptions::default() };
    let body = eviction("c");
    client.create(pods, "default", "c", "eviction", body, &dry).await.unwrap();
    assert_eq!(asked_about(&hooked), asks("pods", "eviction", "Eviction"));
    assert!(!api.get(&format!("{PODS}/c")).await.is_deleting(), "a dry run");
    create("c", "eviction", eviction("c")).await.unwrap();
    assert_eq!(asked_about(&hooked), asks("pods", "eviction", "Eviction"));
    assert!(api.get(&format!("{PODS}/c")).await.is_deleting());
}

/// Waits until so many addresses are reserved.
async fn reserved(api: &mut Api, count: usize) {
    let all = async {
        while {
            let list = api.get("/apis/networking.k8s.io/v1/ipaddresses").await;
            list.at("items").items().len() != count
        } {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let in_time = tokio::time::timeout(std::time::Duration::from_secs(20), all).await;
    assert!(in_time.is_ok(), "there are not {count} addresses");
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_no_address_behind() {
    let (hooked, mut api) = (start().await, Api::start().await);
    let rules = value!([{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"],
        "resources": ["services"] }]);
    let more = value!({ "rules": rules, "timeoutSeconds": 30 });
    hooked.add(&mut api, VALIDATING, "/never", more).await;
    reserved(&mut api, 1).await;
    let mut other = api.another(Some(master())).await;
    let waiting = tokio::spawn(async move {
        let service = value!({ "metadata": { "name": "s" },
            "spec": { "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30080 }] } });
        other.call("POST", "/api/v1/namespaces/default/services", &service).await
    });
    reserved(&mut api, 2).await;
    waiting.abort();
    reserved(&mut api, 1).await;
    api.call("DELETE", &format!("{HOOKS}/{VALIDATING}/c-6"), &Value::Null).await;
    let service = value!({ "metadata": { "name": "s" },
        "spec": { "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30080 }] } });
    let freed = async {
        while api.call("POST", "/api/v1/namespaces/default/services", &service).await.0 != 201 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let in_time = tokio::time::timeout(std::time::Duration::from_secs(20), freed).await;
    assert!(in_time.is_ok(), "the node port is still taken");
}
