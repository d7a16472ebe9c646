//! Sets, chains and rules of the table. Registers of a balancing rule: 0 source, 1 destination,
//! 2 protocol, 3 port, 4 and 5 the endpoint; so source to port is the key of what clients stick
//! to, and destination to endpoint the key of what they may stick to.

use std::net::IpAddr;

use timonier_traffic::Cidr;
use timonier_traffic::rules::{Chain, LOCAL_LIST, Masquerade};

use crate::NetworkConfig;
use crate::nft::{Batch, Expr, Hook, Register, Set, Values, Verdict, kernel as k};

pub(super) const SERVICES: &str = "services";
pub(super) const NODE_PORTS: &str = "nodeports";
pub(super) const ENDPOINTS: &str = "endpoints";
pub(super) const STICKY: &str = "sticky";
pub(super) const BLOCKED: &str = "blocked";
pub(super) const CLUSTER_IPS: &str = "cluster-ips";
pub(super) const HAIRPIN: &str = "hairpin";
pub(super) const GUARDED: &str = "guarded";
pub(super) const SOURCES: &str = "sources";
pub(super) const AFFINITY: &str = "affinity";
/// The chain that refuses.
pub(super) const REJECT: &str = "reject";

/// The bit of a packet's mark that asks for the node's address as source; the one of upstream.
const MASQUERADE_MARK: u32 = 0x4000;

/// All sets and maps.
pub(super) const SETS: &[Set] = &[
    set(SERVICES, &[4, 4, 4], Values::Verdict),
    set(NODE_PORTS, &[4, 4], Values::Verdict),
    set(ENDPOINTS, &[4, 4, 4, 4], Values::Bytes(8)),
    set(STICKY, &[4, 4, 4, 4, 4], Values::None),
    set(BLOCKED, &[4, 4, 4], Values::Verdict),
    set(CLUSTER_IPS, &[4], Values::None),
    set(HAIRPIN, &[4, 4], Values::None),
    set(GUARDED, &[4, 4, 4], Values::None),
    Set { ranges: true, ..set(SOURCES, &[4, 4, 4, 4], Values::None) },
    Set { dynamic: 1 << 20, ..set(AFFINITY, &[4, 4, 4, 4], Values::Bytes(8)) },
];

const fn set(name: &'static str, key: &'static [u32], values: Values) -> Set {
    Set { name, key, values, ranges: false, dynamic: 0 }
}

const NAT_BEFORE: i32 = -100;
const NAT_AFTER: i32 = 100;

/// Base chains with their places, then the chains they jump to.
const BASE_CHAINS: &[(&str, &str, u32, i32)] = &[
    ("guard-prerouting", "filter", k::PREROUTING, NAT_BEFORE - 10),
    ("nat-prerouting", "nat", k::PREROUTING, NAT_BEFORE),
    ("nat-output", "nat", k::OUTPUT, NAT_BEFORE),
    ("nat-postrouting", "nat", k::POSTROUTING, NAT_AFTER),
    ("filter-input", "filter", k::INPUT, 0),
    ("filter-forward", "filter", k::FORWARD, 0),
    ("filter-output", "filter", k::OUTPUT, 0),
];
const DISPATCH: &str = "dispatch";
const REFUSE: &str = "refuse";
const UNKNOWN: &str = "unknown";
const PLAIN_CHAINS: &[&str] = &[DISPATCH, REFUSE, UNKNOWN, REJECT];

/// The chains that are always there.
pub(super) fn chain_names() -> Vec<&'static str> {
    BASE_CHAINS.iter().map(|c| c.0).chain(PLAIN_CHAINS.iter().copied()).collect()
}

/// Makes sets, chains and their rules; chains that exist must be empty.
pub(super) fn fill(batch: &mut Batch<'_>, config: &NetworkConfig) {
    SETS.iter().for_each(|set| batch.add_set(set));
    for (name, kind, hook, priority) in BASE_CHAINS {
        batch.add_chain(name, Some(Hook { kind, hook: *hook, priority: *priority }));
    }
    PLAIN_CHAINS.iter().for_each(|name| batch.add_chain(name, None));

    for rule in guard() {
        batch.add_rule("guard-prerouting", &rule);
    }
    batch.add_rule("nat-prerouting", &[jump(DISPATCH)]);
    batch.add_rule("nat-output", &[jump(DISPATCH)]);
    for rule in dispatch() {
        batch.add_rule(DISPATCH, &rule);
    }
    for rule in postrouting(config) {
        batch.add_rule("nat-postrouting", &rule);
    }
    for rule in astray(config.cluster_pod_cidr) {
        batch.add_rule("filter-forward", &rule);
    }
    for chain in ["filter-input", "filter-forward", "filter-output"] {
        batch.add_rule(chain, &concat([new_connection(), vec![jump(REFUSE)]]));
    }
    for chain in ["filter-forward", "filter-output"] {
        batch.add_rule(chain, &concat([new_connection(), vec![jump(UNKNOWN)]]));
    }
    for rule in refuse() {
        batch.add_rule(REFUSE, &rule);
    }
    for rule in unknown(config.service_cidr) {
        batch.add_rule(UNKNOWN, &rule);
    }
    batch.add_rule(REJECT, &[Expr::Reject]);
}

