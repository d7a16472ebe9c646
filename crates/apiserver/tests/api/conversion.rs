//! Custom resources whose versions a webhook converts: v1 has `hostPort`, v2 has `host` and `port`.

use timonier_object::{Value, value};

use crate::common::Api;
use crate::custom::until;
use crate::hooked::{self, Hooked};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const NAME: &str = "es.stable.example.com";
const V1: &str = "/apis/stable.example.com/v1/namespaces/default/es";
const V2: &str = "/apis/stable.example.com/v2/namespaces/default/es";

fn converted(object: &Value, desired: &str) -> Value {
    let mut out = object.clone();
    out.set("apiVersion", desired);
    if desired.ends_with("/v2") {
        let (host, port) = object.at("hostPort").str().split_once(':').unwrap();
        out.set("host", host);
        out.set("port", port);
        out.remove("hostPort");
    } else {
        let text = format!("{}:{}", object.at("host").str(), object.at("port").str());
        out.set("hostPort", text);
        out.remove("host");
        out.remove("port");
    }
    // Only labels and annotations may be changed by a conversion.
    out.set("metadata.labels", value!({ "from": (object.api_version().replace('/', "-")) }));
    out.set("metadata.generation", 77);
    out
}

fn answer(path: &str, question: &Value) -> Value {
    let request = question.at("request");
    let desired = request.at("desiredAPIVersion").str();
    let objects = request.at("objects").items().iter().map(|o| converted(o, desired));
    let objects = Value::array(objects);
    let result = match path {
        "/broken" => value!({ "status": "Failure", "message": "no way" }),
        _ => value!({ "status": "Success" }),
    };
    value!({ "apiVersion": (question.api_version()), "kind": "ConversionReview", "response": {
        "uid": (request.at("uid")), "convertedObjects": objects, "result": result } })
}

fn definition(hooked: &Hooked, path: &str) -> Value {
    let version = |name: &str, storage: bool, fields: Value, selectable: Value| {
        value!({ "name": name, "served": true, "storage": storage,
            "selectableFields": selectable,
            "schema": { "openAPIV3Schema": { "type": "object", "properties": fields } } })
    };
    let text = || value!({ "type": "string" });
    let versions = [
        version("v1", true, value!({ "hostPort": (text()) }), value!([])),
        version(
            "v2",
            false,
            value!({ "host": (text()), "port": (text()) }),
            value!([{ "jsonPath": ".host" }]),
        ),
    ];
    value!({ "metadata": { "name": NAME }, "spec": {
        "group": "stable.example.com", "scope": "Namespaced",
        "names": { "plural": "es", "kind": "E" },
        "versions": (Value::array(versions)),
        "conversion": { "strategy": "Webhook", "webhook": {
            "clientConfig": { "url": (format!("{}{path}", hooked.url)), "caBundle": (&hooked.bundle) },
            "conversionReviewVersions": ["v1", "v1beta1"] } } } })
}

async fn served(path: &str) -> (Hooked, Api) {
    let (hooked, mut api) = (hooked::start(answer).await, Api::start().await);
    api.create(DEFINITIONS, definition(&hooked, path)).await;
    until(&mut api, NAME, "Established").await;
    (hooked, api)
}

fn v1(name: &str, host_port: &str) -> Value {
    value!({ "apiVersion": "stable.example.com/v1", "kind": "E", "metadata": { "name": name },
        "hostPort": host_port })
}

fn v2(name: &str, host: &str, port: &str) -> Value {
    value!({ "apiVersion": "stable.example.com/v2", "kind": "E", "metadata": { "name": name },
        "host": host, "port": port })
}

fn is_v2(object: &Value, host: &str, port: &str) {
    assert_eq!(object.api_version(), "stable.example.com/v2", "{object}");
    assert_eq!((object.at("host").str(), object.at("port").str()), (host, port), "{object}");
    assert!(object.get("hostPort").is_none(), "{object}");
}

async fn patch(api: &mut Api, path: &str, body: &str) -> Value {
    let kind = [("content-type", "application/merge-patch+json")];
    let (code, bytes) = api.raw("PATCH", path, &kind, body.to_string()).await;
    let value = timonier_object::json::decode(&bytes).unwrap();
    assert_eq!(code, 200, "{value}");
    value
}

