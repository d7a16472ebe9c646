//! Interfaces, addresses, routes and neighbours over netlink.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use timonier_traffic::Cidr;

use crate::netlink::message::{Writer, attribute, flag, native32, text};
use crate::netlink::{Socket, is_absent};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
const NEW_NEIGHBOUR: u16 = 28;
const DELETE_NEIGHBOUR: u16 = 29;
const GET_NEIGHBOUR: u16 = 30;

const INET: u8 = 2;
const BRIDGE: u8 = 7;
const MAIN_TABLE: u8 = 254;
const UNICAST: u8 = 1;
const ONLINK: u32 = 4;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_LINK: u8 = 253;
const PERMANENT: u16 = 0x80;
const SELF: u8 = 2;
/// A flag of interfaces.
const LOOPBACK: u32 = 8;

/// Marks our routes; not a number that a routing daemon uses.
pub const ROUTE_PROTOCOL: u8 = 84;

/// A hardware address.
pub type Mac = [u8; 6];

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub group: u32,
    /// In bytes.
    pub mtu: u32,
    pub loopback: bool,
}

/// A route as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    pub destination: Cidr,
    pub link: u32,
    pub gateway: Option<Ipv4Addr>,
    /// Of routes to the same range the one with the least is taken.
    pub priority: u32,
}

/// Both ends of a veth pair.
pub struct Veth<'a> {
    pub name: &'a str,
    pub mac: Mac,
    pub peer_name: &'a str,
    pub peer_mac: Mac,
    /// The namespace that the peer is made in; `None` for the same.
    pub peer_namespace: Option<BorrowedFd<'a>>,
    pub mtu: u32,
}

/// Makes a veth pair.
pub fn add_veth(socket: &mut Socket, veth: &Veth<'_>) -> io::Result<()> {
    let flags = flag::CREATE | flag::EXCL;
    socket.request(NEW_LINK, flags, &link_body(0, 0, 0), |w| {
        w.text(3, veth.name).attr(1, &veth.mac).native(4, veth.mtu);
        w.native(31, 1).native(32, 1);
        w.nest(18, |w| {
            w.text(1, "veth");
            w.nest(2, |w| {
                w.nest(1, |w| {
                    w.raw(&link_body(0, 0, 0))
                        .text(3, veth.peer_name)
                        .attr(1, &veth.peer_mac)
                        .native(4, veth.mtu);
                    w.native(31, 1).native(32, 1);
                    if let Some(namespace) = veth.peer_namespace {
                        w.native(28, namespace.as_raw_fd() as u32);
                    }
                });
            });
        });
    })
}

/// A vxlan interface.
pub struct Vxlan<'a> {
    pub name: &'a str,
    pub mac: Mac,
    pub mtu: u32,
    pub id: u32,
    pub local: Ipv4Addr,
    pub port: u16,
}

/// Makes a vxlan interface: addresses are given, never learned.
pub fn add_vxlan(socket: &mut Socket, vxlan: &Vxlan<'_>) -> io::Result<()> {
    let flags = flag::CREATE | flag::EXCL;
    socket.request(NEW_LINK, flags, &link_body(0, 0, 0), |w| {
        w.text(3, vxlan.name).attr(1, &vxlan.mac).native(4, vxlan.mtu);
        w.nest(18, |w| {
            w.text(1, "vxlan");
            w.nest(2, |w| {
                w.native(1, vxlan.id).attr(4, &vxlan.local.octets());
                // No learning; the port in network byte order.
                w.attr(7, &[0]).attr(15, &vxlan.port.to_be_bytes());
            });
        });
    })
}

/// Brings an interface up, without IPv6 addresses of its own where `quiet`.
pub fn set_up(socket: &mut Socket, index: u32, quiet: bool) -> io::Result<()> {
    if quiet {
        // Fails where the kernel has no IPv6, which is as quiet.
        let _ = socket.request(NEW_LINK, 0, &link_body(index, 0, 0), |w| {
            w.nest(26, |w| {
                w.nest(10, |w| {
                    w.attr(8, &[1]);
                });
            });
        });
    }
    socket.request(NEW_LINK, 0, &link_body(index, 1, 1), |_| {})
}

