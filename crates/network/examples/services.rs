//! Prints how long the kernel takes to load the rules of many Services, to change one endpoint,
//! and to wire a pod. Works in a network namespace of its own; needs root.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use timonier_network::{NetworkConfig, PodNetwork, PodRequest, ServiceTable, teardown_all};
use timonier_object::{Value, value};
use timonier_traffic::{Cidr, NodeFacts, Proxy, Service, Slice};

const ENDPOINTS: u32 = 10;
const CHANGES: u32 = 1000;

fn main() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("network namespaces need root");
        std::process::exit(1);
    }
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("own namespaces");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("private mounts");
    for services in [1_000, 10_000] {
        measure_services(services);
    }
    measure_pods();
}

fn measure_services(count: u32) {
    let config = config();
    let mut table = ServiceTable::open(&config).expect("nf_tables");
    let mut proxy = Proxy::new(NodeFacts { name: "n1".into(), zone: "".into() }, []);
    for n in 0..count {
        proxy.set_service(service(n));
        proxy.set_slice(slice(n, 0));
    }
    let start = Instant::now();
    let changes = proxy.changes();
    let compile = start.elapsed();
    table.load(&changes).expect("load");
    let load = start.elapsed();

    let mut decide: Vec<Duration> = Vec::new();
    let mut whole: Vec<Duration> = Vec::new();
    for i in 0..CHANGES {
        let n = i * 7 % count;
        proxy.set_slice(slice(n, 1 - i / count % 2));
        let start = Instant::now();
        let changes = proxy.changes();
        decide.push(start.elapsed());
        table.apply(&changes).expect("apply");
        whole.push(start.elapsed());
    }
    println!(
        "{count} services × {ENDPOINTS} endpoints: compiled in {compile:?}, loaded in {load:?}; \
         one endpoint: p50 {:?}, p99 {:?} (of it deciding p50 {:?})",
        percentile(&mut whole, 50),
        percentile(&mut whole, 99),
        percentile(&mut decide, 50),
    );
}

fn measure_pods() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = config();
        let start = Instant::now();
        let network = PodNetwork::open(config.clone()).await.expect("open");
        println!("the node prepared in {:?}", start.elapsed());
        let mut took = Vec::new();
        for i in 0..200 {
            let start = Instant::now();
            let uid = format!("pod-{i}");
            network.attach(PodRequest { uid, ..PodRequest::default() }).await.expect("attach");
            took.push(start.elapsed());
        }
        let (p50, p99) = (percentile(&mut took, 50), percentile(&mut took, 99));
        println!("a pod wired: p50 {p50:?}, p99 {p99:?}");
        let start = Instant::now();
        teardown_all(&config).await.expect("teardown");
        println!("200 pods and the services removed in {:?}", start.elapsed());
    });
}

fn config() -> NetworkConfig {
    let base = std::env::temp_dir().join(format!("timonier-bench-{}", std::process::id()));
    let cidr = |text| Cidr::parse(text).unwrap();
    NetworkConfig {
        state_dir: base.join("state"),
        shared_dir: base.clone(),
        node_name: "n1".into(),
        node_ip: None,
        node_pod_cidr: cidr("10.244.0.0/24"),
        cluster_pod_cidr: cidr("10.244.0.0/16"),
        service_cidr: cidr("10.96.0.0/16"),
        dns_ip: Some(Ipv4Addr::new(10, 96, 0, 10)),
        interface_prefix: "bench".into(),
        table: "bench".into(),
        mtu: 1500,
    }
}

fn service(n: u32) -> Service {
    let ip = format!("10.96.{}.{}", n / 250 + 1, n % 250);
    Service::from_value(&value!({
        "metadata": { "name": (format!("s{n}")), "namespace": "d" },
        "spec": { "clusterIP": ip, "ports": [{ "name": "http", "port": 80 }] },
    }))
}

/// The endpoints of a Service without the first `skip`.
fn slice(n: u32, skip: u32) -> Slice {
    let endpoints: Vec<Value> = (skip..ENDPOINTS)
        .map(|i| {
            let address = IpAddr::V4(Ipv4Addr::from_bits(0x0af4_0000 + n * ENDPOINTS + i));
            value!({ "addresses": [(address.to_string())], "nodeName": "n2" })
        })
        .collect();
    Slice::from_value(&value!({
        "metadata": { "name": (format!("s{n}-x")), "namespace": "d",
                      "labels": { "kubernetes.io/service-name": (format!("s{n}")) } },
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
        "endpoints": endpoints,
    }))
    .expect("a slice")
}

fn percentile(took: &mut [Duration], percent: usize) -> Duration {
    took.sort();
    took[(took.len() - 1) * percent / 100]
}
