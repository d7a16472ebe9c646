//! The interface towards other nodes, and what it leaves for packets of pods.

use std::net::Ipv4Addr;

use crate::Result;
use crate::error::Context;
use crate::netlink::Socket;
use crate::route::{self, Link};

/// What vxlan adds to a packet: IPv4, UDP, its own and the inner Ethernet header.
const WRAPPING: u32 = 50;
/// Ethernet's, for a host without an uplink.
const ETHERNET: u32 = 1500;
/// Every host must take packets of this size (RFC 791).
const LEAST: u32 = 576;

/// The MTU for pods of a node with this address, in bytes: 50 below the uplink's, also where the
/// node is alone, so that pods that run when a second node joins can talk to its pods. (flannel
/// does the same.) The uplink is the interface with the node's address or, where that is none or
/// the loopback interface's, the one of the default route; without any, Ethernet is assumed.
pub fn pod_mtu(node_ip: Option<Ipv4Addr>) -> Result<u32> {
    let mut socket = Socket::route().what(|| "netlink socket".into())?;
    let uplink = uplink(&mut socket, node_ip)?;
    let mtu = uplink.as_ref().map_or(ETHERNET, |link| link.mtu);
    tracing::debug!(uplink = uplink.map_or(String::new(), |l| l.name), mtu, "found the uplink");
    Ok(mtu.saturating_sub(WRAPPING).max(LEAST))
}

fn uplink(socket: &mut Socket, node_ip: Option<Ipv4Addr>) -> Result<Option<Link>> {
    let links = route::links(socket).what(|| "list interfaces".into())?;
    let find = |index: u32| links.iter().find(|l| l.index == index && !l.loopback).cloned();
    if let Some(ip) = node_ip {
        let addresses = route::addresses(socket).what(|| "list addresses".into())?;
        let holders = addresses.iter().filter(|(_, address)| *address == ip);
        if let Some(link) = holders.filter_map(|(index, _)| find(*index)).next() {
            return Ok(Some(link));
        }
    }
    let mut routes = route::routes(socket).what(|| "list routes".into())?;
    routes.retain(|r| r.destination.length() == 0);
    // The kernel takes the one with the least.
    routes.sort_by_key(|r| r.priority);
    Ok(routes.iter().find_map(|r| find(r.link)))
}
