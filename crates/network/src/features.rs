//! What the kernel must offer, tried out in a namespace that goes away again.

use std::io;

use crate::netlink::Socket;
use crate::nft::{Batch, Expr, Hook, Set, Values, kernel as k};
use crate::route::{self, Veth, Vxlan};
use crate::{Error, Result, conntrack, netns};

/// The features that this kernel lacks and the network needs, as its configuration names them;
/// empty where all is well. Modules are loaded on the way, as the kernel does by itself. The
/// overlay's is tried only where nodes are to join. Needs root, and takes some milliseconds.
pub async fn missing_features(overlay: bool) -> Result<Vec<String>> {
    netns::on_thread("features", move || {
        netns::unshare_network().map_err(|source| Error::Io {
            what: "make a network namespace (CONFIG_NET_NS)".into(),
            source,
        })?;
        Ok(try_all(overlay))
    })
    .await
}

fn try_all(overlay: bool) -> Vec<String> {
    let mut missing = Vec::new();
    let mut note = |done: io::Result<()>, feature: &str| {
        if let Err(error) = done {
            missing.push(format!("{feature}: {error}"));
        }
    };
    note(veth(), "virtual interface pairs (CONFIG_VETH)");
    if overlay {
        note(vxlan(), "overlay networks (CONFIG_VXLAN)");
    }
    let tables = rules(&[]);
    let usable = tables.is_ok();
    note(tables, "packet rules (CONFIG_NF_TABLES, CONFIG_NF_TABLES_IPV4)");
    if usable {
        for (feature, rule) in expressions() {
            note(rules(&rule), feature);
        }
        note(conntrack::list().map(drop), "connections over netlink (CONFIG_NF_CT_NETLINK)");
    }
    missing
}

fn expressions() -> Vec<(&'static str, Vec<Expr>)> {
    let load = |to| Expr::Load { to, value: vec![0; 4] };
    vec![
        (
            "address translation (CONFIG_NFT_NAT)",
            vec![load(0), load(1), Expr::Dnat { address: 0, port: 1 }],
        ),
        ("masquerading (CONFIG_NFT_MASQ)", vec![Expr::Masquerade]),
        ("connection states (CONFIG_NFT_CT)", vec![Expr::Conntrack { key: k::CT_STATE, to: 0 }]),
        (
            "random numbers in rules (CONFIG_NFT_NUMGEN)",
            vec![Expr::Random { to: 0, modulus: 2, offset: 0 }],
        ),
        (
            "route look-ups in rules (CONFIG_NFT_FIB_IPV4)",
            vec![Expr::RouteType { source: false, to: 0 }],
        ),
        ("refusals (CONFIG_NFT_REJECT_IPV4)", vec![Expr::Reject]),
        (
            "maps in rules (CONFIG_NF_TABLES)",
            vec![load(0), Expr::Map { map: MAP.name, key: 0, to: 1 }],
        ),
    ]
}

const MAP: Set = Set { name: "m", key: &[4], values: Values::Bytes(8), ranges: false, dynamic: 0 };

/// A table with one rule, at the place where such a rule may stand.
fn rules(rule: &[Expr]) -> io::Result<()> {
    let (kind, hook) = match rule.last() {
        Some(Expr::Masquerade) => ("nat", k::POSTROUTING),
        Some(Expr::Reject) => ("filter", k::INPUT),
        Some(_) => ("nat", k::PREROUTING),
        None => ("filter", k::INPUT),
    };
    let mut socket = Socket::netfilter()?;
    let mut batch = Batch::new("features");
    batch.add_table();
    batch.delete_table();
    batch.add_table();
    batch.add_set(&MAP);
    batch.add_chain("c", Some(Hook { kind, hook, priority: 0 }));
    if !rule.is_empty() {
        batch.add_rule("c", rule);
    }
    batch.commit(&mut socket).map_err(|error| match error {
        Error::Io { source, .. } => source,
        other => io::Error::other(other.to_string()),
    })
}

fn veth() -> io::Result<()> {
    let veth = Veth {
        name: "a",
        mac: [2, 0, 0, 0, 0, 1],
        peer_name: "b",
        peer_mac: [2, 0, 0, 0, 0, 2],
        peer_namespace: None,
        mtu: 1500,
    };
    route::add_veth(&mut Socket::route()?, &veth)
}

fn vxlan() -> io::Result<()> {
    let vxlan = Vxlan {
        name: "v",
        mac: [2, 0, 0, 0, 0, 3],
        mtu: 1450,
        id: 1,
        local: std::net::Ipv4Addr::LOCALHOST,
        port: 8472,
    };
    route::add_vxlan(&mut Socket::route()?, &vxlan)
}