/// The rules of a chain that Services share.
pub(super) fn chain_rules(chain: &Chain, config: &NetworkConfig) -> Vec<Vec<Expr>> {
    match *chain {
        Chain::Balance { node_port, local, count, affinity, masquerade } => {
            let mut rules = Vec::new();
            match masquerade {
                Masquerade::Never => {}
                Masquerade::Always => rules.push(mark()),
                Masquerade::OffCluster => {
                    rules.push(concat([source(config.cluster_pod_cidr, false), mark()]));
                }
            }
            rules.extend(balance(node_port, if local { LOCAL_LIST } else { 0 }, count, affinity));
            rules
        }
        Chain::Split { local, .. } => {
            let needs = chain.needs();
            let go = |i: usize| Expr::Go(Verdict::Goto(needs[i].name()));
            let own = vec![
                Expr::RouteType { source: true, to: 0 },
                Expr::Equal { register: 0, value: k::ROUTE_LOCAL.to_ne_bytes().into() },
                go(1),
            ];
            let last = if local > 0 { go(2) } else { Expr::Go(Verdict::Drop) };
            vec![concat([source(config.cluster_pod_cidr, true), vec![go(0)]]), own, vec![last]]
        }
    }
}

fn balance(node_port: bool, offset: u32, count: u32, affinity: Option<u32>) -> Vec<Vec<Expr>> {
    let mut start = vec![SOURCE_TO_0];
    start.push(if node_port { Expr::Load { to: 1, value: vec![0; 4] } } else { destination(1) });
    start.extend([protocol(2), port(3)]);
    let choose = vec![
        Expr::Random { to: 4, modulus: count, offset },
        Expr::Map { map: ENDPOINTS, key: 1, to: 4 },
    ];
    let dnat = vec![Expr::Dnat { address: 4, port: 5 }];
    let Some(seconds) = affinity else { return vec![concat([start, choose, dnat])] };
    let timeout = u64::from(seconds) * 1000;
    let remember = vec![Expr::Remember { map: AFFINITY, key: 0, value: 4, timeout }];
    let stay = vec![Expr::Map { map: AFFINITY, key: 0, to: 4 }, Expr::In { set: STICKY, key: 1 }];
    // Remembering does not overwrite, so what no longer holds is forgotten first.
    let forget = vec![Expr::Forget { map: AFFINITY, key: 0, value: 4 }];
    vec![
        concat([start.clone(), stay, remember.clone(), dnat.clone()]),
        concat([start, choose, forget, remember, dnat]),
    ]
}

/// Load balancer addresses that only some sources may use.
fn guard() -> Vec<Vec<Expr>> {
    let key = vec![destination(0), protocol(1), port(2)];
    let mut from = key.clone();
    from.push(Expr::Network { offset: 12, length: 4, to: 3 });
    vec![
        concat([from, vec![Expr::In { set: SOURCES, key: 0 }, Expr::Go(Verdict::Return)]]),
        concat([
            new_connection(),
            key,
            vec![Expr::In { set: GUARDED, key: 0 }, Expr::Go(Verdict::Drop)],
        ]),
    ]
}

fn dispatch() -> Vec<Vec<Expr>> {
    let vip =
        vec![destination(0), protocol(1), port(2), Expr::VerdictMap { map: SERVICES, key: 0 }];
    let ports = vec![protocol(1), port(2), Expr::VerdictMap { map: NODE_PORTS, key: 1 }];
    vec![vip, concat([to_this_node(), ports])]
}

fn postrouting(config: &NetworkConfig) -> Vec<Vec<Expr>> {
    let gateway = config.gateway().octets().to_vec();
    let snat = vec![Expr::Load { to: 0, value: gateway }, Expr::Snat { address: 0 }];
    let marked = vec![
        Expr::Meta { key: k::META_MARK, to: 0 },
        bits(0, 0, MASQUERADE_MARK, 0),
        Expr::Unequal { register: 0, value: vec![0; 4] },
    ];
    let unmark = vec![
        Expr::Meta { key: k::META_MARK, to: 0 },
        bits(0, 0, !MASQUERADE_MARK, 0),
        Expr::SetMeta { key: k::META_MARK, from: 0 },
    ];
    let to_pod = within(config.cluster_pod_cidr, destination(1), true);
    let hairpin = vec![
        Expr::Conntrack { key: k::CT_STATUS, to: 0 },
        bits(0, 0, k::STATUS_DNAT, 0),
        Expr::Unequal { register: 0, value: vec![0; 4] },
        SOURCE_TO_0,
        destination(1),
        Expr::In { set: HAIRPIN, key: 0 },
    ];
    vec![
        concat([hairpin, snat.clone()]),
        // Towards pods the address is one that every node can answer to.
        concat([marked.clone(), to_pod, unmark.clone(), snat]),
        concat([marked, unmark, vec![Expr::Masquerade]]),
    ]
}