#[tokio::test]
async fn objects_are_read_and_written_in_every_version() {
    let (hooked, mut api) = served("/convert").await;
    let mut events = api.watch(&format!("{V2}?watch=1")).await;
    let made = api.create(V1, v1("a", "localhost:8080")).await;
    assert!(hooked.asked.lock().unwrap().is_empty(), "v1 is the stored version");
    let read = api.get(&format!("{V2}/a")).await;
    is_v2(&read, "localhost", "8080");
    assert_eq!(read.uid(), made.uid());
    assert_eq!((read.generation(), read.label("from")), (1, Some("stable.example.com-v1")));
    let event = events.next().await.unwrap();
    assert_eq!(event.at("type").str(), "ADDED");
    is_v2(event.at("object"), "localhost", "8080");

    let mut changed = read.clone();
    changed.set("port", "9090");
    let (code, changed) = api.call("PUT", &format!("{V2}/a"), &changed).await;
    assert_eq!(code, 200, "{changed}");
    is_v2(&changed, "localhost", "9090");
    assert_eq!(changed.generation(), 2);
    assert_eq!(api.get(&format!("{V1}/a")).await.at("hostPort").str(), "localhost:9090");
    let event = events.next().await.unwrap();
    assert_eq!(event.at("type").str(), "MODIFIED");
    is_v2(event.at("object"), "localhost", "9090");

    let patched = patch(&mut api, &format!("{V2}/a"), r#"{"host":"other"}"#).await;
    is_v2(&patched, "other", "9090");
    assert_eq!(api.get(&format!("{V1}/a")).await.at("hostPort").str(), "other:9090");
    assert_eq!(events.next().await.unwrap().at("object.host").str(), "other");

    let (code, _) = api.call("DELETE", &format!("{V2}/a"), &Value::Null).await;
    assert_eq!(code, 200);
    let event = events.next().await.unwrap();
    assert_eq!(event.at("type").str(), "DELETED");
    is_v2(event.at("object"), "other", "9090");
}

#[tokio::test]
async fn lists_are_of_one_version_whatever_is_stored() {
    let (hooked, mut api) = served("/convert").await;
    api.create(V1, v1("a", "one:1")).await;
    let mut definition = api.get(&format!("{DEFINITIONS}/{NAME}")).await;
    let versions = definition.entry("spec.versions").make_array();
    versions[0].set("storage", false);
    versions[1].set("storage", true);
    let (code, changed) = api.call("PUT", &format!("{DEFINITIONS}/{NAME}"), &definition).await;
    assert_eq!(code, 200, "{changed}");
    assert_eq!(changed.at("status.storedVersions"), &value!(["v1", "v2"]));
    // Only when the catalogue has followed is v2 stored as it is.
    loop {
        hooked.asked.lock().unwrap().clear();
        api.create(V2, v2("b", "two", "2")).await;
        if hooked.asked.lock().unwrap().is_empty() {
            break;
        }
        api.call("DELETE", &format!("{V2}/b"), &Value::Null).await;
        tokio::task::yield_now().await;
    }
    api.create(V2, v2("c", "three", "3")).await;

    hooked.asked.lock().unwrap().clear();
    let list = api.get(V2).await;
    let items = list.at("items").items();
    is_v2(&items[0], "one", "1");
    is_v2(&items[1], "two", "2");
    is_v2(&items[2], "three", "3");
    assert_eq!(hooked.asked.lock().unwrap().len(), 1, "only what is stored as v1 is asked about");

    hooked.asked.lock().unwrap().clear();
    let list = api.get(V1).await;
    let texts: Vec<&str> =
        list.at("items").items().iter().map(|o| o.at("hostPort").str()).collect();
    assert_eq!(texts, ["one:1", "two:2", "three:3"]);
    let question = hooked.asked.lock().unwrap().remove(0);
    assert_eq!(question.at("request.objects").items().len(), 2, "one question about both");

    // Selectors and pages see the version that is asked for.
    let chosen = api.get(&format!("{V2}?fieldSelector=host%3Done")).await;
    assert_eq!(chosen.at("items").items().len(), 1);
    let page = api.get(&format!("{V1}?limit=2")).await;
    assert_eq!(page.at("metadata.remainingItemCount").as_i64(), Some(1));
    let next = page.at("metadata.continue").str();
    let page = api.get(&format!("{V1}?limit=2&continue={next}")).await;
    assert_eq!(page.at("items").items()[0].name(), "c");
    // A watch begins with what there is.
    let mut events = api.watch(&format!("{V2}?watch=1&fieldSelector=host%3Done")).await;
    assert_eq!(events.event().await, ("ADDED".into(), "a".into()));
    patch(&mut api, &format!("{V1}/a"), r#"{"hostPort":"four:4"}"#).await;
    assert_eq!(events.event().await, ("DELETED".into(), "a".into()));
}

#[tokio::test]
async fn a_webhook_that_fails_says_so() {
    let (_hooked, mut api) = served("/broken").await;
    let head = "conversion webhook for stable.example.com";
    let why = api.fails("POST", V2, &v2("b", "two", "2"), 500).await;
    assert_eq!(why, format!("{head}/v2, Kind=E failed: no way"));
    api.create(V1, v1("a", "one:1")).await;
    let text = format!("{head}/v1, Kind=E failed: no way");
    assert_eq!(api.fails("GET", &format!("{V2}/a"), &Value::Null, 500).await, text);
    assert_eq!(api.fails("GET", V2, &Value::Null, 500).await, text);
    let mut events = api.watch(&format!("{V2}?watch=1")).await;
    let event = events.next().await.unwrap();
    assert_eq!(event.at("type").str(), "ERROR");
    assert_eq!(event.at("object.message").str(), text);
    assert!(events.next().await.is_none());
    assert_eq!(api.get(&format!("{V1}/a")).await.at("hostPort").str(), "one:1");
}

#[tokio::test]
async fn a_webhook_out_of_reach_is_named_and_its_objects_can_go() {
    let (hooked, mut api) = (hooked::start(answer).await, Api::start().await);
    let mut definition = definition(&hooked, "/x");
    let service = value!({ "namespace": "default", "name": "none", "path": "/x" });
    definition.set("spec.conversion.webhook.clientConfig", value!({ "service": service }));
    api.create(DEFINITIONS, definition).await;
    until(&mut api, NAME, "Established").await;
    api.create(V1, v1("a", "one:1")).await;
    assert_eq!(
        api.fails("GET", &format!("{V2}/a"), &Value::Null, 500).await,
        "conversion webhook for stable.example.com/v1, Kind=E failed: Post \"https://none.default.svc:443/x?timeout=30s\": service \"none\" not found"
    );
    // The stored version needs no webhook, also where the definition takes its objects with it.
    let path = format!("{DEFINITIONS}/{NAME}");
    let mut gone = api.watch(&format!("{DEFINITIONS}?watch=1")).await;
    let (code, _) = api.call("DELETE", &path, &Value::Null).await;
    assert_eq!(code, 200);
    while gone.event().await.0 != "DELETED" {}
}

#[tokio::test]
async fn hooks_see_the_version_that_they_want() {
    let (hooked, mut api) = served("/convert").await;
    let hooks = hooked::start(|_, question| {
        value!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "response": { "uid": (question.at("request.uid")), "allowed": true } })
    })
    .await;
    let configuration = value!({ "metadata": { "name": "c" }, "webhooks": [{
        "name": "hook.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": { "url": (&hooks.url), "caBundle": (&hooks.bundle) },
        "rules": [{ "apiGroups": ["stable.example.com"], "apiVersions": ["v2"],
            "resources": ["es"], "operations": ["CREATE"] }] }] });
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    api.create(path, configuration).await;
    api.create(V1, v1("a", "one:1")).await;
    let question = hooks.asked.lock().unwrap().remove(0);
    is_v2(question.at("request.object"), "one", "1");
    assert_eq!(hooked.asked.lock().unwrap().len(), 1);
}
