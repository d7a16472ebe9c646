//! Real connections through the packet rules of Services.
#![allow(unsafe_code)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use common::*;
use timonier_network::{PodNet, ServiceTable};
use timonier_object::value;
use timonier_traffic::rules::Changes;

/// Who answers among so many calls.
fn who(calls: usize, mut call: impl FnMut() -> Answer) -> BTreeSet<String> {
    (0..calls).map(|_| call().expect("an answer").0).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

fn ends<'a>(pods: &[&PodNet], node: &'a str) -> Vec<(IpAddr, &'a str)> {
    pods.iter().map(|p| (p.ip, node)).collect()
}

/// The kernel must hold exactly what the rules say.
fn check_kernel(node: &mut Node) {
    let sort = |sets: BTreeMap<&'static str, Vec<_>>| -> BTreeMap<&str, BTreeSet<String>> {
        let text = |e: &timonier_network::nft::ElementBytes| format!("{e:?}");
        let sets = sets.into_iter().filter(|(name, e)| *name != "affinity" && !e.is_empty());
        sets.map(|(name, e)| (name, e.iter().map(text).collect())).collect()
    };
    let wanted = ServiceTable::encode(&node.proxy.everything().add);
    assert_eq!(sort(node.table.dump().unwrap()), sort(wanted));
}

#[test]
fn a_cluster_address_leads_to_every_endpoint() {
    isolated(|| {
        let mut node = Node::new(44);
        let (a, b, c) = (node.server("a"), node.server("b"), node.server("c"));
        let client = node.attach("client");
        let vip = at("172.44.0.20:8000");
        node.service("s", "172.44.0.20", value!({}));
        node.endpoints("s", &ends(&[&a, &b, &c], "n1"));
        node.sync();
        check_kernel(&mut node);
        assert_eq!(who(60, || call_from(&client, vip)), names(&["a", "b", "c"]));
        assert_eq!(who(60, || call(vip)), names(&["a", "b", "c"]), "from the node");
        // Pods are seen as themselves.
        assert_eq!(call_from(&client, vip).unwrap().1, client.ip);
        // A pod reaches itself through its Service.
        assert_eq!(who(60, || call_from(&a, vip)), names(&["a", "b", "c"]));
        let udp = || ask(&udp_from(&client, vip));
        assert_eq!(who(60, udp), names(&["a", "b", "c"]));

        // The first goes; the last takes its place.
        node.endpoints("s", &ends(&[&b, &c], "n1"));
        let changes = node.sync();
        assert_eq!((changes.remove.len(), changes.add.len()), (7, 4), "{changes:?}");
        check_kernel(&mut node);
        assert_eq!(who(40, || call_from(&client, vip)), names(&["b", "c"]));
    });
}

#[test]
fn what_leads_nowhere_is_refused() {
    isolated(|| {
        let mut node = Node::new(44);
        let client = node.attach("client");
        let a = node.server("a");
        let vip = at("172.44.0.20:8000");
        node.service(
            "s",
            "172.44.0.20",
            value!({
                "type": "NodePort",
                "ports": [{ "name": "t", "port": 8000, "protocol": "TCP", "nodePort": 30080 }],
            }),
        );
        node.sync();
        assert!(refused(call_from(&client, vip)) && refused(call(vip)));
        assert!(refused(call_from(&client, at("10.44.0.1:30080"))));
        node.endpoints("s", &ends(&[&a], "n1"));
        node.sync();
        assert_eq!(call_from(&client, vip).unwrap().0, "a");
        // A port that the Service does not have, and an address that no Service has.
        assert!(refused(call_from(&client, at("172.44.0.20:8001"))));
        assert!(refused(call(at("172.44.0.20:8001"))));
        assert!(silent(call_from(&client, at("172.44.0.21:8000"))));
        node.delete_service("s");
        node.sync();
        check_kernel(&mut node);
        assert!(silent(call_from(&client, vip)));
    });
}

#[test]
fn the_node_keeps_its_dns_address() {
    isolated(|| {
        let mut node = Node::new(44);
        let client = node.attach("client");
        node.service(
            "kube-dns",
            "172.44.0.10",
            value!({
                "ports": [{ "name": "dns-tcp", "port": 53, "protocol": "TCP" },
                          { "name": "metrics", "port": 9153, "protocol": "TCP" }],
            }),
        );
        node.sync();
        let dns = at("172.44.0.10:53");
        let listener = std::net::TcpListener::bind(dns).unwrap();
        let peers = std::thread::spawn(move || [(); 2].map(|()| listener.accept().unwrap().1.ip()));
        let _ = call_from(&client, dns);
        let _ = call(dns);
        assert_eq!(peers.join().unwrap(), [client.ip, dns.ip()]);
        let socket = std::net::UdpSocket::bind(dns).unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(format!("dns {}", peer.ip()).as_bytes(), peer);
            }
        });
        assert_eq!(ask(&udp_from(&client, dns)).unwrap(), ("dns".into(), client.ip));
        assert!(refused(call_from(&client, at("172.44.0.10:9153"))));
    });
}

