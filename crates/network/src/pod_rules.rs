//! The packet rules of pods: masquerade to the outside, host ports, and what a pod may not send.

use std::net::{IpAddr, Ipv4Addr};

use timonier_traffic::Cidr;

use crate::netlink::Socket;
use crate::nft::{Batch, Data, ElementBytes, Expr, Hook, Set, Values, Verdict, kernel as k};
use crate::services::encode::Key;
use crate::services::schema::{
    SOURCE_TO_0, concat, destination, loopback, port, protocol, source, to_any_of_this_node,
    to_this_node, within,
};
use crate::{NetworkConfig, PodNet, Result};

const PORTS: Set =
    Set { name: "hostports", key: &[4, 4, 4], values: Values::Bytes(8), ranges: false, dynamic: 0 };
const HAIRPIN: Set =
    Set { name: "hairpin", key: &[4, 4], values: Values::None, ranges: false, dynamic: 0 };

/// Before the rules of Services: a host port wins over a node port.
const BEFORE: i32 = -101;
const AFTER: i32 = 99;
/// Before connections are tracked, so that packets are as the pod sent them.
const RAW: i32 = -300;

/// Replaces the table by the rules for these pods, in one transaction.
pub fn load(socket: &mut Socket, config: &NetworkConfig, pods: &[PodNet]) -> Result<()> {
    let mut batch = Batch::new(&config.table);
    batch.add_table();
    batch.delete_table();
    batch.add_table();
    batch.add_set(&PORTS);
    batch.add_set(&HAIRPIN);
    for (name, kind, hook, priority) in [
        ("guard", "filter", k::PREROUTING, RAW),
        ("prerouting", "nat", k::PREROUTING, BEFORE),
        ("output", "nat", k::OUTPUT, BEFORE),
        ("postrouting", "nat", k::POSTROUTING, AFTER),
    ] {
        batch.add_chain(name, Some(Hook { kind, hook, priority }));
    }
    for rule in guard(config) {
        batch.add_rule("guard", &rule);
    }
    // The loopback range is the node's own: host ports answer there to the node alone.
    for (chain, here) in [("prerouting", to_this_node()), ("output", to_any_of_this_node())] {
        for address in [destination(0), Expr::Load { to: 0, value: vec![0; 4] }] {
            let lookup = vec![
                address,
                protocol(1),
                port(2),
                Expr::Map { map: PORTS.name, key: 0, to: 3 },
                Expr::Dnat { address: 3, port: 4 },
            ];
            batch.add_rule(chain, &concat([here.clone(), lookup]));
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

/// Interfaces of pods with host ports carry packets of the loopback range; those that a pod makes
/// up would reach what listens on 127.0.0.1 of the node. Answers to a host port's clients have the
/// gateway's address here.
fn guard(config: &NetworkConfig) -> [Vec<Expr>; 2] {
    let from_pod = vec![
        Expr::Meta { key: k::META_IN_NAME, to: 0 },
        // The beginning of the name.
        Expr::Equal { register: 0, value: config.interface_prefix.clone().into_bytes() },
    ];
    [SOURCE_TO_0, destination(0)].map(|address| {
        let made_up = within(loopback(), address, true);
        concat([from_pod.clone(), made_up, vec![Expr::Go(Verdict::Drop)]])
    })
}

fn postrouting(config: &NetworkConfig) -> Vec<Vec<Expr>> {
    let gateway = config.gateway().octets().to_vec();
    let snat = vec![Expr::Load { to: 0, value: gateway }, Expr::Snat { address: 0 }];
    let multicast = Cidr::new(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4).expect("a range");
    vec![
        // A pod that calls its own host port.
        concat([
            vec![SOURCE_TO_0, destination(1), Expr::In { set: HAIRPIN.name, key: 0 }],
            snat.clone(),
        ]),
        // The node that calls a host port on 127.0.0.1: no pod could answer to that.
        concat([
            source(loopback(), true),
            within(config.node_pod_cidr, destination(0), true),
            snat,
        ]),
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
