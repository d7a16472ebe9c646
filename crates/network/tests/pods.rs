//! Pods of a node: their addresses, their ways, what a restart finds and what is left at the end.
#![allow(unsafe_code)]

mod common;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use common::*;
use timonier_network::{Error, HostPort, PodRequest};
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
        let pods = node.runtime.block_on(async {
            timonier_network::PodNetwork::open(node.config.clone()).await.unwrap()
        });
        node.pods = pods;
        assert_eq!(node.pods.list(), [a.clone(), b.clone()]);
        assert!(!part.exists() && !node.directory.join("netns/stray").exists());
        assert_eq!(call_from(&b, (a.ip, 80).into()).unwrap().0, "a");
        let c = node.attach("c");
        assert_eq!(c.ip, ip(44, 4));
        // Other programs take things away.
        let mut command = std::process::Command::new("ip");
        let done = command.args(["link", "delete", "t44x-gw"]).status();
        assert!(done.is_ok_and(|status| status.success()), "the test needs the program `ip`");
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
