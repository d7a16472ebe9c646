//! Questions over the wire to the cluster's DNS server.

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::{Cluster, isolated};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};
use timonier_meta::gvk::resources::{ENDPOINTSLICES, NAMESPACES, SERVICES};
use timonier_node::dns::{DnsConfig, DnsServer};
use timonier_object::value;
use timonier_traffic::Cidr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(8);

/// A query's bytes.
fn question(name: &str, kind: RecordType) -> Vec<u8> {
    // Recursion desired, one question.
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(u16::from(kind).to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

async fn ask(server: SocketAddr, name: &str, kind: RecordType) -> Message {
    ask_from(Ipv4Addr::UNSPECIFIED, server, name, kind).await
}

async fn ask_from(own: Ipv4Addr, server: SocketAddr, name: &str, kind: RecordType) -> Message {
    let socket = UdpSocket::bind((own, 0)).await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(&question(name, kind)).await.unwrap();
    let mut buffer = [0; 4096];
    let n = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    Message::from_vec(&buffer[..n]).unwrap()
}

async fn ask_tcp(server: SocketAddr, name: &str, kind: RecordType) -> Message {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let question = question(name, kind);
    stream.write_u16(question.len() as u16).await.unwrap();
    stream.write_all(&question).await.unwrap();
    let length = stream.read_u16().await.unwrap();
    let mut buffer = vec![0; length as usize];
    stream.read_exact(&mut buffer).await.unwrap();
    Message::from_vec(&buffer).unwrap()
}

fn addresses(message: &Message) -> Vec<IpAddr> {
    let address = |data: &RData| match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(a) => Some(IpAddr::V6(a.0)),
        _ => None,
    };
    message.answers.iter().filter_map(|r| address(&r.data)).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A resolver of the host: everything is 192.0.2.55, but names that end in `nowhere`.
async fn host_resolver(address: Ipv4Addr) {
    let socket = UdpSocket::bind((address, 53)).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let Ok((n, client)) = socket.recv_from(&mut buffer).await else { return };
            let asked = Message::from_vec(&buffer[..n]).unwrap();
            let nowhere = asked.queries[0].name().to_string().ends_with("nowhere.");
            let is_a = asked.queries[0].query_type() == RecordType::A;
            let end = question_end(&buffer[..n]);
            let mut answer = buffer[..end].to_vec();
            answer[2] = 0x81;
            answer[3] = if nowhere { 0x83 } else { 0x80 };
            answer[6..12].fill(0);
            if !nowhere && is_a {
                answer[7] = 1;
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 55]);
            }
            socket.send_to(&answer, client).await.unwrap();
        }
    });
}

fn question_end(message: &[u8]) -> usize {
    let mut at = 12;
    while message[at] != 0 {
        at += 1 + message[at] as usize;
    }
    at + 5
}

