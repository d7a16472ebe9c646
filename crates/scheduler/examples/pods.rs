//! Pods per second that find a node, in clusters of several sizes.
//!
//! `cargo run --release -p timonier-scheduler --example pods [NODES] [PODS]`

use std::sync::Arc;
use std::time::Instant;

use timonier_meta::gvk::resources::{NODES, PODS, SERVICES};
use timonier_meta::{GroupVersionResource, Time};
use timonier_object::{Value, value};
use timonier_reconcile::Change;
use timonier_scheduler::{Action, Config, Scheduler};

fn main() {
    let mut numbers = std::env::args().skip(1).map_while(|a| a.parse().ok());
    let nodes = numbers.next().unwrap_or(5000);
    let pods = numbers.next().unwrap_or(5000);
    for (what, spread) in [("plain", false), ("with a Service", true)] {
        println!("{nodes} nodes, pods {what}: {:.0} pods/s", run(nodes, pods, spread));
    }
}

fn run(nodes: usize, pods: usize, spread: bool) -> f64 {
    let mut scheduler = Scheduler::new(Config::default());
    let see = |scheduler: &mut Scheduler, resource: &GroupVersionResource, object: Value| {
        let key = object.key();
        let new = Some(Arc::new(object));
        let change = Change { resource: resource.group_resource(), key, old: None, new };
        scheduler.on_change(&change, Time(0));
    };
    for i in 0..nodes {
        let name = format!("node-{i:05}");
        let zone = format!("zone-{}", i % 3);
        let labels = value!({ "kubernetes.io/hostname": (&name),
            "topology.kubernetes.io/zone": zone });
        let node = value!({ "metadata": { "name": name, "labels": labels },
            "status": { "allocatable": { "cpu": "32", "memory": "128Gi", "pods": "110" } } });
        see(&mut scheduler, &NODES, node);
    }
    if spread {
        let service = value!({ "metadata": { "namespace": "ns", "name": "web" },
            "spec": { "selector": { "app": "web" } } });
        see(&mut scheduler, &SERVICES, service);
    }
    scheduler.on_synced();
    for i in 0..pods {
        let name = format!("pod-{i:05}");
        let pod = value!({ "metadata": { "namespace": "ns", "name": (&name), "uid": (&name),
                "labels": { "app": "web" } },
            "spec": { "containers": [{ "image": "web:1", "resources": {
                "requests": { "cpu": "100m", "memory": "200Mi" } } }] } });
        see(&mut scheduler, &PODS, pod);
    }
    let start = Instant::now();
    let mut placed = 0;
    while let Some(decision) = scheduler.next(Time(0)) {
        assert!(matches!(decision.action, Action::Bind { .. }), "{decision:?}");
        scheduler.on_bound(&decision.pod, &decision.uid);
        placed += 1;
    }
    assert_eq!(placed, pods);
    pods as f64 / start.elapsed().as_secs_f64()
}
