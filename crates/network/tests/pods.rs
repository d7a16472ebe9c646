//! Pods of a node: their addresses, their ways, what a restart finds and what is left at the end.
#![allow(unsafe_code)]

mod common;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use common::*;
use timonier_network::{Error, HostPort, PodNet, PodNetwork, PodRequest, pod_mtu};
use timonier_traffic::Protocol;

#[test]
fn pods_reach_each_other_the_node_and_the_outside() {
    isolated(|| {
        let outside = Node::outside();
        let node = Node::new(44);
        let (a, b) = (node.server("a"), node.server("b"));
        let far = outside.server("far");
        assert_eq!((a.ip, b.ip), (ip(44, 2), ip(44, 3)));
        let to = |ip: IpAddr| (ip, 80).into();
        assert_eq!(call_from(&a, to(b.ip)).unwrap(), ("b".into(), a.ip));
        // The node itself is seen as the gateway.
        assert_eq!(call(to(a.ip)).unwrap(), ("a".into(), ip(44, 1)));
        // To the outside a pod has an address of the node.
        let (name, seen) = call_from(&a, to(far.ip)).unwrap();
        assert_eq!(name, "far");
        assert!(seen == ip(44, 1) || seen == ip(99, 1), "{seen}");
        // A pod reaches its node by any of the node's addresses.
        let listener = std::net::TcpListener::bind("0.0.0.0:7000").unwrap();
        let answer = std::thread::spawn(move || listener.accept().unwrap().1.ip());
        let _ = call_from(&a, (ip(99, 1), 7000).into());
        assert_eq!(answer.join().unwrap(), a.ip);
    });
}

#[test]
fn a_restart_finds_pods_and_a_crash_leaves_nothing_half_made() {
    isolated(|| {
        let mut node = Node::new(44);
        let (a, b) = (node.server("a"), node.server("b"));
        assert_eq!(node.attach("a"), a, "a pod keeps what it has");
        // A reboot takes the namespaces and leaves the records.
        let gone = node.attach("gone");
        nix::mount::umount(&gone.netns_path).unwrap();
        // The process dies while it makes a pod, and someone removes an interface.
        let part = node.directory.join("pods/c.part");
        fs::write(&part, "ip 10.44.0.9\ninterface t44x0009\n").unwrap();
        fs::write(node.directory.join("netns/c"), "").unwrap();
        fs::write(node.directory.join("netns/stray"), "").unwrap();
        let pods =
            node.runtime.block_on(async { PodNetwork::open(node.config.clone()).await.unwrap() });
        node.pods = pods;
        assert_eq!(node.pods.list(), [a.clone(), b.clone()]);
        assert!(!part.exists() && !node.directory.join("netns/stray").exists());
        assert_eq!(call_from(&b, (a.ip, 80).into()).unwrap().0, "a");
        let c = node.attach("c");
        assert_eq!(c.ip, ip(44, 4));
        // Other programs take things away.
        ip_command("link delete t44x-gw");
        assert!(call_from(&b, (a.ip, 80).into()).is_err());
        fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        node.runtime.block_on(node.pods.repair()).unwrap();
        assert_eq!(call((a.ip, 80).into()).unwrap(), ("a".into(), ip(44, 1)));
        assert_eq!(call_from(&b, (a.ip, 80).into()).unwrap().0, "a");
        node.runtime.block_on(node.pods.detach("b")).unwrap();
        node.runtime.block_on(node.pods.detach("b")).unwrap();
        assert!(!b.netns_path.exists());
        assert!(call((b.ip, 80).into()).is_err());
        // The address rests until others have been used.
        assert_eq!(node.attach("d").ip, ip(44, 5));
        assert_eq!(call_from(&c, (a.ip, 80).into()).unwrap().0, "a");
    });
}

