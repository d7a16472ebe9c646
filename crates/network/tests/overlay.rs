//! Two nodes, and the way between their pods. The second node lives in a pod of another cluster.
#![allow(unsafe_code)]

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc::channel;

use common::*;
use timonier_network::{Overlay, OverlayConfig};
use timonier_object::value;
use timonier_traffic::Cidr;
use timonier_traffic::overlay::Peer;

fn peer(name: &str, address: IpAddr, range: u8) -> Peer {
    let IpAddr::V4(address) = address else { panic!("IPv4") };
    let pod_cidr = Cidr::new(Ipv4Addr::new(10, range, 0, 0).into(), 24).unwrap();
    Peer { name: name.into(), address, pod_cidr }
}

/// A node of the cluster 10.44.0.0/15 with the overlay.
fn node(range: u8, local: Ipv4Addr, peers: &[Peer]) -> (Node, Overlay) {
    let mut config = Node::configuration(range);
    config.cluster_pod_cidr = Cidr::parse("10.44.0.0/15").unwrap();
    config.service_cidr = Cidr::parse("172.44.0.0/16").unwrap();
    config.dns_ip = Some(Ipv4Addr::new(172, 44, 0, 10));
    config.mtu = 1450;
    let node = Node::open(config);
    let overlay = OverlayConfig { id: 44, port: 8472, local };
    let mut overlay = Overlay::open(&node.config, overlay).unwrap();
    overlay.set_peers(peers).unwrap();
    (node, overlay)
}

#[test]
fn pods_and_services_reach_across_nodes() {
    isolated(|| {
        let outside = Node::outside();
        let far = outside.attach("host2");
        let here = Ipv4Addr::new(10, 99, 0, 1);
        let peers = [peer("n1", here.into(), 44), peer("n2", far.ip, 45)];
        let (mut one, mut overlay) = node(44, here, &peers);
        let a = one.server("a");

        // The other node runs on a thread in its namespace until this side is done.
        let (ready, other) = channel();
        let (done, finish) = channel::<()>();
        let (second_ip, its_peers, a_ip) = (far.ip, peers.clone(), a.ip);
        let path = far.netns_path.clone();
        let second = std::thread::spawn(move || {
            enter(&path);
            let IpAddr::V4(local) = second_ip else { panic!("IPv4") };
            let (two, _overlay) = node(45, local, &its_peers);
            let b = two.server("b");
            // From there to here: pod to pod with its own address, node to pod as the gateway.
            let from_pod = call_from(&b, (a_ip, 80).into()).unwrap();
            let from_node = call((a_ip, 80).into()).unwrap();
            ready.send((b.ip, from_pod, from_node)).unwrap();
            let _ = finish.recv();
        });
        let (b_ip, from_pod, from_node) = other.recv().unwrap();
        assert_eq!(from_pod, ("a".into(), b_ip));
        assert_eq!(from_node, ("a".into(), Ipv4Addr::new(10, 45, 0, 1).into()));
        assert_eq!(call_from(&a, (b_ip, 80).into()).unwrap(), ("b".into(), a.ip));

        // A Service whose endpoint is on the other node; from a pod, the node and outside.
        let spec = value!({ "type": "NodePort", "ports": [
            { "name": "t", "port": 8000, "protocol": "TCP", "nodePort": 30080 }] });
        one.service("s", "172.44.0.20", spec);
        one.endpoints("s", &[(b_ip, "n2")]);
        one.sync();
        let vip = at("172.44.0.20:8000");
        assert_eq!(call_from(&a, vip).unwrap(), ("b".into(), a.ip));
        assert_eq!(call(vip).unwrap().0, "b");
        let client = outside.attach("client");
        let (name, seen) = call_from(&client, at("10.99.0.1:30080")).unwrap();
        assert_eq!((name, seen), ("b".into(), Ipv4Addr::new(10, 44, 0, 1).into()));

        // Repeating changes nothing; a node that leaves takes its way with it.
        overlay.set_peers(&peers).unwrap();
        assert_eq!(call_from(&a, (b_ip, 80).into()).unwrap().0, "b");
        overlay.set_peers(&peers[..1]).unwrap();
        assert!(call_from(&a, (b_ip, 80).into()).is_err());
        let routes = std::fs::read_to_string("/proc/thread-self/net/route").unwrap();
        assert!(!routes.contains("-vx"), "{routes}");
        overlay.set_peers(&peers).unwrap();
        assert_eq!(call_from(&a, (b_ip, 80).into()).unwrap().0, "b");
        drop(done);
        second.join().unwrap();
    });
}
