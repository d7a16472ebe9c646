//! Writers at the same time.

use std::collections::BTreeSet;

use timonier_client::{PatchType, WriteOptions};
use timonier_meta::gvk::resources::{CONFIGMAPS, SERVICES};
use timonier_object::value;

use crate::common::{Api, MAPS, config_map, master};

#[tokio::test]
async fn no_patch_is_lost() {
    let mut api = Api::start().await;
    api.create(MAPS, config_map("a")).await;
    let tasks: Vec<_> = (0..20)
        .map(|i| {
            let client = api.server.client(master());
            tokio::spawn(async move {
                let patch = value!({ "data": { (format!("k{i}")): "v" } });
                let options = WriteOptions::default();
                client
                    .patch(&CONFIGMAPS, "default", "a", "", PatchType::Merge, patch, &options)
                    .await
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(api.get(&format!("{MAPS}/a")).await.at("data").as_object().unwrap().len(), 21);
}

#[tokio::test]
async fn no_address_is_given_twice() {
    let mut api = Api::start().await;
    let tasks: Vec<_> = (0..30)
        .map(|i| {
            let client = api.server.client(master());
            tokio::spawn(async move {
                let service = value!({ "metadata": { "name": (format!("s{i}")) },
                    "spec": { "type": "NodePort", "ports": [{ "port": 80 }] } });
                client.create(&SERVICES, "default", "", "", service, &WriteOptions::default()).await
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let list = api.get("/api/v1/namespaces/default/services").await;
    let items = list.at("items").items();
    let addresses: BTreeSet<_> = items.iter().map(|s| s.at("spec.clusterIP").smol()).collect();
    let ports: BTreeSet<_> =
        items.iter().map(|s| s.at("spec.ports").items()[0].at("nodePort").int_or(0)).collect();
    assert_eq!((addresses.len(), ports.len()), (31, 31), "one has no node port: 0");
}
