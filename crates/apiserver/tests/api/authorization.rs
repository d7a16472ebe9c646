//! Who may do what.

use timonier_object::{Value, value};
use timonier_policy::User;

use crate::common::{Api, PODS};

#[tokio::test(start_paused = true)]
async fn anonymous_requests_reach_health_version_and_discovery_only() {
    let api = Api::start().await;
    let mut nobody = api.another(None).await;
    for path in
        ["/healthz", "/livez?verbose", "/readyz/ping", "/version", "/api", "/apis", "/api/v1"]
    {
        assert_eq!(nobody.raw("GET", path, &[], "").await.0, 200, "{path}");
    }
    assert_eq!(
        nobody.fails("GET", PODS, &Value::Null, 403).await,
        "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    assert_eq!(nobody.raw("GET", "/openapi/v3", &[], "").await.0, 403);
    assert_eq!(
        nobody.fails("GET", "/metrics", &Value::Null, 403).await,
        "forbidden: User \"system:anonymous\" cannot get path \"/metrics\""
    );
    assert_eq!(
        nobody
            .fails(
                "DELETE",
                "/apis/apps/v1/namespaces/default/deployments/x/scale",
                &Value::Null,
                403
            )
            .await,
        "deployments.apps \"x\" is forbidden: User \"system:anonymous\" cannot delete resource \"deployments/scale\" in API group \"apps\" in the namespace \"default\""
    );
    // Also of what does not exist nothing is told.
    assert_eq!(nobody.raw("GET", "/api/v1/nothings", &[], "").await.0, 403);
}

#[tokio::test(start_paused = true)]
async fn components_may_and_others_may_not() {
    let api = Api::start().await;
    for (name, group, code) in [
        ("system:kube-scheduler", "", 200),
        ("system:kube-controller-manager", "", 200),
        ("system:node:n", "system:nodes", 200),
        ("system:node:n", "other", 403),
        ("jane", "dev", 403),
    ] {
        let user = User::authenticated(name, [group.into()]);
        let mut api = api.another(Some(user)).await;
        let path = format!("{PODS}?fieldSelector=spec.nodeName%3Dn");
        assert_eq!(api.raw("GET", &path, &[], "").await.0, code, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn masters_act_as_others() {
    let mut api = Api::start().await;
    api.headers = vec![("impersonate-user", "jane".into()), ("impersonate-group", "dev".into())];
    assert_eq!(
        api.fails("GET", PODS, &Value::Null, 403).await,
        "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    let review = value!({});
    let who = api.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", review).await;
    assert_eq!(who.at("status.userInfo.username").str(), "jane");
    assert_eq!(who.at("status.userInfo.groups").to_string(), "[\"dev\",\"system:authenticated\"]");
}

#[tokio::test(start_paused = true)]
async fn a_bound_delegator_may_ask_and_no_other_account() {
    let mut api = Api::start().await;
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let mut account = api.another(Some(User::service_account("a", "server", "u"))).await;
    let mut other = api.another(Some(User::service_account("a", "default", "u"))).await;
    let review = value!({ "spec": { "token": "x" } });
    account.fails("POST", reviews, &review, 403).await;
    account.fails("GET", "/api/v1/namespaces", &Value::Null, 403).await;
    let binding = value!({ "metadata": { "name": "a:auth-delegator" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": "system:auth-delegator" },
        "subjects": [{ "kind": "ServiceAccount", "namespace": "a", "name": "server" }] });
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    api.create(bindings, binding).await;
    account.create(reviews, review.clone()).await;
    account.get("/api/v1/namespaces").await;
    account.fails("GET", PODS, &Value::Null, 403).await;
    other.fails("POST", reviews, &review, 403).await;
    api.call("DELETE", &format!("{bindings}/a:auth-delegator"), &Value::Null).await;
    account.fails("POST", reviews, &review, 403).await;
}
