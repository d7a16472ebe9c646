//! Quotas and limit ranges at admission.

use timonier_object::{Value, value};

use crate::common::{Api, MAPS, PODS, config_map, pod};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const LIMITS: &str = "/api/v1/namespaces/default/limitranges";

/// A quota with the status that its controller would write.
async fn quota(api: &mut Api, name: &str, hard: Value) {
    let body = value!({ "metadata": { "name": name }, "spec": { "hard": (hard.clone()) } });
    let mut made = api.create(QUOTAS, body).await;
    let used: Value = hard.entries().map(|(k, _)| (k, "0")).collect();
    made.set("status", value!({ "hard": hard, "used": used }));
    let (code, answer) = api.call("PUT", &format!("{QUOTAS}/{name}/status"), &made).await;
    assert_eq!(code, 200, "{answer}");
}

async fn used(api: &mut Api, name: &str) -> Value {
    api.get(&format!("{QUOTAS}/{name}")).await.at("status.used").clone()
}

#[tokio::test(start_paused = true)]
async fn objects_are_counted_until_the_quota_is_full() {
    let mut api = Api::start().await;
    quota(&mut api, "q", value!({ "configmaps": "2", "count/configmaps": "2" })).await;
    api.create(MAPS, config_map("a")).await;
    let dry = format!("{MAPS}?dryRun=All");
    api.create(&dry, config_map("dry")).await;
    let taken = api.fails("POST", MAPS, &config_map("a"), 409).await;
    assert_eq!(taken, "configmaps \"a\" already exists");
    assert_eq!(used(&mut api, "q").await.at("configmaps").str(), "1", "given back");
    api.create(MAPS, config_map("b")).await;
    let full = "configmaps \"c\" is forbidden: exceeded quota: q, requested: configmaps=1,count/configmaps=1, used: configmaps=2,count/configmaps=2, limited: configmaps=2,count/configmaps=2";
    assert_eq!(api.fails("POST", MAPS, &config_map("c"), 403).await, full);
    assert_eq!(api.fails("POST", &dry, &config_map("c"), 403).await, full);
}

#[tokio::test(start_paused = true)]
async fn one_full_quota_leaves_the_others_as_they_are() {
    let mut api = Api::start().await;
    quota(&mut api, "a", value!({ "configmaps": "5" })).await;
    quota(&mut api, "b", value!({ "configmaps": "0" })).await;
    api.fails("POST", MAPS, &config_map("x"), 403).await;
    assert_eq!(used(&mut api, "a").await, value!({ "configmaps": "0" }));
}

#[tokio::test(start_paused = true)]
async fn pods_need_what_is_bounded_and_get_it_from_limit_ranges() {
    let mut api = Api::start().await;
    api.account("default").await;
    quota(&mut api, "q", value!({ "requests.cpu": "150m", "pods": "5" })).await;
    assert_eq!(
        api.fails("POST", PODS, &pod("p"), 403).await,
        "pods \"p\" is forbidden: failed quota: q: must specify requests.cpu for: c"
    );
    let limits = value!([{ "type": "Container", "max": { "cpu": "200m" },
        "default": { "cpu": "100m" }, "defaultRequest": { "cpu": "100m" } }]);
    api.create(LIMITS, value!({ "metadata": { "name": "l" }, "spec": { "limits": limits } })).await;
    let made = api.create(PODS, pod("p")).await;
    assert_eq!(
        made.at("spec.containers").items()[0].at("resources"),
        &value!({ "limits": { "cpu": "100m" }, "requests": { "cpu": "100m" } })
    );
    assert_eq!(made.at("status.qosClass").str(), "Burstable");
    assert_eq!(
        made.annotation("kubernetes.io/limit-ranger"),
        Some("LimitRanger plugin set: cpu request for container c; cpu limit for container c")
    );
    assert_eq!(
        api.fails("POST", PODS, &pod("q"), 403).await,
        "pods \"q\" is forbidden: exceeded quota: q, requested: requests.cpu=100m, used: requests.cpu=100m, limited: requests.cpu=150m"
    );
    let mut large = pod("large");
    let resources = value!({ "limits": { "cpu": "300m" }, "requests": { "cpu": "10m" } });
    large.entry("spec.containers").make_array()[0].set("resources", resources);
    assert_eq!(
        api.fails("POST", PODS, &large, 403).await,
        "pods \"large\" is forbidden: maximum cpu usage per Container is 200m, but limit is 300m"
    );
}
