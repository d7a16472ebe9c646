//! From a change in the API to the kernel's rules.

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{Cluster, isolated};
use timonier_meta::gvk::resources::{ENDPOINTSLICES, NODES, SERVICES};
use timonier_network::{NetworkConfig, ServiceTable, teardown_all};
use timonier_node::proxy::{Progress, ServiceProxy};
use timonier_object::{Value, value};
use timonier_traffic::Cidr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;

fn config(directory: PathBuf) -> NetworkConfig {
    let cidr = |text| Cidr::parse(text).unwrap();
    NetworkConfig {
        shared_dir: directory.join("shared"),
        state_dir: directory,
        node_name: "n1".into(),
        node_ip: None,
        node_pod_cidr: cidr("10.244.0.0/24"),
        cluster_pod_cidr: cidr("10.244.0.0/16"),
        service_cidr: cidr("10.96.0.0/16"),
        dns_ip: Some(Ipv4Addr::new(10, 96, 0, 10)),
        interface_prefix: "tp".into(),
        table: "timonier-proxy".into(),
        mtu: 1500,
    }
}

fn service(n: u32, extra: Value) -> Value {
    let mut v = value!({
        "metadata": { "name": (format!("s{n}")), "namespace": "d" },
        "spec": { "clusterIP": (format!("10.96.1.{n}")), "ports": [{ "name": "http", "port": 80 }] },
    });
    extra.entries().for_each(|(k, f)| v.set(&format!("spec.{k}"), f.clone()));
    v
}

fn slice(n: u32, endpoints: u8) -> Value {
    let endpoints: Vec<Value> = (0..endpoints)
        .map(|i| {
            value!({ "addresses": [(IpAddr::from([10, 244, 0, i + 2]).to_string())],
                          "nodeName": "n1" })
        })
        .collect();
    value!({
        "metadata": { "name": (format!("s{n}-x")), "namespace": "d",
                      "labels": { "kubernetes.io/service-name": (format!("s{n}")) } },
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
        "endpoints": endpoints,
    })
}

/// Waits until the rules are as far as a revision of the slices.
async fn reached(progress: &mut Receiver<Progress>, revision: u64) {
    let there = progress.wait_for(|p| p.slices.max(p.services) >= revision);
    tokio::time::timeout(Duration::from_secs(20), there).await.expect("in time").unwrap();
}

fn endpoints(table: &mut ServiceTable) -> usize {
    table.dump().unwrap()["endpoints"].len()
}

#[test]
fn a_change_is_in_the_kernel_within_milliseconds_and_a_lost_table_comes_back() {
    isolated(|| async {
        common::lo_up();
        let directory = std::env::temp_dir().join(format!("timonier-proxy-{}", std::process::id()));
        let config = config(directory.clone());
        let cluster = Cluster::new();
        cluster.put(&NODES, value!({ "metadata": { "name": "n1" } }));
        for n in 1..=200 {
            cluster.put(&SERVICES, service(n, value!({})));
            cluster.put(&ENDPOINTSLICES, slice(n, 10));
        }
        let proxy = ServiceProxy::new(config.clone(), cluster.caches());
        let mut progress = proxy.progress();
        let stop = CancellationToken::new();
        let task = tokio::spawn(proxy.run(stop.clone()));
        let mut table = ServiceTable::open(&config).unwrap();
        progress.wait_for(|p| p.transactions > 0).await.unwrap();
        assert_eq!(endpoints(&mut table), 2000);

        let mut took = Vec::new();
        for n in 1..=100 {
            let start = Instant::now();
            let revision = cluster.put(&ENDPOINTSLICES, slice(n, 9));
            progress.wait_for(|p| p.slices >= revision).await.unwrap();
            took.push(start.elapsed());
        }
        assert_eq!(endpoints(&mut table), 1900);
        took.sort();
        println!("one endpoint until it is in the kernel: p50 {:?}, p99 {:?}", took[50], took[98]);
        assert!(took[50] < Duration::from_millis(100), "{took:?}");

        // Somebody removes the table: the next change brings all of it back.
        teardown_all(&config).await.unwrap();
        assert!(table.dump().is_err());
        let revision = cluster.put(&ENDPOINTSLICES, slice(1, 3));
        reached(&mut progress, revision).await;
        assert_eq!(endpoints(&mut table), 1894);

        // A slice that moves to another Service, and one that goes.
        let mut moved = slice(1, 3);
        moved.set("metadata.labels", value!({ "kubernetes.io/service-name": "nobody" }));
        cluster.put(&ENDPOINTSLICES, moved);
        cluster.remove(&ENDPOINTSLICES, "d", "s2-x");
        let revision = cluster.remove(&SERVICES, "d", "s3");
        progress.wait_for(|p| p.services >= revision).await.unwrap();
        let left = 1894 - 3 - 9 - 9;
        let start = Instant::now();
        while endpoints(&mut table) != left {
            assert!(start.elapsed() < Duration::from_secs(5), "{}", endpoints(&mut table));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }

        // A load balancer asks whether the node has endpoints.
        let extra = value!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local",
                             "healthCheckNodePort": 32100 });
        cluster.put(&SERVICES, service(4, extra));
        let start = Instant::now();
        let body = loop {
            if let Ok(body) = get("127.0.0.1:32100").await {
                break body;
            }
            assert!(start.elapsed() < Duration::from_secs(5), "the port is not open");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert!(
            body.starts_with("HTTP/1.1 200") && body.contains("\"localEndpoints\": 9"),
            "{body}"
        );
        let revision = cluster.put(&ENDPOINTSLICES, slice(4, 0));
        reached(&mut progress, revision).await;
        tokio::task::yield_now().await;
        let start = Instant::now();
        while !get("127.0.0.1:32100").await.unwrap().starts_with("HTTP/1.1 503") {
            assert!(start.elapsed() < Duration::from_secs(5));
        }

        stop.cancel();
        task.await.unwrap().unwrap();
        assert!(table.dump().is_ok(), "the rules stay when the agent ends");
        teardown_all(&config).await.unwrap();
        assert!(table.dump().is_err() && !directory.exists());
    });
}

async fn get(address: &str) -> std::io::Result<String> {
    tokio::time::timeout(Duration::from_secs(5), fetch(address)).await?
}

async fn fetch(address: &str) -> std::io::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}
