//! One endpoint changed until the packet rule is in the kernel: from the write's beginning until a
//! new connection to the Service reaches the new endpoint.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, unshare};
use timonier_client::{Client, DeleteOptions, HttpsClient, WriteOptions};
use timonier_meta::gvk::resources::{ENDPOINTSLICES, SERVICES};
use timonier_network::{NetworkConfig, ServiceTable};
use timonier_object::{Value, value};
use timonier_traffic::{Cidr, NodeFacts, Proxy, Service, Slice};

use crate::Bench;
use crate::figure::{Aim, Figure, Samples, Unit};
use crate::workload::create;

const CHANGES: usize = 500;
const SERVICE: &str = "bench-switch";
const PORT: u16 = 80;
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two connections.
const PAUSE: Duration = Duration::from_micros(200);

pub async fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    bench.cluster.ensure_up()?;
    let client = bench.cluster.client()?;
    let node = bench.cluster.config()?.node_ip;
    let ports = [answer(node, 0)?, answer(node, 1)?];
    let service = value!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": SERVICE, "namespace": "default" },
        "spec": { "ports": [{ "name": "x", "port": (i64::from(PORT)) }] }
    });
    let service = create(&client, &SERVICES, "default", service).await?;
    let address: Ipv4Addr = service.at("spec.clusterIP").str().parse()?;
    create(&client, &ENDPOINTSLICES, "default", slice(node, ports[0])).await?;
    let address = SocketAddr::from((address, PORT));
    tokio::task::spawn_blocking(move || until_answer(address, 0)).await??;
    let (mut seen, mut written) = (Vec::new(), Vec::new());
    for change in 1..=CHANGES {
        let times =
            switch(&client, address, slice(node, ports[change % 2]), (change % 2) as u8).await?;
        written.push(times.0);
        seen.push(times.1);
    }
    let options = DeleteOptions::default();
    client.delete(&SERVICES, "default", SERVICE, &options).await?;
    client.delete(&ENDPOINTSLICES, "default", SERVICE, &options).await?;
    let scratch = bench.scratch.clone();
    let alone = std::thread::spawn(move || transactions(&scratch));
    let alone = alone.join().map_err(|_| anyhow::anyhow!("bare transactions failed"))??;
    let seen = Samples::new(seen).expect("there are samples");
    let name = "endpoint changed until new connections reach it";
    Ok(vec![
        Figure::new(name, Unit::Seconds, seen, Aim::P99(0.02))
            .beside("of it until the write is answered", Samples::new(written))
            .beside("the same change of rules alone", Samples::new(alone)),
    ])
}

/// Changes the endpoint; seconds until the write is answered and until it takes effect.
async fn switch(
    client: &HttpsClient,
    address: SocketAddr,
    slice: Value,
    to: u8,
) -> Result<(f64, f64)> {
    let start = Instant::now();
    let effect = tokio::task::spawn_blocking(move || until_answer(address, to));
    let options = WriteOptions::default();
    client.update(&ENDPOINTSLICES, "default", SERVICE, "", slice, &options).await?;
    let written = start.elapsed().as_secs_f64();
    let effective = effect.await?? - start;
    Ok((written, effective.as_secs_f64()))
}

/// Connects until the endpoint of this number answers; when that was.
fn until_answer(address: SocketAddr, wanted: u8) -> Result<Instant> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ask = || -> std::io::Result<u8> {
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            Ok(byte[0])
        };
        match ask() {
            Ok(number) if number == wanted => return Ok(Instant::now()),
            last if Instant::now() > deadline => {
                bail!("endpoint {wanted} is not reached: {last:?}")
            }
            _ => std::thread::sleep(PAUSE),
        }
    }
}

/// A server that says a number to everybody, until the program ends; its port.
fn answer(node: Ipv4Addr, number: u8) -> Result<u16> {
    let listener = TcpListener::bind((node, 0)).context("listen on the node's address")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Whoever went away needs no answer.
            let _ = stream.write_all(&[number]);
        }
    });
    Ok(port)
}

fn slice(node: Ipv4Addr, port: u16) -> Value {
    let (node, port) = (node.to_string(), i64::from(port));
    value!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "name": SERVICE, "namespace": "default",
                      "labels": { "kubernetes.io/service-name": SERVICE } },
        "addressType": "IPv4",
        "ports": [{ "name": "x", "port": port, "protocol": "TCP" }],
        "endpoints": [{ "addresses": [node], "conditions": { "ready": true } }]
    })
}

/// The kernel's part alone: the same change as one transaction, in a network namespace of its own.
/// Runs on a thread of its own, which keeps the namespace until it ends.
fn transactions(scratch: &Path) -> Result<Vec<f64>> {
    unshare(CloneFlags::CLONE_NEWNET).context("a network namespace")?;
    let cidr = |text| Cidr::parse(text).expect("a range");
    let config = NetworkConfig {
        state_dir: scratch.join("netns"),
        shared_dir: scratch.join("shared"),
        node_name: "n".into(),
        node_ip: None,
        node_pod_cidr: cidr("10.244.0.0/24"),
        cluster_pod_cidr: cidr("10.244.0.0/16"),
        service_cidr: cidr("10.96.0.0/16"),
        dns_ip: None,
        interface_prefix: "bench".into(),
        table: "bench".into(),
        mtu: 1500,
    };
    let mut table = ServiceTable::open(&config)?;
    let mut proxy = Proxy::new(NodeFacts { name: "n".into(), zone: "".into() }, []);
    proxy.set_service(Service::from_value(&value!({
        "metadata": { "name": SERVICE, "namespace": "default" },
        "spec": { "clusterIP": "10.96.0.9", "ports": [{ "name": "x", "port": (i64::from(PORT)) }] }
    })));
    let node = Ipv4Addr::new(192, 0, 2, 1);
    let mut take = |port| {
        proxy.set_slice(Slice::from_value(&slice(node, port)).context("a slice")?);
        anyhow::Ok(proxy.changes())
    };
    table.load(&take(1)?)?;
    (1..=CHANGES)
        .map(|change| {
            let changes = take(1 + (change % 2) as u16)?;
            let start = Instant::now();
            table.apply(&changes)?;
            Ok(start.elapsed().as_secs_f64())
        })
        .collect()
}
