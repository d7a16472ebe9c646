//! Custom resources: from the definition to the last object.

use timonier_object::{Value, json, value};

use crate::common::Api;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const TABS: &str = "/apis/stable.example.com/v1/namespaces/default/crontabs";

fn definition() -> Value {
    value!({ "metadata": { "name": "crontabs.stable.example.com" }, "spec": {
        "group": "stable.example.com", "scope": "Namespaced",
        "names": { "plural": "crontabs", "kind": "CronTab", "shortNames": ["ct"], "categories": ["all"] },
        "versions": [
            { "name": "v1", "served": true, "storage": true,
              "subresources": { "status": {}, "scale": { "specReplicasPath": ".spec.replicas",
                  "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector" } },
              "additionalPrinterColumns": [{ "name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec" }],
              "schema": { "openAPIV3Schema": { "type": "object", "properties": {
                "spec": { "type": "object", "required": ["cronSpec"], "properties": {
                    "cronSpec": { "type": "string", "pattern": "^\\d+ .*$" },
                    "color": { "type": "string", "enum": ["red", "green"] },
                    "replicas": { "type": "integer", "default": 1, "minimum": 0 } } },
                "status": { "type": "object", "properties": {
                    "replicas": { "type": "integer" }, "selector": { "type": "string" } } } } } } },
            { "name": "v1beta1", "served": true, "storage": false,
              "schema": { "openAPIV3Schema": { "type": "object",
                  "x-kubernetes-preserve-unknown-fields": true } } }] } })
}

fn tab(name: &str, spec: Value) -> Value {
    value!({ "apiVersion": "stable.example.com/v1", "kind": "CronTab",
             "metadata": { "name": name }, "spec": spec })
}

/// Waits until the definition has a condition.
pub async fn until(api: &mut Api, name: &str, condition: &str) -> Value {
    let path = format!("{DEFINITIONS}?watch=1&fieldSelector=metadata.name%3D{name}");
    let mut watch = api.watch(&path).await;
    loop {
        let event = watch.next().await.expect("the watch goes on");
        let object = event.at("object");
        if object.condition(condition).is_some_and(|c| c.at("status").str() == "True") {
            return object.clone();
        }
    }
}

async fn established() -> Api {
    let mut api = Api::start().await;
    api.create(DEFINITIONS, definition()).await;
    let made = until(&mut api, "crontabs.stable.example.com", "Established").await;
    assert_eq!(made.at("status.acceptedNames.listKind").str(), "CronTabList");
    assert_eq!(made.at("status.storedVersions"), &value!(["v1"]));
    api
}