#[test]
fn a_service_may_lead_to_the_node_itself() {
    isolated(|| {
        let outside = Node::outside();
        let mut node = Node::new(44);
        let client = node.attach("client");
        let far = outside.attach("far");
        let listener = std::net::TcpListener::bind("0.0.0.0:80").unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let peer = stream.peer_addr().unwrap().ip();
                let _ = std::io::Write::write_all(&mut stream, format!("node {peer}").as_bytes());
            }
        });
        let extra = value!({ "type": "NodePort", "ports": [
            { "name": "t", "port": 8000, "protocol": "TCP", "nodePort": 30080 }] });
        node.service("s", "172.44.0.1", extra);
        // As the API server's own Service has it: an address of the node.
        node.endpoints("s", &[("10.99.0.1".parse().unwrap(), "n1")]);
        node.sync();
        let vip = at("172.44.0.1:8000");
        assert_eq!(call_from(&client, vip).unwrap(), ("node".into(), client.ip));
        assert_eq!(call(vip).unwrap().0, "node");
        assert_eq!(call_from(&far, at("10.99.0.1:30080")).unwrap().0, "node");
    });
}

#[test]
fn node_ports_follow_the_external_traffic_policy() {
    isolated(|| {
        let outside = Node::outside();
        let mut node = Node::new(44);
        let (a, b) = (node.server("a"), node.server("b"));
        let client = node.attach("client");
        let far = outside.attach("far");
        let by_port = at("10.99.0.1:30080");
        let spec = |policy: &str| {
            value!({
                "type": "NodePort", "externalTrafficPolicy": policy, "externalIPs": ["203.0.113.5"],
                "ports": [{ "name": "t", "port": 8000, "protocol": "TCP", "nodePort": 30080 }],
            })
        };
        node.service("s", "172.44.0.20", spec("Cluster"));
        node.endpoints("s", &[(a.ip, "n1"), (b.ip, "n2")]);
        node.sync();
        assert_eq!(who(40, || call_from(&far, by_port)), names(&["a", "b"]));
        // The answer must come back this way, so the client is masked.
        assert_eq!(call_from(&far, by_port).unwrap().1, at("10.44.0.1:0").ip());
        assert_eq!(who(40, || call(by_port)), names(&["a", "b"]), "from the node");
        // As upstream's proxy for nf_tables has it, not on the loopback address.
        assert!(refused(call(at("127.0.0.1:30080"))));
        assert_eq!(who(40, || call_from(&client, by_port)), names(&["a", "b"]), "from a pod");
        assert_eq!(who(40, || call_from(&a, by_port)), names(&["a", "b"]), "from an endpoint");
        assert_eq!(who(40, || call_from(&far, at("203.0.113.5:8000"))), names(&["a", "b"]));

        node.service("s", "172.44.0.20", spec("Local"));
        node.sync();
        check_kernel(&mut node);
        assert_eq!(who(20, || call_from(&far, by_port)), names(&["a"]));
        assert_eq!(call_from(&far, by_port).unwrap().1, far.ip, "the client is kept");
        assert_eq!(who(40, || call_from(&client, by_port)), names(&["a", "b"]));
        assert_eq!(who(40, || call(by_port)), names(&["a", "b"]));
        assert_eq!(who(20, || call_from(&far, at("203.0.113.5:8000"))), names(&["a"]));
        node.endpoints("s", &[(b.ip, "n2")]);
        node.sync();
        assert!(silent(call_from(&far, by_port)), "no endpoint here");
        assert_eq!(call(by_port).unwrap().0, "b");
        // The node's own ports are not touched.
        assert!(refused(call_from(&far, at("10.99.0.1:30081"))));
    });
}

