//! Questions that are answered and not stored, and certificate requests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use timonier_object::{Value, value};
use timonier_policy::User;

use crate::common::Api;

/// A request for a certificate of a member of the organization.
fn csr(organization: &str) -> String {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, organization);
    let key = rcgen::KeyPair::generate().unwrap();
    STANDARD.encode(params.serialize_request(&key).unwrap().pem().unwrap())
}

#[tokio::test(start_paused = true)]
async fn access_reviews() {
    let api = Api::start().await;
    let mut api = api.another(Some(User::service_account("default", "default", "u"))).await;
    let me = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let ask = value!({ "spec": { "resourceAttributes": { "verb": "list", "resource": "pods", "namespace": "default" } } });
    let no = api.create(me, ask.clone()).await;
    assert_eq!(no.at("status").to_string(), r#"{"allowed":false}"#);
    let path =
        value!({ "spec": { "nonResourceAttributes": { "verb": "get", "path": "/version" } } });
    assert!(api.create(me, path).await.at("status.allowed").bool());
    let message = api.fails("POST", me, &value!({ "spec": {} }), 422).await;
    assert!(
        message.contains(
            "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        ),
        "{message}"
    );
    // Questions about others are not for everybody, but for what serves an API and is bound so.
    let others = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let mut jane = api.another(Some(User::authenticated("jane", []))).await;
    assert_eq!(jane.call("POST", others, &ask).await.0, 403);
    assert_eq!(api.call("POST", others, &ask).await.0, 403);
    let mut master = api.another(Some(crate::common::master())).await;
    assert_eq!(master.call("POST", others, &ask).await.0, 422);
    let mut about = ask.clone();
    about.set("spec.user", "jane");
    about.set("spec.groups", value!(["system:masters"]));
    assert!(master.create(others, about.clone()).await.at("status.allowed").bool());
    let local = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    assert!(master.create(local, about.clone()).await.at("status.allowed").bool());
    about.set("spec.resourceAttributes.namespace", "other");
    assert_eq!(master.call("POST", local, &about).await.0, 422);
    let rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let all = master.create(rules, value!({ "spec": { "namespace": "default" } })).await;
    assert_eq!(all.at("status.resourceRules").items()[0].at("verbs").to_string(), "[\"*\"]");
}

#[tokio::test(start_paused = true)]
async fn reviews_about_nodes() {
    let mut api = Api::start().await;
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let about = |selector: Value| {
        value!({ "spec": { "user": "system:node:n", "groups": ["system:nodes"],
            "resourceAttributes": { "verb": "list", "resource": "pods", "fieldSelector": selector } } })
    };
    let requirement = |key: &str, operator: &str, value: &str| value!({ "requirements": [{ "key": key, "operator": operator, "values": [value] }] });
    for (selector, allowed) in [
        (Value::Null, false),
        (value!({ "rawSelector": "spec.nodeName=n" }), true),
        (value!({ "rawSelector": "spec.nodeName=m" }), false),
        (requirement("spec.nodeName", "In", "n"), true),
        (requirement("spec.nodeName", "NotIn", "n"), false),
        (requirement("metadata.name", "In", "n"), false),
    ] {
        let answer = api.create(path, about(selector.clone())).await;
        assert_eq!(answer.at("status.allowed").bool(), allowed, "{selector}");
    }
    let kubelet = User::authenticated("system:node:n", ["system:nodes".into()]);
    let mut node = api.another(Some(kubelet)).await;
    let rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let review = value!({ "spec": { "namespace": "default" } });
    let known = node.create(rules, review.clone()).await;
    assert!(known.at("status.incomplete").bool(), "{known}");
    let known = api.create(rules, review).await;
    assert!(!known.at("status.incomplete").bool(), "{known}");
}

#[tokio::test(start_paused = true)]
async fn certificate_requests_say_who_asks() {
    let mut api = Api::start().await;
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let request = |organization: &str| {
        value!({ "metadata": { "name": "r" }, "spec": { "request": (csr(organization)), "username": "somebody",
            "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"] } })
    };
    assert_eq!(
        api.fails("POST", path, &request("system:masters"), 403).await,
        "certificatesigningrequests.certificates.k8s.io \"r\" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    );
    let made = api.create(path, request("users")).await;
    assert_eq!(made.at("spec.username").str(), "kubernetes-admin");
    let mut approved = made.clone();
    approved.set("spec.username", "x");
    approved.set(
        "status.conditions",
        value!([{ "type": "Approved", "status": "True", "reason": "r" }]),
    );
    let (code, approved) = api.call("PUT", &format!("{path}/r/approval"), &approved).await;
    assert_eq!(code, 200, "{approved}");
    assert!(approved.condition_is_true("Approved"));
    assert_eq!(approved.at("spec.username").str(), "kubernetes-admin");
    assert!(!approved.at("status.conditions").items()[0].at("lastUpdateTime").is_null());
    // A signer cannot take an approval back.
    let status = value!({ "status": { "certificate": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t", "conditions": null } });
    let (code, signed) = api.call("PATCH", &format!("{path}/r/status"), &status).await;
    assert_eq!(code, 200, "{signed}");
    assert!(
        signed.condition_is_true("Approved")
            && signed.at("status.certificate").str() == "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t"
    );
    assert_eq!(api.call("DELETE", &format!("{path}/r"), &Value::Null).await.0, 200);
}