#[tokio::test(start_paused = true)]
async fn rules_of_the_definition_hold() {
    let mut api = Api::start().await;
    let mut definition = definition();
    let versions = definition.find_mut("spec.versions").unwrap().as_array_mut().unwrap();
    let spec = versions[0].entry("schema.openAPIV3Schema.properties.spec").make_object();
    spec.insert(
        "x-kubernetes-validations",
        value!([
            { "rule": "self.replicas <= 5", "messageExpression": "string(self.replicas) + ' is too many'",
              "fieldPath": ".replicas", "reason": "FieldValueForbidden" },
            { "rule": "self.cronSpec == oldSelf.cronSpec", "message": "cannot be changed" }]),
    );
    api.create(DEFINITIONS, definition).await;
    until(&mut api, "crontabs.stable.example.com", "Established").await;
    let many = tab("a", value!({ "cronSpec": "1 *", "replicas": 6 }));
    assert_eq!(
        api.fails("POST", TABS, &many, 422).await,
        "CronTab.stable.example.com \"a\" is invalid: spec.replicas: Forbidden: 6 is too many"
    );
    let mut made = api.create(TABS, tab("a", value!({ "cronSpec": "1 *" }))).await;
    made.set("spec.cronSpec", "2 *");
    assert_eq!(
        api.fails("PUT", &format!("{TABS}/a"), &made, 422).await,
        "CronTab.stable.example.com \"a\" is invalid: spec: Invalid value: \"object\": cannot be changed"
    );
    made.set("spec.cronSpec", "1 *");
    made.set("spec.replicas", 4);
    assert_eq!(api.call("PUT", &format!("{TABS}/a"), &made).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn objects_are_completed_and_checked() {
    let mut api = established().await;
    let made = api.create(TABS, tab("a", value!({ "cronSpec": "1 *", "x": 1 }))).await;
    assert_eq!(made.at("spec"), &value!({ "cronSpec": "1 *", "replicas": 1 }));
    assert_eq!(made.generation(), 1);
    assert_eq!(
        api.fails(
            "POST",
            TABS,
            &tab("b", value!({ "cronSpec": "x", "color": "blue", "replicas": (-1) })),
            422
        )
        .await,
        "CronTab.stable.example.com \"b\" is invalid: [spec.cronSpec: Invalid value: \"x\": spec.cronSpec in body should match '^\\d+ .*$', spec.color: Unsupported value: \"blue\": supported values: \"red\", \"green\", spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0]"
    );
    assert_eq!(
        api.fails("POST", TABS, &tab("b", value!({ "replicas": 1 })), 422).await,
        "CronTab.stable.example.com \"b\" is invalid: spec.cronSpec: Required value"
    );
    let strict = format!("{TABS}?fieldValidation=Strict");
    assert_eq!(
        api.fails("POST", &strict, &tab("b", value!({ "cronSpec": "1 *", "x": 1 })), 400).await,
        "CronTab in version \"v1\" cannot be handled as a CronTab: strict decoding error: unknown field \"spec.x\""
    );
    let (code, merged) = api
        .raw(
            "PATCH",
            &format!("{TABS}/a"),
            &[("content-type", "application/merge-patch+json")],
            r#"{"spec":{"color":"red"}}"#,
        )
        .await;
    let merged = json::decode(&merged).unwrap();
    assert_eq!((code, merged.generation(), merged.at("spec.color").str()), (200, 2, "red"));
    let strategic = api.call("PATCH", &format!("{TABS}/a"), &value!({})).await;
    assert_eq!(strategic.0, 415);
}

#[tokio::test(start_paused = true)]
async fn status_and_scale_are_apart() {
    let mut api = established().await;
    let mut object = tab("a", value!({ "cronSpec": "1 *" }));
    object.set("status.replicas", 7);
    let mut made = api.create(TABS, object).await;
    assert!(made.get("status").is_none(), "{made}");
    made.set("status", value!({ "replicas": 1, "selector": "a=b" }));
    made.set("spec.cronSpec", "2 *");
    let (code, changed) = api.call("PUT", &format!("{TABS}/a/status"), &made).await;
    assert_eq!((code, changed.at("spec.cronSpec").str(), changed.generation()), (200, "1 *", 1));
    let scale = api.get(&format!("{TABS}/a/scale")).await;
    assert_eq!(scale.at("status"), &value!({ "replicas": 1, "selector": "a=b" }));
    let mut five = scale;
    five.set("spec.replicas", 5);
    assert_eq!(api.call("PUT", &format!("{TABS}/a/scale"), &five).await.0, 200);
    assert_eq!(api.get(&format!("{TABS}/a")).await.at("spec.replicas").as_i64(), Some(5));
}

#[tokio::test(start_paused = true)]
async fn every_version_sees_every_object() {
    let mut api = established().await;
    api.create(TABS, tab("a", value!({ "cronSpec": "1 *" }))).await;
    let beta = TABS.replace("v1", "v1beta1");
    let list = api.get(&beta).await;
    let item = &list.at("items").items()[0];
    assert_eq!((item.api_version(), item.name()), ("stable.example.com/v1beta1", "a"));
    // The other version becomes the stored one; the first stays noted.
    let mut next = api.get(&format!("{DEFINITIONS}/crontabs.stable.example.com")).await;
    let versions = next.entry("spec.versions").make_array();
    versions[0].set("storage", false);
    versions[1].set("storage", true);
    let (code, changed) =
        api.call("PUT", &format!("{DEFINITIONS}/crontabs.stable.example.com"), &next).await;
    assert_eq!(code, 200, "{changed}");
    assert_eq!(changed.at("status.storedVersions"), &value!(["v1", "v1beta1"]));
    let (_, table) = api
        .raw("GET", TABS, &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")], "")
        .await;
    let table = json::decode(&table).unwrap();
    assert_eq!(table.at("columnDefinitions").items()[1].at("name").str(), "Spec");
    assert_eq!(table.at("rows").items()[0].at("cells"), &value!(["a", "1 *"]));
    let document = api.get("/openapi/v3/apis/stable.example.com/v1").await;
    assert!(document.at("components.schemas").get("com.example.stable.v1.CronTab").is_some());
}

#[tokio::test(start_paused = true)]
async fn names_are_taken_once() {
    let mut api = established().await;
    let mut other = definition();
    other.set("metadata.name", "others.stable.example.com");
    other.set("spec.names", value!({ "plural": "others", "kind": "CronTab" }));
    api.create(DEFINITIONS, other).await;
    let path = format!("{DEFINITIONS}/others.stable.example.com");
    let mut watch = api
        .watch(&format!(
            "{DEFINITIONS}?watch=1&fieldSelector=metadata.name%3Dothers.stable.example.com"
        ))
        .await;
    loop {
        let event = watch.next().await.unwrap();
        if let Some(c) = event.at("object").condition("NamesAccepted") {
            assert_eq!(c.at("message").str(), "\"CronTabList\" is already in use");
            break;
        }
    }
    assert_eq!(api.call("GET", "/apis/stable.example.com/v1/others", &Value::Null).await.0, 404);
    api.call("DELETE", &path, &Value::Null).await;
    while watch.event().await.0 != "DELETED" {}
}

#[tokio::test(start_paused = true)]
async fn objects_go_with_their_definition() {
    let mut api = established().await;
    let mut held = tab("held", value!({ "cronSpec": "1 *" }));
    held.set("metadata.finalizers", value!(["a.example/b"]));
    api.create(TABS, held).await;
    api.create(TABS, tab("a", value!({ "cronSpec": "1 *" }))).await;
    let mut tabs = api.watch(&format!("{TABS}?watch=1&resourceVersion=0")).await;
    let path = format!("{DEFINITIONS}/crontabs.stable.example.com");
    let (code, ending) = api.call("DELETE", &path, &Value::Null).await;
    assert_eq!(code, 200);
    assert!(ending.condition_is_true("Terminating"), "{ending}");
    while tabs.event().await != ("DELETED".to_string(), "a".to_string()) {}
    assert_eq!(api.call("POST", TABS, &tab("c", value!({ "cronSpec": "1 *" }))).await.0, 405);
    let mut definitions = api.watch(&format!("{DEFINITIONS}?watch=1&resourceVersion=0")).await;
    let (code, _) = api
        .raw(
            "PATCH",
            &format!("{TABS}/held"),
            &[("content-type", "application/merge-patch+json")],
            r#"{"metadata":{"finalizers":null}}"#,
        )
        .await;
    assert_eq!(code, 200);
    while definitions.event().await.0 != "DELETED" {}
    while let Some(event) = tabs.next().await {
        assert_eq!(event.at("object").name(), "held");
    }
    assert_eq!(api.call("GET", TABS, &Value::Null).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn wrong_definitions_are_refused() {
    let mut api = Api::start().await;
    let mut bad = definition();
    bad.set("metadata.name", "x");
    assert_eq!(
        api.fails("POST", DEFINITIONS, &bad, 422).await,
        "CustomResourceDefinition.apiextensions.k8s.io \"x\" is invalid: metadata.name: Invalid value: \"x\": must be spec.names.plural+\".\"+spec.group"
    );
}

/// Deletes a definition and waits until it is gone.
async fn delete_definition(api: &mut Api, name: &str) {
    let path = format!("{DEFINITIONS}/{name}");
    api.call("DELETE", &path, &Value::Null).await;
    while api.call("GET", &path, &Value::Null).await.0 != 404 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_definition_has_no_say_in_what_is_built_in() {
    let mut api = Api::start().await;
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    let ingress = |name: &str| {
        value!({ "metadata": { "name": name }, "spec": { "defaultBackend":
            { "service": { "name": "s", "port": { "number": 80 } } } } })
    };
    api.create(ingresses, ingress("before")).await;
    let name = "ingresses.networking.k8s.io";
    let definition = value!({ "metadata": { "name": name, "annotations": {
            "api-approved.kubernetes.io": "unapproved, a test" } }, "spec": {
        "group": "networking.k8s.io", "scope": "Namespaced",
        "names": { "plural": "ingresses", "singular": "ingress", "kind": "Ingress", "listKind": "IngressList" },
        "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }] } });
    api.create(DEFINITIONS, definition).await;
    until(&mut api, name, "Established").await;
    api.fails("POST", ingresses, &value!({ "metadata": { "name": "x" }, "spec": {} }), 422).await;
    api.create(ingresses, ingress("meanwhile")).await;
    delete_definition(&mut api, name).await;
    api.create(ingresses, ingress("after")).await;
    let left = api.get(ingresses).await;
    assert_eq!(left.at("items").items().len(), 3, "{left}");
}

#[tokio::test(start_paused = true)]
async fn a_definition_without_served_versions_takes_its_objects_with_it() {
    let mut api = established().await;
    api.create(TABS, tab("a", value!({ "cronSpec": "1 x" }))).await;
    let name = "crontabs.stable.example.com";
    let path = format!("{DEFINITIONS}/{name}");
    let mut unserved = api.get(&path).await;
    for version in unserved.find_mut("spec.versions").and_then(Value::as_array_mut).unwrap() {
        version.set("served", false);
    }
    let (code, answer) = api.call("PUT", &path, &unserved).await;
    assert_eq!(code, 200, "{answer}");
    while api.call("GET", TABS, &Value::Null).await.0 != 404 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    delete_definition(&mut api, name).await;
    api.create(DEFINITIONS, definition()).await;
    until(&mut api, name, "Established").await;
    let left = api.get(TABS).await;
    assert!(left.at("items").items().is_empty(), "{left}");
}