/// Lets an interface carry packets from and to 127.0.0.0/8 (`route_localnet`). The setting is the
/// interface's own and goes with it.
pub fn allow_loopback(socket: &mut Socket, index: u32) -> io::Result<()> {
    const ROUTE_LOCALNET: u16 = 26;
    socket.request(NEW_LINK, 0, &link_body(index, 0, 0), |w| {
        w.nest(26, |w| {
            w.nest(u16::from(INET), |w| {
                w.nest(1, |w| {
                    w.native(ROUTE_LOCALNET, 1);
                });
            });
        });
    })
}

/// Gives an interface another MTU, in bytes.
pub fn set_mtu(socket: &mut Socket, index: u32, mtu: u32) -> io::Result<()> {
    socket.request(NEW_LINK, 0, &link_body(index, 0, 0), |w| {
        w.native(4, mtu);
    })
}

/// Removes an interface; no error where there is none.
pub fn delete_link(socket: &mut Socket, name: &str) -> io::Result<()> {
    absent_is_fine(socket.request(DELETE_LINK, 0, &link_body(0, 0, 0), |w| {
        w.text(3, name);
    }))
}

/// Removes interfaces together, which takes as long as removing one: the kernel waits for all
/// processors once, not once for each.
pub fn delete_links(socket: &mut Socket, doomed: &[&Link]) -> io::Result<()> {
    const GROUP: u16 = 27;
    let taken: Vec<u32> = links(socket)?.iter().map(|l| l.group).collect();
    // Any group without members will do.
    let free = (0x7469_6d00..).find(|group| !taken.contains(group));
    let (Some(group), false) = (free, doomed.is_empty()) else { return Ok(()) };
    for link in doomed {
        let body = link_body(link.index, 0, 0);
        absent_is_fine(socket.request(NEW_LINK, 0, &body, |w| {
            w.native(GROUP, group);
        }))?;
    }
    absent_is_fine(socket.request(DELETE_LINK, 0, &link_body(0, 0, 0), |w| {
        w.native(GROUP, group);
    }))
}

/// All interfaces.
pub fn links(socket: &mut Socket) -> io::Result<Vec<Link>> {
    let found = socket.dump(GET_LINK, &link_body(0, 0, 0), |_| {})?;
    Ok(found.iter().filter(|m| m.kind == NEW_LINK).filter_map(|m| link(&m.body)).collect())
}

