//! The packet rules of pods: masquerade to the outside, host ports.

use std::net::{IpAddr, Ipv4Addr};

use timonier_traffic::Cidr;

use crate::netlink::Socket;
use crate::nft::{Batch, Data, ElementBytes, Expr, Hook, Set, Values, kernel as k};
use crate::services::encode::Key;
use crate::services::schema::{
    SOURCE_TO_0, concat, destination, port, protocol, source, to_this_node, within,
};
use crate::{NetworkConfig, PodNet, Result};

const PORTS: Set =
    Set { name: "hostports", key: &[4, 4, 4], values: Values::Bytes(8), ranges: false, dynamic: 0 };
const HAIRPIN: Set =
    Set { name: "hairpin", key: &[4, 4], values: Values::None, ranges: false, dynamic: 0 };

/// Before the rules of Services: a host port wins over a node port.
const BEFORE: i32 = -101;
const AFTER: i32 = 99;

/// Replaces the table by the rules for these pods, in one transaction.
pub fn load(socket: &mut Socket, config: &NetworkConfig, pods: &[PodNet]) -> Result<()> {
    let mut batch = Batch::new(&config.table);
    batch.add_table();
    batch.delete_table();
    batch.add_table();
    batch.add_set(&PORTS);
    batch.add_set(&HAIRPIN);
    for (name, hook, priority) in [
        ("prerouting", k::PREROUTING, BEFORE),
        ("output", k::OUTPUT, BEFORE),
        ("postrouting", k::POSTROUTING, AFTER),
    ] {
        batch.add_chain(name, Some(Hook { kind: "nat", hook, priority }));
    }
    for chain in ["prerouting", "output"] {
        for address in [destination(0), Expr::Load { to: 0, value: vec![0; 4] }] {
            let lookup = vec![
                address,
                protocol(1),
                port(2),
                Expr::Map { map: PORTS.name, key: 0, to: 3 },
                Expr::Dnat { address: 3, port: 4 },
            ];
            batch.add_rule(chain, &concat([to_this_node(), lookup]));
        }
    }
    for rule in postrouting(config) {
        batch.add_rule("postrouting", &rule);
    }
    for pod in pods {
        batch.add_elements(PORTS.name, &ports(pod));
        batch.add_elements(HAIRPIN.name, &hairpin(pod));
    }
    batch.commit(socket)
}

/// Opens a pod's host ports.
pub fn add(socket: &mut Socket, config: &NetworkConfig, pod: &PodNet) -> Result<()> {
    let mut batch = Batch::new(&config.table);
    batch.add_elements(PORTS.name, &ports(pod));
    batch.add_elements(HAIRPIN.name, &hairpin(pod));
    batch.commit(socket)
}

/// Closes a pod's host ports.
pub fn remove(socket: &mut Socket, config: &NetworkConfig, pod: &PodNet) -> Result<()> {
    let mut batch = Batch::new(&config.table);
    batch.delete_elements(PORTS.name, &ports(pod));
    batch.delete_elements(HAIRPIN.name, &hairpin(pod));
    batch.commit(socket)
}

fn postrouting(config: &NetworkConfig) -> Vec<Vec<Expr>> {
    let gateway = config.gateway().octets().to_vec();
    let multicast = Cidr::new(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4).expect("a range");
    vec![
        // A pod that calls its own host port.
        vec![
            SOURCE_TO_0,
            destination(1),
            Expr::In { set: HAIRPIN.name, key: 0 },
            Expr::Load { to: 0, value: gateway },
            Expr::Snat { address: 0 },
        ],
        concat([
            source(config.node_pod_cidr, true),
            within(config.cluster_pod_cidr, destination(0), false),
            within(multicast, destination(0), false),
            vec![Expr::Masquerade],
        ]),
    ]
}

fn ports(pod: &PodNet) -> Vec<ElementBytes> {
    let element = |p: &crate::HostPort| ElementBytes {
        key: Key::new().address(p.host_ip.into()).protocol(p.protocol).port(p.host_port).0,
        end: None,
        value: Some(Data::Bytes(Key::new().address(pod.ip).port(p.container_port).0)),
    };
    pod.host_ports.iter().map(element).collect()
}

fn hairpin(pod: &PodNet) -> Vec<ElementBytes> {
    let key = Key::new().address(pod.ip).address(pod.ip).0;
    let element = ElementBytes { key, ..ElementBytes::default() };
    if pod.host_ports.is_empty() { Vec::new() } else { vec![element] }
}
