//! Admission policies, and the match conditions of webhooks.

use timonier_object::{Value, json, value};

use crate::common::{Api, MAPS, config_map};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

/// A policy about ConfigMaps that are created or changed.
fn policy(name: &str, more: Value) -> Value {
    let mut spec = value!({ "matchConstraints": { "resourceRules": [{
        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE", "DELETE"],
        "resources": ["configmaps"] }] } });
    for (field, of) in more.entries() {
        spec.set(field, of);
    }
    value!({ "metadata": { "name": name }, "spec": (spec) })
}

async fn bind(api: &mut Api, name: &str, policy: &str, more: Value) {
    let mut spec = value!({ "policyName": policy, "validationActions": ["Deny"] });
    for (field, of) in more.entries() {
        spec.set(field, of);
    }
    let url = format!("{GROUP}/validatingadmissionpolicybindings");
    api.create(&url, value!({ "metadata": { "name": name }, "spec": (spec) })).await;
}

async fn create(api: &mut Api, policy: Value) {
    api.create(&format!("{GROUP}/validatingadmissionpolicies"), policy).await;
}

fn with_data(name: &str, n: &str) -> Value {
    let mut map = config_map(name);
    map.set("data", value!({ "n": n }));
    map
}

#[tokio::test(start_paused = true)]
async fn a_policy_denies_in_upstreams_words() {
    let mut api = Api::start().await;
    let validations = value!([{ "expression": "object == null || int(object.data.n) <= 5" },
        { "expression": "request.operation != 'DELETE' || oldObject.data.n == '1'",
          "reason": "Forbidden", "messageExpression": "'kept: ' + request.name" }]);
    create(&mut api, policy("p", value!({ "validations": (validations) }))).await;
    api.create(MAPS, with_data("before", "9")).await;
    bind(&mut api, "b", "p", value!({})).await;
    api.create(MAPS, with_data("small", "2")).await;
    let (code, error) = api.call("POST", MAPS, &with_data("big", "6")).await;
    let said = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: object == null || int(object.data.n) <= 5";
    assert_eq!(code, 422);
    assert_eq!(error.at("message").str(), format!("configmaps \"big\" is forbidden: {said}"));
    assert_eq!(error.at("reason").str(), "Invalid");
    assert_eq!(error.at("details.causes").items()[0].at("message").str(), said);
    let (code, error) = api.call("DELETE", &format!("{MAPS}/small"), &Value::Null).await;
    assert_eq!((code, error.at("reason").str()), (403, "Forbidden"), "{error}");
    assert!(error.at("message").str().ends_with("denied request: kept: small"), "{error}");
    let failing = api.fails("POST", MAPS, &config_map("x"), 422).await;
    assert!(failing.ends_with("resulted in error: no such key: n"), "{failing}");
}

#[tokio::test(start_paused = true)]
async fn bindings_warn_choose_and_bring_params() {
    let mut api = Api::start().await;
    api.create(MAPS, with_data("limits", "3")).await;
    let spec = value!({ "paramKind": { "apiVersion": "v1", "kind": "ConfigMap" },
        "variables": [{ "name": "most", "expression": "int(params.data.n)" }],
        "matchConditions": [{ "name": "not-me", "expression": "object.metadata.name != 'free'" }],
        "validations": [{ "expression": "int(object.data.n) <= variables.most", "message": "too many" }] });
    create(&mut api, policy("p", spec)).await;
    let reference = value!({ "name": "limits", "parameterNotFoundAction": "Deny" });
    let chosen = value!({ "objectSelector": { "matchLabels": { "strict": "yes" } } });
    bind(
        &mut api,
        "strict",
        "p",
        value!({ "paramRef": (reference.clone()), "matchResources": (chosen) }),
    )
    .await;
    bind(
        &mut api,
        "warn",
        "p",
        value!({ "paramRef": (reference.clone()), "validationActions": ["Warn"] }),
    )
    .await;
    let response = api.send("POST", MAPS, &[], json::encode(&with_data("a", "4"))).await;
    let warning = response.headers().get("warning").unwrap().to_str().unwrap();
    let told = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'warn': too many";
    assert_eq!((response.status().as_u16(), warning), (201, &*format!("299 - \"{told}\"")));
    let mut strict = with_data("b", "4");
    strict.set("metadata.labels.strict", "yes");
    let error = api.fails("POST", MAPS, &strict, 422).await;
    assert!(error.ends_with("with binding 'strict' denied request: too many"), "{error}");
    strict.set("metadata.name", "free");
    api.create(MAPS, strict.clone()).await;
    let bindings = format!("{GROUP}/validatingadmissionpolicybindings");
    for name in ["strict", "warn"] {
        api.call("DELETE", &format!("{bindings}/{name}"), &Value::Null).await;
    }
    api.call("DELETE", &format!("{MAPS}/limits"), &Value::Null).await;
    bind(&mut api, "deny", "p", value!({ "paramRef": (reference.clone()) })).await;
    let error = api.fails("POST", MAPS, &with_data("c", "1"), 422).await;
    assert!(
        error.ends_with("failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_policy_is_said_when_it_is_created() {
    let mut api = Api::start().await;
    let bad = policy("p", value!({ "validations": [{ "expression": "object.x" }] }));
    let error = api.fails("POST", &format!("{GROUP}/validatingadmissionpolicies"), &bad, 422).await;
    assert_eq!(
        error,
        "ValidatingAdmissionPolicy.admissionregistration.k8s.io \"p\" is invalid: spec.validations[0].expression: Invalid value: \"object.x\": must evaluate to bool"
    );
}

#[tokio::test(start_paused = true)]
async fn conditions_keep_requests_from_webhooks() {
    let mut api = Api::start().await;
    let hook = value!({ "name": "h.example.com", "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "clientConfig": { "url": "https://127.0.0.1:1/" },
        "matchConditions": [{ "name": "c", "expression": "object.data.n == 'ask'" }],
        "rules": [{ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["configmaps"] }] });
    let configuration = value!({ "metadata": { "name": "c" }, "webhooks": [hook] });
    api.create(&format!("{GROUP}/validatingwebhookconfigurations"), configuration).await;
    api.create(MAPS, with_data("a", "no")).await;
    let error = api.fails("POST", MAPS, &config_map("b"), 403).await;
    assert_eq!(
        error,
        "configmaps \"b\" is forbidden: expression 'object.data.n == 'ask'' resulted in error: no such key: n"
    );
    let error = api.fails("POST", MAPS, &with_data("c", "ask"), 500).await;
    assert!(error.contains("failed calling webhook \"h.example.com\""), "{error}");
}