/// Waits until an interface whose other end came up later can send: until then the kernel drops
/// what it is given, and a first packet that is lost costs a second.
pub fn wait_until_running(socket: &mut Socket, index: u32) -> io::Result<()> {
    const OPERSTATE: u16 = 16;
    const UP: u8 = 6;
    const TRIES: u32 = 200;
    for _ in 0..TRIES {
        // On current kernels the question itself settles the state.
        let found = socket.query(GET_LINK, &link_body(index, 0, 0), |_| {})?;
        let state = found.first().and_then(|m| attribute(m.body.get(16..)?, OPERSTATE));
        if state.and_then(|s| s.first()) == Some(&UP) {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// The index of an interface in the thread's namespace.
pub fn link_by_name(name: &str) -> io::Result<u32> {
    nix::net::if_::if_nametoindex(name).map_err(io::Error::from)
}

/// The index of an interface in the socket's namespace.
pub fn link_index(socket: &mut Socket, name: &str) -> io::Result<u32> {
    link_named(socket, name).map(|link| link.index)
}

/// An interface in the socket's namespace.
pub fn link_named(socket: &mut Socket, name: &str) -> io::Result<Link> {
    let found = socket.query(GET_LINK, &link_body(0, 0, 0), |w| {
        w.text(3, name);
    })?;
    let found = found.iter().find_map(|m| link(&m.body));
    found.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
}

/// The IPv4 addresses of all interfaces, by the interfaces' indices.
pub fn addresses(socket: &mut Socket) -> io::Result<Vec<(u32, Ipv4Addr)>> {
    const LOCAL: u16 = 2;
    let found = socket.dump(GET_ADDRESS, &[INET, 0, 0, 0, 0, 0, 0, 0], |_| {})?;
    let read = |body: &[u8]| {
        let (head, attrs) = body.split_at_checked(8)?;
        let ip: [u8; 4] = attribute(attrs, LOCAL)?.try_into().ok()?;
        Some((native32(&head[4..8])?, Ipv4Addr::from(ip)))
    };
    Ok(found.iter().filter(|m| m.kind == NEW_ADDRESS).filter_map(|m| read(&m.body)).collect())
}

/// Gives an interface an address; no error where it has it.
pub fn add_address(
    socket: &mut Socket,
    link: u32,
    address: Ipv4Addr,
    length: u8,
) -> io::Result<()> {
    let done =
        socket.request(NEW_ADDRESS, flag::CREATE | flag::EXCL, &address_body(link, length), |w| {
            w.attr(2, &address.octets()).attr(1, &address.octets());
        });
    exists_is_fine(done)
}

/// How packets to a range go.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    pub link: u32,
    /// The next hop, taken to be on the link.
    pub gateway: Option<Ipv4Addr>,
    /// The source of the node's own packets.
    pub source: Option<Ipv4Addr>,
}

/// Adds a route; no error where there is one of the same range, which stays.
pub fn add_route(socket: &mut Socket, to: Cidr, path: &Path) -> io::Result<()> {
    exists_is_fine(put_route(socket, flag::CREATE | flag::EXCL, to, path))
}

/// Adds or changes a route.
pub fn replace_route(socket: &mut Socket, to: Cidr, path: &Path) -> io::Result<()> {
    put_route(socket, flag::CREATE | flag::REPLACE, to, path)
}

fn put_route(socket: &mut Socket, flags: u16, to: Cidr, path: &Path) -> io::Result<()> {
    let scope = if path.gateway.is_some() { SCOPE_UNIVERSE } else { SCOPE_LINK };
    let flags_of_hop = if path.gateway.is_some() { ONLINK } else { 0 };
    socket.request(NEW_ROUTE, flags, &route_body(to, scope, flags_of_hop), |w| {
        destination(w, to);
        w.native(4, path.link);
        if let Some(gateway) = path.gateway {
            w.attr(5, &gateway.octets());
        }
        if let Some(source) = path.source {
            w.attr(7, &source.octets());
        }
    })
}

/// Removes our route to a range; no error where there is none.
pub fn delete_route(socket: &mut Socket, to: Cidr) -> io::Result<()> {
    // Scope nowhere matches any.
    absent_is_fine(socket.request(DELETE_ROUTE, 0, &route_body(to, 255, 0), |w| destination(w, to)))
}

/// The IPv4 routes of the main table.
pub fn routes(socket: &mut Socket) -> io::Result<Vec<Route>> {
    let mut body = [0; 12];
    body[0] = INET;
    let found = socket.dump(GET_ROUTE, &body, |_| {})?;
    Ok(found.iter().filter(|m| m.kind == NEW_ROUTE).filter_map(|m| route(&m.body)).collect())
}

/// Says which hardware address an IPv4 address has, for good.
pub fn set_neighbour(socket: &mut Socket, link: u32, ip: Ipv4Addr, mac: Mac) -> io::Result<()> {
    let flags = flag::CREATE | flag::REPLACE;
    socket.request(NEW_NEIGHBOUR, flags, &neighbour_body(INET, link, 0), |w| {
        w.attr(1, &ip.octets()).attr(2, &mac);
    })
}

/// Takes back what [`set_neighbour`] said.
pub fn delete_neighbour(socket: &mut Socket, link: u32, ip: Ipv4Addr) -> io::Result<()> {
    absent_is_fine(socket.request(DELETE_NEIGHBOUR, 0, &neighbour_body(INET, link, 0), |w| {
        w.attr(1, &ip.octets());
    }))
}

/// Says behind which node a hardware address of a vxlan is.
pub fn set_forwarding(socket: &mut Socket, link: u32, mac: Mac, node: Ipv4Addr) -> io::Result<()> {
    let flags = flag::CREATE | flag::REPLACE;
    socket.request(NEW_NEIGHBOUR, flags, &neighbour_body(BRIDGE, link, SELF), |w| {
        w.attr(1, &node.octets()).attr(2, &mac);
    })
}

/// Takes back what [`set_forwarding`] said.
pub fn delete_forwarding(
    socket: &mut Socket,
    link: u32,
    mac: Mac,
    node: Ipv4Addr,
) -> io::Result<()> {
    absent_is_fine(socket.request(DELETE_NEIGHBOUR, 0, &neighbour_body(BRIDGE, link, SELF), |w| {
        w.attr(1, &node.octets()).attr(2, &mac);
    }))
}

/// The neighbours or, of a vxlan, the forwarding entries that were set for good on a link:
/// address and hardware address.
pub fn permanent_entries(
    socket: &mut Socket,
    link: u32,
    forwarding: bool,
) -> io::Result<Vec<(Ipv4Addr, Mac)>> {
    let family = if forwarding { BRIDGE } else { INET };
    let found = socket.dump(GET_NEIGHBOUR, &neighbour_body(family, 0, 0), |_| {})?;
    Ok(found
        .iter()
        .filter_map(|m| {
            let (head, attrs) = m.body.split_at_checked(12)?;
            let permanent = u16::from_ne_bytes([head[8], head[9]]) & PERMANENT != 0;
            let ours = permanent && native32(&head[4..8])? == link;
            let ip: [u8; 4] = attribute(attrs, 1)?.try_into().ok()?;
            let mac: Mac = attribute(attrs, 2)?.try_into().ok()?;
            ours.then_some((Ipv4Addr::from(ip), mac))
        })
        .collect())
}

fn link(body: &[u8]) -> Option<Link> {
    let (head, attrs) = body.split_at_checked(16)?;
    Some(Link {
        index: native32(&head[4..8])?,
        name: text(attribute(attrs, 3)?),
        group: attribute(attrs, 27).and_then(native32).unwrap_or(0),
        mtu: attribute(attrs, 4).and_then(native32)?,
        loopback: native32(&head[8..12])? & LOOPBACK != 0,
    })
}

fn route(body: &[u8]) -> Option<Route> {
    let (head, attrs) = body.split_at_checked(12)?;
    let table = attribute(attrs, 15).and_then(native32).unwrap_or(u32::from(head[4]));
    if head[0] != INET || table != u32::from(MAIN_TABLE) {
        return None;
    }
    let ip = |kind| -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = attribute(attrs, kind)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes))
    };
    Some(Route {
        destination: Cidr::new(ip(1).unwrap_or(Ipv4Addr::UNSPECIFIED).into(), head[1])?,
        link: attribute(attrs, 4).and_then(native32).unwrap_or(0),
        gateway: ip(5),
        priority: attribute(attrs, 6).and_then(native32).unwrap_or(0),
    })
}

fn destination(w: &mut Writer, to: Cidr) {
    if let (std::net::IpAddr::V4(network), 1..) = (to.network(), to.length()) {
        w.attr(1, &network.octets());
    }
}

fn link_body(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    body[12..16].copy_from_slice(&change.to_ne_bytes());
    body
}

fn address_body(link: u32, length: u8) -> [u8; 8] {
    let i = link.to_ne_bytes();
    [INET, length, 0, SCOPE_UNIVERSE, i[0], i[1], i[2], i[3]]
}

fn route_body(to: Cidr, scope: u8, flags: u32) -> [u8; 12] {
    let f = flags.to_ne_bytes();
    let protocol = ROUTE_PROTOCOL;
    [INET, to.length(), 0, 0, MAIN_TABLE, protocol, scope, UNICAST, f[0], f[1], f[2], f[3]]
}

fn neighbour_body(family: u8, link: u32, flags: u8) -> [u8; 12] {
    let (i, s) = (link.to_ne_bytes(), PERMANENT.to_ne_bytes());
    [family, 0, 0, 0, i[0], i[1], i[2], i[3], s[0], s[1], flags, 0]
}

fn exists_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(e) if is_absent(&e) => Ok(()),
        other => other,
    }
}