#[test]
fn names_of_the_cluster_and_of_the_world() {
    isolated(|| async {
        common::lo_up();
        host_resolver(Ipv4Addr::new(127, 0, 0, 77)).await;
        let directory = std::env::temp_dir().join(format!("timonier-dns-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let resolv_conf = directory.join("resolv.conf");
        // Its own address among the resolvers must not make it ask itself.
        std::fs::write(
            &resolv_conf,
            "search x.example\nnameserver 127.0.0.1\nnameserver 127.0.0.77\n",
        )
        .unwrap();
        let cluster = Cluster::new();
        cluster.put(&NAMESPACES, value!({ "metadata": { "name": "java" } }));
        cluster.put(
            &SERVICES,
            value!({
                "metadata": { "name": "nginx", "namespace": "java" },
                "spec": { "clusterIP": "10.96.3.4", "ports": [{ "port": 80 }] },
            }),
        );
        cluster.put(
            &SERVICES,
            value!({
                "metadata": { "name": "ext", "namespace": "java" },
                "spec": { "type": "ExternalName", "externalName": "www.example.org" },
            }),
        );
        let config = DnsConfig {
            port: 0,
            resolv_conf: resolv_conf.clone(),
            ..DnsConfig::new(Ipv4Addr::LOCALHOST.into(), "cluster.local")
        };
        let server = DnsServer::bind(&config).await.unwrap();
        let (at, names) = (server.address(), server.names());
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(cluster.caches(), stop.clone()));
        while !names.is_ready() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }

        let name = "nginx.java.svc.cluster.local";
        let message = ask(at, "NginX.java.svc.cluster.local", RecordType::A).await;
        assert_eq!(addresses(&message), [ip("10.96.3.4")]);
        assert!(message.metadata.authoritative && message.metadata.recursion_available);
        assert_eq!(message.answers[0].name.to_string(), "NginX.java.svc.cluster.local.");
        assert_eq!(addresses(&ask_tcp(at, name, RecordType::A).await), [ip("10.96.3.4")]);
        let message = ask(at, name, RecordType::AAAA).await;
        assert_eq!(message.metadata.response_code, ResponseCode::NoError);
        assert!(message.answers.is_empty() && message.authorities.len() == 1);
        let message = ask(at, "no.java.svc.cluster.local", RecordType::A).await;
        assert_eq!(message.metadata.response_code, ResponseCode::NXDomain);
        // What pods' search lists make of a name is not there, and the name itself is.
        let message = ask(at, "www.example.org.java.svc.cluster.local", RecordType::A).await;
        assert_eq!(message.metadata.response_code, ResponseCode::NXDomain);
        let message = ask(at, "www.example.org", RecordType::A).await;
        assert_eq!(addresses(&message), [ip("192.0.2.55")]);
        let message = ask(at, "www.nowhere", RecordType::A).await;
        assert_eq!(message.metadata.response_code, ResponseCode::NXDomain);
        // An alias comes with what it stands for.
        let message = ask(at, "ext.java.svc.cluster.local", RecordType::A).await;
        assert_eq!((message.answers.len(), addresses(&message)), (2, vec![ip("192.0.2.55")]));

        // A change is known at once.
        cluster.put(
            &ENDPOINTSLICES,
            value!({
                "metadata": { "name": "db-1", "namespace": "java",
                              "labels": { "kubernetes.io/service-name": "db" } },
                "ports": [{ "name": "sql", "port": 5432, "protocol": "TCP" }],
                "endpoints": [{ "addresses": ["10.244.0.5"], "hostname": "db-0" },
                              { "addresses": ["10.244.0.6"], "hostname": "db-1" }],
            }),
        );
        cluster.put(
            &SERVICES,
            value!({
                "metadata": { "name": "db", "namespace": "java" },
                "spec": { "clusterIP": "None", "ports": [{ "name": "sql", "port": 5432 }] },
            }),
        );
        let db = "db.java.svc.cluster.local";
        let start = std::time::Instant::now();
        while ask(at, db, RecordType::A).await.answers.len() != 2 {
            assert!(start.elapsed() < Duration::from_secs(5));
        }
        // The first of the answers changes.
        let mut firsts = std::collections::BTreeSet::new();
        for _ in 0..4 {
            firsts.insert(addresses(&ask(at, db, RecordType::A).await)[0]);
        }
        assert_eq!(firsts.len(), 2);
        let message = ask(at, "_sql._tcp.db.java.svc.cluster.local", RecordType::SRV).await;
        assert_eq!((message.answers.len(), message.additionals.len()), (2, 2));
        let message = ask(at, "5.0.244.10.in-addr.arpa", RecordType::PTR).await;
        assert_eq!(message.answers[0].data.to_string(), "db-0.db.java.svc.cluster.local.");
        cluster.remove(&SERVICES, "java", "nginx");
        let start = std::time::Instant::now();
        while !ask(at, name, RecordType::A).await.answers.is_empty() {
            assert!(start.elapsed() < Duration::from_secs(5));
        }

        // Nobody to ask: a clear failure, and the cluster's names still answer.
        std::fs::write(&resolv_conf, "nameserver 127.0.0.1\n").unwrap();
        let start = std::time::Instant::now();
        let code = |message: Message| message.metadata.response_code;
        while code(ask(at, "www.example.net", RecordType::A).await) != ResponseCode::ServFail {
            assert!(start.elapsed() < Duration::from_secs(30));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(ask(at, db, RecordType::A).await.answers.len(), 2);
        stop.cancel();
        task.await.unwrap();
        assert!(DnsServer::bind(&DnsConfig { port: at.port(), ..config }).await.is_ok());
        std::fs::remove_dir_all(directory).unwrap();
    });
}

#[test]
fn strangers_are_refused() {
    isolated(|| async {
        common::lo_up();
        let (pod, stranger) = (Ipv4Addr::new(10, 244, 0, 7), Ipv4Addr::new(192, 0, 2, 7));
        for address in [pod, stranger] {
            let address = format!("{address}/32");
            let done = std::process::Command::new("ip")
                .args(["addr", "add", &address, "dev", "lo"])
                .status();
            assert!(done.unwrap().success());
        }
        let config = DnsConfig {
            port: 0,
            resolv_conf: "/nonexistent".into(),
            clients: vec![Cidr::parse("10.244.0.0/16").unwrap()],
            ..DnsConfig::new(Ipv4Addr::LOCALHOST.into(), "cluster.local")
        };
        let server = DnsServer::bind(&config).await.unwrap();
        let at = server.address();
        let stop = CancellationToken::new();
        let cluster = Cluster::new();
        let task = tokio::spawn(server.run(cluster.caches(), stop.clone()));
        for name in ["kubernetes.default.svc.cluster.local", "www.example.net"] {
            let code = |message: Message| message.metadata.response_code;
            let answer = code(ask_from(stranger, at, name, RecordType::A).await);
            assert_eq!(answer, ResponseCode::Refused, "{name}");
            for own in [pod, Ipv4Addr::LOCALHOST] {
                let answer = code(ask_from(own, at, name, RecordType::A).await);
                assert_ne!(answer, ResponseCode::Refused, "{name}");
            }
        }
        stop.cancel();
        task.await.unwrap();
    });
}

#[test]
fn an_address_of_somebody_else_is_named_in_the_error() {
    isolated(|| async {
        common::lo_up();
        let config = DnsConfig::new("192.0.2.10".parse().unwrap(), "cluster.local");
        let error = DnsServer::bind(&config).await.err().unwrap().to_string();
        assert!(error.contains("cluster DNS on 192.0.2.10 port 53"), "{error}");
    });
}
