//! Services: addresses and node ports.

use std::time::Duration;

use timonier_apiserver::storage;
use timonier_object::{Value, value};
use timonier_store::Expect;

use crate::common::{Api, config, master, server_with, store};

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, spec: Value) -> Value {
    let mut service = value!({ "metadata": { "name": name }, "spec": { "ports": [{ "port": 80 }], "selector": { "a": "b" } } });
    for (k, v) in spec.entries() {
        service.set(&format!("spec.{k}"), v.clone());
    }
    service
}

#[tokio::test(start_paused = true)]
async fn addresses_are_handed_out_and_given_back() {
    let mut api = Api::start().await;
    let made = api.create(SERVICES, service("a", value!({}))).await;
    let ip = made.at("spec.clusterIP").str().to_string();
    assert!(ip.starts_with("10.96."), "{ip}");
    assert_eq!(made.at("spec.clusterIPs").to_string(), format!("[\"{ip}\"]"));
    assert_eq!(made.at("spec.ipFamilies").to_string(), "[\"IPv4\"]");
    assert_eq!(
        api.fails("POST", SERVICES, &service("b", value!({ "clusterIP": (&ip) })), 422).await,
        format!(
            "Service \"b\" is invalid: spec.clusterIPs: Invalid value: [\"{ip}\"]: failed to allocate IP {ip}: provided IP is already allocated"
        )
    );
    let outside = service("b", value!({ "clusterIP": "192.168.0.1" }));
    assert!(
        api.fails("POST", SERVICES, &outside, 422)
            .await
            .contains("The range of valid IPs is 10.96.0.0/16")
    );
    let dns = api.create(SERVICES, service("dns", value!({ "clusterIP": "10.96.0.10" }))).await;
    assert_eq!(dns.at("spec.clusterIP").str(), "10.96.0.10");
    api.call("DELETE", &format!("{SERVICES}/a"), &Value::Null).await;
    api.create(SERVICES, service("b", value!({ "clusterIP": (&ip) }))).await;
    // An update that leaves the address out keeps it.
    let (code, same) = api
        .call(
            "PUT",
            &format!("{SERVICES}/b"),
            &service("b", value!({ "sessionAffinity": "ClientIP" })),
        )
        .await;
    assert_eq!((code, same.at("spec.clusterIP").str()), (200, ip.as_str()));
}

#[tokio::test(start_paused = true)]
async fn some_services_have_no_address() {
    let mut api = Api::start().await;
    let headless = api.create(SERVICES, service("h", value!({ "clusterIP": "None" }))).await;
    assert_eq!(headless.at("spec.clusterIPs").to_string(), "[\"None\"]");
    assert_eq!(headless.at("spec.ipFamilyPolicy").str(), "SingleStack");
    let external = value!({ "metadata": { "name": "e" }, "spec": { "type": "ExternalName", "externalName": "x.example" } });
    let external = api.create(SERVICES, external).await;
    assert!(external.at("spec.clusterIP").is_empty() && external.at("spec.ipFamilies").is_empty());
    let dual = service("d", value!({ "ipFamilyPolicy": "RequireDualStack" }));
    assert!(
        api.fails("POST", SERVICES, &dual, 422)
            .await
            .contains("this cluster is not configured for dual-stack services")
    );
    let dual =
        api.create(SERVICES, service("d", value!({ "ipFamilyPolicy": "PreferDualStack" }))).await;
    assert_eq!(dual.at("spec.ipFamilies").to_string(), "[\"IPv4\"]");
}

