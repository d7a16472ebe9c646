//! Two nodes, and the way between their pods. The second node lives in a pod of another cluster.
#![allow(unsafe_code)]

mod common;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::channel;

use common::*;
use timonier_network::{NetworkConfig, Overlay, OverlayConfig, PodNet};
use timonier_object::value;
use timonier_traffic::Cidr;
use timonier_traffic::overlay::Peer;

fn peer(name: &str, address: IpAddr, range: u8) -> Peer {
    let IpAddr::V4(address) = address else { panic!("IPv4") };
    let pod_cidr = Cidr::new(Ipv4Addr::new(10, range, 0, 0).into(), 24).unwrap();
    Peer { name: name.into(), address, pod_cidr }
}

const BYTES: usize = 1 << 20;

/// A node of the cluster 10.44.0.0/15.
fn configuration(range: u8) -> NetworkConfig {
    let mut config = Node::configuration(range);
    config.cluster_pod_cidr = Cidr::parse("10.44.0.0/15").unwrap();
    config.service_cidr = Cidr::parse("172.44.0.0/16").unwrap();
    config.dns_ip = Some(Ipv4Addr::new(172, 44, 0, 10));
    config
}

/// Such a node with the overlay, with the MTU that suits its uplink.
fn node(range: u8, local: Ipv4Addr, peers: &[Peer]) -> (Node, Overlay) {
    let mut config = configuration(range);
    config.mtu = timonier_network::pod_mtu(Some(local)).unwrap();
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

/// A server that sends so many bytes to whoever connects.
fn pour(pod: &PodNet, bytes: usize) {
    let listener = inside(pod, || TcpListener::bind("0.0.0.0:81").unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(&vec![b'x'; bytes]);
        }
    });
}

/// How many bytes a pod gets.
fn drink(pod: &PodNet, from: IpAddr) -> usize {
    inside(pod, move || {
        let mut stream = TcpStream::connect((from, 81)).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        all.len()
    })
}

/// How many pieces the thread's namespace has made of packets that were too long.
fn pieces() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut lines = text.lines().filter_map(|l| l.strip_prefix("Ip: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let found = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "FragCreates");
    found.unwrap().1.parse().unwrap()
}

#[test]
fn packets_of_pods_fit_the_uplink_when_they_are_wrapped() {
    isolated(|| {
        let mut between = Node::configuration(99);
        between.cluster_pod_cidr = Cidr::parse("0.0.0.0/0").unwrap();
        between.mtu = 1400;
        let outside = Node::open(between);
        let far = outside.attach("host2");
        let here = Ipv4Addr::new(10, 99, 0, 1);
        let peers = [peer("n1", here.into(), 44), peer("n2", far.ip, 45)];
        // A pod that is there before the second node and the overlay are.
        let mut config = configuration(44);
        config.mtu = timonier_network::pod_mtu(Some(here)).unwrap();
        let one = Node::open(config);
        let a = one.attach("a");
        assert_eq!(inside(&a, || mtu_of("eth0")), 1350);
        pour(&a, BYTES);

        let (ready, other) = channel();
        let (done, finish) = channel::<()>();
        let (second_ip, its_peers) = (far.ip, peers.clone());
        let path = far.netns_path.clone();
        let second = std::thread::spawn(move || {
            enter(&path);
            let IpAddr::V4(local) = second_ip else { panic!("IPv4") };
            let (two, _overlay) = node(45, local, &its_peers);
            let b = two.attach("b");
            pour(&b, BYTES);
            ready.send((b.clone(), inside(&b, || mtu_of("eth0")))).unwrap();
            let _ = finish.recv();
            pieces()
        });
        let (b, mtu) = other.recv().unwrap();
        assert_eq!(mtu, 1350);
        let overlay = OverlayConfig { id: 44, port: 8472, local: here };
        let mut overlay = Overlay::open(&one.config, overlay).unwrap();
        overlay.set_peers(&peers).unwrap();
        assert_eq!(mtu_of("t44x-vx"), 1350);
        assert_eq!((drink(&a, b.ip), drink(&b, a.ip)), (BYTES, BYTES));
        // The longest datagram that needs no pieces: 28 bytes are headers.
        let socket = inside(&a, || UdpSocket::bind("0.0.0.0:82").unwrap());
        let to = inside(&b, || UdpSocket::bind("0.0.0.0:82").unwrap());
        to.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        socket.send_to(&[b'x'; 1350 - 28], (b.ip, 82)).unwrap();
        assert_eq!(to.recv(&mut [0; 2000]).unwrap(), 1350 - 28);
        drop(done);
        assert_eq!((pieces(), second.join().unwrap()), (0, 0));

        // A smaller uplink at the next start.
        let mut config = one.config.clone();
        config.mtu = 1250;
        Overlay::open(&config, OverlayConfig { id: 44, port: 8472, local: here }).unwrap();
        assert_eq!(mtu_of("t44x-vx"), 1250);
    });
}
