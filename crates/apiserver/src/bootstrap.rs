//! The objects that every cluster has from its first moment.

use std::sync::Arc;

use timonier_client::{Client, WriteOptions};
use timonier_meta::gvk::resources;
use timonier_meta::{ApiError, GroupVersionResource, SmolStr};
use timonier_object::{Value, value};
use timonier_policy::{User, groups};

use crate::network;
use crate::server::ApiServer;

const SERVICE_CIDRS: GroupVersionResource =
    GroupVersionResource::new_static("networking.k8s.io", "v1", "servicecidrs");

/// Makes what is missing; what exists is left alone, but for the addresses of `kubernetes`.
pub async fn run(server: &Arc<ApiServer>) -> Result<(), ApiError> {
    network::repair(server).await;
    let itself = User::authenticated("system:apiserver", [SmolStr::new_static(groups::MASTERS)]);
    let client = server.client(itself);
    for name in ["kube-system", "kube-public", "kube-node-lease", "default"] {
        let namespace = value!({ "metadata": { "name": name } });
        ensure(&*client, &resources::NAMESPACES, "", namespace).await?;
    }
    for (name, value, text) in PRIORITY_CLASSES {
        let class = value!({ "metadata": { "name": name }, "value": value, "description": text });
        ensure(&*client, &resources::PRIORITYCLASSES, "", class).await?;
    }
    let cidrs: Vec<Value> =
        server.network.cidrs.iter().map(|c| Value::from(c.to_string())).collect();
    let cidr = value!({ "metadata": { "name": "kubernetes" }, "spec": { "cidrs": (cidrs) } });
    ensure(&*client, &SERVICE_CIDRS, "", cidr).await?;
    kubernetes(server, &*client).await
}

const PRIORITY_CLASSES: [(&str, i64, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

async fn ensure(
    client: &dyn Client,
    resource: &GroupVersionResource,
    namespace: &str,
    object: Value,
) -> Result<(), ApiError> {
    if client.get(resource, namespace, object.name()).await.is_ok() {
        return Ok(());
    }
    match client.create(resource, namespace, "", "", object, &WriteOptions::default()).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_already_exists() => Ok(()),
        Err(error) => Err(error),
    }
}

/// The Service by which pods reach this server, and its endpoints.
async fn kubernetes(server: &ApiServer, client: &dyn Client) -> Result<(), ApiError> {
    let port = server.config.advertise.map_or(6443, |(_, port)| port);
    let labels = value!({ "component": "apiserver", "provider": "kubernetes" });
    let service = value!({
        "metadata": { "name": "kubernetes", "labels": (labels) },
        "spec": {
            "type": "ClusterIP", "sessionAffinity": "None",
            "clusterIP": (server.network.api_address().to_string()),
            "ports": [{ "name": "https", "protocol": "TCP", "port": 443, "targetPort": (i64::from(port)) }]
        },
    });
    ensure(client, &resources::SERVICES, "default", service).await?;
    // On a host without a network there is only the loopback, and endpoints cannot be there.
    let advertised = server.config.advertise.filter(|(ip, _)| !ip.is_loopback());
    let Some((ip, port)) = advertised else { return Ok(()) };
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let port = value!({ "name": "https", "protocol": "TCP", "port": (i64::from(port)) });
    let slice = value!({
        "metadata": { "name": "kubernetes", "labels": { "kubernetes.io/service-name": "kubernetes" } },
        "addressType": family,
        "endpoints": [{ "addresses": [(ip.to_string())], "conditions": { "ready": true } }],
        "ports": [(port.clone())],
    });
    replace(client, &resources::ENDPOINTSLICES, slice).await?;
    let endpoints = value!({
        "metadata": { "name": "kubernetes",
            "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" } },
        "subsets": [{ "addresses": [{ "ip": (ip.to_string()) }], "ports": [(port)] }],
    });
    replace(client, &resources::ENDPOINTS, endpoints).await
}

/// Writes an object of namespace `default` whatever was there: the address may have changed.
async fn replace(
    client: &dyn Client,
    resource: &GroupVersionResource,
    object: Value,
) -> Result<(), ApiError> {
    let options = WriteOptions::default();
    let name = SmolStr::new(object.name());
    match client.get(resource, "default", &name).await {
        Ok(old) => {
            let mut new = object;
            new.set("metadata.resourceVersion", old.resource_version());
            client.update(resource, "default", &name, "", new, &options).await?;
        }
        Err(_) => {
            client.create(resource, "default", "", "", object, &options).await?;
        }
    }
    Ok(())
}
