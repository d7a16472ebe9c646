//! Who makes a request: service account tokens from issue to end.

use timonier_object::{Value, value};

use crate::common::{Api, PODS, pod};

const TOKEN: &str = "/api/v1/namespaces/default/serviceaccounts/default/token";
const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

#[tokio::test(start_paused = true)]
async fn bad_tokens_are_refused() {
    let api = Api::start().await;
    let mut bad = api.another(None).await;
    for token in ["x", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
        bad.authorization = Some(format!("Bearer {token}"));
        assert_eq!(bad.fails("GET", "/version", &Value::Null, 401).await, "Unauthorized");
    }
    // What is no bearer token is nobody's.
    bad.authorization = Some("Basic eDp5".into());
    assert_eq!(bad.raw("GET", "/version", &[], "").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_token_speaks_for_its_account_until_it_expires() {
    let mut api = Api::start().await;
    api.account("default").await;
    let made = api.create(TOKEN, value!({ "spec": { "expirationSeconds": 600 } })).await;
    let mut bearer = api.another(None).await;
    bearer.authorization = Some(format!("Bearer {}", made.at("status.token").str()));
    let who = bearer.create(WHO, value!({})).await;
    let user = who.at("status.userInfo");
    assert_eq!(user.at("username").str(), "system:serviceaccount:default:default");
    assert_eq!(
        user.at("groups").to_string(),
        "[\"system:serviceaccounts\",\"system:serviceaccounts:default\",\"system:authenticated\"]"
    );
    assert_eq!(bearer.raw("GET", PODS, &[], "").await.0, 403);
    tokio::time::advance(std::time::Duration::from_secs(601)).await;
    let mut late = api.another(None).await;
    late.authorization = bearer.authorization;
    assert_eq!(late.raw("GET", "/version", &[], "").await.0, 401);
}

#[tokio::test(start_paused = true)]
async fn a_bound_token_ends_with_its_pod_and_its_account() {
    let mut api = Api::start().await;
    api.account("default").await;
    let made = api.create(PODS, pod("p")).await;
    let bound = |uid: &str| value!({ "spec": { "boundObjectRef": { "kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid } } });
    assert_eq!(
        api.fails("POST", TOKEN, &bound("other"), 409).await,
        "Operation cannot be fulfilled on pods \"p\": the UID in the bound object reference (other) does not match the UID in record. The object might have been deleted and then recreated"
    );
    let token = api.create(TOKEN, bound(made.uid())).await;
    let mut bearer = api.another(None).await;
    bearer.authorization = Some(format!("Bearer {}", token.at("status.token").str()));
    let who = bearer.create(WHO, value!({})).await;
    let extra = who.at("status.userInfo.extra");
    assert_eq!(extra.get("authentication.kubernetes.io/pod-name").unwrap().items()[0].str(), "p");
    api.call("DELETE", &format!("{PODS}/p"), &Value::Null).await;
    assert_eq!(bearer.raw("GET", "/version", &[], "").await.0, 401);
}

#[tokio::test(start_paused = true)]
async fn token_requests_are_checked_and_audiences_kept_apart() {
    let mut api = Api::start().await;
    api.account("default").await;
    assert_eq!(
        api.fails("POST", TOKEN, &value!({ "spec": { "expirationSeconds": 5 } }), 422).await,
        "TokenRequest.authentication.k8s.io \"default\" is invalid: spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes"
    );
    let missing = TOKEN.replace("default/token", "x/token");
    assert_eq!(
        api.fails("POST", &missing, &value!({ "spec": {} }), 404).await,
        "serviceaccounts \"x\" not found"
    );
    let made = api.create(TOKEN, value!({ "spec": { "audiences": ["vault"] } })).await;
    let token = made.at("status.token").str();
    let mut bearer = api.another(None).await;
    bearer.authorization = Some(format!("Bearer {token}"));
    assert_eq!(bearer.raw("GET", "/version", &[], "").await.0, 401);
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let review = api
        .create(reviews, value!({ "spec": { "token": token, "audiences": ["vault", "x"] } }))
        .await;
    assert_eq!(review.at("status.authenticated").as_bool(), Some(true));
    assert_eq!(review.at("status.audiences").to_string(), "[\"vault\"]");
    let other = api.create(reviews, value!({ "spec": { "token": token } })).await;
    assert!(!other.at("status.authenticated").bool() && !other.at("status.error").str().is_empty());
}
