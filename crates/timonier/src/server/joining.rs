//! What nodes that join have to know of the cluster: a ConfigMap, as upstream's `kubeadm` has one.

use anyhow::{Context, Result};
use timonier_cli::cluster::ClusterConfig;
use timonier_client::{Client, WriteOptions};
use timonier_meta::gvk::resources::CONFIGMAPS;
use timonier_object::{Value, value};

/// Where the ConfigMap is.
pub const NAMESPACE: &str = "kube-public";
pub const NAME: &str = "timonier-cluster";

/// The identifier of the network between the nodes of the cluster with this authority. Clusters
/// that share a host must differ in it; 24 bits, never 0.
pub fn overlay_id(ca: &str) -> u32 {
    let hash = ca
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash ^ hash >> 24) & 0x00ff_ffff | 1
}

/// Writes the ConfigMap, or brings it up to date.
pub async fn publish(client: &dyn Client, config: &ClusterConfig, ca: &str) -> Result<()> {
    let data = data(config, overlay_id(ca));
    let options = WriteOptions { field_manager: "timonier".into(), ..WriteOptions::default() };
    let written = match client.get(&CONFIGMAPS, NAMESPACE, NAME).await {
        Ok(found) if *found.at("data") == data => return Ok(()),
        Ok(found) => {
            let mut changed = Value::clone(&found);
            changed.set("data", data);
            client.update(&CONFIGMAPS, NAMESPACE, NAME, "", changed, &options).await
        }
        Err(error) if error.is_not_found() => {
            let map = value!({ "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": { "name": NAME, "namespace": NAMESPACE }, "data": data });
            client.create(&CONFIGMAPS, NAMESPACE, "", "", map, &options).await
        }
        Err(error) => Err(error),
    };
    written.map(drop).with_context(|| format!("write the ConfigMap {NAMESPACE}/{NAME}"))
}

fn data(config: &ClusterConfig, overlay_id: u32) -> Value {
    value!({ "name": (&config.name), "clusterDomain": (&config.domain),
        "podCIDR": (config.pod_cidr.to_string()),
        "serviceCIDR": (config.service_cidr.to_string()),
        "overlayID": (overlay_id.to_string()) })
}