#[test]
fn host_ports_lead_to_their_pod() {
    isolated(|| {
        let outside = Node::outside();
        let node = Node::new(44);
        let port = |host_port| HostPort {
            host_ip: Ipv4Addr::UNSPECIFIED,
            protocol: Protocol::Tcp,
            host_port,
            container_port: 80,
        };
        let request = |uid: &str, host_port| PodRequest {
            uid: uid.into(),
            host_ports: vec![port(host_port)],
            ..PodRequest::default()
        };
        let pod = node.request(request("a", 8080)).unwrap();
        serve(&pod, 80);
        let far = outside.attach("far");
        let by_port = (ip(99, 1), 8080).into();
        assert_eq!(call_from(&far, by_port).unwrap(), ("a".into(), far.ip));
        assert_eq!(call(by_port).unwrap().0, "a", "from the node");
        assert_eq!(call_from(&pod, by_port).unwrap().0, "a", "from itself");
        let taken = node.request(request("b", 8080)).unwrap_err();
        assert!(matches!(taken, Error::PortTaken(_)), "{taken}");
        node.runtime.block_on(node.pods.detach("a")).unwrap();
        assert!(refused(call_from(&far, by_port)));
        node.request(request("b", 8080)).unwrap();
    });
}

fn host_port(host_ip: &str, protocol: Protocol, host_port: u16) -> HostPort {
    HostPort { host_ip: host_ip.parse().unwrap(), protocol, host_port, container_port: 80 }
}

#[test]
fn host_ports_answer_the_node_on_its_loopback_address() {
    isolated(|| {
        let outside = Node::outside();
        let mut node = Node::new(44);
        let far = outside.attach("far");
        let served = |uid: &str, host_ports: Vec<HostPort>| {
            let request = PodRequest { uid: uid.into(), host_ports, ..PodRequest::default() };
            let pod = node.request(request).unwrap();
            serve(&pod, 80);
            pod
        };
        let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
        // The same port thrice, apart in address or protocol.
        let local = [host_port("127.0.0.1", tcp, 8080), host_port("127.0.0.1", udp, 8081)];
        served("local", local.into());
        let there = [host_port("10.99.0.1", tcp, 8080), host_port("10.99.0.1", udp, 8081)];
        served("there", there.into());
        served("datagrams", vec![host_port("0.0.0.0", udp, 8080)]);
        let ask_as = |source: &str, to: &str| {
            let socket = std::net::UdpSocket::bind((source, 0)).unwrap();
            socket.connect(to).unwrap();
            socket.set_read_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
            ask(&socket).unwrap()
        };
        assert_eq!(call(at("127.0.0.1:8080")).unwrap(), ("local".into(), ip(44, 1)));
        assert_eq!(call(at("10.99.0.1:8080")).unwrap().0, "there");
        assert_eq!(call_from(&far, at("10.99.0.1:8080")).unwrap(), ("there".into(), far.ip));
        assert_eq!(ask_as("0.0.0.0", "127.0.0.1:8081"), ("local".into(), ip(44, 1)));
        // An address of the node that a pod can answer to stays as it is.
        assert_eq!(ask_as("10.99.0.1", "127.0.0.1:8081"), ("local".into(), ip(99, 1)));
        for to in ["127.0.0.1:8080", "127.0.0.9:8080", "10.99.0.1:8080"] {
            assert_eq!(ask_as("0.0.0.0", to).0, "datagrams", "{to}");
        }
        assert!(refused(call(at("127.0.0.2:8080"))), "another loopback address");
        // Only interfaces of pods with host ports have the setting.
        let plain = node.attach("plain").interface;
        let setting = |interface: &str| {
            let path = format!("/proc/sys/net/ipv4/conf/{interface}/route_localnet");
            fs::read_to_string(path).unwrap().trim().to_owned()
        };
        for other in ["all", "default", "lo", "t44x-gw", &plain] {
            assert_eq!(setting(other), "0", "{other}");
        }
        node.pods =
            node.runtime.block_on(async { PodNetwork::open(node.config.clone()).await.unwrap() });
        assert_eq!(call(at("127.0.0.1:8080")).unwrap(), ("local".into(), ip(44, 1)));
        assert_eq!(ask_as("10.99.0.1", "127.0.0.1:8081"), ("local".into(), ip(99, 1)));
        node.runtime.block_on(node.pods.detach("local")).unwrap();
        assert!(refused(call(at("127.0.0.1:8080"))));
        assert_eq!(call(at("10.99.0.1:8080")).unwrap().0, "there");
    });
}