/// Frontends without endpoints.
fn refuse() -> Vec<Vec<Expr>> {
    let rest = |address: Expr| {
        vec![address, protocol(1), port(2), Expr::VerdictMap { map: BLOCKED, key: 0 }]
    };
    vec![
        rest(destination(0)),
        concat([to_this_node(), rest(Expr::Load { to: 0, value: vec![0; 4] })]),
    ]
}

/// Packets of pods that belong to no known connection, such as late ones: their addresses would
/// not be translated back, and who gets them would break the connection off. Upstream's proxy
/// drops them too.
fn astray(pods: Cidr) -> [Vec<Expr>; 2] {
    let invalid = vec![
        Expr::Conntrack { key: k::CT_STATE, to: 0 },
        bits(0, 0, k::STATE_INVALID, 0),
        Expr::Unequal { register: 0, value: vec![0; 4] },
    ];
    let drop = vec![Expr::Go(Verdict::Drop)];
    [
        concat([invalid.clone(), source(pods, true), drop.clone()]),
        concat([invalid, within(pods, destination(0), true), drop]),
    ]
}

/// Ports that a Service does not have, and addresses that no Service has.
fn unknown(services: Cidr) -> Vec<Vec<Expr>> {
    let held = vec![
        Expr::RouteType { source: false, to: 0 },
        Expr::Equal { register: 0, value: k::ROUTE_LOCAL.to_ne_bytes().into() },
        Expr::Go(Verdict::Return),
    ];
    vec![
        held,
        vec![
            destination(0),
            Expr::In { set: CLUSTER_IPS, key: 0 },
            Expr::Go(Verdict::Goto(REJECT.into())),
        ],
        concat([within(services, destination(1), true), vec![Expr::Go(Verdict::Drop)]]),
    ]
}

/// Destinations that are addresses of the node, loopback apart.
pub(crate) fn to_this_node() -> Vec<Expr> {
    concat([within(loopback(), destination(0), false), to_any_of_this_node()])
}

/// Destinations that are addresses of the node, loopback included.
pub(crate) fn to_any_of_this_node() -> Vec<Expr> {
    vec![
        Expr::RouteType { source: false, to: 0 },
        Expr::Equal { register: 0, value: k::ROUTE_LOCAL.to_ne_bytes().into() },
    ]
}

/// 127.0.0.0/8.
pub(crate) fn loopback() -> Cidr {
    Cidr::new(IpAddr::from([127, 0, 0, 0]), 8).expect("a range")
}

/// Matches sources in a range, or outside it.
pub(crate) fn source(range: Cidr, inside: bool) -> Vec<Expr> {
    within(range, SOURCE_TO_0, inside)
}

/// Matches where the address that `load` loads lies in a range, or outside it.
pub(crate) fn within(range: Cidr, load: Expr, inside: bool) -> Vec<Expr> {
    let register = match load {
        Expr::Network { to, .. } => to,
        _ => 0,
    };
    let address = |a: IpAddr| match a {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(_) => vec![0; 4],
    };
    let mask = u32::MAX.checked_shl(32 - u32::from(range.length().min(32))).unwrap_or(0);
    let (mask, flip) = (mask.to_be_bytes().to_vec(), vec![0; 4]);
    let value = address(range.network());
    vec![
        load,
        Expr::Bits { from: register, to: register, mask, flip },
        match inside {
            true => Expr::Equal { register, value },
            false => Expr::Unequal { register, value },
        },
    ]
}

pub(crate) fn concat<const N: usize>(parts: [Vec<Expr>; N]) -> Vec<Expr> {
    parts.into_iter().flatten().collect()
}

pub(crate) const SOURCE_TO_0: Expr = Expr::Network { offset: 12, length: 4, to: 0 };

pub(crate) fn destination(to: Register) -> Expr {
    Expr::Network { offset: 16, length: 4, to }
}

pub(crate) fn protocol(to: Register) -> Expr {
    Expr::Meta { key: k::META_PROTOCOL, to }
}

/// The destination port.
pub(crate) fn port(to: Register) -> Expr {
    Expr::Transport { offset: 2, length: 2, to }
}

fn jump(chain: &str) -> Expr {
    Expr::Go(Verdict::Jump(chain.into()))
}

fn new_connection() -> Vec<Expr> {
    vec![
        Expr::Conntrack { key: k::CT_STATE, to: 0 },
        bits(0, 0, k::STATE_NEW, 0),
        Expr::Unequal { register: 0, value: vec![0; 4] },
    ]
}

/// Bits in the machine's byte order, as marks and states are.
fn bits(from: Register, to: Register, mask: u32, flip: u32) -> Expr {
    Expr::Bits { from, to, mask: mask.to_ne_bytes().into(), flip: flip.to_ne_bytes().into() }
}

fn mark() -> Vec<Expr> {
    vec![
        Expr::Meta { key: k::META_MARK, to: 0 },
        bits(0, 0, !MASQUERADE_MARK, MASQUERADE_MARK),
        Expr::SetMeta { key: k::META_MARK, from: 0 },
    ]
}