#[tokio::test(start_paused = true)]
async fn node_ports_are_unique_and_follow_the_type() {
    let mut api = Api::start().await;
    let a = api.create(SERVICES, service("a", value!({ "type": "NodePort" }))).await;
    let port = a.at("spec.ports").items()[0].at("nodePort").as_i64().unwrap();
    assert!((30000..=32767).contains(&port));
    let with = |port: i64| {
        service("b", value!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": port }] }))
    };
    assert_eq!(
        api.fails("POST", SERVICES, &with(port), 422).await,
        format!(
            "Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: {port}: provided port is already allocated"
        )
    );
    assert!(
        api.fails("POST", SERVICES, &with(80), 422)
            .await
            .contains("The range of valid ports is 30000-32767")
    );
    // The failed attempts kept nothing.
    let addresses = api.get("/apis/networking.k8s.io/v1/ipaddresses").await;
    assert_eq!(addresses.at("items").items().len(), 2);
    let (_, plain) = api
        .call("PATCH", &format!("{SERVICES}/a"), &value!({ "spec": { "type": "ClusterIP" } }))
        .await;
    assert!(plain.at("spec.ports").items()[0].at("nodePort").is_null());
    assert_eq!(plain.at("spec.clusterIP"), a.at("spec.clusterIP"));
    api.create(SERVICES, with(port)).await;
    let udp = service(
        "c",
        value!({ "type": "NodePort", "ports": [
        { "name": "t", "port": 53, "nodePort": 30053 }, { "name": "u", "port": 53, "protocol": "UDP", "nodePort": 30053 }] }),
    );
    api.create(SERVICES, udp).await;
    let balancer =
        service("l", value!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local" }));
    let balancer = api.create(SERVICES, balancer).await;
    assert!(balancer.at("spec.healthCheckNodePort").as_i64().unwrap() >= 30000);
}

#[tokio::test(start_paused = true)]
async fn what_no_service_uses_is_free_again_after_a_crash() {
    let store = store().await;
    let server = server_with(config(), store.clone()).await;
    let mut api = Api::to(server, Some(master())).await;
    let made = api.create(SERVICES, service("a", value!({ "type": "NodePort" }))).await;
    // The Service vanishes without its reservations.
    store.delete("/registry/core/services/default/a", Expect::Any).await.unwrap();
    let mut api = Api::to(server_with(config(), store.clone()).await, Some(master())).await;
    let port = made.at("spec.ports").items()[0].at("nodePort").clone();
    let same = service(
        "b",
        value!({ "type": "NodePort", "clusterIP": (made.at("spec.clusterIP")),
        "ports": [{ "port": 80, "nodePort": (port) }] }),
    );
    api.create(SERVICES, same).await;
    let mut again = Api::to(server_with(config(), store).await, Some(master())).await;
    let kept = again.get("/apis/networking.k8s.io/v1/ipaddresses").await;
    assert_eq!(kept.at("items").items().len(), 2, "what is used stays reserved");
}

#[tokio::test(start_paused = true)]
async fn what_a_service_uses_is_reserved_again() {
    let mut api = Api::start().await;
    api.create(SERVICES, service("a", value!({ "clusterIP": "10.96.0.10" }))).await;
    let address = "/apis/networking.k8s.io/v1/ipaddresses/10.96.0.10";
    let before = api.get(address).await;
    let (code, _) = api.call("DELETE", address, &Value::Null).await;
    assert_eq!(code, 200);
    let again = async {
        while api.call("GET", address, &Value::Null).await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), again).await.expect("it is reserved again");
    assert_eq!(api.get(address).await.at("spec"), before.at("spec"));
    let other = service("b", value!({ "clusterIP": "10.96.0.10" }));
    api.fails("POST", SERVICES, &other, 422).await;
}

#[tokio::test(start_paused = true)]
async fn what_no_service_uses_goes_after_a_while() {
    let store = store().await;
    let mut api = Api::to(server_with(config(), store.clone()).await, Some(master())).await;
    api.create(SERVICES, service("a", value!({ "type": "NodePort" }))).await;
    let port = "/registry/ranges/servicenodeports/30123";
    let value = storage::encode_plain("default/gone");
    store.put(port, value, Expect::Absent).await.unwrap();
    let with_port =
        service("b", value!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30123 }] }));
    api.fails("POST", SERVICES, &with_port, 422).await;
    // Not at once: its Service may be on its way.
    tokio::time::sleep(Duration::from_secs(200)).await;
    let mut api = api.another(Some(master())).await;
    api.fails("POST", SERVICES, &with_port, 422).await;
    tokio::time::sleep(Duration::from_secs(400)).await;
    api.another(Some(master())).await.create(SERVICES, with_port).await;
}