#[test]
fn a_pod_with_host_ports_does_not_reach_the_loopback_address_of_the_node() {
    isolated(|| {
        let node = Node::new(44);
        let host_ports = vec![host_port("0.0.0.0", Protocol::Tcp, 8080)];
        let pod = PodRequest { uid: "a".into(), host_ports, ..PodRequest::default() };
        let pod = node.request(pod).unwrap();
        let secret = std::net::UdpSocket::bind("127.0.0.1:9000").unwrap();
        let patience = std::time::Duration::from_millis(300);
        secret.set_read_timeout(Some(patience)).unwrap();
        let open = std::net::UdpSocket::bind("10.44.0.1:9000").unwrap();
        open.set_read_timeout(Some(patience)).unwrap();
        // A pod with every power over its own network: it sends what is for 127.0.0.1 to the
        // node, from its own address and from 127.0.0.1.
        inside(&pod, || {
            fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap();
            ip_command("address del 127.0.0.1/8 dev lo");
            ip_command("route add 127.0.0.1/32 via 10.44.0.1 dev eth0");
            ip_command("address add 127.0.0.3/32 dev eth0");
            for (source, to) in [
                ("10.44.0.2", "127.0.0.1:9000"),
                ("127.0.0.3", "127.0.0.1:9000"),
                ("127.0.0.3", "10.44.0.1:9000"),
                ("10.44.0.2", "10.44.0.1:9000"),
            ] {
                let socket = std::net::UdpSocket::bind((source, 0)).unwrap();
                socket.send_to(source.as_bytes(), to).unwrap();
            }
        });
        let mut buffer = [0; 64];
        let (n, from) = open.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..n], from.ip()), (&b"10.44.0.2"[..], pod.ip), "only the honest one");
        assert!(open.recv_from(&mut buffer).is_err() && secret.recv_from(&mut buffer).is_err());
    });
}

#[test]
fn nothing_is_left_and_two_clusters_do_not_disturb_each_other() {
    isolated(|| {
        let forwarding = || fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
        fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        let mut one = Node::new(44);
        let mut config = one.config.clone();
        config.state_dir = config.state_dir.join("two");
        config.node_pod_cidr = "10.45.0.0/24".parse_cidr();
        config.cluster_pod_cidr = "10.45.0.0/16".parse_cidr();
        config.service_cidr = "172.45.0.0/16".parse_cidr();
        config.dns_ip = Some(Ipv4Addr::new(172, 45, 0, 10));
        config.interface_prefix = "t4".into();
        config.table = "timonier-45".into();
        let two = Node::open(config);
        let (a, b) = (one.server("a"), two.server("b"));
        one.service("s", "172.44.0.7", timonier_object::value!({}));
        one.endpoints("s", &[(a.ip, "n1")]);
        one.sync();
        assert_eq!(call(at("172.44.0.7:8000")).unwrap().0, "a");
        assert_eq!(forwarding().trim(), "1");

        two.teardown();
        assert_eq!(call(at("172.44.0.7:8000")).unwrap().0, "a");
        assert_eq!(forwarding().trim(), "1", "the other cluster needs it");
        assert!(!b.netns_path.exists());
        one.teardown();
        one.teardown();
        assert_eq!(forwarding().trim(), "0");
        let links = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let names: Vec<&str> =
            links.lines().filter_map(|l| l.split_once(':')).map(|l| l.0.trim()).collect();
        assert!(names.iter().all(|n| !n.starts_with("t4")), "{names:?}");
        let routes = fs::read_to_string("/proc/thread-self/net/fib_trie").unwrap();
        assert!(!routes.contains("172.4") && !routes.contains("10.4"), "{routes}");
        assert!(!one.directory.exists() && !one.config.shared_dir.exists());
        assert!(!mounted(&one.directory), "no mount is left");
        let mut table = timonier_network::ServiceTable::open(&one.config).unwrap();
        assert!(table.dump().is_err(), "no table is left");
    });
}

#[test]
fn this_kernel_has_what_is_needed_and_low_ports_are_free_in_pods() {
    isolated(|| {
        let node = Node::new(44);
        let missing = node.runtime.block_on(timonier_network::missing_features(true)).unwrap();
        assert_eq!(missing, Vec::<String>::new());
        let pod = node.attach("a");
        let setting = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
        let read = move || fs::read_to_string(setting).unwrap().trim().to_owned();
        assert_eq!(inside(&pod, read), "0");
        assert_eq!(read(), "1024", "the node's own is untouched");
    });
}

