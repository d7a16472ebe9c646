//! The way to other nodes' pods: one vxlan interface, and for every other node a route, a
//! neighbour and a forwarding entry. Nothing is learned from packets.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use timonier_traffic::Cidr;
use timonier_traffic::overlay::{Peer, mac};

use crate::error::Context;
use crate::netlink::Socket;
use crate::route::{self, Path};
use crate::{NetworkConfig, Result};

/// The settings of the overlay; the same on all nodes but for the address.
#[derive(Clone, Copy, Debug)]
pub struct OverlayConfig {
    /// The network identifier, 24 bits; unique per cluster where clusters share nodes.
    pub id: u32,
    /// The UDP port; 8472 is Linux's, 4789 the registered one.
    pub port: u16,
    /// This node's address towards other nodes.
    pub local: Ipv4Addr,
}

/// The overlay of a node. It stays when this value goes; `teardown_all` removes it.
pub struct Overlay {
    config: NetworkConfig,
    socket: Socket,
    link: u32,
}

/// The overlay's interface.
pub(crate) fn interface(config: &NetworkConfig) -> String {
    format!("{}-vx", config.interface_prefix)
}

impl Overlay {
    /// Whether the interface is there, from before a restart.
    pub fn exists(config: &NetworkConfig) -> Result<bool> {
        let mut socket = Socket::route().what(|| "netlink socket".into())?;
        Ok(route::link_index(&mut socket, &interface(config)).is_ok())
    }

    /// Makes the interface, or takes over the one of before a restart.
    pub fn open(config: &NetworkConfig, overlay: OverlayConfig) -> Result<Overlay> {
        let mut socket = Socket::route().what(|| "netlink socket".into())?;
        let name = interface(config);
        let what = || format!("create interface {name}");
        if route::link_index(&mut socket, &name).is_err() {
            let vxlan = route::Vxlan {
                name: &name,
                mac: mac(config.node_pod_cidr),
                mtu: config.mtu,
                id: overlay.id,
                local: overlay.local,
                port: overlay.port,
            };
            route::add_vxlan(&mut socket, &vxlan).what(what)?;
        }
        let link = route::link_named(&mut socket, &name).what(what)?;
        if link.mtu != config.mtu {
            route::set_mtu(&mut socket, link.index, config.mtu).what(what)?;
        }
        route::set_up(&mut socket, link.index, true).what(what)?;
        Ok(Overlay { config: config.clone(), socket, link: link.index })
    }

    /// Makes the way to exactly these nodes, whatever was there; the node itself is passed over.
    pub fn set_peers<'a>(&mut self, peers: impl IntoIterator<Item = &'a Peer>) -> Result<()> {
        let own = self.config.node_pod_cidr;
        let peers: Vec<&Peer> = peers.into_iter().filter(|p| p.pod_cidr != own).collect();
        // Forwarding before neighbours before routes, so that no packet goes astray; away in the
        // opposite order.
        let mut routes: BTreeSet<(Cidr, Ipv4Addr)> = self.routes()?;
        let wanted: BTreeSet<_> = peers.iter().map(|p| (p.pod_cidr, p.next_hop())).collect();
        for (range, _) in routes.clone().difference(&wanted) {
            route::delete_route(&mut self.socket, *range)
                .what(|| format!("delete the route to {range}"))?;
            routes.retain(|(r, _)| r != range);
        }
        self.set_entries(true, peers.iter().map(|p| (p.address, p.mac())).collect())?;
        self.set_entries(false, peers.iter().map(|p| (p.next_hop(), p.mac())).collect())?;
        for (range, next_hop) in wanted.difference(&routes) {
            let path = Path {
                link: self.link,
                gateway: Some(*next_hop),
                source: Some(self.config.gateway()),
            };
            route::replace_route(&mut self.socket, *range, &path)
                .what(|| format!("add the route to {range}"))?;
        }
        Ok(())
    }

    fn routes(&mut self) -> Result<BTreeSet<(Cidr, Ipv4Addr)>> {
        let all = route::routes(&mut self.socket).what(|| "list routes".into())?;
        let ours = all.into_iter().filter(|r| r.link == self.link);
        Ok(ours.filter_map(|r| Some((r.destination, r.gateway?))).collect())
    }

    fn set_entries(
        &mut self,
        forwarding: bool,
        wanted: BTreeSet<(Ipv4Addr, route::Mac)>,
    ) -> Result<()> {
        let what = || "change the overlay's neighbours".to_owned();
        let found = route::permanent_entries(&mut self.socket, self.link, forwarding).what(what)?;
        let found: BTreeSet<_> = found.into_iter().collect();
        for (ip, mac) in found.difference(&wanted) {
            match forwarding {
                true => route::delete_forwarding(&mut self.socket, self.link, *mac, *ip),
                false => route::delete_neighbour(&mut self.socket, self.link, *ip),
            }
            .what(what)?;
        }
        for (ip, mac) in wanted.difference(&found) {
            match forwarding {
                true => route::set_forwarding(&mut self.socket, self.link, *mac, *ip),
                false => route::set_neighbour(&mut self.socket, self.link, *ip, *mac),
            }
            .what(what)?;
        }
        Ok(())
    }
}