#[test]
fn a_client_stays_with_its_endpoint() {
    isolated(|| {
        let mut node = Node::new(44);
        let pods = ["a", "b", "c"].map(|n| node.server(n));
        let clients = [0, 1, 2, 3, 4, 5].map(|i| node.attach(&format!("client{i}")));
        let vip = at("172.44.0.20:8000");
        node.service(
            "s",
            "172.44.0.20",
            value!({
                "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 2 } },
            }),
        );
        node.endpoints("s", &ends(&[&pods[0], &pods[1], &pods[2]], "n1"));
        node.sync();
        let mut all = BTreeSet::new();
        for client in &clients {
            let first = who(10, || call_from(client, vip));
            assert_eq!(first.len(), 1, "{first:?}");
            all.extend(first);
        }
        assert!(all.len() > 1, "clients spread");
        // A restart of the proxy keeps them.
        let before = call_from(&clients[0], vip).unwrap().0;
        let everything = node.proxy.everything();
        node.table.load(&everything).unwrap();
        assert_eq!(who(10, || call_from(&clients[0], vip)), names(&[&before]));
        // Its endpoint goes: it gets another and stays with that.
        let rest: Vec<&PodNet> = pods.iter().filter(|p| p.uid != before).collect();
        node.endpoints("s", &ends(&rest, "n1"));
        node.sync();
        let next = who(12, || call_from(&clients[0], vip));
        assert!(next.len() == 1 && !next.contains(&before), "{next:?}");
        // In time it is forgotten.
        let start = std::time::Instant::now();
        while !node.table.dump().unwrap()["affinity"].is_empty() {
            assert!(start.elapsed() < std::time::Duration::from_secs(30), "it is never forgotten");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    });
}

#[test]
fn udp_clients_leave_an_endpoint_that_goes() {
    isolated(|| {
        let mut node = Node::new(44);
        let (a, b) = (node.server("a"), node.server("b"));
        let client = node.attach("client");
        let vip: SocketAddr = at("172.44.0.20:8000");
        node.service("s", "172.44.0.20", value!({}));
        node.endpoints("s", &ends(&[&a], "n1"));
        node.sync();
        let socket = udp_from(&client, vip);
        assert_eq!(ask(&socket).unwrap().0, "a");
        assert_eq!(ask(&socket).unwrap().0, "a");
        node.endpoints("s", &ends(&[&b], "n1"));
        node.sync();
        assert_eq!(ask(&socket).unwrap().0, "b", "the same client port");
        node.endpoints("s", &[]);
        node.sync();
        assert!(ask(&socket).is_err());
        node.endpoints("s", &ends(&[&a], "n1"));
        node.sync();
        let _ = ask(&socket); // What was refused before may be reported here.
        assert_eq!(ask(&socket).unwrap().0, "a");
    });
}

#[test]
fn load_balancer_addresses_admit_their_source_ranges() {
    isolated(|| {
        let outside = Node::outside();
        let mut node = Node::new(44);
        let a = node.server("a");
        let (one, two) = (outside.attach("one"), outside.attach("two"));
        let balancer = at("203.0.113.9:8000");
        node.service(
            "s",
            "172.44.0.20",
            value!({
                "type": "LoadBalancer",
                "loadBalancerSourceRanges": ["10.99.0.2/32", "198.51.100.0/24", "198.51.100.7/32"],
                "status": { "loadBalancer": { "ingress": [{ "ip": "203.0.113.9" }] } },
            }),
        );
        node.endpoints("s", &ends(&[&a], "n1"));
        node.sync();
        check_kernel(&mut node);
        assert_eq!(call_from(&one, balancer).unwrap().0, "a");
        assert!(silent(call_from(&two, balancer)));
        node.service(
            "s",
            "172.44.0.20",
            value!({
                "type": "LoadBalancer",
                "status": { "loadBalancer": { "ingress": [{ "ip": "203.0.113.9" }] } },
            }),
        );
        node.sync();
        assert_eq!(call_from(&two, balancer).unwrap().0, "a");
    });
}

#[test]
fn a_thousand_services_load_and_change_fast() {
    isolated(|| {
        let mut node = Node::new(44);
        let a = node.server("a");
        let ip = |n: u32| IpAddr::from([10, 44, (n / 200) as u8 + 1, (n % 200) as u8 + 2]);
        let slots = |n: u32, skip: u32| -> Vec<(IpAddr, &'static str)> {
            (skip..10).map(|i| (ip(n * 10 + i), "n2")).collect()
        };
        for n in 0..1000 {
            let vip = format!("172.44.{}.{}", 1 + n / 250, n % 250);
            node.service(&format!("s{n}"), &vip, value!({}));
            node.endpoints(&format!("s{n}"), &slots(n, 0));
        }
        let everything = node.proxy.changes();
        let start = Instant::now();
        node.table.load(&everything).unwrap();
        let load = start.elapsed();
        check_kernel(&mut node);
        let mut worst = std::time::Duration::ZERO;
        for n in 0..200 {
            node.endpoints(&format!("s{n}"), &slots(n, 1));
            let start = Instant::now();
            let changes = node.proxy.changes();
            node.table.apply(&changes).unwrap();
            worst = worst.max(start.elapsed());
        }
        check_kernel(&mut node);
        println!("1,000 services: load {load:?}, worst change {worst:?}");
        assert!(load.as_secs() < 5 && worst.as_millis() < 500, "{load:?} {worst:?}");
        node.endpoints("s7", &ends(&[&a], "n1"));
        node.sync();
        assert_eq!(call(at("172.44.1.7:8000")).unwrap().0, "a");
        // Everything goes again.
        (0..1000).for_each(|n| node.delete_service(&format!("s{n}")));
        node.sync();
        check_kernel(&mut node);
    });
}

#[test]
fn a_bad_batch_changes_nothing() {
    isolated(|| {
        let mut node = Node::new(44);
        node.service("s", "172.44.0.20", value!({}));
        node.endpoints("s", &[("10.44.0.9".parse().unwrap(), "n2")]);
        node.sync();
        let mut changes: Changes = node.proxy.everything();
        changes.remove = vec![changes.add[0]];
        let error = node.table.apply(&changes).unwrap_err().to_string();
        assert!(error.contains("timonier-44-services") && error.contains("exist"), "{error}");
        check_kernel(&mut node);
    });
}