#[test]
fn the_mtu_follows_the_uplink() {
    isolated(|| {
        let of = |ip: Option<&str>| pod_mtu(ip.map(|ip| ip.parse().unwrap())).unwrap();
        assert_eq!((of(None), of(Some("192.0.2.1"))), (1450, 1450), "no network at all");
        let uplink = |name: &str, mtu: u32, address: &str| {
            ip_command(&format!("link add {name} mtu {mtu} type veth peer name {name}-far"));
            ip_command(&format!("address add {address} dev {name}"));
            ip_command(&format!("link set {name} up"));
            ip_command(&format!("link set {name}-far up"));
        };
        uplink("one", 1400, "192.0.2.1/24");
        uplink("two", 9000, "198.51.100.1/24");
        assert_eq!((of(Some("192.0.2.1")), of(Some("198.51.100.1"))), (1350, 8950));
        assert_eq!(of(None), 1450, "no default route yet");
        ip_command("route add default via 192.0.2.254 metric 200");
        assert_eq!(of(None), 1350);
        ip_command("route add default via 198.51.100.254 metric 100");
        assert_eq!(of(None), 8950, "the least metric");
        ip_command("link set lo up");
        ip_command("address add 203.0.113.1/32 dev lo");
        assert_eq!(of(Some("203.0.113.1")), 8950, "an address that no uplink holds");
        ip_command("link set two mtu 600");
        assert_eq!(of(None), 576, "not below what every host takes");

        // Pods have it, and the interfaces of the node follow at the next start.
        let mut config = Node::configuration(44);
        config.mtu = of(Some("192.0.2.1"));
        let mut node = Node::open(config.clone());
        let old = node.server("old");
        let mtu_in = |pod: &PodNet| inside(pod, || mtu_of("eth0"));
        assert_eq!((mtu_in(&old), mtu_of(&old.interface), mtu_of("t44x-gw")), (1350, 1350, 1350));
        config.mtu = 8950;
        node.pods = node.runtime.block_on(PodNetwork::open(config)).unwrap();
        let new = node.server("new");
        assert_eq!((mtu_in(&old), mtu_in(&new), mtu_of("t44x-gw")), (1350, 8950, 8950));
        // They talk.
        assert_eq!(call_from(&old, (new.ip, 80).into()).unwrap().0, "new");
        assert_eq!(call_from(&new, (old.ip, 80).into()).unwrap().0, "old");
        let socket = udp_from(&new, (old.ip, 80).into());
        // The node says that this is too long for the other; then the kernel sends it in pieces.
        let heard = (0..5).find_map(|_| {
            let _ = socket.send(&[b'x'; 4000]);
            let mut buffer = [0; 64];
            socket
                .recv(&mut buffer)
                .ok()
                .map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned())
        });
        assert_eq!(heard.unwrap(), format!("old {}", new.ip));
    });
}

#[test]
fn a_pod_takes_about_a_millisecond() {
    isolated(|| {
        let node = Node::new(44);
        let start = Instant::now();
        for i in 0..100 {
            node.attach(&format!("p{i}"));
        }
        let each = start.elapsed() / 100;
        println!("attach: {each:?} a pod");
        let error = {
            let mut error = None;
            for i in 100..300 {
                let uid = format!("p{i}");
                if let Err(e) = node.request(PodRequest { uid, ..PodRequest::default() }) {
                    error = Some((i, e.to_string()));
                    break;
                }
            }
            error.unwrap()
        };
        // 256 addresses without network, gateway and broadcast.
        let text = "no IP addresses available in range set: 10.44.0.0/24".to_owned();
        assert_eq!(error, (253, text));
        assert!(each.as_millis() < 50, "{each:?}");
    });
}

fn ip(range: u8, host: u8) -> IpAddr {
    Ipv4Addr::new(10, range, 0, host).into()
}

fn mounted(below: &std::path::Path) -> bool {
    let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap();
    mounts.contains(below.to_str().unwrap())
}

trait ParseCidr {
    fn parse_cidr(&self) -> timonier_traffic::Cidr;
}

impl ParseCidr for str {
    fn parse_cidr(&self) -> timonier_traffic::Cidr {
        timonier_traffic::Cidr::parse(self).unwrap()
    }
}
